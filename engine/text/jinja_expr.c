/* jinja_expr.c - expressions, by recursive descent in the order of precedence of Jinja 3.1. */

#include "base/units.h"
#include "engine/text/jinja_parser.h"

static struct jinja_node *parse_or(struct jinja_parser *p);
static struct jinja_node *parse_unary(struct jinja_parser *p, bool filters);

static struct jinja_node *binary(struct jinja_parser *p, enum jinja_node_kind kind, int op,
                                 struct jinja_node *a, struct jinja_node *b)
{
    struct jinja_node *n = jinja_node_new(p, kind);
    if (!n)
        return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    return n;
}

struct jinja_node *jinja_parse_expr(struct jinja_parser *p, bool cond)
{
    if (!jinja_deeper(p))
        return NULL;
    struct jinja_node *n = parse_or(p);
    while (cond && p->rc == RC_OK && jinja_skip_name(p, "if")) {
        struct jinja_node *c = jinja_node_new(p, JN_COND);
        struct jinja_node *test = parse_or(p);
        if (!c || !test)
            return NULL;
        c->a = n;
        c->b = test;
        if (jinja_skip_name(p, "else"))
            c->c = jinja_parse_expr(p, true);
        n = c;
    }
    p->depth--;
    return p->rc == RC_OK ? n : NULL;
}

static struct jinja_node *parse_concat(struct jinja_parser *p);

static struct jinja_node *parse_sum(struct jinja_parser *p)
{
    struct jinja_node *n = parse_concat(p);
    while (p->rc == RC_OK && (jinja_at_op(p, '+') || jinja_at_op(p, '-'))) {
        int op = p->at++->op;
        n = binary(p, JN_BINARY, op, n, parse_concat(p));
    }
    return n;
}

static struct jinja_node *operand(struct jinja_parser *p, int op)
{
    struct jinja_node *n = jinja_node_new(p, JN_OPERAND);
    if (n) {
        n->op = op;
        n->a = parse_sum(p);
    }
    return n;
}

static struct jinja_node *parse_compare(struct jinja_parser *p)
{
    static const int ops[] = {
        JT_OP2('=', '='), JT_OP2('!', '='), JT_OP2('<', '='), JT_OP2('>', '='), '<', '>'};
    struct jinja_node *n = parse_sum(p);
    struct jinja_chain chain = {0};
    while (p->rc == RC_OK) {
        int op = 0;
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            if (jinja_at_op(p, ops[i]))
                op = ops[i];
        }
        if (op) {
            p->at++;
        } else if (jinja_skip_name(p, "in")) {
            op = 'i';
        } else if (jinja_at_name(p, "not") && p->at[1].kind == JT_NAME &&
                   str_is(p->at[1].text, "in")) {
            p->at += 2;
            op = 'n';
        } else {
            break;
        }
        jinja_chain_add(&chain, operand(p, op));
    }
    if (!chain.first)
        return n;
    n = binary(p, JN_COMPARE, 0, n, NULL);
    if (n)
        n->list = chain.first;
    return n;
}

static struct jinja_node *parse_not(struct jinja_parser *p)
{
    if (!jinja_at_name(p, "not"))
        return parse_compare(p);
    if (!jinja_deeper(p))
        return NULL;
    struct jinja_node *n = jinja_node_new(p, JN_NOT);
    p->at++;
    if (n)
        n->a = parse_not(p);
    p->depth--;
    return n;
}

static struct jinja_node *parse_and(struct jinja_parser *p)
{
    struct jinja_node *n = parse_not(p);
    while (p->rc == RC_OK && jinja_skip_name(p, "and"))
        n = binary(p, JN_AND, 0, n, parse_not(p));
    return n;
}

static struct jinja_node *parse_or(struct jinja_parser *p)
{
    struct jinja_node *n = parse_and(p);
    while (p->rc == RC_OK && jinja_skip_name(p, "or"))
        n = binary(p, JN_OR, 0, n, parse_and(p));
    return n;
}

static struct jinja_node *parse_power(struct jinja_parser *p)
{
    struct jinja_node *n = parse_unary(p, true);
    while (p->rc == RC_OK && jinja_skip_op(p, JT_OP2('*', '*')))
        n = binary(p, JN_BINARY, JT_OP2('*', '*'), n, parse_unary(p, true));
    return n;
}

static struct jinja_node *parse_product(struct jinja_parser *p)
{
    struct jinja_node *n = parse_power(p);
    while (p->rc == RC_OK && (jinja_at_op(p, '*') || jinja_at_op(p, '/') || jinja_at_op(p, '%') ||
                              jinja_at_op(p, JT_OP2('/', '/')))) {
        int op = p->at++->op;
        n = binary(p, JN_BINARY, op, n, parse_power(p));
    }
    return n;
}

static struct jinja_node *parse_concat(struct jinja_parser *p)
{
    struct jinja_node *n = parse_product(p);
    if (p->rc != RC_OK || !jinja_at_op(p, '~'))
        return n;
    struct jinja_node *all = jinja_node_new(p, JN_CONCAT);
    struct jinja_chain chain = {0};
    jinja_chain_add(&chain, n);
    while (p->rc == RC_OK && jinja_skip_op(p, '~'))
        jinja_chain_add(&chain, parse_product(p));
    if (all)
        all->list = chain.first;
    return all;
}

/* ( a, b, name=c ), from the opening bracket on. */
static struct jinja_node *parse_args(struct jinja_parser *p)
{
    struct jinja_chain chain = {0};
    p->at++;
    while (p->rc == RC_OK && !jinja_at_op(p, ')')) {
        if (chain.first && !jinja_want_op(p, ',', "',' or ')'"))
            return NULL;
        if (jinja_at_op(p, ')'))
            break;
        if (jinja_at_op(p, '*') || jinja_at_op(p, JT_OP2('*', '*')))
            return jinja_bad(p, "* and ** arguments are not supported");
        int32_t name = -1;
        if (p->at->kind == JT_NAME && p->at[1].kind == JT_OP && p->at[1].op == '=') {
            name = jinja_intern(p, p->at->text);
            p->at += 2;
        }
        struct jinja_node *n = jinja_parse_expr(p, true);
        /* A node of its own: the expression's may carry a name for another reason. */
        struct jinja_node *arg = binary(p, JN_OPERAND, 0, n, NULL);
        if (arg)
            arg->name = name;
        jinja_chain_add(&chain, arg);
    }
    jinja_want_op(p, ')', "')'");
    return chain.first;
}

static struct jinja_node *parse_call(struct jinja_parser *p, struct jinja_node *of)
{
    struct jinja_node *n = binary(p, JN_CALL, 0, of, NULL);
    if (n)
        n->list = parse_args(p);
    return n;
}

/* [ index ] or [ from : to : step ] */
static struct jinja_node *parse_index(struct jinja_parser *p, struct jinja_node *of)
{
    struct jinja_node *n = binary(p, JN_ITEM, 0, of, NULL);
    if (!n)
        return NULL;
    p->at++;
    if (!jinja_at_op(p, ':'))
        n->b = jinja_parse_expr(p, true);
    if (p->rc == RC_OK && jinja_skip_op(p, ':')) {
        n->kind = JN_SLICE;
        if (!jinja_at_op(p, ':') && !jinja_at_op(p, ']'))
            n->c = jinja_parse_expr(p, true);
        if (p->rc == RC_OK && jinja_skip_op(p, ':') && !jinja_at_op(p, ']'))
            n->d = jinja_parse_expr(p, true);
    }
    jinja_want_op(p, ']', "']'");
    return n;
}

static struct jinja_node *parse_dot(struct jinja_parser *p, struct jinja_node *of)
{
    p->at++;
    if (p->at->kind == JT_INT) {
        struct jinja_node *n = binary(p, JN_ITEM, 0, of, jinja_node_new(p, JN_CONST));
        if (n)
            n->b->value = jinja_int(p->at->i);
        p->at++;
        return n;
    }
    if (p->at->kind != JT_NAME)
        return jinja_bad(p, "a name is expected after '.'");
    struct jinja_node *n = binary(p, JN_ATTR, 0, of, NULL);
    if (n)
        n->text = p->at->text;
    p->at++;
    return n;
}

static struct jinja_node *parse_postfix(struct jinja_parser *p, struct jinja_node *n)
{
    while (p->rc == RC_OK) {
        if (jinja_at_op(p, '.'))
            n = parse_dot(p, n);
        else if (jinja_at_op(p, '['))
            n = parse_index(p, n);
        else if (jinja_at_op(p, '('))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static bool starts_test_argument(const struct jinja_parser *p)
{
    if (p->at->kind == JT_NAME)
        return !jinja_at_name(p, "else") && !jinja_at_name(p, "or") && !jinja_at_name(p, "and");
    return p->at->kind == JT_STRING || p->at->kind == JT_INT || p->at->kind == JT_FLOAT ||
           jinja_at_op(p, '[') || jinja_at_op(p, '{');
}

static struct jinja_node *parse_test(struct jinja_parser *p, struct jinja_node *of)
{
    p->at++;
    bool negated = jinja_skip_name(p, "not");
    if (p->at->kind != JT_NAME)
        return jinja_bad(p, "a test's name is expected after 'is'");
    struct jinja_node *n = binary(p, JN_TEST, 0, of, NULL);
    if (!n)
        return NULL;
    n->text = p->at++->text;
    if (jinja_at_op(p, '(')) {
        n->list = parse_args(p);
    } else if (starts_test_argument(p)) {
        if (jinja_at_name(p, "is"))
            return jinja_bad(p, "tests cannot be chained with 'is'");
        struct jinja_node *arg = parse_postfix(p, jinja_parse_primary(p));
        n->list = binary(p, JN_OPERAND, 0, arg, NULL);
    }
    return negated ? binary(p, JN_NOT, 0, n, NULL) : n;
}

struct jinja_node *jinja_parse_filters(struct jinja_parser *p, struct jinja_node *n)
{
    while (p->rc == RC_OK && jinja_skip_op(p, '|')) {
        if (p->at->kind != JT_NAME)
            return jinja_bad(p, "a filter's name is expected after '|'");
        n = binary(p, JN_FILTER, 0, n, NULL);
        if (!n)
            return NULL;
        n->text = p->at++->text;
        if (jinja_at_op(p, '('))
            n->list = parse_args(p);
    }
    return n;
}

static struct jinja_node *parse_unary(struct jinja_parser *p, bool filters)
{
    struct jinja_node *n = NULL;
    if (!jinja_deeper(p))
        return NULL;
    if (jinja_at_op(p, '-') || jinja_at_op(p, '+')) {
        n = jinja_node_new(p, p->at->op == '-' ? JN_NEG : JN_POS);
        p->at++;
        if (n)
            n->a = parse_unary(p, false);
    } else {
        n = jinja_parse_primary(p);
    }
    n = parse_postfix(p, n);
    while (filters && p->rc == RC_OK) {
        if (jinja_at_op(p, '|'))
            n = jinja_parse_filters(p, n);
        else if (jinja_at_name(p, "is"))
            n = parse_test(p, n);
        else if (jinja_at_op(p, '('))
            n = parse_call(p, n);
        else
            break;
    }
    p->depth--;
    return p->rc == RC_OK ? n : NULL;
}

/* [ … ] and { … } are written alike: items between commas, one of which may end the list. */
static struct jinja_node *parse_display(struct jinja_parser *p, enum jinja_node_kind kind, int end)
{
    struct jinja_node *n = jinja_node_new(p, kind);
    struct jinja_chain chain = {0};
    p->at++;
    while (p->rc == RC_OK && !jinja_at_op(p, end)) {
        if (chain.first && !jinja_want_op(p, ',', "',' or the closing bracket"))
            return NULL;
        if (jinja_at_op(p, end))
            break;
        jinja_chain_add(&chain, jinja_parse_expr(p, true));
        if (kind == JN_DICT && p->rc == RC_OK) {
            jinja_want_op(p, ':', "':'");
            jinja_chain_add(&chain, jinja_parse_expr(p, true));
        }
    }
    jinja_want_op(p, end, "the closing bracket");
    if (n)
        n->list = chain.first;
    return n;
}

static struct jinja_node *constant(struct jinja_parser *p, struct jinja_value v)
{
    struct jinja_node *n = jinja_node_new(p, JN_CONST);
    if (n)
        n->value = v;
    p->at++;
    return n;
}

static struct jinja_node *parse_word(struct jinja_parser *p)
{
    struct str s = p->at->text;
    if (str_is(s, "true") || str_is(s, "True"))
        return constant(p, jinja_bool(true));
    if (str_is(s, "false") || str_is(s, "False"))
        return constant(p, jinja_bool(false));
    if (str_is(s, "none") || str_is(s, "None"))
        return constant(p, jinja_of_json(NULL));
    struct jinja_node *n = jinja_node_new(p, JN_NAME);
    if (n)
        n->name = jinja_intern(p, s);
    p->at++;
    return n;
}

/* 'a' 'b' is one string. */
static struct jinja_node *parse_strings(struct jinja_parser *p)
{
    size_t len = 0, n = 0;
    for (const struct jinja_token *t = p->at; t->kind == JT_STRING; t++)
        len += t->text.len;
    char *to = arena_alloc(&p->tree->arena, len + 1, 1);
    if (!to)
        return jinja_bad(p, "needs too much memory");
    for (; p->at->kind == JT_STRING; p->at++) {
        if (p->at->text.len)
            memcpy(to + n, p->at->text.p, p->at->text.len);
        n += p->at->text.len;
    }
    p->at--;
    return constant(p, jinja_text(str_make(to, n), true));
}

struct jinja_node *jinja_parse_primary(struct jinja_parser *p)
{
    if (p->rc != RC_OK)
        return NULL;
    switch (p->at->kind) {
    case JT_NAME:
        return parse_word(p);
    case JT_STRING:
        return parse_strings(p);
    case JT_INT:
        return constant(p, jinja_int(p->at->i));
    case JT_FLOAT:
        return constant(p, jinja_float(p->at->d));
    default:
        break;
    }
    if (jinja_at_op(p, '['))
        return parse_display(p, JN_LIST, ']');
    if (jinja_at_op(p, '{'))
        return parse_display(p, JN_DICT, '}');
    if (!jinja_skip_op(p, '('))
        return jinja_bad(p, "an expression is expected");
    if (jinja_skip_op(p, ')'))
        return jinja_node_new(p, JN_TUPLE);
    struct jinja_node *n = jinja_parse_tuple(p, true, NULL);
    jinja_want_op(p, ')', "')'");
    return n;
}

static bool tuple_ends(const struct jinja_parser *p, const char *end)
{
    return p->at->kind == JT_VAR_END || p->at->kind == JT_BLOCK_END || jinja_at_op(p, ')') ||
           (end && jinja_at_name(p, end));
}

/* What follows the first item: "a" alone is itself, "a," and "a, b" are tuples. */
static struct jinja_node *tuple_of(struct jinja_parser *p, struct jinja_node *first,
                                   const char *end,
                                   struct jinja_node *(*item)(struct jinja_parser *, bool),
                                   bool cond)
{
    if (p->rc != RC_OK || !jinja_at_op(p, ','))
        return first;
    struct jinja_node *n = jinja_node_new(p, JN_TUPLE);
    struct jinja_chain chain = {0};
    jinja_chain_add(&chain, first);
    while (p->rc == RC_OK && jinja_skip_op(p, ',') && !tuple_ends(p, end))
        jinja_chain_add(&chain, item(p, cond));
    if (n)
        n->list = chain.first;
    return n;
}

struct jinja_node *jinja_parse_tuple(struct jinja_parser *p, bool cond, const char *end)
{
    return tuple_of(p, jinja_parse_expr(p, cond), end, jinja_parse_expr, cond);
}

/* A name, ns.attribute, or names in a tuple. */
static struct jinja_node *target_item(struct jinja_parser *p, bool unused)
{
    (void)unused;
    if (p->rc != RC_OK)
        return NULL;
    struct jinja_node *n = NULL;
    if (jinja_skip_op(p, '(')) {
        if (!jinja_deeper(p))
            return NULL;
        n = jinja_parse_target(p, NULL);
        p->depth--;
        jinja_want_op(p, ')', "')'");
        return n;
    }
    if (p->at->kind != JT_NAME)
        return jinja_bad(p, "a name to assign to is expected");
    n = parse_word(p);
    if (n && n->kind != JN_NAME)
        return jinja_bad(p, "a constant cannot be assigned to");
    return n && jinja_at_op(p, '.') ? parse_dot(p, n) : n;
}

struct jinja_node *jinja_parse_target(struct jinja_parser *p, const char *end)
{
    return tuple_of(p, target_item(p, false), end, target_item, false);
}
