#ifndef SLUICE_BASE_STR_H
#define SLUICE_BASE_STR_H
/* str - a view of bytes with a length. Never owns, never needs a NUL. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t len;
};

#define STR(lit)   ((struct str){"" lit, sizeof(lit) - 1})
#define STR_NONE   ((struct str){NULL, 0})
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)(s).len, (s).p

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

static inline struct str str_make(const char *p, size_t len)
{
    return (struct str){p, len};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool str_is(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII letters only */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b); /* byte order, shorter first */

/* The tail from `from` (clamped), and at most len bytes of it. */
struct str str_sub(struct str s, size_t from, size_t len);
struct str str_trim(struct str s); /* ASCII blanks at both ends */

/* Index of the first match, or -1. */
ptrdiff_t str_find(struct str s, struct str needle);
ptrdiff_t str_find_byte(struct str s, char c);

/* Cuts *rest at the first sep: returns the part before it and moves *rest past it. Without a
 * sep the whole is returned and *rest becomes STR_NONE (p == NULL): loop while rest.p. */
struct str str_cut(struct str *rest, char sep);

/* Decimal, the whole of s, lo..hi; false leaves *ret untouched. */
bool str_to_i64(struct str s, int64_t lo, int64_t hi, int64_t *ret);
bool str_to_double(struct str s, double *ret); /* finite numbers only */

/* Valid UTF-8 from first to last byte: no overlong forms, no surrogates, <= U+10FFFF. */
bool str_is_utf8(struct str s);

/* Hex, lower case. str_from_hex wants exactly 2 * n digits. */
void str_to_hex(const uint8_t *bytes, size_t n, char *ret /* 2n + 1 */);
bool str_from_hex(struct str s, uint8_t *ret, size_t n);

#endif
