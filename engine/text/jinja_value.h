#ifndef SLUICE_ENGINE_TEXT_JINJA_VALUE_H
#define SLUICE_ENGINE_TEXT_JINJA_VALUE_H
/* jinja_value - what an expression of a template evaluates to, with Python's rules.
 *
 * A string knows which of its bytes the template wrote (trusted). Lists and dicts from the request
 * stay in their JSON and are read in place. Everything made while rendering lives in one arena. */

#include <jansson.h>
#include <locale.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/text/template.h"

struct jinja_node;
struct jinja_scope;

/* Trust: n_span == 0 none of it; n_span == 1 with span == NULL all of it; else the spans. */
struct jinja_str {
    const char *p;
    size_t len;
    const struct text_span *span;
    size_t n_span;
};

enum jinja_kind {
    JINJA_UNDEFINED, /* s names what was missing */
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STR,
    JINJA_LIST, /* list, or json array */
    JINJA_TUPLE,
    JINJA_DICT, /* dict, or json object */
    JINJA_NAMESPACE,
    JINJA_LOOP,
    JINJA_MACRO,
    JINJA_FUNCTION,
};

struct jinja_value {
    enum jinja_kind kind;
    json_t *json; /* view: a list or dict of the request; else NULL */
    union {
        bool b;
        int64_t i;
        double d;
        struct jinja_str s;
        struct jinja_list *list;
        struct jinja_dict *dict;
        struct jinja_loop *loop;
        struct jinja_macro *macro;
    };
};

struct jinja_list {
    struct jinja_value *v;
    size_t n, cap;
};

struct jinja_pair {
    struct jinja_value key, value;
};

struct jinja_dict {
    struct jinja_pair *v;
    size_t n, cap;
};

struct jinja_loop {
    struct jinja_value items;
    size_t at, n;
    struct jinja_value changed; /* arguments of the last loop.changed(), a tuple */
    bool has_changed;
};

struct jinja_macro {
    const struct jinja_node *node;
    struct jinja_scope *scope; /* where it was defined */
    struct jinja_value caller; /* {% call %}: the body, else undefined */
};

/* The state of one rendering. */
struct jinja {
    struct arena arena;
    struct err *err;
    int64_t steps_left;
    uint32_t depth, line; /* the line of the node in work, for messages */
    int64_t wall_ms;
    enum { JINJA_RUN, JINJA_BREAK, JINJA_CONTINUE } flow;
    const struct jinja_tree *tree; /* view */
    locale_t locale;               /* view: for letters' case; 0: ASCII only */
    struct jinja_value block;      /* what a filter without an operand works on */
};

/* Fails with "chat template, line N: …". */
enum rc jinja_fail(struct jinja *j, enum rc rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes n steps from the budget; RC_INVALID when it is spent. */
enum rc jinja_spend(struct jinja *j, size_t n);
void *jinja_alloc(struct jinja *j, size_t n, size_t size, enum rc *rc);

struct jinja_value jinja_undefined(struct str name);
struct jinja_value jinja_bool(bool b);
struct jinja_value jinja_int(int64_t i);
struct jinja_value jinja_float(double d);
struct jinja_value jinja_text(struct str s, bool trusted);
struct jinja_value jinja_of_json(json_t *j); /* lends; NULL gives None */
static inline struct str jinja_view(const struct jinja_value *v)
{
    return str_make(v->s.p, v->s.len);
}
static inline bool jinja_is_list(const struct jinja_value *v)
{
    return v->kind == JINJA_LIST || v->kind == JINJA_TUPLE;
}

const char *jinja_kind_name(const struct jinja_value *v); /* Python's: "str", "NoneType" */
bool jinja_true(const struct jinja_value *v);
bool jinja_equal(const struct jinja_value *a, const struct jinja_value *b);
/* <0, 0, >0; RC_BAD_INPUT for kinds that Python does not order. */
enum rc jinja_order(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                    int *ret);
enum rc jinja_contains(struct jinja *j, const struct jinja_value *in, const struct jinja_value *v,
                       bool *ret);

/* Lists and tuples. */
size_t jinja_list_len(const struct jinja_value *v);
struct jinja_value jinja_list_at(const struct jinja_value *v, size_t i);
enum rc jinja_list_new(struct jinja *j, enum jinja_kind kind, struct jinja_value *ret);
enum rc jinja_list_add(struct jinja *j, struct jinja_value *list, struct jinja_value v);

/* Dicts and namespaces. */
size_t jinja_dict_len(const struct jinja_value *v);
struct jinja_pair jinja_dict_at(const struct jinja_value *v, size_t i, void **json_iter);
bool jinja_dict_find(const struct jinja_value *v, const struct jinja_value *key,
                     struct jinja_value *ret);
enum rc jinja_dict_new(struct jinja *j, enum jinja_kind kind, struct jinja_value *ret);
enum rc jinja_dict_put(struct jinja *j, struct jinja_value *dict, struct jinja_value key,
                       struct jinja_value v);

/* What a for loop walks: lists as they are, a dict's keys, a string's characters, nothing for
 * undefined; RC_BAD_INPUT for the rest. */
enum rc jinja_items(struct jinja *j, const struct jinja_value *v, struct jinja_value *ret);

/* Part of a string, with its trust. */
struct jinja_value jinja_slice(struct jinja *j, const struct jinja_value *s, size_t from, size_t to,
                               enum rc *rc);

/* Text that grows, with its trust. */
struct jinja_build {
    struct jinja *j;
    char *p;
    size_t len, cap;
    struct text_span *span;
    size_t n_span, cap_span;
    enum rc rc; /* the first failure; later calls do nothing */
};
void jinja_build_init(struct jinja_build *b, struct jinja *j);
void jinja_build_add(struct jinja_build *b, struct str s, bool trusted);
void jinja_build_part(struct jinja_build *b, const struct jinja_str *s, size_t from, size_t to);
void jinja_build_value(struct jinja_build *b, const struct jinja_value *v); /* Python's str() */
enum rc jinja_build_end(struct jinja_build *b, struct jinja_value *ret);

/* Python's str(): strings are themselves, None is "None", lists as repr. */
enum rc jinja_to_str(struct jinja *j, const struct jinja_value *v, struct jinja_value *ret);

/* json.dumps(v, ensure_ascii, indent (-1: none), separators, sort_keys). */
struct jinja_json_style {
    bool ascii, sort;
    int64_t indent;
    struct str item_sep, key_sep;
};
enum rc jinja_to_json(struct jinja *j, const struct jinja_value *v,
                      const struct jinja_json_style *style, struct jinja_value *ret);
/* Python's repr of a float; returns the length. */
size_t jinja_float_text(double d, char ret[40]);

#endif
