#include "base/buf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max = max_bytes};
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (n <= b->cap - b->len)
        return b->p + b->len;
    if (b->len > b->max || n > b->max - b->len) {
        b->failed = true;
        return NULL;
    }
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->len + n)
        cap *= 2;
    if (cap > b->max)
        cap = b->max;
    char *p = realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return NULL;
    }
    b->p = p;
    b->cap = cap;
    return p + b->len;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return true;
    char *to = buf_reserve(b, n);
    if (!to)
        return false;
    memcpy(to, p, n);
    b->len += n;
    return true;
}

bool buf_str(struct buf *b, struct str s)
{
    return buf_add(b, s.p, s.len);
}

bool buf_z(struct buf *b, const char *z)
{
    return buf_add(b, z, strlen(z));
}

bool buf_byte(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

bool buf_i64(struct buf *b, int64_t v)
{
    char z[24];
    int n = snprintf(z, sizeof z, "%" PRId64, v);
    return buf_add(b, z, (size_t)n);
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    bool ok = n >= 0 && buf_reserve(b, (size_t)n + 1) != NULL;
    if (ok) {
        vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return ok;
}

/* Length of the valid UTF-8 character at p (1..4), or 0. */
static size_t utf8_len(const char *p, size_t left)
{
    uint8_t c = (uint8_t)p[0];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return n <= left && str_is_utf8(str_make(p, n)) ? n : 0;
}

static bool add_escaped(struct buf *b, char c)
{
    switch (c) {
    case '"':
        return buf_add(b, "\\\"", 2);
    case '\\':
        return buf_add(b, "\\\\", 2);
    case '\n':
        return buf_add(b, "\\n", 2);
    case '\r':
        return buf_add(b, "\\r", 2);
    case '\t':
        return buf_add(b, "\\t", 2);
    default:
        return buf_printf(b, "\\u%04x", (unsigned)(uint8_t)c);
    }
}

bool buf_json_raw(struct buf *b, struct str s)
{
    size_t i = 0;
    while (i < s.len) {
        size_t plain = i;
        while (plain < s.len) {
            uint8_t c = (uint8_t)s.p[plain];
            if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
                break;
            size_t n = utf8_len(s.p + plain, s.len - plain);
            if (n == 0)
                break;
            plain += n;
        }
        if (!buf_add(b, s.p + i, plain - i))
            return false;
        i = plain;
        if (i == s.len)
            break;
        bool invalid = (uint8_t)s.p[i] >= 0x80;
        if (invalid ? !buf_add(b, "\xef\xbf\xbd", 3) : !add_escaped(b, s.p[i]))
            return false;
        i++;
    }
    return true;
}

bool buf_json(struct buf *b, struct str s)
{
    return buf_byte(b, '"') && buf_json_raw(b, s) && buf_byte(b, '"');
}

void buf_drop(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}
