#ifndef SLUICE_GATEWAY_PICK_H
#define SLUICE_GATEWAY_PICK_H
/* pick - a deployment's replicas as one worker sees them: connections, the line before them, and
 * which of them takes the next request.
 *
 * A replica computes max_seqs requests at a time; its seats are counted over all workers of this
 * gateway, and a request that finds none waits in the fair line (queue.h), here and not in the
 * engine. Among replicas with a seat the least loaded one is taken; of those about equal, the one
 * that is likely to have the request's prefix in its cache. */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/be_engine.h"
#include "gateway/queue.h"
#include "gateway/tables.h"

struct seats; /* over all workers; thread-safe */
enum rc seats_new(struct seats **ret, struct err *err);
void seats_free(struct seats *s); /* accepts NULL */

#define POOL_POLL_MS     5 /* a seat that another worker frees is seen after so long */
#define POOL_EXTRA_SEATS 2 /* sent ahead, so that a replica never waits for us */

struct pool;
struct pools; /* of one worker: one pool a deployment */

/* A request in a pool; lives in the request. */
struct pool_item {
    struct queue_item line;
    /* Set by the owner: how many sequences it needs, the fair line's cost, what hints at its
     * prefix (0: nothing). */
    int32_t seqs;
    int64_t cost_tok;
    uint64_t affinity;
    void *user;
    /* The pool's. */
    struct pool *pool;
    struct seat *seat; /* taken */
    struct str org;
};

struct pools_opts {
    struct loop *loop;
    struct seats *seats;
    struct text_cache *texts;
    struct str gateway;
    /* A seat is taken: send it. The link is ready. */
    void (*on_seat)(struct pool_item *it, struct engine_link *link);
};
enum rc pools_open(const struct pools_opts *opts, struct pools **ret, struct err *err);
void pools_close(struct pools *p); /* no item may be in any pool; accepts NULL */
/* Connections follow the tables. */
void pools_sync(struct pools *p, const struct tables *t);
struct pool *pools_find(struct pools *p, struct str deployment_id); /* NULL: none */

bool pool_ready(const struct pool *p);              /* some replica is */
struct text_model *pool_text(const struct pool *p); /* lent; NULL: never ready so far */
int32_t pool_ctx(const struct pool *p);             /* smallest context of the ready replicas */
int32_t pool_waiting(const struct pool *p);

/* on_seat follows, at once or later. RC_UNAVAILABLE: the line is full. */
enum rc pool_enter(struct pool *p, struct pool_item *it, struct str org, struct err *err);
/* Out of the line, or the seat is free again. used_tok corrects the org's place (-1: as it was).
 * Call it once for each pool_enter that was RC_OK. */
void pool_leave(struct pool_item *it, int64_t used_tok);

#endif
