#ifndef SLUICE_ENGINE_TEXT_JINJA_EVAL_H
#define SLUICE_ENGINE_TEXT_JINJA_EVAL_H
/* jinja_eval - walks the tree: expressions to values, statements to text. */

#include "engine/text/jinja_tree.h"
#include "engine/text/template.h"

struct jinja_bind {
    int32_t name;
    struct jinja_value v;
};

/* Names set here; others are looked for in the parents, then among the built-in functions. */
struct jinja_scope {
    struct jinja_scope *parent;
    struct jinja_bind *bind;
    size_t n, cap;
};
enum rc jinja_scope_set(struct jinja *j, struct jinja_scope *s, int32_t name, struct jinja_value v);

/* Arguments of a call: by place first, then by keyword (name >= 0). */
struct jinja_arg {
    int32_t name;
    struct jinja_value v;
};
struct jinja_args {
    struct jinja_arg *v;
    size_t n;
};
/* The argument at this place or of this name; NULL when the caller left it out. */
const struct jinja_value *jinja_arg(const struct jinja *j, const struct jinja_args *a, size_t at,
                                    const char *name);
/* The same with a type: RC_BAD_INPUT when it is another; *ret stays when it is left out. */
enum rc jinja_arg_int(struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                      int64_t *ret);
enum rc jinja_arg_str(struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                      struct jinja_value *ret);
bool jinja_arg_true(const struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                    bool otherwise);

enum rc jinja_eval(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                   struct jinja_value *ret);
enum rc jinja_run(struct jinja *j, struct jinja_scope *s, const struct jinja_node *body,
                  struct jinja_build *out);

/* v.name and v[key]: undefined when there is none, RC_BAD_INPUT on undefined itself. */
enum rc jinja_attr(struct jinja *j, const struct jinja_value *v, struct str name,
                   struct jinja_value *ret);
enum rc jinja_item(struct jinja *j, const struct jinja_value *v, const struct jinja_value *key,
                   struct jinja_value *ret);
enum rc jinja_slice_of(struct jinja *j, const struct jinja_value *v,
                       const struct jinja_value bound[3], struct jinja_value *ret);

/* A call node; `caller` is the body of a {% call %} around it, or NULL. */
enum rc jinja_call(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                   const struct jinja_value *caller, struct jinja_value *ret);
struct jinja_value jinja_builtin(struct str name); /* undefined when there is none */
enum rc jinja_builtin_call(struct jinja *j, const struct jinja_value *f, const struct jinja_args *a,
                           struct jinja_value *ret);

/* *ret_found false: the value has no such method. */
enum rc jinja_method(struct jinja *j, const struct jinja_value *self, struct str name,
                     const struct jinja_args *a, struct jinja_value *ret, bool *ret_found);
enum rc jinja_filter(struct jinja *j, struct str name, const struct jinja_value *in,
                     const struct jinja_args *a, struct jinja_value *ret);
enum rc jinja_test(struct jinja *j, struct str name, const struct jinja_value *in,
                   const struct jinja_args *a, bool *ret);

/* Filters over lists, a table of their own. */
typedef enum rc (*jinja_filter_fn)(struct jinja *j, const struct jinja_value *in,
                                   const struct jinja_args *a, struct jinja_value *ret);
jinja_filter_fn jinja_list_filter(struct str name);

/* String operations that filters and methods share. Offsets and lengths count code points. */
enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_CAPITALIZE, JINJA_TITLE, JINJA_TITLE_WORDS };
enum rc jinja_str_case(struct jinja *j, const struct jinja_value *s, enum jinja_case mode,
                       struct jinja_value *ret);
enum rc jinja_str_strip(struct jinja *j, const struct jinja_value *s,
                        const struct jinja_value *chars, bool left, bool right,
                        struct jinja_value *ret);
enum rc jinja_str_replace(struct jinja *j, const struct jinja_value *s, struct str from,
                          const struct jinja_value *to, int64_t most, struct jinja_value *ret);
enum rc jinja_str_split(struct jinja *j, const struct jinja_value *s, const struct jinja_value *sep,
                        int64_t most, bool from_right, struct jinja_value *ret);
enum rc jinja_str_join(struct jinja *j, const struct jinja_value *sep,
                       const struct jinja_value *items, struct jinja_value *ret);
enum rc jinja_str_format(struct jinja *j, const struct jinja_value *s, const struct jinja_args *a,
                         struct jinja_value *ret);
size_t jinja_str_count(struct str s);             /* code points */
size_t jinja_str_offset(struct str s, size_t at); /* byte of the at-th code point, or s.len */
bool jinja_is_blank(uint32_t cp);                 /* str.isspace() */

#endif
