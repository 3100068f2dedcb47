#ifndef SLUICE_CONTROL_DRIVER_H
#define SLUICE_CONTROL_DRIVER_H
/* driver - where a deployment's replicas run. A driver carries out and reports; what should happen
 * next is decided in reconcile.c, so a new driver brings no state machine of its own.
 *
 * All calls come from the loop's thread and return at once. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "control/proc.h"
#include "schema/resource.h"

#define DRIVER_ADDRESS_BYTES 160
#define DRIVER_REASON_BYTES  200
#define DRIVER_REPLICAS_MAX  64 /* of one driver on this host, all deployments together */

/* What a replica is to be; equal specs need no restart. Zero-filled before use, compared whole. */
struct replica_spec {
    char deployment_id[40];
    char source[1000]; /* model path; external: base URL */
    int64_t engine;    /* enum deploy_engine */
    int64_t context_length, threads, kv_mib, max_seqs;
};

/* What is there now. */
struct replica_seen {
    bool exists;      /* something runs or is reachable under this name */
    bool ready;       /* takes requests */
    bool ended;       /* it ran since the last start, and ended by itself or by a signal */
    int32_t progress; /* percent of loading */
    int64_t pid;      /* 0: not a process */
    char address[DRIVER_ADDRESS_BYTES]; /* "unix:/path", "tcp:HOST:PORT", "http://…" */
    char reason[DRIVER_REASON_BYTES];   /* how it ended, with the last line it wrote */
};

struct driver;
struct driver_ops {
    const char *name;
    /* Begins to run replica `index`. RC_INVALID: cannot ever work as specified. */
    enum rc (*start)(struct driver *d, const struct replica_spec *spec, int32_t index,
                     struct err *err);
    void (*look)(struct driver *d, const char *deployment_id, int32_t index,
                 struct replica_seen *ret);
    /* Asks it to finish what it has and end; or ends it now. Nothing when it is not there. */
    void (*stop)(struct driver *d, const char *deployment_id, int32_t index, bool now);
    void (*forget)(struct driver *d, const char *deployment_id, int32_t index); /* after its end */
    void (*close)(struct driver *d); /* ends all at once, frees */
};
struct driver {
    const struct driver_ops *ops;
};

struct driver_local_opts {
    struct loop *loop;
    struct proc_dirs dirs;
    const char *engine_path; /* the sluice-engine program */
    /* A replica ended: worth a look before the next turn. May be NULL. */
    void (*on_change)(void *user);
    void *user;
};
enum rc driver_local_open(const struct driver_local_opts *opts, struct driver **ret,
                          struct err *err);
enum rc driver_external_open(struct driver **ret, struct err *err);

#endif
