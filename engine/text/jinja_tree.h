#ifndef SLUICE_ENGINE_TEXT_JINJA_TREE_H
#define SLUICE_ENGINE_TEXT_JINJA_TREE_H
/* jinja_tree - a template as tokens, and as the tree that is walked for each prompt. */

#include "base/arena.h"
#include "engine/text/jinja_value.h"

enum jinja_token_kind {
    JT_END,
    JT_DATA, /* text between tags */
    JT_BLOCK_BEGIN,
    JT_BLOCK_END,
    JT_VAR_BEGIN,
    JT_VAR_END,
    JT_NAME,
    JT_STRING, /* unescaped */
    JT_INT,
    JT_FLOAT,
    JT_OP,
};

#define JT_OP2(a, b) ((a) << 8 | (b)) /* "==" is JT_OP2('=', '=') */

struct jinja_token {
    enum jinja_token_kind kind;
    int op;
    uint32_t line;
    struct str text;
    int64_t i;
    double d;
};

/* Cuts the source into tokens, with trim_blocks and lstrip_blocks; the last is JT_END.
 * RC_CORRUPT with the line. All of it lives in the arena. */
enum rc jinja_lex(struct arena *a, struct str source, struct jinja_token **ret, struct err *err);

enum jinja_node_kind {
    /* expressions */
    JN_CONST,   /* value */
    JN_NAME,    /* name */
    JN_LIST,    /* list */
    JN_TUPLE,   /* list */
    JN_DICT,    /* list: key, value, key, … */
    JN_ATTR,    /* a . text */
    JN_ITEM,    /* a [ b ] */
    JN_SLICE,   /* a [ b : c : d ], each may be missing */
    JN_CALL,    /* a ( list ); an argument with name >= 0 is by keyword */
    JN_FILTER,  /* a | text ( list ); a is missing in {% filter %} and {% set %} blocks */
    JN_TEST,    /* a is text ( list ) */
    JN_NOT,     /* a */
    JN_NEG,     /* a */
    JN_POS,     /* a */
    JN_BINARY,  /* a op b */
    JN_AND,     /* a, b */
    JN_OR,      /* a, b */
    JN_COMPARE, /* a, then list of JN_OPERAND */
    JN_OPERAND, /* op a; 'i' is in, 'n' is not in */
    JN_CONCAT,  /* list */
    JN_COND,    /* a if b else c */
    /* statements */
    JN_TEXT,         /* value */
    JN_OUTPUT,       /* a */
    JN_IF,           /* if a: body, else: other */
    JN_FOR,          /* for a in b if c: body, else: other */
    JN_SET,          /* a = b */
    JN_SET_BLOCK,    /* a = body, through the filter b */
    JN_MACRO,        /* name, list of parameters (name, a: default), body */
    JN_CALL_BLOCK,   /* call(list) a: body */
    JN_FILTER_BLOCK, /* b: the filter, body */
    JN_WITH,         /* list of JN_SET, body; also {% generation %} with an empty list */
    JN_BREAK,
    JN_CONTINUE,
};

struct jinja_node {
    enum jinja_node_kind kind;
    int op;
    uint32_t line;
    int32_t name; /* index into the tree's names, -1: none */
    struct str text;
    struct jinja_value value;
    struct jinja_node *a, *b, *c, *d;
    struct jinja_node *list; /* first child; they follow by next */
    struct jinja_node *body, *other;
    struct jinja_node *next;
};

struct jinja_tree {
    struct arena arena;
    struct jinja_node *body;
    struct str *names; /* [n_names] each name once, so that scopes compare numbers */
    int32_t n_names, cap_names;
};

/* RC_CORRUPT with the line, RC_TOO_LARGE past TEMPLATE_SOURCE_MAX. jinja_tree_done in any case. */
enum rc jinja_parse(struct str source, struct jinja_tree *ret, struct err *err);
void jinja_tree_done(struct jinja_tree *t);
/* -1 when the template has no such name. */
int32_t jinja_tree_name(const struct jinja_tree *t, struct str name);

#endif
