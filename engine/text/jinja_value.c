/* jinja_value.c - kinds, truth, equality, order, lists and dicts. */

#include "engine/text/jinja_value.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/units.h"
#include "engine/text/unicode.h"

enum rc jinja_fail(struct jinja *j, enum rc rc, const char *fmt, ...)
{
    char msg[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    return err_set(j->err, rc, "chat template, line %u: %s", j->line, msg);
}

enum rc jinja_spend(struct jinja *j, size_t n)
{
    if ((size_t)j->steps_left < n) {
        j->steps_left = 0;
        return jinja_fail(j, RC_INVALID, "needs more than %d steps", TEMPLATE_STEPS_MAX);
    }
    j->steps_left -= (int64_t)n;
    return RC_OK;
}

void *jinja_alloc(struct jinja *j, size_t n, size_t size, enum rc *rc)
{
    void *p = arena_alloc(&j->arena, n ? n : 1, size);
    if (!p)
        *rc = jinja_fail(j, RC_INVALID, "needs more than %zu bytes of memory", j->arena.cap);
    return p;
}

struct jinja_value jinja_undefined(struct str name)
{
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .s = {.p = name.p, .len = name.len}};
}

struct jinja_value jinja_bool(bool b)
{
    return (struct jinja_value){.kind = JINJA_BOOL, .b = b};
}

struct jinja_value jinja_int(int64_t i)
{
    return (struct jinja_value){.kind = JINJA_INT, .i = i};
}

struct jinja_value jinja_float(double d)
{
    return (struct jinja_value){.kind = JINJA_FLOAT, .d = d};
}

struct jinja_value jinja_text(struct str s, bool trusted)
{
    return (struct jinja_value){
        .kind = JINJA_STR,
        .s = {.p = s.len ? s.p : "", .len = s.len, .n_span = trusted && s.len ? 1 : 0}};
}

struct jinja_value jinja_of_json(json_t *j)
{
    switch (j ? json_typeof(j) : JSON_NULL) {
    case JSON_STRING:
        return jinja_text(str_make(json_string_value(j), json_string_length(j)), false);
    case JSON_INTEGER:
        return jinja_int(json_integer_value(j));
    case JSON_REAL:
        return jinja_float(json_real_value(j));
    case JSON_TRUE:
        return jinja_bool(true);
    case JSON_FALSE:
        return jinja_bool(false);
    case JSON_ARRAY:
        return (struct jinja_value){.kind = JINJA_LIST, .json = j};
    case JSON_OBJECT:
        return (struct jinja_value){.kind = JINJA_DICT, .json = j};
    case JSON_NULL:
        break;
    }
    return (struct jinja_value){.kind = JINJA_NONE};
}

const char *jinja_kind_name(const struct jinja_value *v)
{
    static const char *const names[] = {"Undefined", "NoneType", "bool",    "int",  "float",
                                        "str",       "list",     "tuple",   "dict", "Namespace",
                                        "loop",      "macro",    "function"};
    return names[v->kind];
}

bool jinja_true(const struct jinja_value *v)
{
    switch (v->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v->b;
    case JINJA_INT:
        return v->i != 0;
    case JINJA_FLOAT:
        return v->d != 0;
    case JINJA_STR:
        return v->s.len > 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return jinja_list_len(v) > 0;
    case JINJA_DICT:
        return jinja_dict_len(v) > 0;
    default:
        return true;
    }
}

/* bool, int and float are one family for Python: True == 1 == 1.0. */
static bool as_number(const struct jinja_value *v, double *ret)
{
    if (v->kind == JINJA_BOOL)
        *ret = v->b;
    else if (v->kind == JINJA_INT)
        *ret = (double)v->i;
    else if (v->kind == JINJA_FLOAT)
        *ret = v->d;
    else
        return false;
    return true;
}

static bool dicts_equal(const struct jinja_value *a, const struct jinja_value *b)
{
    size_t n = jinja_dict_len(a);
    if (n != jinja_dict_len(b))
        return false;
    void *iter = NULL;
    for (size_t i = 0; i < n; i++) {
        struct jinja_pair p = jinja_dict_at(a, i, &iter);
        struct jinja_value other;
        if (!jinja_dict_find(b, &p.key, &other) || !jinja_equal(&p.value, &other))
            return false;
    }
    return true;
}

bool jinja_equal(const struct jinja_value *a, const struct jinja_value *b)
{
    double x, y;
    if (a->kind == JINJA_INT && b->kind == JINJA_INT)
        return a->i == b->i;
    if (as_number(a, &x) && as_number(b, &y))
        return x == y;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return true;
    case JINJA_STR:
        return str_eq(jinja_view(a), jinja_view(b));
    case JINJA_LIST:
    case JINJA_TUPLE: {
        size_t n = jinja_list_len(a);
        bool same = n == jinja_list_len(b);
        for (size_t i = 0; same && i < n; i++) {
            struct jinja_value u = jinja_list_at(a, i), v = jinja_list_at(b, i);
            same = jinja_equal(&u, &v);
        }
        return same;
    }
    case JINJA_DICT:
        return dicts_equal(a, b);
    default:
        return a->loop == b->loop;
    }
}

enum rc jinja_order(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                    int *ret)
{
    double x, y;
    if (a->kind == JINJA_INT && b->kind == JINJA_INT) {
        *ret = (a->i > b->i) - (a->i < b->i);
        return RC_OK;
    }
    if (as_number(a, &x) && as_number(b, &y)) {
        *ret = (x > y) - (x < y);
        return RC_OK;
    }
    if (a->kind == JINJA_STR && b->kind == JINJA_STR) {
        *ret = str_cmp(jinja_view(a), jinja_view(b)); /* UTF-8 sorts as code points do */
        return RC_OK;
    }
    return jinja_fail(j, RC_BAD_INPUT, "cannot order %s and %s", jinja_kind_name(a),
                      jinja_kind_name(b));
}

enum rc jinja_contains(struct jinja *j, const struct jinja_value *in, const struct jinja_value *v,
                       bool *ret)
{
    *ret = false;
    if (in->kind == JINJA_UNDEFINED)
        return RC_OK;
    if (in->kind == JINJA_STR) {
        if (v->kind != JINJA_STR)
            return jinja_fail(j, RC_BAD_INPUT, "'in <str>' needs a str, not %s",
                              jinja_kind_name(v));
        *ret = str_find(jinja_view(in), jinja_view(v)) >= 0;
        return jinja_spend(j, in->s.len / 64);
    }
    if (in->kind == JINJA_DICT) {
        struct jinja_value found;
        *ret = jinja_dict_find(in, v, &found);
        return RC_OK;
    }
    if (!jinja_is_list(in))
        return jinja_fail(j, RC_BAD_INPUT, "%s is not a container", jinja_kind_name(in));
    size_t n = jinja_list_len(in);
    for (size_t i = 0; i < n && !*ret; i++) {
        struct jinja_value item = jinja_list_at(in, i);
        *ret = jinja_equal(&item, v);
    }
    return jinja_spend(j, n);
}

size_t jinja_list_len(const struct jinja_value *v)
{
    return v->json ? json_array_size(v->json) : v->list->n;
}

struct jinja_value jinja_list_at(const struct jinja_value *v, size_t i)
{
    return v->json ? jinja_of_json(json_array_get(v->json, i)) : v->list->v[i];
}

enum rc jinja_list_new(struct jinja *j, enum jinja_kind kind, struct jinja_value *ret)
{
    enum rc rc = RC_OK;
    struct jinja_list *list = jinja_alloc(j, 1, sizeof(*list), &rc);
    if (list)
        *ret = (struct jinja_value){.kind = kind, .list = list};
    return rc;
}

/* Doubles an array in the arena; what it leaves behind counts against the budget too. */
static void *grown(struct jinja *j, void *old, size_t n, size_t *cap, size_t size, enum rc *rc)
{
    size_t more = *cap ? *cap * 2 : 4;
    void *p = jinja_alloc(j, more, size, rc);
    if (!p)
        return NULL;
    if (n)
        memcpy(p, old, n * size);
    *cap = more;
    return p;
}

enum rc jinja_list_add(struct jinja *j, struct jinja_value *list, struct jinja_value v)
{
    enum rc rc = jinja_spend(j, 1);
    struct jinja_list *l = list->list;
    if (rc == RC_OK && l->n == l->cap) {
        void *p = grown(j, l->v, l->n, &l->cap, sizeof(*l->v), &rc);
        if (p)
            l->v = p;
    }
    if (rc == RC_OK)
        l->v[l->n++] = v;
    return rc;
}

size_t jinja_dict_len(const struct jinja_value *v)
{
    return v->json ? json_object_size(v->json) : v->dict->n;
}

/* Pairs in order; a JSON object is walked with its iterator, which starts as NULL. */
struct jinja_pair jinja_dict_at(const struct jinja_value *v, size_t i, void **json_iter)
{
    if (!v->json)
        return v->dict->v[i];
    *json_iter = i == 0 ? json_object_iter(v->json) : json_object_iter_next(v->json, *json_iter);
    struct str key = {json_object_iter_key(*json_iter), json_object_iter_key_len(*json_iter)};
    return (struct jinja_pair){jinja_text(key, false),
                               jinja_of_json(json_object_iter_value(*json_iter))};
}

bool jinja_dict_find(const struct jinja_value *v, const struct jinja_value *key,
                     struct jinja_value *ret)
{
    if (v->json) {
        json_t *item =
            key->kind == JINJA_STR ? json_object_getn(v->json, key->s.p, key->s.len) : NULL;
        if (item)
            *ret = jinja_of_json(item);
        return item != NULL;
    }
    for (size_t i = 0; i < v->dict->n; i++) {
        if (jinja_equal(&v->dict->v[i].key, key)) {
            *ret = v->dict->v[i].value;
            return true;
        }
    }
    return false;
}

enum rc jinja_dict_new(struct jinja *j, enum jinja_kind kind, struct jinja_value *ret)
{
    enum rc rc = RC_OK;
    struct jinja_dict *dict = jinja_alloc(j, 1, sizeof(*dict), &rc);
    if (dict)
        *ret = (struct jinja_value){.kind = kind, .dict = dict};
    return rc;
}

enum rc jinja_dict_put(struct jinja *j, struct jinja_value *dict, struct jinja_value key,
                       struct jinja_value v)
{
    struct jinja_dict *d = dict->dict;
    enum rc rc = jinja_spend(j, 1 + d->n / 8);
    if (rc != RC_OK)
        return rc;
    for (size_t i = 0; i < d->n; i++) {
        if (jinja_equal(&d->v[i].key, &key)) {
            d->v[i].value = v;
            return RC_OK;
        }
    }
    if (d->n == d->cap) {
        void *p = grown(j, d->v, d->n, &d->cap, sizeof(*d->v), &rc);
        if (!p)
            return rc;
        d->v = p;
    }
    d->v[d->n++] = (struct jinja_pair){key, v};
    return RC_OK;
}

enum rc jinja_items(struct jinja *j, const struct jinja_value *v, struct jinja_value *ret)
{
    if (jinja_is_list(v)) {
        *ret = *v;
        return RC_OK;
    }
    enum rc rc = jinja_list_new(j, JINJA_LIST, ret);
    if (v->kind == JINJA_UNDEFINED)
        return rc;
    if (v->kind == JINJA_DICT) {
        void *iter = NULL;
        size_t n = jinja_dict_len(v);
        for (size_t i = 0; rc == RC_OK && i < n; i++)
            rc = jinja_list_add(j, ret, jinja_dict_at(v, i, &iter).key);
        return rc;
    }
    if (v->kind != JINJA_STR)
        return jinja_fail(j, RC_BAD_INPUT, "cannot loop over %s", jinja_kind_name(v));
    for (size_t at = 0; rc == RC_OK && at < v->s.len;) {
        uint32_t cp;
        size_t n = utf8_next(v->s.p + at, v->s.p + v->s.len, &cp);
        struct jinja_value c = jinja_slice(j, v, at, at + n, &rc);
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, c);
        at += n;
    }
    return rc;
}
