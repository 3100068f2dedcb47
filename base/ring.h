#ifndef SLUICE_BASE_RING_H
#define SLUICE_BASE_RING_H
/* ring - messages from one thread to one other, without locks.
 *
 * A message is a pointer; what it points to changes owner with the push. Full and empty are
 * answers, not waits: who sleeps and who wakes is the business of the two ends. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct ring {
    void **slot;
    size_t mask;                     /* capacity - 1 */
    _Alignas(64) atomic_size_t head; /* next to pop; moved by the reader */
    _Alignas(64) atomic_size_t tail; /* next to push; moved by the writer */
};

/* capacity is rounded up to a power of two. */
enum rc ring_open(struct ring *r, size_t capacity, struct err *err);
void ring_close(struct ring *r); /* accepts a zeroed struct; messages inside are the caller's */

bool ring_push(struct ring *r, void *message); /* writer: false when full */
void *ring_pop(struct ring *r);                /* reader: NULL when empty */
bool ring_is_empty(const struct ring *r);      /* either; sequentially consistent */

#endif
