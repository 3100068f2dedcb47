/* jinja_parse.c - statements: tokens to a tree, with every name numbered. */

#include "engine/text/jinja_parser.h"

#include <stdio.h>

#include "base/units.h"
#include "engine/text/template.h"

/* The tree of a megabyte of template is some forty times its size. */
#define TREE_MEMORY_MAX (64 * MIB)

struct jinja_node *jinja_bad(struct jinja_parser *p, const char *what)
{
    if (p->rc == RC_OK)
        p->rc = err_set(p->err, RC_CORRUPT, "chat template, line %u: %s", p->at->line, what);
    return NULL;
}

struct jinja_node *jinja_node_new(struct jinja_parser *p, enum jinja_node_kind kind)
{
    struct jinja_node *n = p->rc == RC_OK ? ARENA_NEW(&p->tree->arena, struct jinja_node) : NULL;
    if (!n)
        return jinja_bad(p, "needs too much memory");
    n->kind = kind;
    n->line = p->at->line;
    n->name = -1;
    return n;
}

bool jinja_deeper(struct jinja_parser *p)
{
    if (p->rc == RC_OK && p->depth >= JINJA_NESTING_MAX)
        jinja_bad(p, "nested too deep");
    if (p->rc != RC_OK)
        return false;
    p->depth++;
    return true;
}

int32_t jinja_tree_name(const struct jinja_tree *t, struct str name)
{
    for (int32_t i = 0; i < t->n_names; i++) {
        if (str_eq(t->names[i], name))
            return i;
    }
    return -1;
}

int32_t jinja_intern(struct jinja_parser *p, struct str name)
{
    struct jinja_tree *t = p->tree;
    int32_t found = jinja_tree_name(t, name);
    if (found >= 0)
        return found;
    if (t->n_names == t->cap_names) {
        int32_t cap = t->cap_names ? t->cap_names * 2 : 64;
        struct str *names = cap <= 4096 ? ARENA_ARRAY(&t->arena, struct str, (size_t)cap) : NULL;
        if (!names) {
            jinja_bad(p, "has too many names");
            return -1;
        }
        if (t->n_names)
            memcpy(names, t->names, (size_t)t->n_names * sizeof(*names));
        t->names = names;
        t->cap_names = cap;
    }
    t->names[t->n_names] = name;
    return t->n_names++;
}

bool jinja_skip_op(struct jinja_parser *p, int op)
{
    bool here = jinja_at_op(p, op);
    p->at += here;
    return here;
}

bool jinja_skip_name(struct jinja_parser *p, const char *name)
{
    bool here = jinja_at_name(p, name);
    p->at += here;
    return here;
}

bool jinja_want_op(struct jinja_parser *p, int op, const char *what)
{
    if (p->rc != RC_OK)
        return false;
    if (jinja_skip_op(p, op))
        return true;
    char msg[64];
    snprintf(msg, sizeof(msg), "%s is expected", what);
    jinja_bad(p, msg);
    return false;
}

static void want_block_end(struct jinja_parser *p)
{
    if (p->rc == RC_OK && p->at->kind != JT_BLOCK_END)
        jinja_bad(p, "'%}' is expected");
    else if (p->rc == RC_OK)
        p->at++;
}

static struct jinja_node *parse_body(struct jinja_parser *p, const char *const ends[]);

/* A body and its "{% end… %}". */
static struct jinja_node *body_until(struct jinja_parser *p, const char *end)
{
    want_block_end(p);
    struct jinja_node *body = parse_body(p, (const char *const[]){end, NULL});
    if (p->rc == RC_OK)
        p->at++;
    want_block_end(p);
    return body;
}

static struct jinja_node *parse_if(struct jinja_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct jinja_node *first = NULL, **to = &first;
    for (;;) {
        struct jinja_node *n = jinja_node_new(p, JN_IF);
        if (!n)
            return NULL;
        *to = n;
        n->a = jinja_parse_tuple(p, false, NULL);
        want_block_end(p);
        n->body = parse_body(p, ends);
        if (p->rc != RC_OK)
            return NULL;
        to = &n->other;
        if (!jinja_skip_name(p, "elif"))
            break;
    }
    if (jinja_skip_name(p, "else")) {
        *to = body_until(p, "endif");
        return first;
    }
    p->at++; /* endif */
    want_block_end(p);
    return first;
}

static struct jinja_node *parse_for(struct jinja_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct jinja_node *n = jinja_node_new(p, JN_FOR);
    if (!n)
        return NULL;
    n->a = jinja_parse_target(p, "in");
    if (p->rc == RC_OK && !jinja_skip_name(p, "in"))
        return jinja_bad(p, "'in' is expected");
    n->b = jinja_parse_tuple(p, false, "recursive");
    if (p->rc == RC_OK && jinja_skip_name(p, "if"))
        n->c = jinja_parse_expr(p, true);
    if (p->rc == RC_OK && jinja_at_name(p, "recursive"))
        return jinja_bad(p, "recursive loops are not supported");
    want_block_end(p);
    p->loops++;
    n->body = parse_body(p, ends);
    p->loops--;
    if (p->rc != RC_OK)
        return NULL;
    if (jinja_skip_name(p, "else")) {
        n->other = body_until(p, "endfor");
        return n;
    }
    p->at++; /* endfor */
    want_block_end(p);
    return n;
}

static struct jinja_node *parse_set(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_SET);
    if (!n)
        return NULL;
    n->a = jinja_parse_target(p, NULL);
    if (p->rc == RC_OK && jinja_skip_op(p, '=')) {
        n->b = jinja_parse_tuple(p, true, NULL);
        want_block_end(p);
        return n;
    }
    n->kind = JN_SET_BLOCK;
    n->b = jinja_parse_filters(p, NULL);
    n->body = body_until(p, "endset");
    return n;
}

/* (a, b=1): JN_OPERAND nodes with a name and, in a, the default. */
static struct jinja_node *parse_params(struct jinja_parser *p)
{
    struct jinja_chain chain = {0};
    if (!jinja_want_op(p, '(', "'('"))
        return NULL;
    while (p->rc == RC_OK && !jinja_at_op(p, ')')) {
        if (chain.first && !jinja_want_op(p, ',', "',' or ')'"))
            return NULL;
        struct jinja_node *n = jinja_node_new(p, JN_OPERAND);
        if (!n || p->at->kind != JT_NAME)
            return jinja_bad(p, "a parameter's name is expected");
        n->name = jinja_intern(p, p->at->text);
        p->at++;
        if (jinja_skip_op(p, '='))
            n->a = jinja_parse_expr(p, true);
        jinja_chain_add(&chain, n);
    }
    jinja_want_op(p, ')', "')'");
    return chain.first;
}

/* Bodies that are called, not run in place: a loop around them is not theirs. */
static struct jinja_node *called_body(struct jinja_parser *p, const char *end)
{
    int loops = p->loops;
    p->loops = 0;
    struct jinja_node *body = body_until(p, end);
    p->loops = loops;
    return body;
}

static struct jinja_node *parse_macro(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_MACRO);
    if (!n || p->at->kind != JT_NAME)
        return jinja_bad(p, "a macro's name is expected");
    n->text = p->at->text;
    n->name = jinja_intern(p, p->at->text);
    p->at++;
    n->list = parse_params(p);
    n->body = called_body(p, "endmacro");
    return n;
}

static struct jinja_node *parse_call_block(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_CALL_BLOCK);
    if (!n)
        return NULL;
    if (jinja_at_op(p, '('))
        n->list = parse_params(p);
    n->a = jinja_parse_expr(p, true);
    if (p->rc == RC_OK && n->a->kind != JN_CALL)
        return jinja_bad(p, "a call is expected");
    n->body = called_body(p, "endcall");
    return n;
}

static struct jinja_node *parse_filter_block(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_FILTER_BLOCK);
    if (!n || p->at->kind != JT_NAME)
        return jinja_bad(p, "a filter's name is expected");
    /* The word "filter" stands where '|' would: let the list of filters begin there. */
    p->at--;
    p->at->kind = JT_OP;
    p->at->op = '|';
    n->b = jinja_parse_filters(p, NULL);
    n->body = called_body(p, "endfilter");
    return n;
}

static struct jinja_node *parse_with(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_WITH);
    struct jinja_chain chain = {0};
    while (n && p->rc == RC_OK && p->at->kind != JT_BLOCK_END) {
        if (chain.first && !jinja_want_op(p, ',', "','"))
            return NULL;
        struct jinja_node *set = jinja_node_new(p, JN_SET);
        if (!set)
            return NULL;
        set->a = jinja_parse_target(p, NULL);
        jinja_want_op(p, '=', "'='");
        set->b = jinja_parse_expr(p, true);
        jinja_chain_add(&chain, set);
    }
    if (n) {
        n->list = chain.first;
        n->body = body_until(p, "endwith");
    }
    return n;
}

/* {% generation %} marks what the assistant said, for training: here just a block. */
static struct jinja_node *parse_generation(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_WITH);
    if (n)
        n->body = called_body(p, "endgeneration");
    return n;
}

static struct jinja_node *parse_jump(struct jinja_parser *p, enum jinja_node_kind kind)
{
    if (p->loops == 0)
        return jinja_bad(p, "break and continue belong in a loop");
    struct jinja_node *n = jinja_node_new(p, kind);
    want_block_end(p);
    return n;
}

static struct jinja_node *parse_break(struct jinja_parser *p)
{
    return parse_jump(p, JN_BREAK);
}

static struct jinja_node *parse_continue(struct jinja_parser *p)
{
    return parse_jump(p, JN_CONTINUE);
}

static struct jinja_node *parse_statement(struct jinja_parser *p)
{
    static const struct {
        const char *word;
        struct jinja_node *(*parse)(struct jinja_parser *);
    } known[] = {
        {"if", parse_if},           {"for", parse_for},
        {"set", parse_set},         {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},       {"generation", parse_generation},
        {"break", parse_break},     {"continue", parse_continue},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (jinja_skip_name(p, known[i].word))
            return known[i].parse(p);
    }
    char msg[96];
    snprintf(msg, sizeof(msg), "unknown or misplaced tag '%.*s'", (int)MIN_OF(p->at->text.len, 40u),
             p->at->text.p ? p->at->text.p : "");
    return jinja_bad(p, msg);
}

static struct jinja_node *parse_output(struct jinja_parser *p)
{
    struct jinja_node *n = jinja_node_new(p, JN_OUTPUT);
    if (n)
        n->a = jinja_parse_tuple(p, true, NULL);
    if (p->rc == RC_OK && p->at->kind != JT_VAR_END)
        return jinja_bad(p, "'}}' is expected");
    p->at += p->rc == RC_OK;
    return n;
}

static bool at_end(const struct jinja_parser *p, const char *const ends[])
{
    for (size_t i = 0; ends[i]; i++) {
        if (jinja_at_name(p, ends[i]))
            return true;
    }
    return false;
}

/* Up to a tag that begins with one of `ends` (p->at then stands on that word), or, when there
 * are none, up to the end of the template. */
static struct jinja_node *parse_body(struct jinja_parser *p, const char *const ends[])
{
    struct jinja_chain chain = {0};
    if (!jinja_deeper(p))
        return NULL;
    while (p->rc == RC_OK && p->at->kind != JT_END) {
        struct jinja_node *n = NULL;
        if (p->at->kind == JT_DATA) {
            n = jinja_node_new(p, JN_TEXT);
            if (n)
                n->value = jinja_text(p->at->text, true);
            p->at++;
        } else if (p->at->kind == JT_VAR_BEGIN) {
            p->at++;
            n = parse_output(p);
        } else {
            p->at++;
            if (at_end(p, ends)) {
                p->depth--;
                return chain.first;
            }
            n = parse_statement(p);
        }
        jinja_chain_add(&chain, n);
    }
    p->depth--;
    if (p->rc == RC_OK && ends[0]) {
        char msg[64];
        snprintf(msg, sizeof(msg), "'%s' is missing at the end", ends[0]);
        return jinja_bad(p, msg);
    }
    return chain.first;
}

enum rc jinja_parse(struct str source, struct jinja_tree *ret, struct err *err)
{
    *ret = (struct jinja_tree){0};
    if (source.len > TEMPLATE_SOURCE_MAX)
        return err_set(err, RC_TOO_LARGE, "chat template of %zu bytes", source.len);
    arena_init(&ret->arena, TREE_MEMORY_MAX);
    struct jinja_parser p = {.tree = ret, .err = err};
    enum rc rc = jinja_lex(&ret->arena, source, &p.at, err);
    if (rc != RC_OK)
        return rc;
    ret->body = parse_body(&p, (const char *const[]){NULL});
    return p.rc;
}

void jinja_tree_done(struct jinja_tree *t)
{
    arena_done(&t->arena);
    *t = (struct jinja_tree){0};
}
