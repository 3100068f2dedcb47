#ifndef SLUICE_ENGINE_TEXT_JINJA_PARSER_H
#define SLUICE_ENGINE_TEXT_JINJA_PARSER_H
/* jinja_parser - what the parsers of statements and of expressions share: a place in the tokens. */

#include "engine/text/jinja_tree.h"

#define JINJA_NESTING_MAX 100 /* brackets, operators and blocks inside each other */

struct jinja_parser {
    struct jinja_tree *tree;
    struct err *err;
    struct jinja_token *at;
    int depth;
    int loops;  /* {% for %} around this place: where break and continue may stand */
    enum rc rc; /* the first failure; all calls then return NULL */
};

/* Both return NULL, so that a parser can end with `return jinja_bad(p, …)`. */
struct jinja_node *jinja_bad(struct jinja_parser *p, const char *what);
struct jinja_node *jinja_node_new(struct jinja_parser *p, enum jinja_node_kind kind);

/* Goes one level down; false (and a failure set) when too deep. Pair it with p->depth--. */
bool jinja_deeper(struct jinja_parser *p);
int32_t jinja_intern(struct jinja_parser *p, struct str name);

static inline bool jinja_at_op(const struct jinja_parser *p, int op)
{
    return p->at->kind == JT_OP && p->at->op == op;
}
static inline bool jinja_at_name(const struct jinja_parser *p, const char *name)
{
    return p->at->kind == JT_NAME && str_is(p->at->text, name);
}
bool jinja_skip_op(struct jinja_parser *p, int op);
bool jinja_skip_name(struct jinja_parser *p, const char *name);
bool jinja_want_op(struct jinja_parser *p, int op, const char *what);

/* A list of nodes that grows at its end. */
struct jinja_chain {
    struct jinja_node *first, **end;
};
static inline void jinja_chain_add(struct jinja_chain *c, struct jinja_node *n)
{
    if (!c->end)
        c->end = &c->first;
    if (n) {
        *c->end = n;
        c->end = &n->next;
    }
}

/* `cond`: whether "a if b" may be the expression itself. `end`: a word that ends a tuple. */
struct jinja_node *jinja_parse_expr(struct jinja_parser *p, bool cond);
struct jinja_node *jinja_parse_tuple(struct jinja_parser *p, bool cond, const char *end);
struct jinja_node *jinja_parse_target(struct jinja_parser *p, const char *end);
struct jinja_node *jinja_parse_filters(struct jinja_parser *p, struct jinja_node *of);
struct jinja_node *jinja_parse_primary(struct jinja_parser *p);

#endif
