#ifndef SLUICE_CONTROL_RECONCILE_H
#define SLUICE_CONTROL_RECONCILE_H
/* reconcile - brings each deployment from what is to what is wanted.
 *
 * A turn reads what is wanted (only after a change), looks at every replica through its driver,
 * asks life.h what to do, does it, and writes state, reason, progress and replica_list through the
 * writer, so that the change feed carries them to the gateways. Turns are short and timed: every
 * 100 ms while something moves, else every second. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "control/drivers/driver.h"

struct control;
struct loop;
struct reconcile;

#define RECONCILE_DEPLOYMENTS_MAX 256

struct reconcile_opts {
    struct loop *loop;
    struct control *control; /* its database, its writer, and word of changes */
    struct proc_dirs dirs;
    const char *engine_path; /* the sluice-engine program */
};

enum rc reconcile_open(const struct reconcile_opts *opts, struct reconcile **ret, struct err *err);
/* Ends all replicas at once. After control_close (its writer may hold a job of ours until then) and
 * before loop_close. Accepts NULL. */
void reconcile_close(struct reconcile *r);

/* No new starts from here on; TERM to every replica. */
void reconcile_stop(struct reconcile *r);
int32_t reconcile_alive(const struct reconcile *r); /* replicas with a process */

#endif
