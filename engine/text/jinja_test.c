/* jinja_test.c - what may follow "is". */

#include "base/units.h"
#include "engine/text/jinja_eval.h"

enum test {
    T_DEFINED,
    T_UNDEFINED,
    T_NONE,
    T_STRING,
    T_NUMBER,
    T_INTEGER,
    T_FLOAT,
    T_BOOLEAN,
    T_TRUE,
    T_FALSE,
    T_MAPPING,
    T_ITERABLE,
    T_SEQUENCE,
    T_CALLABLE,
    T_ODD,
    T_EVEN,
    T_UPPER,
    T_LOWER,
    T_DIVISIBLE, /* from here on: with an argument */
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_IN,
    T_SAME,
};

static const struct {
    const char *name;
    enum test test;
} known[] = {
    {"defined", T_DEFINED},
    {"undefined", T_UNDEFINED},
    {"none", T_NONE},
    {"string", T_STRING},
    {"number", T_NUMBER},
    {"integer", T_INTEGER},
    {"float", T_FLOAT},
    {"boolean", T_BOOLEAN},
    {"true", T_TRUE},
    {"false", T_FALSE},
    {"mapping", T_MAPPING},
    {"iterable", T_ITERABLE},
    {"sequence", T_SEQUENCE},
    {"callable", T_CALLABLE},
    {"odd", T_ODD},
    {"even", T_EVEN},
    {"upper", T_UPPER},
    {"lower", T_LOWER},
    {"eq", T_EQ},
    {"equalto", T_EQ},
    {"ne", T_NE},
    {"lt", T_LT},
    {"lessthan", T_LT},
    {"le", T_LE},
    {"gt", T_GT},
    {"greaterthan", T_GT},
    {"ge", T_GE},
    {"in", T_IN},
    {"divisibleby", T_DIVISIBLE},
    {"sameas", T_SAME},
    {"==", T_EQ},
    {"!=", T_NE},
    {"<", T_LT},
    {"<=", T_LE},
    {">", T_GT},
    {">=", T_GE},
};

static bool is_number(const struct jinja_value *v)
{
    return v->kind == JINJA_INT || v->kind == JINJA_FLOAT || v->kind == JINJA_BOOL;
}

static bool is_sized(const struct jinja_value *v)
{
    return v->kind == JINJA_STR || v->kind == JINJA_DICT || v->kind == JINJA_UNDEFINED ||
           jinja_is_list(v);
}

/* Both answers take the remainder; Python's is never negative for a positive divisor. */
static enum rc remainder_is(struct jinja *j, const struct jinja_value *v, int64_t by, int64_t want,
                            bool *ret)
{
    if ((v->kind != JINJA_INT && v->kind != JINJA_BOOL) || by == 0)
        return jinja_fail(j, RC_BAD_INPUT, "no remainder of %s", jinja_kind_name(v));
    int64_t i = v->kind == JINJA_INT ? v->i : v->b;
    *ret = (by == -1 ? 0 : i % by) == want || (want != 0 && i % by == want - by);
    return RC_OK;
}

static enum rc has_case(struct jinja *j, const struct jinja_value *v, bool upper, bool *ret)
{
    struct jinja_value s, is;
    struct jinja_args none = {0};
    bool found;
    enum rc rc = jinja_to_str(j, v, &s);
    if (rc == RC_OK)
        rc = jinja_method(j, &s, upper ? STR("isupper") : STR("islower"), &none, &is, &found);
    *ret = rc == RC_OK && is.b;
    return rc;
}

static enum rc alone(struct jinja *j, enum test test, const struct jinja_value *v, bool *ret)
{
    bool bit = v->kind == JINJA_BOOL && v->b;
    const bool is[] = {
        [T_DEFINED] = v->kind != JINJA_UNDEFINED,
        [T_UNDEFINED] = v->kind == JINJA_UNDEFINED,
        [T_NONE] = v->kind == JINJA_NONE,
        [T_STRING] = v->kind == JINJA_STR,
        [T_NUMBER] = is_number(v),
        [T_INTEGER] = v->kind == JINJA_INT,
        [T_FLOAT] = v->kind == JINJA_FLOAT,
        [T_BOOLEAN] = v->kind == JINJA_BOOL,
        [T_TRUE] = bit,
        [T_FALSE] = v->kind == JINJA_BOOL && !bit,
        [T_MAPPING] = v->kind == JINJA_DICT,
        [T_ITERABLE] = is_sized(v),
        [T_SEQUENCE] = is_sized(v),
        [T_CALLABLE] = v->kind == JINJA_MACRO || v->kind == JINJA_FUNCTION,
    };
    if (test == T_ODD || test == T_EVEN)
        return remainder_is(j, v, 2, test == T_ODD, ret);
    if (test == T_UPPER || test == T_LOWER)
        return has_case(j, v, test == T_UPPER, ret);
    *ret = is[test];
    return RC_OK;
}

static enum rc against(struct jinja *j, enum test test, const struct jinja_value *v,
                       const struct jinja_value *other, bool *ret)
{
    int order = 0;
    enum rc rc = RC_OK;
    switch (test) {
    case T_EQ:
    case T_NE:
        *ret = jinja_equal(v, other) == (test == T_EQ);
        return RC_OK;
    case T_IN:
        return jinja_contains(j, other, v, ret);
    case T_SAME: /* identity: only the constants are ever asked for */
        *ret = v->kind == other->kind && jinja_equal(v, other);
        return RC_OK;
    case T_DIVISIBLE:
        if (other->kind != JINJA_INT)
            return jinja_fail(j, RC_BAD_INPUT, "divisibleby %s", jinja_kind_name(other));
        return remainder_is(j, v, other->i, 0, ret);
    default:
        rc = jinja_order(j, v, other, &order);
        *ret = test == T_LT   ? order < 0
               : test == T_LE ? order <= 0
               : test == T_GT ? order > 0
                              : order >= 0;
        return rc;
    }
}

enum rc jinja_test(struct jinja *j, struct str name, const struct jinja_value *in,
                   const struct jinja_args *a, bool *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!str_is(name, known[i].name))
            continue;
        if (known[i].test < T_DIVISIBLE)
            return alone(j, known[i].test, in, ret);
        if (a->n == 0)
            return jinja_fail(j, RC_BAD_INPUT, "test '%s' needs an argument", known[i].name);
        return against(j, known[i].test, in, &a->v[0].v, ret);
    }
    return jinja_fail(j, RC_INVALID, "test '%.*s' is not supported",
                      (int)MIN_OF(name.len, (size_t)60), name.p);
}
