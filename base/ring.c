#include "base/ring.h"

#include <stdlib.h>

enum { CAPACITY_MAX = 1 << 24 };

enum rc ring_open(struct ring *r, size_t capacity, struct err *err)
{
    size_t n = 2;
    while (n < capacity && n < CAPACITY_MAX)
        n *= 2;
    r->slot = calloc(n, sizeof *r->slot);
    if (!r->slot)
        return err_set(err, RC_NO_MEMORY, "no memory for a ring of %zu messages", n);
    r->mask = n - 1;
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    return RC_OK;
}

void ring_close(struct ring *r)
{
    free(r->slot);
    r->slot = NULL;
}

bool ring_push(struct ring *r, void *message)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&r->head, memory_order_acquire) > r->mask)
        return false;
    r->slot[tail & r->mask] = message;
    /* Sequentially consistent, for the writer looks next whether the reader sleeps, and the reader,
     * before it sleeps, whether there is something here: one of them must see the other. */
    atomic_store(&r->tail, tail + 1);
    return true;
}

void *ring_pop(struct ring *r)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&r->tail, memory_order_acquire))
        return NULL;
    void *message = r->slot[head & r->mask];
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return message;
}

bool ring_is_empty(const struct ring *r)
{
    return atomic_load(&r->tail) == atomic_load(&r->head);
}
