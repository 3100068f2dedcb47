/* jinja_eval.c - expressions. Each node costs a step, each level of nesting counts. */

#include "engine/text/jinja_eval.h"

#include <math.h>

#include "base/units.h"

enum rc jinja_scope_set(struct jinja *j, struct jinja_scope *s, int32_t name, struct jinja_value v)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < s->n; i++) {
        if (s->bind[i].name == name) {
            s->bind[i].v = v;
            return RC_OK;
        }
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 8;
        struct jinja_bind *bind = jinja_alloc(j, cap, sizeof(*bind), &rc);
        if (!bind)
            return rc;
        if (s->n)
            memcpy(bind, s->bind, s->n * sizeof(*bind));
        s->bind = bind;
        s->cap = cap;
    }
    s->bind[s->n++] = (struct jinja_bind){name, v};
    return RC_OK;
}

static struct jinja_value find_name(const struct jinja *j, const struct jinja_scope *s,
                                    int32_t name)
{
    for (; s; s = s->parent) {
        for (size_t i = 0; i < s->n; i++) {
            if (s->bind[i].name == name)
                return s->bind[i].v;
        }
    }
    return jinja_builtin(j->tree->names[name]);
}

static enum rc eval_list(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    enum rc rc = jinja_list_new(j, n->kind == JN_LIST ? JINJA_LIST : JINJA_TUPLE, ret);
    for (const struct jinja_node *c = n->list; rc == RC_OK && c; c = c->next) {
        struct jinja_value v;
        rc = jinja_eval(j, s, c, &v);
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, v);
    }
    return rc;
}

static enum rc eval_dict(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    enum rc rc = jinja_dict_new(j, JINJA_DICT, ret);
    for (const struct jinja_node *c = n->list; rc == RC_OK && c; c = c->next->next) {
        struct jinja_value key, v;
        rc = jinja_eval(j, s, c, &key);
        if (rc == RC_OK)
            rc = jinja_eval(j, s, c->next, &v);
        if (rc == RC_OK)
            rc = jinja_dict_put(j, ret, key, v);
    }
    return rc;
}

static enum rc refuse(struct jinja *j, int op, const struct jinja_value *a,
                      const struct jinja_value *b)
{
    const struct jinja_value *u = a->kind == JINJA_UNDEFINED ? a : b;
    if (u->kind == JINJA_UNDEFINED)
        return jinja_fail(j, RC_BAD_INPUT, "'%.*s' is undefined", (int)MIN_OF(u->s.len, (size_t)60),
                          u->s.p);
    char name[3] = {op > 255 ? (char)(op >> 8) : (char)op, op > 255 ? (char)op : 0, 0};
    return jinja_fail(j, RC_BAD_INPUT, "cannot compute %s %s %s", jinja_kind_name(a), name,
                      jinja_kind_name(b));
}

static bool as_int(const struct jinja_value *v, int64_t *ret)
{
    if (v->kind != JINJA_INT && v->kind != JINJA_BOOL)
        return false;
    *ret = v->kind == JINJA_INT ? v->i : v->b;
    return true;
}

static bool as_float(const struct jinja_value *v, double *ret)
{
    int64_t i;
    if (v->kind == JINJA_FLOAT)
        *ret = v->d;
    else if (as_int(v, &i))
        *ret = (double)i;
    else
        return false;
    return true;
}

static bool int_power(int64_t base, int64_t exponent, int64_t *ret)
{
    int64_t r = 1;
    bool over = false;
    for (; exponent > 0 && !over; exponent >>= 1) {
        if (exponent & 1)
            over |= __builtin_mul_overflow(r, base, &r);
        if (exponent > 1)
            over |= __builtin_mul_overflow(base, base, &base);
    }
    *ret = r;
    return over;
}

/* Python's integers do not overflow; ours say so. Division and remainder round down. */
static enum rc int_math(struct jinja *j, int op, int64_t a, int64_t b, struct jinja_value *ret)
{
    int64_t r = 0;
    bool over = false;
    bool divides = op == '%' || op == JT_OP2('/', '/');
    if (divides && b == 0)
        return jinja_fail(j, RC_BAD_INPUT, "division by zero");
    if (op == '+')
        over = __builtin_add_overflow(a, b, &r);
    else if (op == '-')
        over = __builtin_sub_overflow(a, b, &r);
    else if (op == '*')
        over = __builtin_mul_overflow(a, b, &r);
    else if (divides && b == -1)
        over = op == '%' ? false : __builtin_sub_overflow(0, a, &r);
    else if (op == '%')
        r = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
    else if (divides)
        r = a / b - (a % b != 0 && (a < 0) != (b < 0));
    else
        over = int_power(a, b, &r);
    if (over)
        return jinja_fail(j, RC_BAD_INPUT, "the integer is too large");
    *ret = jinja_int(r);
    return RC_OK;
}

static enum rc float_math(struct jinja *j, int op, double a, double b, struct jinja_value *ret)
{
    bool divides = op == '/' || op == '%' || op == JT_OP2('/', '/');
    if (divides && b == 0)
        return jinja_fail(j, RC_BAD_INPUT, "division by zero");
    double r = op == '+'   ? a + b
               : op == '-' ? a - b
               : op == '*' ? a * b
               : op == '/' ? a / b
               : op == '%' ? a - b * floor(a / b)
               : divides   ? floor(a / b)
                           : pow(a, b);
    *ret = jinja_float(r);
    return RC_OK;
}

static enum rc list_plus(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                         struct jinja_value *ret)
{
    struct jinja_value sum;
    enum rc rc = jinja_list_new(j, a->kind, &sum);
    const struct jinja_value *part[] = {a, b};
    for (size_t k = 0; k < 2; k++) {
        size_t n = jinja_list_len(part[k]);
        for (size_t i = 0; rc == RC_OK && i < n; i++)
            rc = jinja_list_add(j, &sum, jinja_list_at(part[k], i));
    }
    *ret = sum;
    return rc;
}

static enum rc repeat(struct jinja *j, const struct jinja_value *v, int64_t times,
                      struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    enum rc rc = RC_OK;
    if (v->kind == JINJA_STR) {
        for (int64_t i = 0; i < times && b.rc == RC_OK && v->s.len; i++) {
            b.rc = jinja_spend(j, 1);
            jinja_build_value(&b, v);
        }
        return jinja_build_end(&b, ret);
    }
    struct jinja_value sum;
    rc = jinja_list_new(j, v->kind, &sum);
    size_t n = jinja_list_len(v);
    for (int64_t k = 0; rc == RC_OK && n > 0 && k < times; k++) {
        for (size_t i = 0; rc == RC_OK && i < n; i++)
            rc = jinja_list_add(j, &sum, jinja_list_at(v, i));
    }
    *ret = sum;
    return rc;
}

static bool is_sequence(const struct jinja_value *v)
{
    return v->kind == JINJA_STR || jinja_is_list(v);
}

static enum rc compute(struct jinja *j, int op, const struct jinja_value *a,
                       const struct jinja_value *b, struct jinja_value *ret)
{
    int64_t i, k;
    double x, y;
    bool whole = as_int(a, &i) && as_int(b, &k);
    if (whole && op != '/' && !(op == JT_OP2('*', '*') && k < 0))
        return int_math(j, op, i, k, ret);
    if (as_float(a, &x) && as_float(b, &y))
        return float_math(j, op, x, y, ret);
    if (op == '+' && jinja_is_list(a) && a->kind == b->kind)
        return list_plus(j, a, b, ret);
    if (op == '*' && is_sequence(a) && as_int(b, &i))
        return repeat(j, a, i, ret);
    if (op == '*' && as_int(a, &i) && is_sequence(b))
        return repeat(j, b, i, ret);
    if (op == '%' && a->kind == JINJA_STR)
        return jinja_fail(j, RC_INVALID, "formatting with %% is not supported");
    return refuse(j, op, a, b);
}

/* a + b + c + …: the tree leans left, and prompts are built this way, so the spine is walked in a
 * loop and texts are gathered once instead of copied at each plus. */
static enum rc eval_plus(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    enum rc rc = RC_OK;
    size_t terms = 0;
    const struct jinja_node *c = n;
    for (; c->kind == JN_BINARY && c->op == '+'; c = c->a)
        terms++;
    const struct jinja_node **right = jinja_alloc(j, terms, sizeof(struct jinja_node *), &rc);
    if (!right)
        return rc;
    struct jinja_value acc, v;
    rc = jinja_eval(j, s, c, &acc);
    c = n;
    for (size_t i = terms; i-- > 0; c = c->a)
        right[i] = c->b;

    struct jinja_build b;
    bool building = false;
    for (size_t i = 0; rc == RC_OK && i < terms; i++) {
        rc = jinja_eval(j, s, right[i], &v);
        if (rc != RC_OK)
            break;
        if (acc.kind != JINJA_STR || v.kind != JINJA_STR) {
            rc = compute(j, '+', &acc, &v, &acc);
            continue;
        }
        if (!building) {
            jinja_build_init(&b, j);
            jinja_build_value(&b, &acc);
            building = true;
        }
        jinja_build_value(&b, &v);
    }
    if (rc == RC_OK && building)
        rc = jinja_build_end(&b, &acc);
    *ret = acc;
    return rc;
}

static enum rc eval_binary(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                           struct jinja_value *ret)
{
    struct jinja_value a, b;
    if (n->op == '+')
        return eval_plus(j, s, n, ret);
    enum rc rc = jinja_eval(j, s, n->a, &a);
    if (rc == RC_OK)
        rc = jinja_eval(j, s, n->b, &b);
    return rc == RC_OK ? compute(j, n->op, &a, &b, ret) : rc;
}

static enum rc eval_concat(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                           struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    for (const struct jinja_node *c = n->list; c && b.rc == RC_OK; c = c->next) {
        struct jinja_value v;
        enum rc rc = jinja_eval(j, s, c, &v);
        if (rc != RC_OK)
            return rc;
        jinja_build_value(&b, &v);
    }
    return jinja_build_end(&b, ret);
}

static enum rc eval_compare(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                            struct jinja_value *ret)
{
    struct jinja_value a, b;
    bool is = true;
    enum rc rc = jinja_eval(j, s, n->a, &a);
    for (const struct jinja_node *c = n->list; rc == RC_OK && is && c; c = c->next) {
        int order = 0;
        rc = jinja_eval(j, s, c->a, &b);
        if (rc != RC_OK)
            break;
        if (c->op == JT_OP2('=', '=') || c->op == JT_OP2('!', '=')) {
            is = jinja_equal(&a, &b) == (c->op == JT_OP2('=', '='));
        } else if (c->op == 'i' || c->op == 'n') {
            rc = jinja_contains(j, &b, &a, &is);
            is = is == (c->op == 'i');
        } else if (a.kind == JINJA_UNDEFINED || b.kind == JINJA_UNDEFINED) {
            rc = refuse(j, c->op, &a, &b);
        } else {
            rc = jinja_order(j, &a, &b, &order);
            is = c->op == '<'                ? order < 0
                 : c->op == '>'              ? order > 0
                 : c->op == JT_OP2('<', '=') ? order <= 0
                                             : order >= 0;
        }
        a = b;
    }
    *ret = jinja_bool(is);
    return rc;
}

static enum rc eval_logic(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                          struct jinja_value *ret)
{
    enum rc rc = jinja_eval(j, s, n->a, ret);
    if (rc == RC_OK && jinja_true(ret) == (n->kind == JN_AND))
        rc = jinja_eval(j, s, n->b, ret);
    return rc;
}

static enum rc eval_cond(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    struct jinja_value test;
    enum rc rc = jinja_eval(j, s, n->b, &test);
    if (rc != RC_OK)
        return rc;
    if (jinja_true(&test))
        return jinja_eval(j, s, n->a, ret);
    if (n->c)
        return jinja_eval(j, s, n->c, ret);
    *ret = jinja_undefined(STR("the inline if without else"));
    return RC_OK;
}

static enum rc eval_sign(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    struct jinja_value zero = jinja_int(0), v;
    enum rc rc = jinja_eval(j, s, n->a, &v);
    if (rc == RC_OK && v.kind == JINJA_FLOAT && n->kind == JN_NEG)
        *ret = jinja_float(-v.d);
    else if (rc == RC_OK)
        rc = compute(j, n->kind == JN_NEG ? '-' : '+', &zero, &v, ret);
    return rc;
}

static enum rc eval_slice(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                          struct jinja_value *ret)
{
    struct jinja_value v, bound[3];
    const struct jinja_node *of[3] = {n->b, n->c, n->d};
    enum rc rc = jinja_eval(j, s, n->a, &v);
    for (size_t i = 0; rc == RC_OK && i < 3; i++) {
        bound[i] = jinja_of_json(NULL);
        if (of[i])
            rc = jinja_eval(j, s, of[i], &bound[i]);
    }
    return rc == RC_OK ? jinja_slice_of(j, &v, bound, ret) : rc;
}

static enum rc eval_args(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_args *ret)
{
    enum rc rc = RC_OK;
    size_t count = 0;
    *ret = (struct jinja_args){0};
    for (const struct jinja_node *c = n->list; c; c = c->next)
        count++;
    if (count == 0)
        return RC_OK;
    ret->v = jinja_alloc(j, count, sizeof(*ret->v), &rc);
    for (const struct jinja_node *c = n->list; rc == RC_OK && c; c = c->next) {
        ret->v[ret->n].name = c->name;
        rc = jinja_eval(j, s, c->a, &ret->v[ret->n].v);
        ret->n += rc == RC_OK;
    }
    return rc;
}

static enum rc eval_filter(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                           struct jinja_value *ret)
{
    struct jinja_value in = j->block;
    struct jinja_args args;
    enum rc rc = n->a ? jinja_eval(j, s, n->a, &in) : RC_OK;
    if (rc == RC_OK)
        rc = eval_args(j, s, n, &args);
    j->line = n->line;
    return rc == RC_OK ? jinja_filter(j, n->text, &in, &args, ret) : rc;
}

static enum rc eval_test(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    struct jinja_value in;
    struct jinja_args args;
    bool is = false;
    enum rc rc = jinja_eval(j, s, n->a, &in);
    if (rc == RC_OK)
        rc = eval_args(j, s, n, &args);
    j->line = n->line;
    if (rc == RC_OK)
        rc = jinja_test(j, n->text, &in, &args, &is);
    *ret = jinja_bool(is);
    return rc;
}

/* A macro's parameters into its scope; what the call left out gets its default. */
static enum rc bind_params(struct jinja *j, struct jinja_scope *s, const struct jinja_node *macro,
                           const struct jinja_args *args)
{
    size_t at = 0, used = 0;
    enum rc rc = RC_OK;
    for (const struct jinja_node *p = macro->list; rc == RC_OK && p; p = p->next, at++) {
        struct jinja_value v = jinja_undefined(j->tree->names[p->name]);
        const struct jinja_value *given = NULL;
        for (size_t i = 0; i < args->n && !given; i++) {
            if (args->v[i].name == p->name || (args->v[i].name < 0 && i == at))
                given = &args->v[i].v;
        }
        used += given != NULL;
        if (given)
            v = *given;
        else if (p->a)
            rc = jinja_eval(j, s, p->a, &v);
        if (rc == RC_OK)
            rc = jinja_scope_set(j, s, p->name, v);
    }
    if (rc == RC_OK && used < args->n)
        rc = jinja_fail(j, RC_BAD_INPUT, "macro '%.*s' got an argument that it does not take",
                        (int)MIN_OF(macro->text.len, (size_t)60), macro->text.p);
    return rc;
}

static enum rc call_macro(struct jinja *j, const struct jinja_value *f,
                          const struct jinja_args *args, const struct jinja_value *caller,
                          struct jinja_value *ret)
{
    const struct jinja_macro *m = f->macro;
    struct jinja_scope scope = {.parent = m->scope};
    int32_t name = jinja_tree_name(j->tree, STR("caller"));
    enum rc rc = bind_params(j, &scope, m->node, args);
    if (rc == RC_OK && caller && name >= 0)
        rc = jinja_scope_set(j, &scope, name, *caller);
    struct jinja_build b;
    jinja_build_init(&b, j);
    if (rc == RC_OK)
        rc = jinja_run(j, &scope, m->node->body, &b);
    return rc == RC_OK ? jinja_build_end(&b, ret) : rc;
}

enum rc jinja_call(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                   const struct jinja_value *caller, struct jinja_value *ret)
{
    struct jinja_value f, self;
    struct jinja_args args;
    bool found = false;
    enum rc rc = jinja_eval(j, s, n->a->kind == JN_ATTR ? n->a->a : n->a, &self);
    if (rc == RC_OK)
        rc = eval_args(j, s, n, &args);
    j->line = n->line;
    f = self;
    if (rc == RC_OK && n->a->kind == JN_ATTR) {
        rc = jinja_method(j, &self, n->a->text, &args, ret, &found);
        if (rc == RC_OK && !found)
            rc = jinja_attr(j, &self, n->a->text, &f);
    }
    if (rc != RC_OK || found)
        return rc;
    if (f.kind == JINJA_MACRO)
        return call_macro(j, &f, &args, caller, ret);
    if (f.kind == JINJA_FUNCTION)
        return jinja_builtin_call(j, &f, &args, ret);
    if (f.kind == JINJA_UNDEFINED)
        return jinja_fail(j, RC_BAD_INPUT, "'%.*s' is undefined", (int)MIN_OF(f.s.len, (size_t)60),
                          f.s.p);
    return jinja_fail(j, RC_BAD_INPUT, "%s cannot be called", jinja_kind_name(&f));
}

static enum rc eval_access(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                           struct jinja_value *ret)
{
    struct jinja_value v, key;
    enum rc rc = jinja_eval(j, s, n->a, &v);
    if (rc == RC_OK && n->kind == JN_ITEM)
        rc = jinja_eval(j, s, n->b, &key);
    j->line = n->line;
    if (rc != RC_OK)
        return rc;
    return n->kind == JN_ITEM ? jinja_item(j, &v, &key, ret) : jinja_attr(j, &v, n->text, ret);
}

static enum rc eval_node(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                         struct jinja_value *ret)
{
    enum rc rc;
    switch (n->kind) {
    case JN_CONST:
        *ret = n->value;
        return RC_OK;
    case JN_NAME:
        *ret = find_name(j, s, n->name);
        return RC_OK;
    case JN_LIST:
    case JN_TUPLE:
        return eval_list(j, s, n, ret);
    case JN_DICT:
        return eval_dict(j, s, n, ret);
    case JN_ATTR:
    case JN_ITEM:
        return eval_access(j, s, n, ret);
    case JN_SLICE:
        return eval_slice(j, s, n, ret);
    case JN_CALL:
        return jinja_call(j, s, n, NULL, ret);
    case JN_FILTER:
        return eval_filter(j, s, n, ret);
    case JN_TEST:
        return eval_test(j, s, n, ret);
    case JN_NOT:
        rc = jinja_eval(j, s, n->a, ret);
        *ret = jinja_bool(rc == RC_OK && !jinja_true(ret));
        return rc;
    case JN_NEG:
    case JN_POS:
        return eval_sign(j, s, n, ret);
    case JN_BINARY:
        return eval_binary(j, s, n, ret);
    case JN_AND:
    case JN_OR:
        return eval_logic(j, s, n, ret);
    case JN_COMPARE:
        return eval_compare(j, s, n, ret);
    case JN_CONCAT:
        return eval_concat(j, s, n, ret);
    case JN_COND:
        return eval_cond(j, s, n, ret);
    default:
        return jinja_fail(j, RC_INTERNAL, "not an expression");
    }
}

enum rc jinja_eval(struct jinja *j, struct jinja_scope *s, const struct jinja_node *n,
                   struct jinja_value *ret)
{
    enum rc rc = jinja_spend(j, 1);
    if (rc == RC_OK && j->depth >= TEMPLATE_DEPTH_MAX)
        rc = jinja_fail(j, RC_INVALID, "nested over %d deep", TEMPLATE_DEPTH_MAX);
    if (rc != RC_OK)
        return rc;
    j->depth++;
    rc = eval_node(j, s, n, ret);
    j->depth--;
    return rc;
}
