/* jinja_run.c - statements, and the functions that every template finds. */

#include <time.h>

#include "base/units.h"
#include "engine/text/jinja_eval.h"

static enum rc run_output(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                          struct jinja_build *out)
{
    struct jinja_value v;
    enum rc rc = jinja_eval(j, s, n->a, &v);
    if (rc == RC_OK) {
        jinja_build_value(out, &v);
        rc = out->rc;
    }
    return rc;
}

/* An elif is an if alone in the `other` of the one before: the chain is walked, not descended. */
static enum rc run_if(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                      struct jinja_build *out)
{
    for (;;) {
        struct jinja_value test;
        j->line = n->line;
        enum rc rc = jinja_eval(j, s, n->a, &test);
        if (rc != RC_OK)
            return rc;
        if (jinja_true(&test))
            return jinja_run(j, s, n->body, out);
        if (!n->other)
            return RC_OK;
        if (n->other->kind != JN_IF || n->other->next)
            return jinja_run(j, s, n->other, out);
        n = n->other;
    }
}

static enum rc assign(struct jinja *j, struct jinja_scope *s, const struct jinja_node *target,
                      struct jinja_value v);

static enum rc unpack(struct jinja *j, struct jinja_scope *s, const struct jinja_node *target,
                      const struct jinja_value *v)
{
    struct jinja_value items;
    size_t want = 0;
    for (const struct jinja_node *c = target->list; c; c = c->next)
        want++;
    enum rc rc = jinja_items(j, v, &items);
    if (rc == RC_OK && jinja_list_len(&items) != want)
        return jinja_fail(j, RC_BAD_INPUT, "%zu values for %zu names", jinja_list_len(&items),
                          want);
    size_t i = 0;
    for (const struct jinja_node *c = target->list; rc == RC_OK && c; c = c->next)
        rc = assign(j, s, c, jinja_list_at(&items, i++));
    return rc;
}

static enum rc assign(struct jinja *j, struct jinja_scope *s, const struct jinja_node *target,
                      struct jinja_value v)
{
    struct jinja_value ns;
    if (target->kind == JN_NAME)
        return jinja_scope_set(j, s, target->name, v);
    if (target->kind == JN_TUPLE)
        return unpack(j, s, target, &v);
    enum rc rc = jinja_eval(j, s, target->a, &ns);
    if (rc != RC_OK)
        return rc;
    if (ns.kind != JINJA_NAMESPACE)
        return jinja_fail(j, RC_BAD_INPUT, "attributes can be set on a namespace only");
    return jinja_dict_put(j, &ns, jinja_text(target->text, true), v);
}

/* The items that the loop's condition lets through; loop.length counts these. */
static enum rc chosen_items(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                            struct jinja_value *ret)
{
    struct jinja_value v, all;
    enum rc rc = jinja_eval(j, s, n->b, &v);
    if (rc == RC_OK)
        rc = jinja_items(j, &v, &all);
    if (rc != RC_OK || !n->c) {
        *ret = all;
        return rc;
    }
    rc = jinja_list_new(j, JINJA_LIST, ret);
    struct jinja_scope inner = {.parent = s};
    size_t count = rc == RC_OK ? jinja_list_len(&all) : 0;
    for (size_t i = 0; rc == RC_OK && i < count; i++) {
        struct jinja_value item = jinja_list_at(&all, i), test;
        inner.n = 0;
        rc = assign(j, &inner, n->a, item);
        if (rc == RC_OK)
            rc = jinja_eval(j, &inner, n->c, &test);
        if (rc == RC_OK && jinja_true(&test))
            rc = jinja_list_add(j, ret, item);
    }
    return rc;
}

static enum rc run_for(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                       struct jinja_build *out)
{
    struct jinja_value items;
    enum rc rc = chosen_items(j, s, n, &items);
    if (rc != RC_OK)
        return rc;
    struct jinja_loop *loop = jinja_alloc(j, 1, sizeof(*loop), &rc);
    if (!loop)
        return rc;
    int32_t name = jinja_tree_name(j->tree, STR("loop"));
    *loop = (struct jinja_loop){.items = items, .n = jinja_list_len(&items)};
    struct jinja_scope inner = {.parent = s};
    for (; rc == RC_OK && loop->at < loop->n; loop->at++) {
        inner.n = 0;
        rc = jinja_spend(j, 1);
        if (rc == RC_OK && name >= 0)
            rc = jinja_scope_set(j, &inner, name,
                                 (struct jinja_value){.kind = JINJA_LOOP, .loop = loop});
        if (rc == RC_OK)
            rc = assign(j, &inner, n->a, jinja_list_at(&items, loop->at));
        if (rc == RC_OK)
            rc = jinja_run(j, &inner, n->body, out);
        bool stop = j->flow == JINJA_BREAK;
        j->flow = JINJA_RUN;
        if (stop)
            break;
    }
    return rc == RC_OK && loop->n == 0 && n->other ? jinja_run(j, s, n->other, out) : rc;
}

/* A body into a string of its own. */
static enum rc capture(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                       struct jinja_value *ret)
{
    struct jinja_scope inner = {.parent = s};
    struct jinja_build b;
    jinja_build_init(&b, j);
    enum rc rc = jinja_run(j, &inner, n->body, &b);
    if (rc == RC_OK)
        rc = jinja_build_end(&b, ret);
    if (rc == RC_OK && n->b) {
        struct jinja_value outer = j->block;
        j->block = *ret;
        rc = jinja_eval(j, s, n->b, ret);
        j->block = outer;
    }
    return rc;
}

static enum rc new_macro(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    enum rc rc = RC_OK;
    struct jinja_macro *m = jinja_alloc(j, 1, sizeof(*m), &rc);
    if (!m)
        return rc;
    m->node = n;
    m->scope = s;
    *ret = (struct jinja_value){.kind = JINJA_MACRO, .macro = m};
    return RC_OK;
}

static enum rc run_with(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                        struct jinja_build *out)
{
    struct jinja_scope inner = {.parent = s};
    enum rc rc = RC_OK;
    for (const struct jinja_node *c = n->list; rc == RC_OK && c; c = c->next) {
        struct jinja_value v;
        rc = jinja_eval(j, s, c->b, &v);
        if (rc == RC_OK)
            rc = assign(j, &inner, c->a, v);
    }
    return rc == RC_OK ? jinja_run(j, &inner, n->body, out) : rc;
}

static enum rc run_node(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                        struct jinja_build *out)
{
    struct jinja_value v;
    enum rc rc;
    switch (n->kind) {
    case JN_TEXT:
        jinja_build_value(out, &n->value);
        return out->rc;
    case JN_OUTPUT:
        return run_output(j, s, n, out);
    case JN_IF:
        return run_if(j, s, n, out);
    case JN_FOR:
        return run_for(j, s, n, out);
    case JN_SET:
        rc = jinja_eval(j, s, n->b, &v);
        return rc == RC_OK ? assign(j, s, n->a, v) : rc;
    case JN_SET_BLOCK:
        rc = capture(j, s, n, &v);
        return rc == RC_OK ? assign(j, s, n->a, v) : rc;
    case JN_FILTER_BLOCK:
        rc = capture(j, s, n, &v);
        if (rc == RC_OK)
            jinja_build_value(out, &v);
        return rc == RC_OK ? out->rc : rc;
    case JN_MACRO:
        rc = new_macro(j, s, n, &v);
        return rc == RC_OK ? jinja_scope_set(j, s, n->name, v) : rc;
    case JN_CALL_BLOCK: {
        struct jinja_value body;
        rc = new_macro(j, s, n, &body);
        if (rc == RC_OK)
            rc = jinja_call(j, s, n->a, &body, &v);
        if (rc == RC_OK)
            jinja_build_value(out, &v);
        return rc == RC_OK ? out->rc : rc;
    }
    case JN_WITH:
        return run_with(j, s, n, out);
    case JN_BREAK:
    case JN_CONTINUE:
        j->flow = n->kind == JN_BREAK ? JINJA_BREAK : JINJA_CONTINUE;
        return RC_OK;
    default:
        return jinja_fail(j, RC_INTERNAL, "not a statement");
    }
}

enum rc jinja_run(struct jinja *j, struct jinja_scope *s, const struct jinja_node *body,
                  struct jinja_build *out)
{
    enum rc rc = RC_OK;
    if (j->depth >= TEMPLATE_DEPTH_MAX)
        return jinja_fail(j, RC_INVALID, "nested over %d deep", TEMPLATE_DEPTH_MAX);
    j->depth++;
    for (const struct jinja_node *n = body; rc == RC_OK && n && j->flow == JINJA_RUN; n = n->next) {
        j->line = n->line;
        rc = jinja_spend(j, 1);
        if (rc == RC_OK)
            rc = run_node(j, s, n, out);
    }
    j->depth--;
    return rc;
}

enum builtin { F_RANGE, F_DICT, F_NAMESPACE, F_RAISE, F_STRFTIME };

struct jinja_value jinja_builtin(struct str name)
{
    static const char *const names[] = {"range", "dict", "namespace", "raise_exception",
                                        "strftime_now"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_is(name, names[i]))
            return (struct jinja_value){.kind = JINJA_FUNCTION, .i = (int64_t)i};
    }
    return jinja_undefined(name);
}

static enum rc call_range(struct jinja *j, const struct jinja_args *a, struct jinja_value *ret)
{
    int64_t from = 0, to = 0, step = 1;
    enum rc rc = jinja_arg_int(j, a, 0, "stop", &to);
    if (rc == RC_OK && a->n > 1) {
        from = to;
        rc = jinja_arg_int(j, a, 1, "stop", &to);
    }
    if (rc == RC_OK)
        rc = jinja_arg_int(j, a, 2, "step", &step);
    if (rc == RC_OK && (step == 0 || a->n == 0))
        return jinja_fail(j, RC_BAD_INPUT, "range() cannot be like that");
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, ret);
    bool over = false;
    for (int64_t i = from; rc == RC_OK && !over && (step > 0 ? i < to : i > to);
         over = __builtin_add_overflow(i, step, &i))
        rc = jinja_list_add(j, ret, jinja_int(i));
    return rc;
}

/* dict(…) and namespace(…): a dict to copy from, and keywords. */
static enum rc call_dict(struct jinja *j, enum jinja_kind kind, const struct jinja_args *a,
                         struct jinja_value *ret)
{
    enum rc rc = jinja_dict_new(j, kind, ret);
    for (size_t i = 0; rc == RC_OK && i < a->n; i++) {
        const struct jinja_value *v = &a->v[i].v;
        if (a->v[i].name >= 0) {
            rc = jinja_dict_put(j, ret, jinja_text(j->tree->names[a->v[i].name], true), *v);
            continue;
        }
        if (v->kind != JINJA_DICT)
            return jinja_fail(j, RC_BAD_INPUT, "%s is not a dict", jinja_kind_name(v));
        void *iter = NULL;
        size_t n = jinja_dict_len(v);
        for (size_t k = 0; rc == RC_OK && k < n; k++) {
            struct jinja_pair p = jinja_dict_at(v, k, &iter);
            rc = jinja_dict_put(j, ret, p.key, p.value);
        }
    }
    return rc;
}

static enum rc call_raise(struct jinja *j, const struct jinja_args *a)
{
    struct jinja_value text = jinja_text(STR("the chat template refuses this conversation"), true);
    if (a->n > 0) {
        enum rc rc = jinja_to_str(j, &a->v[0].v, &text);
        if (rc != RC_OK)
            return rc;
    }
    return err_field(j->err, RC_BAD_INPUT, "messages", "%.*s", (int)MIN_OF(text.s.len, (size_t)200),
                     text.s.p);
}

static enum rc call_strftime(struct jinja *j, const struct jinja_args *a, struct jinja_value *ret)
{
    struct jinja_value format = jinja_text(STR(""), true);
    enum rc rc = jinja_arg_str(j, a, 0, "format", &format);
    time_t now = (time_t)(j->wall_ms / MS_PER_SEC);
    struct tm tm;
    char z[128], text[256];
    if (rc != RC_OK)
        return rc;
    if (format.s.len >= sizeof(z) || !gmtime_r(&now, &tm))
        return jinja_fail(j, RC_INVALID, "strftime_now() with a format of %zu bytes", format.s.len);
    memcpy(z, format.s.p, format.s.len);
    z[format.s.len] = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the format is the template's */
    size_t n = strftime(text, sizeof(text), z, &tm);
#pragma GCC diagnostic pop
    struct jinja_build b;
    jinja_build_init(&b, j);
    jinja_build_add(&b, str_make(text, n), false);
    return jinja_build_end(&b, ret);
}

enum rc jinja_builtin_call(struct jinja *j, const struct jinja_value *f, const struct jinja_args *a,
                           struct jinja_value *ret)
{
    switch ((enum builtin)f->i) {
    case F_RANGE:
        return call_range(j, a, ret);
    case F_DICT:
        return call_dict(j, JINJA_DICT, a, ret);
    case F_NAMESPACE:
        return call_dict(j, JINJA_NAMESPACE, a, ret);
    case F_RAISE:
        return call_raise(j, a);
    case F_STRFTIME:
        return call_strftime(j, a, ret);
    }
    return jinja_fail(j, RC_INTERNAL, "not a function");
}
