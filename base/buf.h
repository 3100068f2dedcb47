#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H
/* buf - bytes that grow up to a maximum named at the start.
 *
 * An append that does not fit changes nothing and sets `failed`; so a caller may append many
 * times and look once at the end. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf {
    char *p;
    size_t len, cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b);  /* frees; accepts a zeroed struct */
void buf_clear(struct buf *b); /* keeps the memory, clears failed */

/* Room for n more bytes at the end, not yet counted in len; NULL when over max or out of memory. */
char *buf_reserve(struct buf *b, size_t n);
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_str(struct buf *b, struct str s);
bool buf_z(struct buf *b, const char *z);
bool buf_byte(struct buf *b, char c);
bool buf_i64(struct buf *b, int64_t v);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends s as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD, so the result is
 * always valid JSON. buf_json_raw does the same without the quotes. */
bool buf_json(struct buf *b, struct str s);
bool buf_json_raw(struct buf *b, struct str s);

/* Drops the first n bytes (what was consumed). */
void buf_drop(struct buf *b, size_t n);

static inline struct str buf_view(const struct buf *b)
{
    return (struct str){b->p, b->len};
}

#endif
