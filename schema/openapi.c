#include "schema/openapi.h"

#include <stdio.h>

#include "base/units.h"

/* Shapes that are no resource. */
static const struct openapi_schema own_schemas[] = {
    {"Error",
     "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"object\","
     "\"required\":[\"code\",\"message\",\"field\"],\"properties\":{"
     "\"code\":{\"type\":\"string\",\"description\":\"Stable, for programs: bad_input, "
     "unauthenticated, forbidden, not_found, conflict, precondition_failed, invalid, "
     "rate_limit_exceeded …\"},"
     "\"message\":{\"type\":\"string\",\"description\":\"One sentence, for people.\"},"
     "\"field\":{\"type\":[\"string\",\"null\"],\"description\":\"The input at fault.\"}}}}}"},
    {"Login", "{\"type\":\"object\",\"required\":[\"email\",\"password\"],\"properties\":{"
              "\"email\":{\"type\":\"string\"},"
              "\"password\":{\"type\":\"string\",\"format\":\"password\"}}}"},
    {"Session",
     "{\"type\":\"object\",\"required\":[\"user\",\"org\",\"csrf\",\"openai_base_url\"],"
     "\"properties\":{\"user\":" OPENAPI_REF("User") ",\"org\":{\"anyOf\":[" OPENAPI_REF(
         "Org") ",{\"type\":\"null\"}]},"
                "\"csrf\":{\"type\":[\"string\",\"null\"],\"description\":\"Send it as "
                "x-csrf-token "
                "with every write; null for bearer tokens.\"},"
                "\"openai_base_url\":{\"type\":\"string\",\"description\":\"Where API keys are "
                "used.\"}}}"},
    {"KeyWithSecret",
     "{\"allOf\":[" OPENAPI_REF("Key") ",{\"type\":\"object\",\"required\":[\"key\"],"
                                       "\"properties\":{\"key\":{\"type\":\"string\","
                                       "\"description\":\"The whole key, shown this "
                                       "once.\"}}}]}"},
    {"TokenWithSecret",
     "{\"allOf\":[" OPENAPI_REF("Token") ",{\"type\":\"object\",\"required\":[\"token\"],"
                                         "\"properties\":{\"token\":{\"type\":\"string\","
                                         "\"description\":\"The whole token, shown this "
                                         "once.\"}}}]}"},
};

enum shape { SHAPE_READ, SHAPE_CREATE, SHAPE_UPDATE };
#define W_ANY (FIELD_W_OPERATOR | FIELD_W_ADMIN | FIELD_W_MEMBER)

static void add_name(const char *name, struct buf *to)
{
    buf_printf(to, "%c%s", name[0] - 32, name + 1);
}

static bool is_in(const struct field *f, enum shape shape)
{
    if (f->flags & FIELD_INTERNAL)
        return false;
    if (shape == SHAPE_READ)
        return !(f->flags & FIELD_SECRET);
    return (f->flags & W_ANY) && !(shape == SHAPE_UPDATE && (f->flags & FIELD_FIXED));
}

static bool is_required(const struct field *f, enum shape shape)
{
    if (shape == SHAPE_READ) /* a reader may count on every field that no role is denied */
        return !(f->flags & FIELD_OPERATOR_ONLY);
    return shape == SHAPE_CREATE && (f->flags & FIELD_REQUIRED);
}

static void add_type(const char *type, const struct field *f, struct buf *to)
{
    if (f->flags & FIELD_NULL)
        buf_printf(to, "\"type\":[\"%s\",\"null\"]", type);
    else
        buf_printf(to, "\"type\":\"%s\"", type);
}

static void add_enum(const struct field *f, struct buf *to)
{
    struct str rest = str_of(f->values);
    buf_z(to, ",\"enum\":[");
    for (bool first = true; rest.p; first = false) {
        if (!first)
            buf_byte(to, ',');
        buf_json(to, str_cut(&rest, '|'));
    }
    buf_byte(to, ']');
}

static void add_field_type(const struct field *f, struct buf *to)
{
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
        add_type("string", f, to);
        break;
    case FIELD_TEXT:
        add_type("string", f, to);
        buf_printf(to, ",\"minLength\":%lld,\"maxLength\":%lld", (long long)f->lo,
                   (long long)f->hi);
        break;
    case FIELD_INT:
        add_type("integer", f, to);
        buf_printf(to, ",\"minimum\":%lld,\"maximum\":%lld", (long long)f->lo, (long long)f->hi);
        break;
    case FIELD_BOOL:
        add_type("boolean", f, to);
        break;
    case FIELD_TIME:
        add_type("string", f, to);
        buf_z(to, ",\"format\":\"date-time\"");
        break;
    case FIELD_ENUM:
        add_type("string", f, to);
        add_enum(f, to);
        break;
    case FIELD_PRICE:
    case FIELD_COST:
        add_type("string", f, to);
        buf_printf(to, ",\"pattern\":\"^-?[0-9]+(\\\\.[0-9]{1,%d})?$\"",
                   f->type == FIELD_PRICE ? MONEY_PRICE_DECIMALS : MONEY_COST_DECIMALS);
        break;
    case FIELD_JSON: /* any JSON: no type */
        buf_z(to, "\"x-json\":true");
        break;
    }
}

static void add_field(const struct field *f, enum shape shape, struct buf *to)
{
    buf_printf(to, "\"%s\":{", f->name);
    add_field_type(f, to);
    buf_z(to, ",\"description\":");
    buf_json(to, str_of(f->help));
    if (shape == SHAPE_READ && !(f->flags & W_ANY))
        buf_z(to, ",\"readOnly\":true");
    if (f->flags & FIELD_SECRET)
        buf_z(to, ",\"writeOnly\":true,\"format\":\"password\"");
    if (shape == SHAPE_CREATE && f->def)
        buf_printf(to, ",\"default\":%s", f->def);
    if (f->type == FIELD_REF)
        buf_printf(to, ",\"x-ref\":\"%s\"", f->values);
    if (shape != SHAPE_READ)
        buf_printf(to, ",\"x-writable-by\":\"%s\"",
                   f->flags & FIELD_W_MEMBER  ? "member"
                   : f->flags & FIELD_W_ADMIN ? "org_admin"
                                              : "operator");
    buf_byte(to, '}');
}

static void add_shape(const struct resource *res, enum shape shape, struct buf *to)
{
    static const char *const suffix[] = {"", "Create", "Update"};
    bool first = true;
    buf_byte(to, '"');
    add_name(res->name, to);
    buf_printf(to, "%s\":{\"type\":\"object\",\"description\":", suffix[shape]);
    buf_json(to, str_of(res->help));
    buf_z(to, ",\"required\":[");
    for (size_t i = 0; i < res->n_fields; i++)
        if (is_in(&res->fields[i], shape) && is_required(&res->fields[i], shape)) {
            buf_printf(to, "%s\"%s\"", first ? "" : ",", res->fields[i].name);
            first = false;
        }
    buf_z(to, "],\"properties\":{");
    first = true;
    for (size_t i = 0; i < res->n_fields; i++)
        if (is_in(&res->fields[i], shape)) {
            if (!first)
                buf_byte(to, ',');
            add_field(&res->fields[i], shape, to);
            first = false;
        }
    buf_printf(to, "}%s}", shape == SHAPE_READ ? "" : ",\"additionalProperties\":false");
}

static bool is_writable(const struct resource *res)
{
    for (size_t i = 0; i < res->n_fields; i++)
        if (res->fields[i].flags & W_ANY)
            return true;
    return false;
}

static void add_resource(const struct resource *res, struct buf *to)
{
    add_shape(res, SHAPE_READ, to);
    if (is_writable(res)) {
        buf_byte(to, ',');
        add_shape(res, SHAPE_CREATE, to);
        if (resource_field(res, STR("version"))) {
            buf_byte(to, ',');
            add_shape(res, SHAPE_UPDATE, to);
        }
    }
    buf_z(to, ",\"");
    add_name(res->name, to);
    buf_z(to,
          "List\":{\"type\":\"object\",\"required\":[\"data\",\"next\"],\"properties\":{\"data\":"
          "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/");
    add_name(res->name, to);
    buf_z(to,
          "\"}},\"next\":{\"type\":[\"string\",\"null\"],\"description\":\"Send it as `after` for "
          "the next page; null: this is the last.\"}}}");
}

static void add_schemas(const struct openapi_schema *schemas, size_t n, struct buf *to)
{
#define X(name) &resource_##name,
    static const struct resource *const all[] = {RESOURCES(X)};
#undef X
    buf_z(to, "\"schemas\":{");
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (i)
            buf_byte(to, ',');
        add_resource(all[i], to);
    }
    for (size_t i = 0; i < ARRAY_LEN(own_schemas); i++)
        buf_printf(to, ",\"%s\":%s", own_schemas[i].name, own_schemas[i].json);
    for (size_t i = 0; i < n; i++)
        buf_printf(to, ",\"%s\":%s", schemas[i].name, schemas[i].json);
    buf_byte(to, '}');
}

static void add_parameter(const char *in, struct str name, const char *schema, struct str help,
                          bool required, bool *first, struct buf *to)
{
    buf_printf(to, "%s{\"name\":\"" STR_FMT "\",\"in\":\"%s\",\"required\":%s,\"schema\":%s",
               *first ? "" : ",", STR_ARG(name), in, required ? "true" : "false", schema);
    *first = false;
    if (help.len) {
        buf_z(to, ",\"description\":");
        buf_json(to, help);
    }
    buf_byte(to, '}');
}

#define S_STRING "{\"type\":\"string\"}"

static void add_list_parameters(const struct resource *res, bool *first, struct buf *to)
{
    add_parameter("query", STR("limit"),
                  "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,\"default\":50}",
                  STR("Most rows of a page."), false, first, to);
    add_parameter("query", STR("after"), S_STRING, STR("`next` of the page before."), false, first,
                  to);
    add_parameter("query", STR("order"), "{\"type\":\"string\",\"enum\":[\"asc\",\"desc\"]}",
                  STR("By the time of making; asc unless said otherwise."), false, first, to);
    for (size_t i = 0; i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        if ((f->type == FIELD_REF || f->type == FIELD_ENUM) && !(f->flags & FIELD_INTERNAL))
            add_parameter("query", str_of(f->name), S_STRING, STR("Only rows with this value."),
                          false, first, to);
    }
}

/* "name:type:help|…" */
static void add_query_parameters(const char *query, bool *first, struct buf *to)
{
    struct str rest = str_of(query);
    while (rest.p) {
        struct str one = str_cut(&rest, '|');
        struct str name = str_cut(&one, ':'), type = str_cut(&one, ':');
        const char *schema = str_is(type, "integer")   ? "{\"type\":\"integer\"}"
                             : str_is(type, "boolean") ? "{\"type\":\"boolean\"}"
                             : str_is(type, "time")
                                 ? "{\"type\":\"string\",\"format\":\"date-time\"}"
                                 : S_STRING;
        add_parameter("query", name, schema, one, false, first, to);
    }
}

static void add_parameters(const struct openapi_route *r, struct buf *to)
{
    bool first = true;
    struct str rest = str_of(r->path);
    buf_z(to, ",\"parameters\":[");
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        if (part.len > 2 && part.p[0] == '{')
            add_parameter("path", str_sub(part, 1, part.len - 2), S_STRING, STR_NONE, true, &first,
                          to);
    }
    if (r->doc.list_of)
        add_list_parameters(r->doc.list_of, &first, to);
    if (r->doc.query)
        add_query_parameters(r->doc.query, &first, to);
    if (str_is(str_of(r->method), "POST"))
        add_parameter("header", STR("Idempotency-Key"), S_STRING,
                      STR("The same answer for the same key and body within 24 hours."), false,
                      &first, to);
    if (str_is(str_of(r->method), "PATCH"))
        add_parameter("header", STR("If-Match"), S_STRING,
                      STR("The ETag that is being changed; 412 when it is another by now."), false,
                      &first, to);
    buf_byte(to, ']');
}

#define JSON_BODY "{\"application/json\":{\"schema\":%s}}"

static void add_operation(const struct openapi_route *r, struct buf *to)
{
    buf_byte(to, '"');
    for (const char *p = r->method; *p; p++)
        buf_byte(to, (char)(*p + 32));
    buf_z(to, "\":{\"summary\":");
    buf_json(to, str_of(r->doc.summary));
    if (r->doc.tag)
        buf_printf(to, ",\"tags\":[\"%s\"]", r->doc.tag);
    add_parameters(r, to);
    if (r->doc.request)
        buf_printf(to, ",\"requestBody\":{\"required\":true,\"content\":" JSON_BODY "}",
                   r->doc.request);
    int status = r->doc.status ? r->doc.status : 200;
    buf_printf(to, ",\"responses\":{\"%d\":{\"description\":\"%s\"", status,
               status == 204   ? "Done."
               : status == 201 ? "Made."
                               : "The answer.");
    if (r->doc.response)
        buf_printf(to, ",\"content\":" JSON_BODY, r->doc.response);
    buf_printf(to,
               "},\"default\":{\"description\":\"Refused or failed.\",\"content\":" JSON_BODY "}}}",
               OPENAPI_REF("Error"));
}

static bool was_before(const struct openapi_route *routes, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (routes[k].doc.summary && str_is(str_of(routes[k].path), routes[i].path))
            return true;
    return false;
}

static void add_paths(const struct openapi_route *routes, size_t n, struct buf *to)
{
    bool first_path = true;
    buf_z(to, "\"paths\":{");
    for (size_t i = 0; i < n; i++) {
        if (!routes[i].doc.summary || was_before(routes, i))
            continue;
        buf_printf(to, "%s\"%s\":{", first_path ? "" : ",", routes[i].path);
        first_path = false;
        bool first = true;
        for (size_t k = i; k < n; k++) {
            if (!routes[k].doc.summary || !str_is(str_of(routes[k].path), routes[i].path))
                continue;
            if (!first)
                buf_byte(to, ',');
            add_operation(&routes[k], to);
            first = false;
        }
        buf_byte(to, '}');
    }
    buf_byte(to, '}');
}

void openapi_print(const struct openapi_route *routes, size_t n_routes,
                   const struct openapi_schema *schemas, size_t n_schemas, struct buf *to)
{
    buf_z(to,
          "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Sluice\",\"version\":\"" SLUICE_VERSION
          "\",\"description\":\"The control plane. Times are RFC 3339 in UTC, money is a decimal "
          "string. API keys are used on the gateway, not here.\"},"
          "\"security\":[{\"bearer\":[]},{\"cookie\":[],\"csrf\":[]}],");
    add_paths(routes, n_routes, to);
    buf_z(to, ",\"components\":{\"securitySchemes\":{"
              "\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"},"
              "\"cookie\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"sluice_session\"},"
              "\"csrf\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"x-csrf-token\"}},");
    add_schemas(schemas, n_schemas, to);
    buf_z(to, "}}\n");
}
