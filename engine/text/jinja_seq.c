/* jinja_seq.c - filters over lists: picking, mapping, ordering, joining. */

#include "base/units.h"
#include "engine/text/jinja_eval.h"

#define FILTER(name)                                                                               \
    static enum rc name(struct jinja *j, const struct jinja_value *in, const struct jinja_args *a, \
                        struct jinja_value *ret)

FILTER(f_length)
{
    (void)a;
    if (in->kind == JINJA_STR)
        *ret = jinja_int((int64_t)jinja_str_count(jinja_view(in)));
    else if (jinja_is_list(in))
        *ret = jinja_int((int64_t)jinja_list_len(in));
    else if (in->kind == JINJA_DICT)
        *ret = jinja_int((int64_t)jinja_dict_len(in));
    else if (in->kind == JINJA_UNDEFINED)
        *ret = jinja_int(0);
    else
        return jinja_fail(j, RC_BAD_INPUT, "%s has no length", jinja_kind_name(in));
    return RC_OK;
}

FILTER(f_list)
{
    (void)a;
    struct jinja_value items;
    enum rc rc = jinja_items(j, in, &items);
    items.kind = JINJA_LIST;
    *ret = items;
    return rc;
}

FILTER(f_first)
{
    (void)a;
    struct jinja_value items;
    enum rc rc = jinja_items(j, in, &items);
    if (rc == RC_OK)
        *ret = jinja_list_len(&items) ? jinja_list_at(&items, 0)
                                      : jinja_undefined(STR("the first item of nothing"));
    return rc;
}

FILTER(f_last)
{
    (void)a;
    struct jinja_value items;
    enum rc rc = jinja_items(j, in, &items);
    if (rc == RC_OK)
        *ret = jinja_list_len(&items) ? jinja_list_at(&items, jinja_list_len(&items) - 1)
                                      : jinja_undefined(STR("the last item of nothing"));
    return rc;
}

FILTER(f_items)
{
    struct jinja_args none = {0};
    bool found = false;
    (void)a;
    if (in->kind == JINJA_UNDEFINED)
        return jinja_list_new(j, JINJA_LIST, ret);
    if (in->kind != JINJA_DICT)
        return jinja_fail(j, RC_BAD_INPUT, "items of %s", jinja_kind_name(in));
    return jinja_method(j, in, STR("items"), &none, ret, &found);
}

/* "a.b.0" walks into the value; an int is an index. */
static enum rc walk(struct jinja *j, const struct jinja_value *v, const struct jinja_value *path,
                    struct jinja_value *ret)
{
    enum rc rc = RC_OK;
    *ret = *v;
    if (path->kind == JINJA_INT)
        return jinja_item(j, v, path, ret);
    for (struct str rest = jinja_view(path); rc == RC_OK && rest.p;) {
        struct str part = str_cut(&rest, '.');
        struct jinja_value key = jinja_text(part, true), from = *ret;
        int64_t at;
        if (str_to_i64(part, 0, INT32_MAX, &at))
            key = jinja_int(at);
        rc = jinja_item(j, &from, &key, ret);
    }
    return rc;
}

FILTER(f_join)
{
    struct jinja_value sep = jinja_text(STR(""), true), items;
    const struct jinja_value *attribute = jinja_arg(j, a, 1, "attribute");
    const struct jinja_value *d = jinja_arg(j, a, 0, "d");
    enum rc rc = d ? jinja_to_str(j, d, &sep) : RC_OK;
    if (rc == RC_OK)
        rc = jinja_items(j, in, &items);
    if (rc != RC_OK || !attribute)
        return rc == RC_OK ? jinja_str_join(j, &sep, &items, ret) : rc;
    struct jinja_value picked;
    rc = jinja_list_new(j, JINJA_LIST, &picked);
    size_t n = jinja_list_len(&items);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i), v;
        rc = walk(j, &item, attribute, &v);
        if (rc == RC_OK)
            rc = jinja_list_add(j, &picked, v);
    }
    return rc == RC_OK ? jinja_str_join(j, &sep, &picked, ret) : rc;
}

/* select, reject and map take whatever is falsy, None too, for an empty list. */
static enum rc items_or_none(struct jinja *j, const struct jinja_value *in, struct jinja_value *ret)
{
    return jinja_true(in) ? jinja_items(j, in, ret) : jinja_list_new(j, JINJA_LIST, ret);
}

/* The arguments after the first `skip`. */
static struct jinja_args tail(const struct jinja_args *a, size_t skip)
{
    skip = MIN_OF(skip, a->n);
    return (struct jinja_args){skip ? a->v + skip : a->v, a->n - skip};
}

/* select(test, …), reject(…), selectattr(attribute, test, …), rejectattr(…). */
static enum rc choose(struct jinja *j, const struct jinja_value *in, const struct jinja_args *a,
                      bool by_attr, bool keep, struct jinja_value *ret)
{
    struct jinja_value items, test = {.kind = JINJA_NONE};
    size_t lead = by_attr ? 1 : 0;
    const struct jinja_value *path = by_attr ? jinja_arg(j, a, 0, "attribute") : NULL;
    enum rc rc = items_or_none(j, in, &items);
    if (rc == RC_OK && by_attr && (!path || (path->kind != JINJA_STR && path->kind != JINJA_INT)))
        return jinja_fail(j, RC_BAD_INPUT, "an attribute's name is needed");
    if (rc == RC_OK)
        rc = jinja_arg_str(j, a, lead, "test", &test);
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, ret);
    struct jinja_args rest = tail(a, lead + 1);
    size_t n = rc == RC_OK ? jinja_list_len(&items) : 0;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i), v = item;
        bool is = false;
        if (by_attr)
            rc = walk(j, &item, path, &v);
        if (rc == RC_OK && test.kind == JINJA_STR)
            rc = jinja_test(j, jinja_view(&test), &v, &rest, &is);
        else
            is = jinja_true(&v);
        if (rc == RC_OK && is == keep)
            rc = jinja_list_add(j, ret, item);
    }
    return rc;
}

FILTER(f_select)
{
    return choose(j, in, a, false, true, ret);
}

FILTER(f_reject)
{
    return choose(j, in, a, false, false, ret);
}

FILTER(f_selectattr)
{
    return choose(j, in, a, true, true, ret);
}

FILTER(f_rejectattr)
{
    return choose(j, in, a, true, false, ret);
}

/* map(attribute=…, default=…) or map(filter, …). */
FILTER(f_map)
{
    struct jinja_value items, name = {.kind = JINJA_NONE};
    const struct jinja_value *path = jinja_arg(j, a, SIZE_MAX, "attribute");
    const struct jinja_value *otherwise = path ? jinja_arg(j, a, SIZE_MAX, "default") : NULL;
    enum rc rc = items_or_none(j, in, &items);
    if (rc == RC_OK && path && path->kind != JINJA_STR && path->kind != JINJA_INT)
        return jinja_fail(j, RC_BAD_INPUT, "map: an attribute's name is needed");
    if (rc == RC_OK && !path)
        rc = jinja_arg_str(j, a, 0, "filter", &name);
    if (rc == RC_OK && !path && name.kind != JINJA_STR)
        return jinja_fail(j, RC_BAD_INPUT, "map needs a filter or an attribute");
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, ret);
    struct jinja_args rest = tail(a, 1);
    size_t n = rc == RC_OK ? jinja_list_len(&items) : 0;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i), v;
        rc = path ? walk(j, &item, path, &v) : jinja_filter(j, jinja_view(&name), &item, &rest, &v);
        if (rc == RC_OK && otherwise && v.kind == JINJA_UNDEFINED)
            v = *otherwise;
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, v);
    }
    return rc;
}

FILTER(f_reverse)
{
    (void)a;
    struct jinja_value bound[3] = {{.kind = JINJA_NONE}, {.kind = JINJA_NONE}, jinja_int(-1)};
    struct jinja_value items = *in;
    enum rc rc = in->kind == JINJA_STR ? RC_OK : jinja_items(j, in, &items);
    return rc == RC_OK ? jinja_slice_of(j, &items, bound, ret) : rc;
}

struct keyed {
    struct jinja_value key, item;
};

/* The key to compare by: the attribute, and strings without case unless asked. */
static enum rc key_of(struct jinja *j, const struct jinja_value *item,
                      const struct jinja_value *path, bool with_case, struct jinja_value *ret)
{
    struct jinja_value v = *item;
    enum rc rc = path ? walk(j, item, path, &v) : RC_OK;
    if (rc == RC_OK && v.kind == JINJA_STR && !with_case)
        return jinja_str_case(j, &v, JINJA_LOWER, ret);
    *ret = v;
    return rc;
}

/* Merges runs of doubling width: stable, n log n, and it can fail half way. */
static enum rc sort_keyed(struct jinja *j, struct keyed *v, struct keyed *room, size_t n,
                          bool reverse)
{
    enum rc rc = RC_OK;
    for (size_t width = 1; rc == RC_OK && width < n; width *= 2) {
        for (size_t lo = 0; rc == RC_OK && lo < n; lo += 2 * width) {
            size_t mid = MIN_OF(lo + width, n), hi = MIN_OF(lo + 2 * width, n);
            size_t a = lo, b = mid, to = lo;
            while (rc == RC_OK && a < mid && b < hi) {
                int order = 0;
                rc = jinja_order(j, &v[a].key, &v[b].key, &order);
                bool second = reverse ? order < 0 : order > 0;
                room[to++] = second ? v[b++] : v[a++];
            }
            while (a < mid)
                room[to++] = v[a++];
            while (b < hi)
                room[to++] = v[b++];
        }
        if (rc == RC_OK)
            rc = jinja_spend(j, n);
        memcpy(v, room, n * sizeof(*v));
    }
    return rc;
}

static enum rc sorted(struct jinja *j, const struct jinja_value *items,
                      const struct jinja_value *path, bool with_case, bool reverse,
                      struct jinja_value *ret)
{
    enum rc rc = RC_OK;
    size_t n = jinja_list_len(items);
    struct keyed *v = jinja_alloc(j, n, sizeof(*v), &rc);
    struct keyed *room = v ? jinja_alloc(j, n, sizeof(*v), &rc) : NULL;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        v[i].item = jinja_list_at(items, i);
        rc = key_of(j, &v[i].item, path, with_case, &v[i].key);
    }
    if (rc == RC_OK)
        rc = sort_keyed(j, v, room, n, reverse);
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, ret);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = jinja_list_add(j, ret, v[i].item);
    return rc;
}

FILTER(f_sort)
{
    struct jinja_value items;
    enum rc rc = jinja_items(j, in, &items);
    if (rc != RC_OK)
        return rc;
    return sorted(j, &items, jinja_arg(j, a, 2, "attribute"),
                  jinja_arg_true(j, a, 1, "case_sensitive", false),
                  jinja_arg_true(j, a, 0, "reverse", false), ret);
}

FILTER(f_dictsort)
{
    struct jinja_value items, by = jinja_int(0), named = jinja_text(STR("key"), true);
    enum rc rc = f_items(j, in, a, &items);
    if (rc == RC_OK)
        rc = jinja_arg_str(j, a, 1, "by", &named);
    if (rc != RC_OK)
        return rc;
    if (str_is(jinja_view(&named), "value"))
        by = jinja_int(1);
    return sorted(j, &items, &by, jinja_arg_true(j, a, 0, "case_sensitive", false),
                  jinja_arg_true(j, a, 2, "reverse", false), ret);
}

FILTER(f_unique)
{
    struct jinja_value items, keys;
    bool with_case = jinja_arg_true(j, a, 0, "case_sensitive", false);
    const struct jinja_value *path = jinja_arg(j, a, 1, "attribute");
    enum rc rc = jinja_items(j, in, &items);
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, ret);
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, &keys);
    size_t n = rc == RC_OK ? jinja_list_len(&items) : 0;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i), key;
        bool known = false;
        rc = key_of(j, &item, path, with_case, &key);
        if (rc == RC_OK)
            rc = jinja_contains(j, &keys, &key, &known);
        if (rc != RC_OK || known)
            continue;
        rc = jinja_list_add(j, &keys, key);
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, item);
    }
    return rc;
}

static enum rc extreme(struct jinja *j, const struct jinja_value *in, const struct jinja_args *a,
                       int sign, struct jinja_value *ret)
{
    struct jinja_value items, best = {.kind = JINJA_NONE};
    bool with_case = jinja_arg_true(j, a, 0, "case_sensitive", false);
    const struct jinja_value *path = jinja_arg(j, a, 1, "attribute");
    enum rc rc = jinja_items(j, in, &items);
    size_t n = rc == RC_OK ? jinja_list_len(&items) : 0;
    *ret = jinja_undefined(STR("the extreme of nothing"));
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i), key;
        int order = 1;
        rc = key_of(j, &item, path, with_case, &key);
        if (rc == RC_OK && i > 0)
            rc = jinja_order(j, &key, &best, &order);
        if (rc == RC_OK && (i == 0 || order * sign > 0)) {
            best = key;
            *ret = item;
        }
    }
    return rc;
}

FILTER(f_max)
{
    return extreme(j, in, a, 1, ret);
}

FILTER(f_min)
{
    return extreme(j, in, a, -1, ret);
}

FILTER(f_sum)
{
    struct jinja_value items;
    const struct jinja_value *path = jinja_arg(j, a, 0, "attribute");
    enum rc rc = jinja_items(j, in, &items);
    size_t n = rc == RC_OK ? jinja_list_len(&items) : 0;
    bool whole = true, over = false;
    int64_t i_sum = 0;
    double d_sum = 0;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i), v = item;
        rc = path ? walk(j, &item, path, &v) : RC_OK;
        if (rc == RC_OK && v.kind != JINJA_INT && v.kind != JINJA_FLOAT)
            return jinja_fail(j, RC_BAD_INPUT, "sum of %s", jinja_kind_name(&v));
        whole = whole && v.kind == JINJA_INT;
        d_sum += v.kind == JINJA_INT ? (double)v.i : v.d;
        over |= whole && __builtin_add_overflow(i_sum, v.i, &i_sum);
    }
    *ret = whole && !over ? jinja_int(i_sum) : jinja_float(d_sum);
    return rc;
}

jinja_filter_fn jinja_list_filter(struct str name)
{
    static const struct {
        const char *name;
        jinja_filter_fn fn;
    } known[] = {
        {"length", f_length},     {"count", f_length},
        {"list", f_list},         {"first", f_first},
        {"last", f_last},         {"items", f_items},
        {"join", f_join},         {"select", f_select},
        {"reject", f_reject},     {"selectattr", f_selectattr},
        {"map", f_map},           {"rejectattr", f_rejectattr},
        {"reverse", f_reverse},   {"sort", f_sort},
        {"dictsort", f_dictsort}, {"unique", f_unique},
        {"max", f_max},           {"min", f_min},
        {"sum", f_sum},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_is(name, known[i].name))
            return known[i].fn;
    }
    return NULL;
}
