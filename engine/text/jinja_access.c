/* jinja_access.c - arguments, attributes, items, slices. */

#include "base/units.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/unicode.h"

const struct jinja_value *jinja_arg(const struct jinja *j, const struct jinja_args *a, size_t at,
                                    const char *name)
{
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].name < 0 ? i == at : str_is(j->tree->names[a->v[i].name], name))
            return &a->v[i].v;
    }
    return NULL;
}

enum rc jinja_arg_int(struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                      int64_t *ret)
{
    const struct jinja_value *v = jinja_arg(j, a, at, name);
    if (!v || v->kind == JINJA_NONE)
        return RC_OK;
    if (v->kind != JINJA_INT && v->kind != JINJA_BOOL)
        return jinja_fail(j, RC_BAD_INPUT, "%s must be an int, not %s", name, jinja_kind_name(v));
    *ret = v->kind == JINJA_INT ? v->i : v->b;
    return RC_OK;
}

enum rc jinja_arg_str(struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                      struct jinja_value *ret)
{
    const struct jinja_value *v = jinja_arg(j, a, at, name);
    if (!v || v->kind == JINJA_NONE)
        return RC_OK;
    if (v->kind != JINJA_STR)
        return jinja_fail(j, RC_BAD_INPUT, "%s must be a str, not %s", name, jinja_kind_name(v));
    *ret = *v;
    return RC_OK;
}

bool jinja_arg_true(const struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                    bool otherwise)
{
    const struct jinja_value *v = jinja_arg(j, a, at, name);
    return v ? jinja_true(v) : otherwise;
}

static struct jinja_value loop_attr(const struct jinja_loop *l, struct str name)
{
    int64_t at = (int64_t)l->at, n = (int64_t)l->n;
    const struct {
        const char *name;
        struct jinja_value v;
    } known[] = {
        {"index", jinja_int(at + 1)},
        {"index0", jinja_int(at)},
        {"revindex", jinja_int(n - at)},
        {"revindex0", jinja_int(n - at - 1)},
        {"first", jinja_bool(at == 0)},
        {"last", jinja_bool(at + 1 == n)},
        {"length", jinja_int(n)},
        {"depth", jinja_int(1)}, /* counts recursive loops, which we do not have */
        {"depth0", jinja_int(0)},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_is(name, known[i].name))
            return known[i].v;
    }
    if (str_is(name, "previtem") && at > 0)
        return jinja_list_at(&l->items, l->at - 1);
    if (str_is(name, "nextitem") && at + 1 < n)
        return jinja_list_at(&l->items, l->at + 1);
    return jinja_undefined(name);
}

enum rc jinja_attr(struct jinja *j, const struct jinja_value *v, struct str name,
                   struct jinja_value *ret)
{
    if (v->kind == JINJA_UNDEFINED)
        return jinja_fail(j, RC_BAD_INPUT, "'%.*s' is undefined", (int)MIN_OF(v->s.len, (size_t)60),
                          v->s.p);
    *ret = jinja_undefined(name);
    if (v->kind == JINJA_DICT || v->kind == JINJA_NAMESPACE) {
        struct jinja_value key = jinja_text(name, true);
        jinja_dict_find(v, &key, ret);
    } else if (v->kind == JINJA_LOOP) {
        *ret = loop_attr(v->loop, name);
    } else if (v->kind == JINJA_MACRO && str_is(name, "name")) {
        *ret = jinja_text(v->macro->node->text, true);
    }
    return RC_OK;
}

bool jinja_is_blank(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

size_t jinja_str_count(struct str s)
{
    size_t n = 0;
    for (size_t at = 0; at < s.len; n++) {
        uint32_t cp;
        at += utf8_next(s.p + at, s.p + s.len, &cp);
    }
    return n;
}

size_t jinja_str_offset(struct str s, size_t at)
{
    size_t to = 0;
    for (; at > 0 && to < s.len; at--) {
        uint32_t cp;
        to += utf8_next(s.p + to, s.p + s.len, &cp);
    }
    return to;
}

static enum rc length_of(struct jinja *j, const struct jinja_value *v, int64_t *ret)
{
    if (v->kind != JINJA_STR) {
        *ret = (int64_t)jinja_list_len(v);
        return RC_OK;
    }
    *ret = (int64_t)jinja_str_count(jinja_view(v));
    return jinja_spend(j, v->s.len / 64);
}

enum rc jinja_item(struct jinja *j, const struct jinja_value *v, const struct jinja_value *key,
                   struct jinja_value *ret)
{
    if (v->kind == JINJA_UNDEFINED)
        return jinja_attr(j, v, STR(""), ret);
    *ret = jinja_undefined(key->kind == JINJA_STR ? jinja_view(key) : STR("item"));
    if (v->kind == JINJA_DICT) {
        jinja_dict_find(v, key, ret);
        return RC_OK;
    }
    if (key->kind == JINJA_STR)
        return jinja_attr(j, v, jinja_view(key), ret);
    if ((v->kind != JINJA_STR && !jinja_is_list(v)) || key->kind != JINJA_INT)
        return RC_OK;
    int64_t n = 0, at = key->i;
    enum rc rc = length_of(j, v, &n);
    if (at < 0)
        at += n;
    if (rc != RC_OK || at < 0 || at >= n)
        return rc;
    if (v->kind != JINJA_STR) {
        *ret = jinja_list_at(v, (size_t)at);
        return RC_OK;
    }
    uint32_t cp;
    size_t from = jinja_str_offset(jinja_view(v), (size_t)at);
    *ret = jinja_slice(j, v, from, from + utf8_next(v->s.p + from, v->s.p + v->s.len, &cp), &rc);
    return rc;
}

/* Bounds as Python clamps them: for a step down, -1 stands before the first. */
static int64_t clamp(const struct jinja_value *v, int64_t n, int64_t otherwise, bool down)
{
    if (v->kind != JINJA_INT)
        return otherwise;
    int64_t at = v->i < 0 ? MAX_OF(v->i, -n - 1) + n : v->i;
    return MAX_OF(MIN_OF(at, down ? n - 1 : n), (int64_t)(down ? -1 : 0));
}

static enum rc pick(struct jinja *j, const struct jinja_value *v, int64_t from, int64_t to,
                    int64_t step, struct jinja_value *ret)
{
    struct jinja_value items, out;
    enum rc rc = jinja_items(j, v, &items);
    if (rc == RC_OK)
        rc = jinja_list_new(j, v->kind == JINJA_TUPLE ? JINJA_TUPLE : JINJA_LIST, &out);
    for (int64_t i = from; rc == RC_OK && (step > 0 ? i < to : i > to); i += step)
        rc = jinja_list_add(j, &out, jinja_list_at(&items, (size_t)i));
    if (rc == RC_OK && v->kind == JINJA_STR) {
        struct jinja_value none = jinja_text(STR(""), true);
        return jinja_str_join(j, &none, &out, ret);
    }
    *ret = out;
    return rc;
}

enum rc jinja_slice_of(struct jinja *j, const struct jinja_value *v,
                       const struct jinja_value bound[3], struct jinja_value *ret)
{
    int64_t n = 0, step = bound[2].kind == JINJA_INT ? bound[2].i : 1;
    if (v->kind != JINJA_STR && !jinja_is_list(v))
        return jinja_fail(j, RC_BAD_INPUT, "%s cannot be sliced", jinja_kind_name(v));
    for (size_t i = 0; i < 3; i++) {
        if (bound[i].kind != JINJA_INT && bound[i].kind != JINJA_NONE)
            return jinja_fail(j, RC_BAD_INPUT, "a slice by %s", jinja_kind_name(&bound[i]));
    }
    enum rc rc = length_of(j, v, &n);
    if (rc != RC_OK)
        return rc;
    if (step == 0)
        return jinja_fail(j, RC_BAD_INPUT, "a slice with step 0");
    bool down = step < 0;
    step = MAX_OF(MIN_OF(step, n + 1), -n - 1);
    int64_t from = clamp(&bound[0], n, down ? n - 1 : 0, down);
    int64_t to = clamp(&bound[1], n, down ? -1 : n, down);
    if (v->kind != JINJA_STR || step != 1)
        return pick(j, v, from, to, step, ret);
    struct str s = jinja_view(v);
    size_t a = jinja_str_offset(s, (size_t)from);
    size_t b = to <= from ? a : a + jinja_str_offset(str_sub(s, a, s.len), (size_t)(to - from));
    *ret = jinja_slice(j, v, a, b, &rc);
    return rc;
}
