/* resource_read - JSON into a row, checking everything that a table says about a field. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/units.h"
#include "schema/resource.h"

struct reading {
    const struct resource *res;
    enum resource_mode mode;
    uint32_t who;
    struct arena *arena;
};

static bool is_text_type(enum field_type t)
{
    return t == FIELD_ID || t == FIELD_REF || t == FIELD_TEXT || t == FIELD_JSON;
}

static void set_null(const struct field *f, void *at)
{
    if (is_text_type(f->type))
        *(struct str *)at = STR_NONE;
    else if (f->type == FIELD_BOOL)
        *(bool *)at = false;
    else
        *(int64_t *)at = f->type == FIELD_TIME || f->type == FIELD_ENUM ? 0 : FIELD_NULL_INT;
}

static const char *type_text(enum field_type t)
{
    switch (t) {
    case FIELD_INT:
        return "a whole number";
    case FIELD_BOOL:
        return "true or false";
    case FIELD_TIME:
        return "an RFC 3339 time such as \"2026-01-31T12:00:00Z\"";
    case FIELD_PRICE:
    case FIELD_COST:
        return "a decimal string such as \"0.15\"";
    case FIELD_JSON:
        return "JSON";
    default:
        return "a string";
    }
}

static bool has_control_bytes(struct str s, bool multiline)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool breaks = c == '\n' || c == '\r' || c == '\t';
        if ((c < 0x20 && !(multiline && breaks)) || c == 0x7f)
            return true;
    }
    return false;
}

static enum rc check_text(const struct field *f, struct str s, struct err *err)
{
    if ((int64_t)s.len < f->lo || (int64_t)s.len > f->hi)
        return f->lo == f->hi
                   ? err_field(err, RC_BAD_INPUT, f->name, "%s has %zu bytes; it must have %d",
                               f->name, s.len, (int)f->lo)
                   : err_field(err, RC_BAD_INPUT, f->name, "%s has %zu bytes; allowed are %d to %d",
                               f->name, s.len, (int)f->lo, (int)f->hi);
    if (!str_is_utf8(s))
        return err_field(err, RC_BAD_INPUT, f->name, "%s is not valid UTF-8", f->name);
    if (has_control_bytes(s, f->flags & FIELD_MULTILINE))
        return err_field(err, RC_BAD_INPUT, f->name, "%s must not contain control characters",
                         f->name);
    if (f->lo > 0 && str_trim(s).len == 0)
        return err_field(err, RC_BAD_INPUT, f->name, "%s is blank", f->name);
    return RC_OK;
}

static enum rc check_ref(const struct field *f, struct str s, struct err *err)
{
    const struct resource *to = resource_find(str_of(f->values));
    struct id id;
    ASSERT(to);
    if (!id_parse(s, to->prefix, &id))
        return err_field(err, RC_BAD_INPUT, f->name, "%s must be the id of a %s (\"%s…\")", f->name,
                         to->name, to->prefix);
    return RC_OK;
}

static enum rc read_text(const struct reading *rd, const struct field *f, struct str s, void *at,
                         struct err *err)
{
    enum rc rc = RC_OK;
    if (rd->mode == RESOURCE_FEED) {
        if (!str_is_utf8(s))
            rc = err_field(err, RC_BAD_INPUT, f->name, "%s is not valid UTF-8", f->name);
    } else if (f->type == FIELD_REF) {
        rc = check_ref(f, s, err);
    } else {
        rc = check_text(f, s, err);
    }
    if (rc != RC_OK)
        return rc;
    struct str copy = arena_dup(rd->arena, s);
    if (!copy.p)
        return err_set(err, RC_NO_MEMORY, "no memory for %s", f->name);
    *(struct str *)at = copy;
    return RC_OK;
}

static enum rc read_json(const struct reading *rd, const struct field *f, const json_t *v, void *at,
                         struct err *err)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return err_set(err, RC_NO_MEMORY, "no memory for %s", f->name);
    struct str s = str_of(text), copy = STR_NONE;
    bool fits = (int64_t)s.len <= f->hi;
    if (fits)
        copy = arena_dup(rd->arena, s);
    free(text);
    if (!fits)
        return err_field(err, RC_BAD_INPUT, f->name, "%s has more than %d bytes", f->name,
                         (int)f->hi);
    if (!copy.p)
        return err_set(err, RC_NO_MEMORY, "no memory for %s", f->name);
    *(struct str *)at = copy;
    return RC_OK;
}

static enum rc read_enum(const struct field *f, struct str s, int64_t *at, struct err *err)
{
    struct str rest = str_of(f->values);
    for (int64_t i = 0; rest.p; i++)
        if (str_eq(str_cut(&rest, '|'), s)) {
            *at = i;
            return RC_OK;
        }
    return err_field(err, RC_BAD_INPUT, f->name, "%s must be one of %s", f->name, f->values);
}

static enum rc read_time(const struct field *f, struct str s, int64_t *at, struct err *err)
{
    int64_t ms;
    if (!clock_from_text(s, &ms) || ms <= 0)
        return err_field(err, RC_BAD_INPUT, f->name, "%s must be %s", f->name,
                         type_text(FIELD_TIME));
    *at = ms;
    return RC_OK;
}

static enum rc read_money(const struct field *f, struct str s, int64_t *at, struct err *err)
{
    int64_t v;
    char lo[MONEY_TEXT_BYTES], hi[MONEY_TEXT_BYTES];
    bool price = f->type == FIELD_PRICE;
    if (!(price ? money_price_parse(s, &v) : money_cost_parse(s, &v)))
        return err_field(err, RC_BAD_INPUT, f->name,
                         "%s must be a decimal string with at most %d decimals", f->name,
                         price ? MONEY_PRICE_DECIMALS : MONEY_COST_DECIMALS);
    if (v < f->lo || v > f->hi) {
        (price ? money_price_text : money_cost_text)(f->lo, lo);
        (price ? money_price_text : money_cost_text)(f->hi, hi);
        return err_field(err, RC_BAD_INPUT, f->name, "%s must be from %s to %s", f->name, lo, hi);
    }
    *at = v;
    return RC_OK;
}

static enum rc read_int(const struct field *f, int64_t v, int64_t *at, struct err *err)
{
    if (v < f->lo || v > f->hi)
        return err_field(err, RC_BAD_INPUT, f->name, "%s must be from %lld to %lld", f->name,
                         (long long)f->lo, (long long)f->hi);
    *at = v;
    return RC_OK;
}

static bool has_right_type(const struct field *f, const json_t *v)
{
    switch (f->type) {
    case FIELD_INT:
        return json_is_integer(v);
    case FIELD_BOOL:
        return json_is_boolean(v);
    case FIELD_JSON:
        return true;
    default:
        return json_is_string(v);
    }
}

static enum rc read_value(const struct reading *rd, const struct field *f, const json_t *v,
                          void *at, struct err *err)
{
    if (json_is_null(v) && f->type != FIELD_JSON) {
        if (!(f->flags & FIELD_NULL))
            return err_field(err, RC_BAD_INPUT, f->name, "%s must be %s, not null", f->name,
                             type_text(f->type));
        set_null(f, at);
        return RC_OK;
    }
    if (!has_right_type(f, v))
        return err_field(err, RC_BAD_INPUT, f->name, "%s must be %s", f->name, type_text(f->type));
    struct str s =
        json_is_string(v) ? str_make(json_string_value(v), json_string_length(v)) : STR_NONE;
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
    case FIELD_TEXT:
        return read_text(rd, f, s, at, err);
    case FIELD_JSON:
        return read_json(rd, f, v, at, err);
    case FIELD_INT:
        return read_int(f, json_integer_value(v), at, err);
    case FIELD_BOOL:
        *(bool *)at = json_is_true(v);
        return RC_OK;
    case FIELD_TIME:
        return read_time(f, s, at, err);
    case FIELD_ENUM:
        return read_enum(f, s, at, err);
    case FIELD_PRICE:
    case FIELD_COST:
        return read_money(f, s, at, err);
    }
    return err_set(err, RC_INTERNAL, "%s has an unknown type", f->name);
}

static enum rc check_may_write(const struct reading *rd, const struct field *f, struct err *err)
{
    const uint32_t anybody = FIELD_W_OPERATOR | FIELD_W_ADMIN | FIELD_W_MEMBER;
    if (rd->mode == RESOURCE_FEED)
        return RC_OK;
    if ((f->flags & FIELD_INTERNAL) || !(f->flags & anybody))
        return err_field(err, RC_BAD_INPUT, f->name, "%s cannot be set: the server sets it",
                         f->name);
    if (!(f->flags & rd->who))
        return err_field(err, RC_BAD_INPUT, f->name, "%s cannot be set with your role", f->name);
    if (rd->mode == RESOURCE_UPDATE && (f->flags & FIELD_FIXED))
        return err_field(err, RC_BAD_INPUT, f->name, "%s cannot be changed once it is made",
                         f->name);
    return RC_OK;
}

/* The default's JSON text comes from our own tables, so a failure here is a mistake in a .def. */
static void set_default(const struct field *f, void *at)
{
    struct str s = f->def ? str_of(f->def) : STR_NONE;
    set_null(f, at);
    if (!s.p) {
        if (!(f->flags & FIELD_NULL) && !is_text_type(f->type) && f->type != FIELD_BOOL)
            *(int64_t *)at = 0;
        return;
    }
    struct str inside = s.len >= 2 && s.p[0] == '"' ? str_sub(s, 1, s.len - 2) : s;
    bool ok = true;
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
    case FIELD_TEXT:
    case FIELD_JSON:
        *(struct str *)at = f->type == FIELD_JSON ? s : inside; /* static text */
        break;
    case FIELD_BOOL:
        *(bool *)at = str_is(s, "true");
        break;
    case FIELD_ENUM:
        ok = read_enum(f, inside, at, NULL) == RC_OK;
        break;
    case FIELD_PRICE:
        ok = money_price_parse(inside, at);
        break;
    case FIELD_COST:
        ok = money_cost_parse(inside, at);
        break;
    default:
        ok = str_to_i64(s, INT64_MIN, INT64_MAX, at);
        break;
    }
    ASSERT(ok);
}

void resource_defaults(const struct resource *res, void *row)
{
    for (size_t i = 0; i < res->n_fields; i++)
        set_default(&res->fields[i], (char *)row + res->fields[i].offset);
}

static enum rc read_members(const struct reading *rd, json_t *json, void *row, uint64_t *ret_set,
                            struct err *err)
{
    const char *name;
    json_t *v;
    json_object_foreach(json, name, v)
    {
        const struct field *f = resource_field(rd->res, str_of(name));
        if (!f && rd->mode == RESOURCE_FEED)
            continue;
        if (!f)
            return err_field(err, RC_BAD_INPUT, name, "%s has no field \"%.60s\"", rd->res->name,
                             name);
        enum rc rc = check_may_write(rd, f, err);
        if (rc == RC_OK)
            rc = read_value(rd, f, v, (char *)row + f->offset, err);
        if (rc != RC_OK)
            return rc;
        *ret_set |= UINT64_C(1) << (f - rd->res->fields);
    }
    return RC_OK;
}

enum rc resource_from_json(const struct resource *res, const json_t *json, enum resource_mode mode,
                           uint32_t who, struct arena *arena, void *row, uint64_t *ret_set,
                           struct err *err)
{
    struct reading rd = {.res = res, .mode = mode, .who = who, .arena = arena};
    uint64_t set = 0;
    if (!json_is_object(json))
        return err_set(err, RC_BAD_INPUT, "a %s must be a JSON object", res->name);
    if (mode != RESOURCE_UPDATE)
        resource_defaults(res, row);
    /* jansson has no const walk over members; nothing here changes them. */
    enum rc rc = read_members(&rd, (json_t *)(uintptr_t)json, row, &set, err);
    for (size_t i = 0; rc == RC_OK && mode == RESOURCE_CREATE && i < res->n_fields; i++)
        if ((res->fields[i].flags & FIELD_REQUIRED) && !(set >> i & 1))
            rc = err_field(err, RC_BAD_INPUT, res->fields[i].name, "%s is required",
                           res->fields[i].name);
    if (rc == RC_OK && ret_set)
        *ret_set = set;
    return rc;
}
