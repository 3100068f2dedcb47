/* jinja_json.c - json.dumps with Python's spelling: separators, escapes, floats. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/text/jinja_value.h"
#include "engine/text/unicode.h"

/* The fewest digits that read back the same; exponents as Python writes them. */
size_t jinja_float_text(double d, char ret[40])
{
    if (isnan(d) || isinf(d))
        return (size_t)snprintf(ret, 40, "%s", isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
    int digits = 1;
    char e[40];
    for (; digits <= 17; digits++) {
        snprintf(e, sizeof(e), "%.*e", digits - 1, d);
        if (strtod(e, NULL) == d)
            break;
    }
    char *mark = strchr(e, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        return (size_t)snprintf(ret, 40, "%.*f", decimals > 0 ? decimals : 1, d);
    }
    return (size_t)snprintf(ret, 40, "%.*se%c%02d", (int)(mark - e), e, exponent < 0 ? '-' : '+',
                            abs(exponent));
}

struct writer {
    struct jinja_build *b;
    const struct jinja_json_style *style;
    int level;
};

static void put(struct writer *w, struct str s)
{
    jinja_build_add(w->b, s, false);
}

static void new_line(struct writer *w)
{
    if (w->style->indent < 0)
        return;
    put(w, STR("\n"));
    for (int64_t i = 0; i < w->style->indent * w->level && w->b->rc == RC_OK; i++)
        put(w, STR(" "));
}

static size_t escape(unsigned char c, char to[8])
{
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    const char *at = c ? strchr(plain, c) : NULL;
    if (at)
        return (size_t)snprintf(to, 8, "\\%c", letter[at - plain]);
    return (size_t)snprintf(to, 8, "\\u%04x", c);
}

static size_t escape_wide(uint32_t cp, char to[16])
{
    if (cp == UTF8_BAD)
        cp = 0xfffd;
    if (cp < 0x10000)
        return (size_t)snprintf(to, 16, "\\u%04x", cp);
    cp -= 0x10000;
    return (size_t)snprintf(to, 16, "\\u%04x\\u%04x", 0xd800 + (cp >> 10), 0xdc00 + (cp & 0x3ff));
}

static void put_str(struct writer *w, const struct jinja_str *s)
{
    size_t plain = 0;
    put(w, STR("\""));
    for (size_t i = 0, n; i < s->len; i += n) {
        unsigned char c = (unsigned char)s->p[i];
        char text[16];
        size_t len = 0;
        n = 1;
        if (c < 0x20 || c == '"' || c == '\\') {
            len = escape(c, text);
        } else if (w->style->ascii && c >= 0x80) {
            uint32_t cp;
            n = utf8_next(s->p + i, s->p + s->len, &cp);
            len = escape_wide(cp, text);
        } else if (w->style->ascii && c == 0x7f) {
            len = escape_wide(c, text);
        }
        if (len == 0)
            continue;
        jinja_build_part(w->b, s, plain, i);
        put(w, str_make(text, len));
        plain = i + n;
    }
    jinja_build_part(w->b, s, plain, s->len);
    put(w, STR("\""));
}

static void put_value(struct writer *w, const struct jinja_value *v);

static void put_list(struct writer *w, const struct jinja_value *v)
{
    size_t n = jinja_list_len(v);
    put(w, STR("["));
    w->level++;
    for (size_t i = 0; i < n && w->b->rc == RC_OK; i++) {
        struct jinja_value item = jinja_list_at(v, i);
        if (i > 0)
            put(w, w->style->item_sep);
        new_line(w);
        put_value(w, &item);
    }
    w->level--;
    if (n > 0)
        new_line(w);
    put(w, STR("]"));
}

static int by_key(const void *a, const void *b)
{
    const struct jinja_pair *x = a, *y = b;
    return str_cmp(jinja_view(&x->key), jinja_view(&y->key));
}

static void put_key(struct writer *w, const struct jinja_value *key)
{
    if (key->kind == JINJA_STR) {
        put_str(w, &key->s);
    } else if (key->kind == JINJA_INT || key->kind == JINJA_FLOAT || key->kind == JINJA_BOOL ||
               key->kind == JINJA_NONE) {
        put(w, STR("\""));
        put_value(w, key);
        put(w, STR("\""));
    } else {
        w->b->rc = jinja_fail(w->b->j, RC_BAD_INPUT, "tojson: %s as a key", jinja_kind_name(key));
    }
}

static void put_dict(struct writer *w, const struct jinja_value *v)
{
    size_t n = jinja_dict_len(v);
    void *iter = NULL;
    struct jinja_pair *pairs = jinja_alloc(w->b->j, n, sizeof(*pairs), &w->b->rc);
    if (!pairs)
        return;
    for (size_t i = 0; i < n; i++) {
        pairs[i] = jinja_dict_at(v, i, &iter);
        if (w->style->sort && pairs[i].key.kind != JINJA_STR) {
            w->b->rc = jinja_fail(w->b->j, RC_BAD_INPUT, "tojson: cannot sort keys");
            return;
        }
    }
    if (w->style->sort)
        qsort(pairs, n, sizeof(*pairs), by_key);
    put(w, STR("{"));
    w->level++;
    for (size_t i = 0; i < n && w->b->rc == RC_OK; i++) {
        if (i > 0)
            put(w, w->style->item_sep);
        new_line(w);
        put_key(w, &pairs[i].key);
        put(w, w->style->key_sep);
        put_value(w, &pairs[i].value);
    }
    w->level--;
    if (n > 0)
        new_line(w);
    put(w, STR("}"));
}

static void put_number(struct writer *w, const struct jinja_value *v)
{
    char text[40];
    if (v->kind == JINJA_INT)
        snprintf(text, sizeof(text), "%lld", (long long)v->i);
    else if (isnan(v->d) || isinf(v->d))
        snprintf(text, sizeof(text), "%s",
                 isnan(v->d) ? "NaN"
                 : v->d < 0  ? "-Infinity"
                             : "Infinity");
    else
        text[jinja_float_text(v->d, text)] = 0;
    put(w, str_of(text));
}

static void put_value(struct writer *w, const struct jinja_value *v)
{
    struct jinja *j = w->b->j;
    if (w->b->rc == RC_OK)
        w->b->rc = jinja_spend(j, 1);
    if (w->b->rc == RC_OK && w->level >= TEMPLATE_DEPTH_MAX)
        w->b->rc = jinja_fail(j, RC_INVALID, "tojson: nested over %d deep", TEMPLATE_DEPTH_MAX);
    if (w->b->rc != RC_OK)
        return;
    if (v->kind == JINJA_STR)
        put_str(w, &v->s);
    else if (jinja_is_list(v))
        put_list(w, v);
    else if (v->kind == JINJA_DICT)
        put_dict(w, v);
    else if (v->kind == JINJA_NONE)
        put(w, STR("null"));
    else if (v->kind == JINJA_BOOL)
        put(w, v->b ? STR("true") : STR("false"));
    else if (v->kind == JINJA_INT || v->kind == JINJA_FLOAT)
        put_number(w, v);
    else
        w->b->rc = jinja_fail(j, RC_BAD_INPUT, "tojson: %s has no JSON form", jinja_kind_name(v));
}

enum rc jinja_to_json(struct jinja *j, const struct jinja_value *v,
                      const struct jinja_json_style *style, struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    struct writer w = {.b = &b, .style = style};
    put_value(&w, v);
    return jinja_build_end(&b, ret);
}
