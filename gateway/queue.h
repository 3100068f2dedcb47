#ifndef SLUICE_GATEWAY_QUEUE_H
#define SLUICE_GATEWAY_QUEUE_H
/* queue - the fair line between orgs, for when the replicas are full.
 *
 * Start-time fair queueing by tokens: each org has a clock that runs with the tokens it is given.
 * The next request is the oldest of the org whose clock is furthest behind; an org that comes anew
 * starts at the line's own clock, so absence saves nothing up. So one org with a thousand requests
 * and one with a single request take turns by tokens, not by requests. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define QUEUE_MAX      1024 /* requests in one line */
#define QUEUE_ORGS_MAX 256  /* orgs with a clock at a time */

struct queue_item { /* lives in its owner until popped or removed */
    struct queue_item *next, *prev;
    int32_t org; /* place in the table + 1; 0: not queued */
    int64_t cost;
    void *user;
};

struct queue_org {
    char id[40];
    uint8_t id_len;
    int64_t clock;   /* tokens given, on the line's scale */
    int32_t waiting; /* items */
    struct queue_item *first, *last;
};

struct queue {
    struct queue_org *org; /* [QUEUE_ORGS_MAX] */
    int64_t clock;
    int32_t n;
    int32_t n_orgs; /* places in use, the first ones */
};

enum rc queue_init(struct queue *q, struct err *err);
void queue_done(struct queue *q);

/* cost: the tokens that the request may take. RC_UNAVAILABLE: the line is full, or one org would
 * fill more than half of it. */
enum rc queue_push(struct queue *q, struct queue_item *it, struct str org, int64_t cost,
                   struct err *err);
/* The next one, or NULL. Its org's clock is charged with the cost. */
struct queue_item *queue_pop(struct queue *q);
void queue_remove(struct queue *q, struct queue_item *it); /* not queued: nothing happens */
/* A request took more or less than it was charged with. */
void queue_charge(struct queue *q, struct str org, int64_t delta_tok);

#endif
