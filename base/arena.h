#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H
/* arena - memory with one owner and one end: a request, a connection, an engine step.
 *
 * Allocation is a bump in a chain of chunks; nothing is freed alone. The cap counts all bytes
 * handed out; past it, alloc answers NULL and the request is refused, never the process. */

#include <stddef.h>

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used, cap;
};

void arena_init(struct arena *a, size_t cap_bytes);
void arena_done(struct arena *a);  /* frees all; accepts a zeroed struct */
void arena_reset(struct arena *a); /* keeps the newest chunk for reuse */

/* Zeroed, aligned to 16. NULL when over the cap or when n * size overflows. */
void *arena_alloc(struct arena *a, size_t n, size_t size);
char *arena_zdup(struct arena *a, struct str s);     /* NUL-terminated copy */
struct str arena_dup(struct arena *a, struct str s); /* p == NULL on failure */
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, type)      ((type *)arena_alloc((a), 1, sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_alloc((a), (n), sizeof(type)))

#endif
