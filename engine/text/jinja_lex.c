/* jinja_lex.c - the template's text cut into tokens, blank for blank as Jinja 3.1 does it.
 *
 * A tag may eat blanks on both sides: "-" all of them, "+" none; else a block or comment alone on
 * its line takes the blanks before it (lstrip_blocks) and one line end after it (trim_blocks). */

#include "engine/text/jinja_tree.h"

#include <stdlib.h>

#include "base/units.h"
#include "engine/text/template.h"
#include "engine/text/unicode.h"

#define NESTING_MAX 128

struct lexer {
    struct arena *arena;
    struct err *err;
    const char *p, *end;
    uint32_t line;
    bool line_starting; /* nothing but line ends since the last line began */
    struct jinja_token *tok;
    size_t n, cap;
    char nest[NESTING_MAX]; /* closing brackets awaited */
    size_t n_nest;
};

static enum rc bad(struct lexer *x, const char *what)
{
    return err_set(x->err, RC_CORRUPT, "chat template, line %u: %s", x->line, what);
}

static enum rc no_memory(struct lexer *x)
{
    return err_set(x->err, RC_NO_MEMORY, "no memory for the chat template");
}

static enum rc push(struct lexer *x, struct jinja_token t)
{
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        struct jinja_token *tok = ARENA_ARRAY(x->arena, struct jinja_token, cap);
        if (!tok)
            return no_memory(x);
        if (x->n)
            memcpy(tok, x->tok, x->n * sizeof(*tok));
        x->tok = tok;
        x->cap = cap;
    }
    t.line = x->line;
    x->tok[x->n++] = t;
    return RC_OK;
}

/* ASCII only: no known template has other blanks beside its tags. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

static void advance(struct lexer *x, const char *to)
{
    for (; x->p < to; x->p++)
        x->line += *x->p == '\n';
}

static void skip_blanks(struct lexer *x)
{
    const char *to = x->p;
    while (to < x->end && is_blank(*to))
        to++;
    advance(x, to);
}

/* The first "{{", "{%" or "{#" at or after p, or the end. */
static const char *find_tag(const char *p, const char *end)
{
    for (; (p = memchr(p, '{', (size_t)(end - p))) != NULL; p++) {
        if (p + 1 < end && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
            return p;
        if (p + 1 >= end)
            break;
    }
    return end;
}

/* Text up to `tag`, without the blanks that the tag takes from it. */
static enum rc push_data(struct lexer *x, const char *tag, char sign, bool is_var)
{
    const char *from = x->p, *to = tag;
    if (sign == '-') {
        while (to > from && is_blank(to[-1]))
            to--;
    } else if (sign != '+' && !is_var) {
        const char *line = to;
        while (line > from && is_blank(line[-1]) && line[-1] != '\n')
            line--;
        if (line > from ? line[-1] == '\n' : x->line_starting)
            to = line;
    }
    enum rc rc = RC_OK;
    if (to > from)
        rc = push(
            x, (struct jinja_token){.kind = JT_DATA, .text = str_make(from, (size_t)(to - from))});
    advance(x, tag);
    return rc;
}

/* After "%}" or "#}": the line end goes too, unless a sign said otherwise. */
static void trim_after(struct lexer *x, char sign)
{
    if (sign == '-')
        skip_blanks(x);
    else if (sign != '+' && x->p < x->end && *x->p == '\n')
        advance(x, x->p + 1);
    x->line_starting = x->p[-1] == '\n';
}

static enum rc skip_comment(struct lexer *x)
{
    const char *start = x->p + 2, *p = start;
    if (p < x->end && (*p == '-' || *p == '+'))
        p = ++start;
    for (; p + 1 < x->end; p++) {
        if (p[0] == '#' && p[1] == '}') {
            char sign = p > start ? p[-1] : 0;
            advance(x, p + 2);
            trim_after(x, sign);
            return RC_OK;
        }
    }
    return bad(x, "the comment does not end");
}

/* At "{%": is it {% word %}? Returns what follows its "%}", and the signs on both sides. */
static const char *bare_tag(const char *p, const char *end, struct str word, char *ret_before,
                            char *ret_after)
{
    p += 2;
    *ret_before = p < end && (*p == '-' || *p == '+') ? *p++ : 0;
    while (p < end && is_blank(*p))
        p++;
    if ((size_t)(end - p) < word.len || memcmp(p, word.p, word.len) != 0)
        return NULL;
    p += word.len;
    while (p < end && is_blank(*p))
        p++;
    *ret_after = p < end && (*p == '-' || *p == '+') ? *p++ : 0;
    return end - p >= 2 && p[0] == '%' && p[1] == '}' ? p + 2 : NULL;
}

/* {% raw %} … {% endraw %}: the text between is text. */
static enum rc lex_raw(struct lexer *x, const char *body, char sign)
{
    advance(x, body);
    if (sign == '-')
        skip_blanks(x);
    x->line_starting = x->p[-1] == '\n';
    for (const char *p = x->p; p + 1 < x->end; p++) {
        char before, after;
        const char *to =
            p[0] == '{' && p[1] == '%' ? bare_tag(p, x->end, STR("endraw"), &before, &after) : NULL;
        if (to) {
            enum rc rc = push_data(x, p, before, false);
            advance(x, to);
            trim_after(x, after);
            return rc;
        }
    }
    return bad(x, "{% raw %} does not end");
}

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80 || (!first && c >= '0' && c <= '9');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xhh \uhhhh \Uhhhhhhhh; *p stands after the letter. */
static size_t unescape_hex(const char **p, const char *end, int digits, char *to)
{
    uint32_t cp = 0;
    if (end - *p < digits)
        return 0;
    for (int i = 0; i < digits; i++) {
        int v = hex_value((*p)[i]);
        if (v < 0)
            return 0;
        cp = cp << 4 | (uint32_t)v;
    }
    *p += digits;
    if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        cp = 0xfffd;
    return utf8_encode(cp, to);
}

/* One escape of a Python string; *p stands after the backslash. Unknown ones keep it. */
static size_t unescape(const char **p, const char *end, char *to)
{
    static const char letter[] = "abfnrtv\\'\"", plain[] = "\a\b\f\n\r\t\v\\'\"";
    char c = *(*p)++;
    const char *at = c ? strchr(letter, c) : NULL;
    size_t n = 0;
    if (at) {
        to[0] = plain[at - letter];
        return 1;
    }
    if (c == '\n')
        return 0;
    if (c >= '0' && c <= '7') {
        uint32_t v = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *p < end && **p >= '0' && **p <= '7'; i++)
            v = v * 8 + (uint32_t)(*(*p)++ - '0');
        return utf8_encode(v, to);
    }
    if (c == 'x' || c == 'u' || c == 'U')
        n = unescape_hex(p, end, c == 'x' ? 2 : c == 'u' ? 4 : 8, to);
    if (n > 0)
        return n;
    to[0] = '\\';
    to[1] = c;
    return 2;
}

static enum rc lex_string(struct lexer *x)
{
    char quote = *x->p;
    const char *p = x->p + 1;
    while (p < x->end && *p != quote)
        p += *p == '\\' ? 2 : 1;
    if (p >= x->end)
        return bad(x, "the string does not end");
    char *to = arena_alloc(x->arena, (size_t)(p - x->p) + 1, 1);
    if (!to)
        return no_memory(x);
    size_t n = 0;
    for (const char *s = x->p + 1; s < p;) {
        if (*s == '\\') {
            s++;
            n += unescape(&s, p, to + n);
        } else {
            to[n++] = *s++;
        }
    }
    enum rc rc = push(x, (struct jinja_token){.kind = JT_STRING, .text = str_make(to, n)});
    advance(x, p + 1);
    return rc;
}

static enum rc lex_number(struct lexer *x)
{
    char text[64];
    size_t n = 0;
    const char *p = x->p;
    bool real = false;
    int base = 10;
    if (p + 1 < x->end && *p == '0' && strchr("xXoObB", p[1]) && p[1]) {
        base = (p[1] | 0x20) == 'x' ? 16 : (p[1] | 0x20) == 'o' ? 8 : 2;
        p += 2;
    }
    for (; p < x->end; p++) {
        bool dot = *p == '.' && !real && base == 10 && p + 1 < x->end && p[1] >= '0' && p[1] <= '9';
        bool exponent =
            base == 10 && (*p == 'e' || *p == 'E') && p + 1 < x->end &&
            ((p[1] >= '0' && p[1] <= '9') ||
             ((p[1] == '-' || p[1] == '+') && p + 2 < x->end && p[2] >= '0' && p[2] <= '9'));
        bool sign = (*p == '-' || *p == '+') && n > 0 && (text[n - 1] | 0x20) == 'e' && base == 10;
        real |= dot || exponent;
        if (*p == '_')
            continue;
        if (!dot && !exponent && !sign && (hex_value(*p) < 0 || hex_value(*p) >= base))
            break;
        if (n + 1 >= sizeof(text))
            return bad(x, "the number is too long");
        text[n++] = *p;
    }
    text[n] = 0;
    struct jinja_token t = {.kind = real ? JT_FLOAT : JT_INT};
    char *stop = text;
    if (real)
        t.d = strtod(text, &stop);
    else
        t.i = strtoll(text, &stop, base);
    if (n == 0 || *stop || (!real && (t.i == INT64_MAX || t.i < 0)))
        return bad(x, "not a number that fits");
    enum rc rc = push(x, t);
    advance(x, p);
    return rc;
}

static enum rc balance(struct lexer *x, char c)
{
    const char *open = "([{", *close = ")]}";
    const char *at = strchr(open, c);
    if (at) {
        if (x->n_nest == NESTING_MAX)
            return bad(x, "brackets nested too deep");
        x->nest[x->n_nest++] = close[at - open];
    } else if (strchr(close, c)) {
        if (x->n_nest == 0 || x->nest[x->n_nest - 1] != c)
            return bad(x, "a bracket closes that was not opened");
        x->n_nest--;
    }
    return RC_OK;
}

static enum rc lex_op(struct lexer *x)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = *x->p, d = x->p + 1 < x->end ? x->p[1] : 0;
    for (size_t i = 0; i < ARRAY_LEN(two); i++) {
        if (c == two[i][0] && d == two[i][1]) {
            enum rc rc = push(x, (struct jinja_token){.kind = JT_OP, .op = JT_OP2(c, d)});
            advance(x, x->p + 2);
            return rc;
        }
    }
    if (!c || !strchr("+-*/%~[](){}><=.:|,;", c))
        return bad(x, "a character that no expression has");
    enum rc rc = balance(x, c);
    if (rc == RC_OK)
        rc = push(x, (struct jinja_token){.kind = JT_OP, .op = c});
    advance(x, x->p + 1);
    return rc;
}

/* True when the tag ends here; then it has been passed, and its blanks too. */
static bool tag_ends(struct lexer *x, bool is_var)
{
    const char *p = x->p;
    char sign = 0;
    if (x->n_nest > 0)
        return false;
    if (*p == '-' || (*p == '+' && !is_var))
        sign = *p++;
    if (x->end - p < 2 || p[0] != (is_var ? '}' : '%') || p[1] != '}')
        return false;
    advance(x, p + 2);
    if (is_var && sign == '-')
        skip_blanks(x);
    if (is_var)
        x->line_starting = x->p[-1] == '\n';
    else
        trim_after(x, sign);
    return true;
}

static enum rc lex_tag(struct lexer *x, bool is_var)
{
    enum rc rc = push(x, (struct jinja_token){.kind = is_var ? JT_VAR_BEGIN : JT_BLOCK_BEGIN});
    x->n_nest = 0;
    while (rc == RC_OK) {
        skip_blanks(x);
        if (x->p >= x->end)
            return bad(x, "the tag does not end");
        uint32_t line = x->line;
        if (tag_ends(x, is_var)) {
            rc = push(x, (struct jinja_token){.kind = is_var ? JT_VAR_END : JT_BLOCK_END});
            if (rc == RC_OK)
                x->tok[x->n - 1].line = line;
            return rc;
        }
        char c = *x->p;
        if (is_name_char(c, true)) {
            const char *p = x->p;
            while (p < x->end && is_name_char(*p, false))
                p++;
            rc = push(x, (struct jinja_token){.kind = JT_NAME,
                                              .text = str_make(x->p, (size_t)(p - x->p))});
            advance(x, p);
        } else if (c >= '0' && c <= '9') {
            rc = lex_number(x);
        } else if (c == '\'' || c == '"') {
            rc = lex_string(x);
        } else {
            rc = lex_op(x);
        }
    }
    return rc;
}

/* One piece of text and the tag after it. */
static enum rc lex_step(struct lexer *x)
{
    const char *tag = find_tag(x->p, x->end);
    bool is_var = tag < x->end && tag[1] == '{';
    char sign = x->end - tag > 2 ? tag[2] : 0, before, after;
    enum rc rc = push_data(x, tag, tag < x->end ? sign : '+', is_var);
    if (rc != RC_OK || tag == x->end)
        return rc;
    if (tag[1] == '#')
        return skip_comment(x);
    const char *raw = is_var ? NULL : bare_tag(tag, x->end, STR("raw"), &before, &after);
    if (raw && after != '+')
        return lex_raw(x, raw, after);
    advance(x, tag + 2);
    if (sign == '-' || sign == '+')
        advance(x, x->p + 1);
    return lex_tag(x, is_var);
}

/* "\r\n" and "\r" become "\n"; one line end at the very end goes. */
static struct str normalized(struct arena *a, struct str s)
{
    char *to = arena_alloc(a, s.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; to && i < s.len; i++) {
        if (s.p[i] == '\r' && i + 1 < s.len && s.p[i + 1] == '\n')
            continue;
        to[n++] = s.p[i] == '\r' ? '\n' : s.p[i];
    }
    if (n > 0 && to[n - 1] == '\n')
        n--;
    return str_make(to, n);
}

enum rc jinja_lex(struct arena *a, struct str source, struct jinja_token **ret, struct err *err)
{
    struct str s = normalized(a, source);
    struct lexer x = {.arena = a, .err = err, .line = 1, .line_starting = true};
    if (!s.p)
        return no_memory(&x);
    x.p = s.p;
    x.end = s.p + s.len;
    enum rc rc = RC_OK;
    while (rc == RC_OK && x.p < x.end)
        rc = lex_step(&x);
    if (rc == RC_OK)
        rc = push(&x, (struct jinja_token){.kind = JT_END});
    if (rc == RC_OK)
        *ret = x.tok;
    return rc;
}
