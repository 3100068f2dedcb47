#include "schema/resource.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"

/* The field tables. Each .def is read once for its fields and once for its heading. */
/* clang-format off */
#define RESOURCE(name, plural, prefix, help)
#define FIELD(name, type, flags, lo, hi, def, values, help)                                        \
    {#name, FIELD_##type, offsetof(ROW, name), (uint32_t)(flags), lo, hi, def, values, help},
#define ROW struct org
static const struct field org_fields[] = {
#include "schema/org.def"
};
#undef ROW
#define ROW struct user
static const struct field user_fields[] = {
#include "schema/user.def"
};
#undef ROW
#define ROW struct key
static const struct field key_fields[] = {
#include "schema/key.def"
};
#undef ROW
#define ROW struct provider
static const struct field provider_fields[] = {
#include "schema/provider.def"
};
#undef ROW
#define ROW struct model_row
static const struct field model_fields[] = {
#include "schema/model.def"
};
#undef ROW
#define ROW struct cluster
static const struct field cluster_fields[] = {
#include "schema/cluster.def"
};
#undef ROW
#define ROW struct endpoint
static const struct field endpoint_fields[] = {
#include "schema/endpoint.def"
};
#undef ROW
#define ROW struct deployment
static const struct field deployment_fields[] = {
#include "schema/deployment.def"
};
#undef ROW
#define ROW struct share
static const struct field share_fields[] = {
#include "schema/share.def"
};
#undef ROW
#define ROW struct limit
static const struct field limit_fields[] = {
#include "schema/limit.def"
};
#undef ROW
#define ROW struct price
static const struct field price_fields[] = {
#include "schema/price.def"
};
#undef ROW
#define ROW struct usage
static const struct field usage_fields[] = {
#include "schema/usage.def"
};
#undef ROW
#define ROW struct token_row
static const struct field token_fields[] = {
#include "schema/token.def"
};
#undef ROW
#define ROW struct audit_row
static const struct field audit_fields[] = {
#include "schema/audit.def"
};
#undef ROW
#undef FIELD
#undef RESOURCE

#define ROW_OF_org struct org
#define ROW_OF_user struct user
#define ROW_OF_key struct key
#define ROW_OF_provider struct provider
#define ROW_OF_model struct model_row
#define ROW_OF_cluster struct cluster
#define ROW_OF_endpoint struct endpoint
#define ROW_OF_deployment struct deployment
#define ROW_OF_share struct share
#define ROW_OF_limit struct limit
#define ROW_OF_price struct price
#define ROW_OF_usage struct usage
#define ROW_OF_token struct token_row
#define ROW_OF_audit struct audit_row
#define FIELD(...)
#define RESOURCE(name, plural, prefix, help)                                                       \
    const struct resource resource_##name = {#name, plural, prefix, help, sizeof(ROW_OF_##name),   \
                                             name##_fields, ARRAY_LEN(name##_fields)};             \
    _Static_assert(ARRAY_LEN(name##_fields) <= 64, "a set of fields fits in 64 bits");
#include "schema/org.def"
#include "schema/user.def"
#include "schema/key.def"
#include "schema/provider.def"
#include "schema/model.def"
#include "schema/cluster.def"
#include "schema/endpoint.def"
#include "schema/deployment.def"
#include "schema/share.def"
#include "schema/limit.def"
#include "schema/price.def"
#include "schema/usage.def"
#include "schema/token.def"
#include "schema/audit.def"
#undef RESOURCE
#undef FIELD
/* clang-format on */

const struct resource *resource_find(struct str plural_or_name)
{
#define X(name) &resource_##name,
    static const struct resource *const all[] = {RESOURCES(X)};
#undef X
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (str_is(plural_or_name, all[i]->plural) || str_is(plural_or_name, all[i]->name))
            return all[i];
    return NULL;
}

const struct field *resource_field(const struct resource *res, struct str name)
{
    for (size_t i = 0; i < res->n_fields; i++)
        if (str_is(name, res->fields[i].name))
            return &res->fields[i];
    return NULL;
}

const char *resource_enum_text(const struct field *f, int64_t v, size_t *ret_len)
{
    struct str rest = str_of(f->values);
    for (int64_t i = 0; rest.p; i++) {
        struct str one = str_cut(&rest, '|');
        if (i == v) {
            *ret_len = one.len;
            return one.p;
        }
    }
    *ret_len = 0;
    return NULL;
}

struct str resource_enum_str(const struct resource *res, const char *field, int64_t v)
{
    const struct field *f = resource_field(res, str_of(field));
    ASSERT(f && f->type == FIELD_ENUM);
    struct str s;
    s.p = resource_enum_text(f, v, &s.len);
    return s;
}

static bool is_shown(const struct field *f, enum resource_view view)
{
    if (f->flags & FIELD_SECRET)
        return false;
    if (f->flags & FIELD_INTERNAL)
        return view == VIEW_FEED;
    return view != VIEW_PUBLIC || !(f->flags & FIELD_OPERATOR_ONLY);
}

static void add_str(struct buf *to, struct str s)
{
    if (s.p)
        buf_json(to, s);
    else
        buf_z(to, "null");
}

static void add_int(const struct field *f, int64_t v, struct buf *to)
{
    char text[MAX_OF(MONEY_TEXT_BYTES, CLOCK_TEXT_BYTES)];
    if ((f->flags & FIELD_NULL) && v == (f->type == FIELD_TIME ? 0 : FIELD_NULL_INT)) {
        buf_z(to, "null");
        return;
    }
    switch (f->type) {
    case FIELD_INT:
        buf_i64(to, v);
        return;
    case FIELD_TIME:
        clock_to_text(v, text);
        break;
    case FIELD_PRICE:
        money_price_text(v, text);
        break;
    default:
        money_cost_text(v, text);
        break;
    }
    buf_printf(to, "\"%s\"", text);
}

static void add_value(const struct field *f, const void *at, struct buf *to)
{
    struct str s;
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
    case FIELD_TEXT:
        add_str(to, *(const struct str *)at);
        break;
    case FIELD_BOOL:
        buf_z(to, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_ENUM:
        s.p = resource_enum_text(f, *(const int64_t *)at, &s.len);
        add_str(to, s);
        break;
    case FIELD_JSON:
        s = *(const struct str *)at;
        buf_str(to, s.len ? s : STR("null"));
        break;
    case FIELD_INT:
    case FIELD_TIME:
    case FIELD_PRICE:
    case FIELD_COST:
        add_int(f, *(const int64_t *)at, to);
        break;
    }
}

void resource_field_json(const struct field *f, const void *row, struct buf *to)
{
    add_value(f, (const char *)row + f->offset, to);
}

void resource_to_json(const struct resource *res, const void *row, enum resource_view view,
                      struct buf *to)
{
    bool first = true;
    buf_byte(to, '{');
    for (size_t i = 0; i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        if (!is_shown(f, view))
            continue;
        buf_printf(to, "%s\"%s\":", first ? "" : ",", f->name);
        add_value(f, (const char *)row + f->offset, to);
        first = false;
    }
    buf_byte(to, '}');
}
