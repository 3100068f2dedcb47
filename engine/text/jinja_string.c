/* jinja_string.c - Python's string operations, each keeping track of who wrote which byte. */

#include <wctype.h>

#include "base/units.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/unicode.h"

/* One letter in the other case. Of the letters that become two, only German sharp s is known. */
static uint32_t letter_case(const struct jinja *j, uint32_t cp, bool upper)
{
    if (cp < 0x80) {
        if (upper)
            return cp >= 'a' && cp <= 'z' ? cp - 32 : cp;
        return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    }
    if (!j->locale || cp == UTF8_BAD)
        return cp;
    wint_t w = upper ? towupper_l((wint_t)cp, j->locale) : towlower_l((wint_t)cp, j->locale);
    return (uint32_t)w;
}

static bool is_letter(const struct jinja *j, uint32_t cp)
{
    if (cp < 0x80)
        return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
    return cp != UTF8_BAD && j->locale && iswalpha_l((wint_t)cp, j->locale);
}

/* The title filter starts words after these; str.title() after any character but a letter. */
static bool starts_word(const struct jinja *j, uint32_t before, enum jinja_case to)
{
    if (to == JINJA_TITLE)
        return !is_letter(j, before);
    return jinja_is_blank(before) || (before < 0x80 && before && strchr("-({[<", (int)before));
}

enum rc jinja_str_case(struct jinja *j, const struct jinja_value *v, enum jinja_case mode,
                       struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    uint32_t cp, before = ' ';
    size_t plain = 0, n;
    for (size_t at = 0; at < v->s.len && b.rc == RC_OK; at += n, before = cp) {
        n = utf8_next(v->s.p + at, v->s.p + v->s.len, &cp);
        bool upper = mode == JINJA_UPPER || (mode == JINJA_CAPITALIZE && at == 0) ||
                     (mode >= JINJA_TITLE && (at == 0 || starts_word(j, before, mode)));
        uint32_t c = letter_case(j, cp, upper);
        bool sharp = upper && cp == 0xdf;
        if (c == cp && !sharp)
            continue;
        /* The new letter is as trusted as the old one. */
        char text[4];
        struct jinja_value old = jinja_slice(j, v, at, at + n, &b.rc);
        struct str to = str_make(text, utf8_encode(c, text));
        if (sharp)
            to = mode == JINJA_UPPER ? STR("SS") : STR("Ss");
        jinja_build_part(&b, &v->s, plain, at);
        jinja_build_add(&b, to, old.s.n_span > 0);
        plain = at + n;
    }
    jinja_build_part(&b, &v->s, plain, v->s.len);
    return jinja_build_end(&b, ret);
}

static bool is_among(uint32_t cp, const char *p, size_t n, const struct jinja_value *chars)
{
    if (!chars)
        return jinja_is_blank(cp);
    return str_find(jinja_view(chars), str_make(p, n)) >= 0;
}

enum rc jinja_str_strip(struct jinja *j, const struct jinja_value *v,
                        const struct jinja_value *chars, bool left, bool right,
                        struct jinja_value *ret)
{
    size_t from = 0, to = v->s.len;
    uint32_t cp;
    while (left && from < to) {
        size_t n = utf8_next(v->s.p + from, v->s.p + to, &cp);
        if (!is_among(cp, v->s.p + from, n, chars))
            break;
        from += n;
    }
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && to - at < 4 && ((unsigned char)v->s.p[at] & 0xc0) == 0x80)
            at--;
        if (utf8_next(v->s.p + at, v->s.p + to, &cp) != to - at)
            at = to - 1;
        if (!is_among(cp, v->s.p + at, to - at, chars))
            break;
        to = at;
    }
    enum rc rc = RC_OK;
    *ret = jinja_slice(j, v, from, to, &rc);
    return rc;
}

enum rc jinja_str_replace(struct jinja *j, const struct jinja_value *v, struct str from,
                          const struct jinja_value *to, int64_t most, struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    size_t at = 0;
    for (; b.rc == RC_OK && most != 0; most -= most > 0) {
        ptrdiff_t hit = str_find(str_sub(jinja_view(v), at, v->s.len), from);
        if (hit < 0)
            break;
        b.rc = jinja_spend(j, 1 + (size_t)hit / 64);
        jinja_build_part(&b, &v->s, at, at + (size_t)hit);
        jinja_build_part(&b, &to->s, 0, to->s.len);
        at += (size_t)hit + from.len;
        if (from.len == 0) { /* between all characters, and at both ends */
            uint32_t cp;
            if (at >= v->s.len)
                break;
            size_t n = utf8_next(v->s.p + at, v->s.p + v->s.len, &cp);
            jinja_build_part(&b, &v->s, at, at + n);
            at += n;
        }
    }
    jinja_build_part(&b, &v->s, at, v->s.len);
    return jinja_build_end(&b, ret);
}

static enum rc add_part(struct jinja *j, const struct jinja_value *v, size_t from, size_t to,
                        struct jinja_value *list)
{
    enum rc rc = RC_OK;
    struct jinja_value part = jinja_slice(j, v, from, to, &rc);
    return rc == RC_OK ? jinja_list_add(j, list, part) : rc;
}

static enum rc split_blanks(struct jinja *j, const struct jinja_value *v, int64_t most,
                            struct jinja_value *ret)
{
    size_t at = 0, n;
    uint32_t cp;
    enum rc rc = jinja_list_new(j, JINJA_LIST, ret);
    while (rc == RC_OK) {
        for (; at < v->s.len; at += n) {
            n = utf8_next(v->s.p + at, v->s.p + v->s.len, &cp);
            if (!jinja_is_blank(cp))
                break;
        }
        size_t from = at;
        if (at == v->s.len)
            break;
        if (most == 0)
            return add_part(j, v, from, v->s.len, ret);
        for (; at < v->s.len; at += n) {
            n = utf8_next(v->s.p + at, v->s.p + v->s.len, &cp);
            if (jinja_is_blank(cp))
                break;
        }
        rc = add_part(j, v, from, at, ret);
        most -= most > 0;
    }
    return rc;
}

static ptrdiff_t find_last(struct str s, struct str what)
{
    for (size_t i = s.len + 1; i-- > 0;) {
        if (str_starts(str_sub(s, i, s.len), what))
            return (ptrdiff_t)i;
    }
    return -1;
}

/* Cuts from the right are found first and turned round at the end. */
static enum rc split_right(struct jinja *j, const struct jinja_value *v, struct str sep,
                           int64_t most, struct jinja_value *ret)
{
    struct jinja_value parts;
    size_t end = v->s.len;
    enum rc rc = jinja_list_new(j, JINJA_LIST, &parts);
    for (; rc == RC_OK && most != 0; most -= most > 0) {
        ptrdiff_t hit = find_last(str_make(v->s.p, end), sep);
        if (hit < 0)
            break;
        rc = add_part(j, v, (size_t)hit + sep.len, end, &parts);
        end = (size_t)hit;
    }
    if (rc == RC_OK)
        rc = add_part(j, v, 0, end, &parts);
    if (rc == RC_OK)
        rc = jinja_list_new(j, JINJA_LIST, ret);
    for (size_t i = parts.list->n; rc == RC_OK && i-- > 0;)
        rc = jinja_list_add(j, ret, parts.list->v[i]);
    return rc;
}

enum rc jinja_str_split(struct jinja *j, const struct jinja_value *v, const struct jinja_value *sep,
                        int64_t most, bool from_right, struct jinja_value *ret)
{
    if (!sep)
        return split_blanks(j, v, most, ret);
    if (sep->s.len == 0)
        return jinja_fail(j, RC_BAD_INPUT, "split() by an empty str");
    if (from_right && most >= 0)
        return split_right(j, v, jinja_view(sep), most, ret);
    size_t at = 0;
    enum rc rc = jinja_list_new(j, JINJA_LIST, ret);
    for (; rc == RC_OK && most != 0; most -= most > 0) {
        ptrdiff_t hit = str_find(str_sub(jinja_view(v), at, v->s.len), jinja_view(sep));
        if (hit < 0)
            break;
        rc = add_part(j, v, at, at + (size_t)hit, ret);
        at += (size_t)hit + sep->s.len;
    }
    return rc == RC_OK ? add_part(j, v, at, v->s.len, ret) : rc;
}

enum rc jinja_str_join(struct jinja *j, const struct jinja_value *sep,
                       const struct jinja_value *items, struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    size_t n = jinja_list_len(items);
    for (size_t i = 0; i < n && b.rc == RC_OK; i++) {
        struct jinja_value item = jinja_list_at(items, i);
        if (i > 0)
            jinja_build_part(&b, &sep->s, 0, sep->s.len);
        jinja_build_value(&b, &item);
    }
    return jinja_build_end(&b, ret);
}

/* {} {0} {name} {{ }}: what templates use of str.format; the rest is refused by the caller. */
enum rc jinja_str_format(struct jinja *j, const struct jinja_value *v, const struct jinja_args *a,
                         struct jinja_value *ret)
{
    struct jinja_build b;
    jinja_build_init(&b, j);
    size_t plain = 0, next = 0;
    for (size_t at = 0; at < v->s.len && b.rc == RC_OK; at++) {
        char c = v->s.p[at];
        if (c != '{' && c != '}')
            continue;
        jinja_build_part(&b, &v->s, plain, at);
        plain = at + 1;
        if (plain < v->s.len && v->s.p[plain] == c) {
            jinja_build_part(&b, &v->s, plain, plain + 1);
            at = plain++;
            continue;
        }
        struct str name = str_sub(jinja_view(v), plain, v->s.len);
        ptrdiff_t end = str_find_byte(name, '}');
        char key[64];
        int64_t place = (int64_t)next;
        name.len = end < 0 ? 0 : (size_t)end;
        if (c == '}' || end < 0 || name.len >= sizeof(key))
            return jinja_fail(j, RC_BAD_INPUT, "format(): a brace alone");
        if (name.len == 0)
            next++;
        else if (!str_to_i64(name, 0, 1000, &place))
            place = -1;
        memcpy(key, name.p, name.len);
        key[name.len] = 0;
        const struct jinja_value *arg = jinja_arg(j, a, (size_t)place, key);
        if (!arg)
            return jinja_fail(j, RC_INVALID, "format(): '{%s}' is not supported", key);
        jinja_build_value(&b, arg);
        at = plain + name.len;
        plain = at + 1;
    }
    jinja_build_part(&b, &v->s, plain, v->s.len);
    return jinja_build_end(&b, ret);
}
