/* unicode.c - UTF-8 and code point classes, from a table read off the tokenizer oracle. */

#include "engine/text/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

static const struct {
    uint32_t from;
    uint8_t class_of;
} ranges[] = {
#include "engine/text/unicode_ranges.inc"
};

enum rc unicode_init(struct unicode *u, struct err *err)
{
    /* The last range runs to the end of Unicode and is UNI_OTHER: it needs no memory. */
    u->n = ranges[ARRAY_LEN(ranges) - 1].from;
    u->class_of = malloc(u->n);
    if (!u->class_of)
        return err_set(err, RC_NO_MEMORY, "no memory for Unicode classes");
    for (size_t i = 0; i + 1 < ARRAY_LEN(ranges); i++)
        memset(u->class_of + ranges[i].from, ranges[i].class_of,
               ranges[i + 1].from - ranges[i].from);
    return RC_OK;
}

void unicode_done(struct unicode *u)
{
    free(u->class_of);
    *u = (struct unicode){0};
}

/* The least and greatest second byte after lead byte c, which keep out overlong forms,
 * surrogates and code points past U+10FFFF. Returns the length, 0 for a byte that leads nothing. */
static size_t lead_of(unsigned char c, unsigned char *ret_lo, unsigned char *ret_hi)
{
    *ret_lo = 0x80;
    *ret_hi = 0xbf;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef) {
        if (c == 0xe0)
            *ret_lo = 0xa0;
        if (c == 0xed)
            *ret_hi = 0x9f;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (c == 0xf0)
            *ret_lo = 0x90;
        if (c == 0xf4)
            *ret_hi = 0x8f;
        return 4;
    }
    return 0;
}

enum utf8_state utf8_look(const char *p, size_t n, size_t *ret_len)
{
    const unsigned char *s = (const unsigned char *)p;
    unsigned char lo, hi;
    *ret_len = 1;
    if (s[0] < 0x80)
        return UTF8_WHOLE;
    size_t want = lead_of(s[0], &lo, &hi);
    if (want == 0)
        return UTF8_BROKEN;
    for (size_t i = 1; i < want; i++) {
        *ret_len = i;
        if (i == n)
            return UTF8_PART;
        if (s[i] < lo || s[i] > hi)
            return UTF8_BROKEN;
        lo = 0x80;
        hi = 0xbf;
    }
    *ret_len = want;
    return UTF8_WHOLE;
}

size_t utf8_decode(const char *p, const char *end, uint32_t *ret)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t len = 0;
    *ret = UTF8_BAD;
    if (utf8_look(p, (size_t)(end - p), &len) != UTF8_WHOLE)
        return 1;
    if (len == 1)
        *ret = s[0];
    else if (len == 2)
        *ret = (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    else if (len == 3)
        *ret = (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    else
        *ret = (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 |
               (uint32_t)(s[2] & 0x3f) << 6 | (s[3] & 0x3f);
    return len;
}

size_t utf8_encode(uint32_t cp, char ret[4])
{
    if (cp < 0x80) {
        ret[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        ret[0] = (char)(0xc0 | cp >> 6);
        ret[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        ret[0] = (char)(0xe0 | cp >> 12);
        ret[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        ret[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    ret[0] = (char)(0xf0 | cp >> 18);
    ret[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    ret[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    ret[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}
