/* jinja_filter.c - filters over one value; those over lists are in jinja_seq.c. */

#include <math.h>
#include <stdlib.h>

#include "base/units.h"
#include "engine/text/jinja_eval.h"

#define FILTER(name)                                                                               \
    static enum rc name(struct jinja *j, const struct jinja_value *in, const struct jinja_args *a, \
                        struct jinja_value *ret)

static enum rc change_case(struct jinja *j, const struct jinja_value *in, enum jinja_case to,
                           struct jinja_value *ret)
{
    struct jinja_value s;
    enum rc rc = jinja_to_str(j, in, &s);
    return rc == RC_OK ? jinja_str_case(j, &s, to, ret) : rc;
}

FILTER(f_upper)
{
    (void)a;
    return change_case(j, in, JINJA_UPPER, ret);
}

FILTER(f_lower)
{
    (void)a;
    return change_case(j, in, JINJA_LOWER, ret);
}

FILTER(f_title)
{
    (void)a;
    return change_case(j, in, JINJA_TITLE_WORDS, ret);
}

FILTER(f_capitalize)
{
    (void)a;
    return change_case(j, in, JINJA_CAPITALIZE, ret);
}

FILTER(f_trim)
{
    struct jinja_value s, chars = {.kind = JINJA_NONE};
    enum rc rc = jinja_to_str(j, in, &s);
    if (rc == RC_OK)
        rc = jinja_arg_str(j, a, 0, "chars", &chars);
    if (rc != RC_OK)
        return rc;
    return jinja_str_strip(j, &s, chars.kind == JINJA_STR ? &chars : NULL, true, true, ret);
}

FILTER(f_replace)
{
    struct jinja_value s, from = {.kind = JINJA_NONE}, to = from;
    int64_t most = -1;
    enum rc rc = jinja_to_str(j, in, &s);
    if (rc == RC_OK)
        rc = jinja_arg_str(j, a, 0, "old", &from);
    if (rc == RC_OK)
        rc = jinja_arg_str(j, a, 1, "new", &to);
    if (rc == RC_OK)
        rc = jinja_arg_int(j, a, 2, "count", &most);
    if (rc == RC_OK && (from.kind != JINJA_STR || to.kind != JINJA_STR))
        return jinja_fail(j, RC_BAD_INPUT, "replace needs two strings");
    return rc == RC_OK ? jinja_str_replace(j, &s, jinja_view(&from), &to, most, ret) : rc;
}

FILTER(f_string)
{
    (void)a;
    return jinja_to_str(j, in, ret);
}

FILTER(f_safe)
{
    (void)a;
    return jinja_to_str(j, in, ret);
}

FILTER(f_default)
{
    const struct jinja_value *other = jinja_arg(j, a, 0, "default_value");
    bool falsy = jinja_arg_true(j, a, 1, "boolean", false);
    *ret = *in;
    if (in->kind == JINJA_UNDEFINED || (falsy && !jinja_true(in)))
        *ret = other ? *other : jinja_text(STR(""), true);
    return RC_OK;
}

FILTER(f_tojson)
{
    struct jinja_json_style style = {.indent = -1};
    const struct jinja_value *indent = jinja_arg(j, a, 1, "indent");
    const struct jinja_value *seps = jinja_arg(j, a, 2, "separators");
    style.ascii = jinja_arg_true(j, a, 0, "ensure_ascii", false);
    style.sort = jinja_arg_true(j, a, 3, "sort_keys", false);
    if (indent && indent->kind == JINJA_INT)
        style.indent = MIN_OF(MAX_OF(indent->i, (int64_t)0), (int64_t)64);
    style.item_sep = style.indent >= 0 ? STR(",") : STR(", ");
    style.key_sep = STR(": ");
    if (seps && jinja_is_list(seps) && jinja_list_len(seps) == 2) {
        struct jinja_value item = jinja_list_at(seps, 0), key = jinja_list_at(seps, 1);
        if (item.kind == JINJA_STR && key.kind == JINJA_STR) {
            style.item_sep = jinja_view(&item);
            style.key_sep = jinja_view(&key);
        }
    }
    return jinja_to_json(j, in, &style, ret);
}

FILTER(f_int)
{
    int64_t otherwise = 0;
    struct jinja_value s;
    enum rc rc = jinja_arg_int(j, a, 0, "default", &otherwise);
    if (rc == RC_OK && in->kind == JINJA_STR)
        rc = jinja_str_strip(j, in, NULL, true, true, &s);
    if (rc != RC_OK)
        return rc;
    double d = 0;
    int64_t i = otherwise;
    if (in->kind == JINJA_INT)
        i = in->i;
    else if (in->kind == JINJA_BOOL)
        i = in->b;
    else if (in->kind == JINJA_FLOAT && fabs(in->d) < 9e18)
        i = (int64_t)in->d;
    else if (in->kind == JINJA_STR && !str_to_i64(jinja_view(&s), INT64_MIN, INT64_MAX, &i) &&
             str_to_double(jinja_view(&s), &d) && fabs(d) < 9e18)
        i = (int64_t)d;
    *ret = jinja_int(i);
    return RC_OK;
}

FILTER(f_float)
{
    const struct jinja_value *otherwise = jinja_arg(j, a, 0, "default");
    double d = otherwise && otherwise->kind == JINJA_FLOAT ? otherwise->d : 0;
    if (in->kind == JINJA_INT)
        d = (double)in->i;
    else if (in->kind == JINJA_FLOAT)
        d = in->d;
    else if (in->kind == JINJA_STR)
        str_to_double(jinja_view(in), &d);
    *ret = jinja_float(d);
    return RC_OK;
}

FILTER(f_abs)
{
    (void)a;
    if (in->kind == JINJA_INT && in->i != INT64_MIN)
        *ret = jinja_int(llabs(in->i));
    else if (in->kind == JINJA_FLOAT)
        *ret = jinja_float(fabs(in->d));
    else
        return jinja_fail(j, RC_BAD_INPUT, "abs of %s", jinja_kind_name(in));
    return RC_OK;
}

/* Half to even at the last place kept, as Python's round(). */
FILTER(f_round)
{
    int64_t places = 0;
    enum rc rc = jinja_arg_int(j, a, 0, "precision", &places);
    if (rc != RC_OK)
        return rc;
    if (in->kind != JINJA_INT && in->kind != JINJA_FLOAT)
        return jinja_fail(j, RC_BAD_INPUT, "round of %s", jinja_kind_name(in));
    double scale = pow(10, (double)MIN_OF(MAX_OF(places, (int64_t)0), (int64_t)15));
    double d = in->kind == JINJA_INT ? (double)in->i : in->d;
    *ret = jinja_float(nearbyint(d * scale) / scale);
    return RC_OK;
}

/* Lines after the first get `width` blanks, or a text; blank lines only when asked. */
FILTER(f_indent)
{
    const struct jinja_value *width = jinja_arg(j, a, 0, "width");
    bool first = jinja_arg_true(j, a, 1, "first", false);
    bool blank = jinja_arg_true(j, a, 2, "blank", false);
    static const char blanks[65] =
        "                                                                ";
    struct jinja_value s, by = jinja_text(str_make(blanks, 4), true);
    enum rc rc = jinja_to_str(j, in, &s);
    if (width && width->kind == JINJA_STR)
        by = *width;
    else if (width && width->kind == JINJA_INT)
        by = jinja_text(str_make(blanks, (size_t)MIN_OF(MAX_OF(width->i, 0), 64)), true);
    struct jinja_build b;
    jinja_build_init(&b, j);
    b.rc = rc;
    size_t at = 0;
    for (bool more = true, top = true; more && b.rc == RC_OK; top = false) {
        ptrdiff_t nl = str_find_byte(str_sub(jinja_view(&s), at, s.s.len), '\n');
        size_t end = nl < 0 ? s.s.len : at + (size_t)nl;
        more = nl >= 0;
        if (top ? first : blank || end > at)
            jinja_build_part(&b, &by.s, 0, by.s.len);
        jinja_build_part(&b, &s.s, at, more ? end + 1 : end);
        at = end + 1;
    }
    return jinja_build_end(&b, ret);
}

FILTER(f_escape)
{
    (void)a;
    struct jinja_value s;
    enum rc rc = jinja_to_str(j, in, &s);
    struct jinja_build b;
    jinja_build_init(&b, j);
    b.rc = rc;
    for (size_t i = 0; b.rc == RC_OK && i < s.s.len; i++) {
        char c = s.s.p[i];
        struct str to = c == '&'    ? STR("&amp;")
                        : c == '<'  ? STR("&lt;")
                        : c == '>'  ? STR("&gt;")
                        : c == '\'' ? STR("&#39;")
                        : c == '"'  ? STR("&#34;")
                                    : STR_NONE;
        if (to.p)
            jinja_build_add(&b, to, false);
        else
            jinja_build_part(&b, &s.s, i, i + 1);
    }
    return jinja_build_end(&b, ret);
}

FILTER(f_attr)
{
    struct jinja_value name = jinja_text(STR(""), true);
    enum rc rc = jinja_arg_str(j, a, 0, "name", &name);
    return rc == RC_OK ? jinja_attr(j, in, jinja_view(&name), ret) : rc;
}

enum rc jinja_filter(struct jinja *j, struct str name, const struct jinja_value *in,
                     const struct jinja_args *a, struct jinja_value *ret)
{
    static const struct {
        const char *name;
        jinja_filter_fn fn;
    } known[] = {
        {"trim", f_trim},     {"tojson", f_tojson},   {"default", f_default},
        {"d", f_default},     {"replace", f_replace}, {"upper", f_upper},
        {"lower", f_lower},   {"title", f_title},     {"capitalize", f_capitalize},
        {"string", f_string}, {"safe", f_safe},       {"int", f_int},
        {"float", f_float},   {"abs", f_abs},         {"round", f_round},
        {"indent", f_indent}, {"escape", f_escape},   {"e", f_escape},
        {"attr", f_attr},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_is(name, known[i].name))
            return known[i].fn(j, in, a, ret);
    }
    jinja_filter_fn fn = jinja_list_filter(name);
    if (fn)
        return fn(j, in, a, ret);
    return jinja_fail(j, RC_INVALID, "filter '%.*s' is not supported",
                      (int)MIN_OF(name.len, (size_t)60), name.p);
}
