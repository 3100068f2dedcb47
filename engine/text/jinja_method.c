/* jinja_method.c - what can be called on a value: methods of str, dict, list and loop. Those that
 * would change a list or dict are left out, as in the sandbox that Hugging Face uses. */

#include "base/units.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/unicode.h"

enum str_method {
    M_STRIP,
    M_LSTRIP,
    M_RSTRIP,
    M_SPLIT,
    M_RSPLIT,
    M_SPLITLINES,
    M_STARTSWITH,
    M_ENDSWITH,
    M_UPPER,
    M_LOWER,
    M_TITLE,
    M_CAPITALIZE,
    M_REPLACE,
    M_FIND,
    M_RFIND,
    M_INDEX,
    M_COUNT,
    M_JOIN,
    M_ISDIGIT,
    M_ISALPHA,
    M_ISSPACE,
    M_ISUPPER,
    M_ISLOWER,
    M_REMOVEPREFIX,
    M_REMOVESUFFIX,
    M_FORMAT,
};

static const char *const str_methods[] = {
    "strip",    "lstrip",  "rstrip",       "split",        "rsplit",     "splitlines", "startswith",
    "endswith", "upper",   "lower",        "title",        "capitalize", "replace",    "find",
    "rfind",    "index",   "count",        "join",         "isdigit",    "isalpha",    "isspace",
    "isupper",  "islower", "removeprefix", "removesuffix", "format",
};

static enum rc want_str(struct jinja *j, const struct jinja_args *a, size_t at, const char *name,
                        struct jinja_value *ret)
{
    if (!jinja_arg(j, a, at, name))
        return jinja_fail(j, RC_BAD_INPUT, "the argument '%s' is missing", name);
    *ret = jinja_text(STR(""), true);
    return jinja_arg_str(j, a, at, name, ret);
}

static enum rc strip(struct jinja *j, const struct jinja_value *self, enum str_method m,
                     const struct jinja_args *a, struct jinja_value *ret)
{
    struct jinja_value chars = {.kind = JINJA_NONE};
    enum rc rc = jinja_arg_str(j, a, 0, "chars", &chars);
    if (rc != RC_OK)
        return rc;
    return jinja_str_strip(j, self, chars.kind == JINJA_STR ? &chars : NULL, m != M_RSTRIP,
                           m != M_LSTRIP, ret);
}

static enum rc split(struct jinja *j, const struct jinja_value *self, enum str_method m,
                     const struct jinja_args *a, struct jinja_value *ret)
{
    struct jinja_value sep = {.kind = JINJA_NONE};
    int64_t most = -1;
    enum rc rc = jinja_arg_str(j, a, 0, "sep", &sep);
    if (rc == RC_OK)
        rc = jinja_arg_int(j, a, 1, "maxsplit", &most);
    if (rc == RC_OK && m == M_RSPLIT && sep.kind != JINJA_STR && most >= 0)
        return jinja_fail(j, RC_INVALID, "rsplit() by blanks with maxsplit is not supported");
    if (rc != RC_OK)
        return rc;
    return jinja_str_split(j, self, sep.kind == JINJA_STR ? &sep : NULL, most, m == M_RSPLIT, ret);
}

static enum rc splitlines(struct jinja *j, const struct jinja_value *self, struct jinja_value *ret)
{
    enum rc rc = jinja_list_new(j, JINJA_LIST, ret);
    size_t from = 0;
    for (size_t i = 0; rc == RC_OK && i < self->s.len; i++) {
        char c = self->s.p[i];
        if (c != '\n' && c != '\r')
            continue;
        struct jinja_value line = jinja_slice(j, self, from, i, &rc);
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, line);
        if (c == '\r' && i + 1 < self->s.len && self->s.p[i + 1] == '\n')
            i++;
        from = i + 1;
    }
    if (rc == RC_OK && from < self->s.len) {
        struct jinja_value line = jinja_slice(j, self, from, self->s.len, &rc);
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, line);
    }
    return rc;
}

/* startswith and endswith take one str, or a tuple of them. */
static enum rc has_edge(struct jinja *j, const struct jinja_value *self, bool at_start,
                        const struct jinja_args *a, struct jinja_value *ret)
{
    const struct jinja_value *v = jinja_arg(j, a, 0, at_start ? "prefix" : "suffix");
    struct jinja_value one;
    bool found = false;
    size_t n = v && v->kind == JINJA_TUPLE ? jinja_list_len(v) : v ? 1 : 0;
    if (n == 0 && !v)
        return jinja_fail(j, RC_BAD_INPUT, "an argument is missing");
    for (size_t i = 0; i < n && !found; i++) {
        one = v->kind == JINJA_TUPLE ? jinja_list_at(v, i) : *v;
        if (one.kind != JINJA_STR)
            return jinja_fail(j, RC_BAD_INPUT, "startswith and endswith need a str, not %s",
                              jinja_kind_name(&one));
        found = at_start ? str_starts(jinja_view(self), jinja_view(&one))
                         : str_ends(jinja_view(self), jinja_view(&one));
    }
    *ret = jinja_bool(found);
    return RC_OK;
}

static enum rc replace(struct jinja *j, const struct jinja_value *self, const struct jinja_args *a,
                       struct jinja_value *ret)
{
    struct jinja_value from, to;
    int64_t most = -1;
    enum rc rc = want_str(j, a, 0, "old", &from);
    if (rc == RC_OK)
        rc = want_str(j, a, 1, "new", &to);
    if (rc == RC_OK)
        rc = jinja_arg_int(j, a, 2, "count", &most);
    return rc == RC_OK ? jinja_str_replace(j, self, jinja_view(&from), &to, most, ret) : rc;
}

static enum rc find(struct jinja *j, const struct jinja_value *self, enum str_method m,
                    const struct jinja_args *a, struct jinja_value *ret)
{
    struct jinja_value what;
    struct str s = jinja_view(self);
    enum rc rc = want_str(j, a, 0, "sub", &what);
    if (rc == RC_OK)
        rc = jinja_spend(j, s.len / 64);
    if (rc != RC_OK)
        return rc;
    ptrdiff_t at = str_find(s, jinja_view(&what));
    for (ptrdiff_t next = at; m == M_RFIND && next >= 0;) {
        at = next;
        ptrdiff_t more = str_find(str_sub(s, (size_t)at + 1, s.len), jinja_view(&what));
        next = more < 0 || (size_t)at + 1 > s.len ? -1 : at + 1 + more;
        if (next <= at)
            break;
    }
    if (at < 0 && m == M_INDEX)
        return jinja_fail(j, RC_BAD_INPUT, "index(): substring not found");
    *ret = jinja_int(at < 0 ? -1 : (int64_t)jinja_str_count(str_sub(s, 0, (size_t)at)));
    return RC_OK;
}

static enum rc count(struct jinja *j, const struct jinja_value *self, const struct jinja_args *a,
                     struct jinja_value *ret)
{
    struct jinja_value what;
    struct str rest = jinja_view(self);
    int64_t n = 0;
    enum rc rc = want_str(j, a, 0, "sub", &what);
    if (rc == RC_OK && what.s.len == 0)
        n = (int64_t)jinja_str_count(rest) + 1;
    for (ptrdiff_t at; rc == RC_OK && what.s.len && (at = str_find(rest, jinja_view(&what))) >= 0;
         n++) {
        rest = str_sub(rest, (size_t)at + what.s.len, rest.len);
        rc = jinja_spend(j, 1 + (size_t)at / 64);
    }
    *ret = jinja_int(n);
    return rc;
}

/* The str.is…() family; letters outside ASCII are told apart by the locale only in case. */
static bool all_are(const struct jinja *j, const struct jinja_value *self, enum str_method m)
{
    bool any = false;
    for (size_t at = 0; at < self->s.len;) {
        uint32_t cp;
        at += utf8_next(self->s.p + at, self->s.p + self->s.len, &cp);
        bool lower = cp >= 'a' && cp <= 'z', upper = cp >= 'A' && cp <= 'Z';
        bool wide = cp >= 0x80 && cp != UTF8_BAD && j->locale != (locale_t)0;
        if (m == M_ISUPPER || m == M_ISLOWER) {
            if (m == M_ISUPPER ? lower : upper)
                return false;
            any |= lower || upper;
            continue;
        }
        bool is = m == M_ISDIGIT   ? cp >= '0' && cp <= '9'
                  : m == M_ISSPACE ? jinja_is_blank(cp)
                                   : lower || upper || (wide && !jinja_is_blank(cp));
        if (!is)
            return false;
        any = true;
    }
    return any;
}

static enum rc remove_edge(struct jinja *j, const struct jinja_value *self, bool prefix,
                           const struct jinja_args *a, struct jinja_value *ret)
{
    struct jinja_value what;
    enum rc rc = want_str(j, a, 0, prefix ? "prefix" : "suffix", &what);
    if (rc != RC_OK)
        return rc;
    size_t from = 0, to = self->s.len;
    if (prefix && str_starts(jinja_view(self), jinja_view(&what)))
        from = what.s.len;
    else if (!prefix && str_ends(jinja_view(self), jinja_view(&what)))
        to -= what.s.len;
    *ret = jinja_slice(j, self, from, to, &rc);
    return rc;
}

static enum rc join(struct jinja *j, const struct jinja_value *self, const struct jinja_args *a,
                    struct jinja_value *ret)
{
    const struct jinja_value *of = jinja_arg(j, a, 0, "iterable");
    struct jinja_value items;
    if (!of)
        return jinja_fail(j, RC_BAD_INPUT, "join() of nothing");
    enum rc rc = jinja_items(j, of, &items);
    size_t n = rc == RC_OK ? jinja_list_len(&items) : 0;
    for (size_t i = 0; i < n; i++) {
        struct jinja_value item = jinja_list_at(&items, i);
        if (item.kind != JINJA_STR)
            return jinja_fail(j, RC_BAD_INPUT, "join(): item %zu is a %s", i,
                              jinja_kind_name(&item));
    }
    return rc == RC_OK ? jinja_str_join(j, self, &items, ret) : rc;
}

static enum rc call_str(struct jinja *j, const struct jinja_value *self, enum str_method m,
                        const struct jinja_args *a, struct jinja_value *ret)
{
    switch (m) {
    case M_STRIP:
    case M_LSTRIP:
    case M_RSTRIP:
        return strip(j, self, m, a, ret);
    case M_SPLIT:
    case M_RSPLIT:
        return split(j, self, m, a, ret);
    case M_SPLITLINES:
        return splitlines(j, self, ret);
    case M_STARTSWITH:
    case M_ENDSWITH:
        return has_edge(j, self, m == M_STARTSWITH, a, ret);
    case M_UPPER:
        return jinja_str_case(j, self, JINJA_UPPER, ret);
    case M_LOWER:
        return jinja_str_case(j, self, JINJA_LOWER, ret);
    case M_TITLE:
        return jinja_str_case(j, self, JINJA_TITLE, ret);
    case M_CAPITALIZE:
        return jinja_str_case(j, self, JINJA_CAPITALIZE, ret);
    case M_REPLACE:
        return replace(j, self, a, ret);
    case M_FIND:
    case M_RFIND:
    case M_INDEX:
        return find(j, self, m, a, ret);
    case M_COUNT:
        return count(j, self, a, ret);
    case M_JOIN:
        return join(j, self, a, ret);
    case M_REMOVEPREFIX:
    case M_REMOVESUFFIX:
        return remove_edge(j, self, m == M_REMOVEPREFIX, a, ret);
    case M_FORMAT:
        return jinja_str_format(j, self, a, ret);
    default:
        *ret = jinja_bool(all_are(j, self, m));
        return RC_OK;
    }
}

/* items(), keys(), values() as lists. */
static enum rc dict_view(struct jinja *j, const struct jinja_value *self, char which,
                         struct jinja_value *ret)
{
    void *iter = NULL;
    size_t n = jinja_dict_len(self);
    enum rc rc = jinja_list_new(j, JINJA_LIST, ret);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        struct jinja_pair p = jinja_dict_at(self, i, &iter);
        struct jinja_value v = which == 'k' ? p.key : p.value;
        if (which == 'i') {
            rc = jinja_list_new(j, JINJA_TUPLE, &v);
            if (rc == RC_OK)
                rc = jinja_list_add(j, &v, p.key);
            if (rc == RC_OK)
                rc = jinja_list_add(j, &v, p.value);
        }
        if (rc == RC_OK)
            rc = jinja_list_add(j, ret, v);
    }
    return rc;
}

static enum rc call_dict(struct jinja *j, const struct jinja_value *self, struct str name,
                         const struct jinja_args *a, struct jinja_value *ret, bool *ret_found)
{
    *ret_found = true;
    if (str_is(name, "items") || str_is(name, "keys") || str_is(name, "values"))
        return dict_view(j, self, name.p[0], ret);
    if (str_is(name, "get")) {
        const struct jinja_value *key = jinja_arg(j, a, 0, "key");
        const struct jinja_value *otherwise = jinja_arg(j, a, 1, "default");
        if (!key)
            return jinja_fail(j, RC_BAD_INPUT, "get() without a key");
        if (!jinja_dict_find(self, key, ret))
            *ret = otherwise ? *otherwise : jinja_of_json(NULL);
        return RC_OK;
    }
    if (str_is(name, "copy")) {
        *ret = *self; /* nothing can change either */
        return RC_OK;
    }
    *ret_found = false;
    return RC_OK;
}

static enum rc call_list(struct jinja *j, const struct jinja_value *self, struct str name,
                         const struct jinja_args *a, struct jinja_value *ret, bool *ret_found)
{
    const struct jinja_value *what = jinja_arg(j, a, 0, "value");
    size_t n = jinja_list_len(self);
    int64_t count_of = 0, first = -1;
    *ret_found = str_is(name, "index") || str_is(name, "count");
    if (!*ret_found || !what)
        return RC_OK;
    for (size_t i = 0; i < n; i++) {
        struct jinja_value item = jinja_list_at(self, i);
        if (!jinja_equal(&item, what))
            continue;
        count_of++;
        if (first < 0)
            first = (int64_t)i;
    }
    bool index = str_is(name, "index");
    if (index && first < 0)
        return jinja_fail(j, RC_BAD_INPUT, "index(): not in the list");
    *ret = jinja_int(index ? first : count_of);
    return jinja_spend(j, n);
}

static enum rc call_loop(struct jinja *j, struct jinja_loop *loop, struct str name,
                         const struct jinja_args *a, struct jinja_value *ret, bool *ret_found)
{
    *ret_found = true;
    if (str_is(name, "cycle") && a->n > 0) {
        *ret = a->v[loop->at % a->n].v;
        return RC_OK;
    }
    *ret_found = str_is(name, "changed");
    if (!*ret_found)
        return RC_OK;
    struct jinja_value now;
    enum rc rc = jinja_list_new(j, JINJA_TUPLE, &now);
    for (size_t i = 0; rc == RC_OK && i < a->n; i++)
        rc = jinja_list_add(j, &now, a->v[i].v);
    if (rc != RC_OK)
        return rc;
    *ret = jinja_bool(!loop->has_changed || !jinja_equal(&now, &loop->changed));
    loop->changed = now;
    loop->has_changed = true;
    return RC_OK;
}

enum rc jinja_method(struct jinja *j, const struct jinja_value *self, struct str name,
                     const struct jinja_args *a, struct jinja_value *ret, bool *ret_found)
{
    *ret_found = false;
    if (self->kind == JINJA_STR) {
        for (size_t i = 0; i < ARRAY_LEN(str_methods); i++) {
            if (str_is(name, str_methods[i])) {
                *ret_found = true;
                return call_str(j, self, (enum str_method)i, a, ret);
            }
        }
        return RC_OK;
    }
    if (self->kind == JINJA_DICT)
        return call_dict(j, self, name, a, ret, ret_found);
    if (jinja_is_list(self))
        return call_list(j, self, name, a, ret, ret_found);
    if (self->kind == JINJA_LOOP)
        return call_loop(j, self->loop, name, a, ret, ret_found);
    return RC_OK;
}
