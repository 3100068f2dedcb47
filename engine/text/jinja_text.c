/* jinja_text.c - strings that remember who wrote them: slices, growing text, Python's str(). */

#include <stdio.h>

#include "base/units.h"
#include "engine/text/jinja_value.h"
#include "engine/text/unicode.h"

/* The i-th trusted stretch, with "all of it" spelled out. */
static struct text_span span_at(const struct jinja_str *s, size_t i)
{
    return s->span ? s->span[i] : (struct text_span){0, s->len};
}

/* Index of the first stretch that ends after `at`. */
static size_t first_span(const struct jinja_str *s, size_t at)
{
    size_t lo = 0, hi = s->n_span;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (span_at(s, mid).to > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

struct jinja_value jinja_slice(struct jinja *j, const struct jinja_value *v, size_t from, size_t to,
                               enum rc *rc)
{
    const struct jinja_str *s = &v->s;
    struct jinja_value ret = jinja_text(str_make(s->p + from, to - from), false);
    if (from >= to || s->n_span == 0)
        return ret;
    ret.s.n_span = 1;
    if (!s->span)
        return ret;
    size_t a = first_span(s, from), b = first_span(s, to);
    b += b < s->n_span && s->span[b].from < to;
    struct text_span *span = jinja_alloc(j, b - a, sizeof(*span), rc);
    if (!span)
        return ret;
    for (size_t i = a; i < b; i++)
        span[i - a] = (struct text_span){MAX_OF(s->span[i].from, from) - from,
                                         MIN_OF(s->span[i].to, to) - from};
    ret.s.span = span;
    ret.s.n_span = b - a;
    return ret;
}

void jinja_build_init(struct jinja_build *b, struct jinja *j)
{
    *b = (struct jinja_build){.j = j};
}

/* Room for n more of `size`; the old array stays behind in the arena and counts. */
static void *room_for(struct jinja_build *b, void *old, size_t used, size_t *cap, size_t n,
                      size_t size)
{
    if (*cap - used >= n)
        return old;
    size_t want = MAX_OF(used + n, *cap * 2);
    void *p = jinja_alloc(b->j, want, size, &b->rc);
    if (!p)
        return NULL;
    if (used)
        memcpy(p, old, used * size);
    *cap = want;
    return p;
}

static void add_bytes(struct jinja_build *b, const char *p, size_t n)
{
    if (b->rc == RC_OK)
        b->rc = jinja_spend(b->j, n / 64);
    char *to = b->rc == RC_OK ? room_for(b, b->p, b->len, &b->cap, n, 1) : NULL;
    if (!to)
        return;
    b->p = to;
    memcpy(b->p + b->len, p, n);
    b->len += n;
}

/* Marks [from, to) of the text; joins the stretch before when they touch. */
static void add_span(struct jinja_build *b, size_t from, size_t to)
{
    if (b->rc != RC_OK || from == to)
        return;
    if (b->n_span > 0 && b->span[b->n_span - 1].to == from) {
        b->span[b->n_span - 1].to = to;
        return;
    }
    struct text_span *span = room_for(b, b->span, b->n_span, &b->cap_span, 1, sizeof(*b->span));
    if (!span)
        return;
    b->span = span;
    b->span[b->n_span++] = (struct text_span){from, to};
}

void jinja_build_add(struct jinja_build *b, struct str s, bool trusted)
{
    size_t from = b->len;
    if (s.len == 0)
        return;
    add_bytes(b, s.p, s.len);
    if (trusted)
        add_span(b, from, b->len);
}

void jinja_build_part(struct jinja_build *b, const struct jinja_str *s, size_t from, size_t to)
{
    size_t base = b->len;
    if (from >= to)
        return;
    add_bytes(b, s->p + from, to - from);
    for (size_t i = first_span(s, from); i < s->n_span; i++) {
        struct text_span span = span_at(s, i);
        if (span.from >= to)
            break;
        add_span(b, base + MAX_OF(span.from, from) - from, base + MIN_OF(span.to, to) - from);
    }
}

enum rc jinja_build_end(struct jinja_build *b, struct jinja_value *ret)
{
    if (b->rc != RC_OK)
        return b->rc;
    *ret = jinja_text(str_make(b->p, b->len), false);
    ret->s.span = b->span;
    ret->s.n_span = b->n_span;
    if (b->n_span == 1 && b->span[0].from == 0 && b->span[0].to == b->len)
        ret->s.span = NULL;
    return RC_OK;
}

/* Python picks the quote that needs no escape, and escapes what does not print. */
static void repr_str(struct jinja_build *b, const struct jinja_str *s)
{
    struct str all = {s->p, s->len};
    bool twice = str_find_byte(all, '\'') >= 0 && str_find_byte(all, '"') < 0;
    char quote = twice ? '"' : '\'';
    jinja_build_add(b, str_make(&quote, 1), true);
    size_t plain = 0;
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->p[i];
        char text[8];
        int n = 0;
        if (c == '\\' || c == (unsigned char)quote)
            n = snprintf(text, sizeof(text), "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            n = snprintf(text, sizeof(text), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20 || c == 0x7f)
            n = snprintf(text, sizeof(text), "\\x%02x", c);
        if (n == 0)
            continue;
        jinja_build_part(b, s, plain, i);
        jinja_build_add(b, str_make(text, (size_t)n), false);
        plain = i + 1;
    }
    jinja_build_part(b, s, plain, s->len);
    jinja_build_add(b, str_make(&quote, 1), true);
}

static void repr_value(struct jinja_build *b, const struct jinja_value *v);

static void repr_list(struct jinja_build *b, const struct jinja_value *v)
{
    bool tuple = v->kind == JINJA_TUPLE;
    size_t n = jinja_list_len(v);
    jinja_build_add(b, tuple ? STR("(") : STR("["), true);
    for (size_t i = 0; b->rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(v, i);
        if (i > 0)
            jinja_build_add(b, STR(", "), true);
        repr_value(b, &item);
    }
    if (tuple && n == 1)
        jinja_build_add(b, STR(","), true);
    jinja_build_add(b, tuple ? STR(")") : STR("]"), true);
}

static void repr_dict(struct jinja_build *b, const struct jinja_value *v)
{
    void *iter = NULL;
    size_t n = jinja_dict_len(v);
    jinja_build_add(b, STR("{"), true);
    for (size_t i = 0; b->rc == RC_OK && i < n; i++) {
        struct jinja_pair p = jinja_dict_at(v, i, &iter);
        if (i > 0)
            jinja_build_add(b, STR(", "), true);
        repr_value(b, &p.key);
        jinja_build_add(b, STR(": "), true);
        repr_value(b, &p.value);
    }
    jinja_build_add(b, STR("}"), true);
}

static void repr_value(struct jinja_build *b, const struct jinja_value *v)
{
    if (b->rc == RC_OK)
        b->rc = jinja_spend(b->j, 1);
    if (b->rc == RC_OK && b->j->depth >= TEMPLATE_DEPTH_MAX)
        b->rc = jinja_fail(b->j, RC_INVALID, "value nested over %d deep", TEMPLATE_DEPTH_MAX);
    if (b->rc != RC_OK)
        return;
    b->j->depth++;
    if (v->kind == JINJA_STR)
        repr_str(b, &v->s);
    else if (jinja_is_list(v))
        repr_list(b, v);
    else if (v->kind == JINJA_DICT)
        repr_dict(b, v);
    else if (v->kind == JINJA_UNDEFINED)
        jinja_build_add(b, STR("Undefined"), false);
    else
        jinja_build_value(b, v);
    b->j->depth--;
}

/* Numbers count as written by others: their digits could complete a control token's name. */
void jinja_build_value(struct jinja_build *b, const struct jinja_value *v)
{
    char text[40];
    switch (v->kind) {
    case JINJA_UNDEFINED:
        break;
    case JINJA_NONE:
        jinja_build_add(b, STR("None"), false);
        break;
    case JINJA_BOOL:
        jinja_build_add(b, v->b ? STR("True") : STR("False"), false);
        break;
    case JINJA_INT:
        snprintf(text, sizeof(text), "%lld", (long long)v->i);
        jinja_build_add(b, str_of(text), false);
        break;
    case JINJA_FLOAT:
        jinja_build_add(b, str_make(text, jinja_float_text(v->d, text)), false);
        break;
    case JINJA_STR:
        jinja_build_part(b, &v->s, 0, v->s.len);
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        repr_value(b, v);
        break;
    default:
        jinja_build_add(b, STR("<"), false);
        jinja_build_add(b, str_of(jinja_kind_name(v)), false);
        jinja_build_add(b, STR(">"), false);
        break;
    }
}

enum rc jinja_to_str(struct jinja *j, const struct jinja_value *v, struct jinja_value *ret)
{
    struct jinja_build b;
    if (v->kind == JINJA_STR) {
        *ret = *v;
        return RC_OK;
    }
    jinja_build_init(&b, j);
    jinja_build_value(&b, v);
    return jinja_build_end(&b, ret);
}
