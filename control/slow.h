#ifndef SLUICE_CONTROL_SLOW_H
#define SLUICE_CONTROL_SLOW_H
/* slow - one thread for work that would stop the loop: hashing passwords. At most 32 jobs wait; a
 * login storm is then refused, and nothing else feels it. */

#include "base/err.h"
#include "base/loop.h"

#define SLOW_QUEUE_MAX 32

struct slow;

/* Lives in its owner until on_done. */
struct slow_job {
    void (*run)(struct slow_job *job);     /* in the thread */
    void (*on_done)(struct slow_job *job); /* in the loop's thread, exactly once */
    void *user;
    struct slow_job *next;
};

enum rc slow_open(struct loop *loop, struct slow **ret, struct err *err);
/* Finishes what is queued, calling on_done from here. The loop must not run again. Accepts NULL. */
void slow_close(struct slow *s);
enum rc slow_post(struct slow *s, struct slow_job *job, struct err *err); /* RC_UNAVAILABLE: full */

#endif
