#include "gateway/queue.h"

#include <stdlib.h>

#include "base/units.h"

enum rc queue_init(struct queue *q, struct err *err)
{
    *q = (struct queue){.org = calloc(QUEUE_ORGS_MAX, sizeof *q->org)};
    return q->org ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for a line");
}

void queue_done(struct queue *q)
{
    free(q->org);
    q->org = NULL;
}

static struct queue_org *find_org(struct queue *q, struct str id)
{
    for (int32_t i = 0; i < q->n_orgs; i++)
        if (str_eq(str_make(q->org[i].id, q->org[i].id_len), id))
            return &q->org[i];
    return NULL;
}

/* A place for an org: its own, a new one, or that of the idle one which is furthest behind;
 * an org at or behind the line's clock loses nothing by being forgotten. */
static struct queue_org *take_org(struct queue *q, struct str id)
{
    struct queue_org *best = find_org(q, id);
    if (best || id.len == 0 || id.len > sizeof q->org->id)
        return best;
    for (int32_t i = 0; q->n_orgs == QUEUE_ORGS_MAX && i < QUEUE_ORGS_MAX; i++) {
        struct queue_org *o = &q->org[i];
        if (!o->waiting && (!best || o->clock < best->clock))
            best = o;
    }
    if (q->n_orgs < QUEUE_ORGS_MAX)
        best = &q->org[q->n_orgs++];
    if (!best)
        return NULL;
    *best = (struct queue_org){.clock = q->clock, .id_len = (uint8_t)id.len};
    memcpy(best->id, id.p, id.len);
    return best;
}

enum rc queue_push(struct queue *q, struct queue_item *it, struct str org, int64_t cost,
                   struct err *err)
{
    struct queue_org *o = q->n < QUEUE_MAX ? take_org(q, org) : NULL;
    if (!o || o->waiting >= QUEUE_MAX / 2)
        return err_set(err, RC_UNAVAILABLE,
                       "The model is overloaded: %d requests are waiting. Please try again later.",
                       q->n);
    if (!o->waiting)
        o->clock = MAX_OF(o->clock, q->clock);
    it->org = (int32_t)(o - q->org) + 1;
    it->cost = cost;
    it->next = NULL;
    it->prev = o->last;
    if (o->last)
        o->last->next = it;
    else
        o->first = it;
    o->last = it;
    o->waiting++;
    q->n++;
    return RC_OK;
}

void queue_remove(struct queue *q, struct queue_item *it)
{
    if (!it->org)
        return;
    struct queue_org *o = &q->org[it->org - 1];
    *(it->prev ? &it->prev->next : &o->first) = it->next;
    *(it->next ? &it->next->prev : &o->last) = it->prev;
    o->waiting--;
    q->n--;
    it->next = it->prev = NULL;
    it->org = 0;
}

struct queue_item *queue_pop(struct queue *q)
{
    struct queue_org *next = NULL;
    for (int32_t i = 0; q->n && i < q->n_orgs; i++) {
        struct queue_org *o = &q->org[i];
        if (o->waiting && (!next || o->clock < next->clock))
            next = o;
    }
    if (!next)
        return NULL;
    struct queue_item *it = next->first;
    q->clock = MAX_OF(q->clock, next->clock);
    queue_remove(q, it);
    next->clock += it->cost;
    return it;
}

void queue_charge(struct queue *q, struct str org, int64_t delta_tok)
{
    struct queue_org *o = find_org(q, org);
    if (o)
        o->clock = MAX_OF(o->clock + delta_tok, 0);
}
