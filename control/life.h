#ifndef SLUICE_CONTROL_LIFE_H
#define SLUICE_CONTROL_LIFE_H
/* life - a replica's life: what should happen next to a replica and what to say about a deployment:
 * pure functions of what is wanted, what is remembered and what is seen. control/reconcile.c
 * carries it out.
 *
 *   pending ──start──▶ scheduling ──process there──▶ loading ──takes requests──▶ running
 *      ▲                   │                            │                           │
 *      └──── backoff ◀─────┴──────────── ended ◀────────┴───────────────────────────┤
 *      (failed after LIFE_FAIL_AFTER ends in a row; still tried, at the longest backoff)
 *                                                                                   │ not wanted
 *   stopped ◀── process gone ── draining: gateways are told, then TERM, then KILL ◀─┘
 */

#include <stdbool.h>
#include <stdint.h>

#include "control/drivers/driver.h"
#include "schema/resource.h"

#define LIFE_BACKOFF_FIRST_MS 200
#define LIFE_BACKOFF_MAX_MS   30000
#define LIFE_FAIL_AFTER       6
#define LIFE_STABLE_MS        5000   /* so long in `running` forgives earlier ends */
#define LIFE_TELL_MS          1000   /* draining: until gateways have heard of it */
#define LIFE_TERM_MS          30000  /* draining: from TERM to KILL */
#define LIFE_LOAD_STALL_MS    600000 /* loading without progress for so long is an end */
#define LIFE_REASON_BYTES     320

struct life {
    int32_t index;
    enum deploy_state state;
    int64_t since_ms;      /* monotonic; when the state was entered, or last made progress */
    int64_t not_before_ms; /* pending and failed: the next start */
    int64_t restarts;      /* in all */
    int32_t failures;      /* ends in a row without LIFE_STABLE_MS of running */
    int32_t progress;
    bool asked; /* draining: TERM was sent */
    bool stale; /* runs an older spec; to be replaced */
    char reason[LIFE_REASON_BYTES];
};

enum life_act { LIFE_NOTHING, LIFE_START, LIFE_TERM, LIFE_KILL, LIFE_FORGET };

/* The next state of r in *ret (may be r itself) and what to do to get there. */
enum life_act life_next(const struct life *r, const struct replica_seen *seen, bool wanted,
                        int64_t now_ms, struct life *ret);
/* A start that the driver refused counts as an end. */
void life_start_failed(struct life *r, const char *why, int64_t now_ms);
/* The spec was edited: what failed may work now, so the next start is due at once. */
void life_forgive(struct life *r);
/* Which replica to replace now because its spec is old: one at a time, and the last running one
 * only when all others run already. NULL: none. */
struct life *life_pick_stale(struct life *replicas, int32_t n);

struct life_summary {
    enum deploy_state state;
    int32_t progress;
    char reason[LIFE_REASON_BYTES];
};
/* What a deployment shows: running when any replica is. */
void life_summarize(const struct life *replicas, int32_t n, int32_t wanted,
                    struct life_summary *ret);
int64_t life_backoff_ms(int32_t failures);

#endif
