#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"

enum { CHUNK_BYTES = 16 * 1024, ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t len, cap;
    _Alignas(ALIGN) char bytes[];
};

void arena_init(struct arena *a, size_t cap_bytes)
{
    *a = (struct arena){.cap = cap_bytes};
}

static void free_chain(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        free(c);
        c = next;
    }
}

void arena_done(struct arena *a)
{
    free_chain(a->chunks);
    a->chunks = NULL;
    a->used = 0;
}

void arena_reset(struct arena *a)
{
    if (a->chunks) {
        free_chain(a->chunks->next);
        a->chunks->next = NULL;
        a->chunks->len = 0;
    }
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - ALIGN)
        return NULL;
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (bytes == 0)
        bytes = ALIGN;
    if (bytes > a->cap || a->used > a->cap - bytes)
        return NULL;
    struct arena_chunk *c = a->chunks;
    if (!c || c->cap - c->len < bytes) {
        size_t cap = MAX_OF(bytes, (size_t)CHUNK_BYTES);
        c = malloc(sizeof *c + cap);
        if (!c)
            return NULL;
        *c = (struct arena_chunk){.next = a->chunks, .cap = cap};
        a->chunks = c;
    }
    void *p = c->bytes + c->len;
    c->len += bytes;
    a->used += bytes;
    return memset(p, 0, bytes);
}

char *arena_zdup(struct arena *a, struct str s)
{
    if (s.len == SIZE_MAX)
        return NULL;
    char *z = arena_alloc(a, s.len + 1, 1);
    if (z && s.len)
        memcpy(z, s.p, s.len);
    return z;
}

struct str arena_dup(struct arena *a, struct str s)
{
    char *z = arena_zdup(a, s);
    return (struct str){z, z ? s.len : 0};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *z = n >= 0 ? arena_alloc(a, (size_t)n + 1, 1) : NULL;
    if (z)
        vsnprintf(z, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct str){z, z ? (size_t)n : 0};
}
