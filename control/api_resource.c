/* api_resource - the five routes of each resource, from its field table. */
#include "control/api_resource.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/http_server.h"
#include "base/id.h"
#include "base/units.h"
#include "control/entity.h"
#include "control/row.h"
#include "control/secret.h"

enum { LIMIT_DEFAULT = 50, PASSWORD_MIN = 10, PASSWORD_MAX = 200 };

static enum rc no_memory(struct err *err)
{
    return err_set(err, RC_NO_MEMORY, "no memory for the request");
}

static bool may_filter(const struct field *f, const struct scope *scope)
{
    bool named = f->type == FIELD_TEXT &&
                 (str_is(str_of(f->name), "name") || str_is(str_of(f->name), "email") ||
                  str_is(str_of(f->name), "subject_id") || str_is(str_of(f->name), "object_id") ||
                  str_is(str_of(f->name), "kind"));
    if (f->flags & (FIELD_SECRET | FIELD_INTERNAL))
        return false;
    if ((f->flags & FIELD_OPERATOR_ONLY) && !scope_is_operator(scope))
        return false;
    return f->type == FIELD_REF || f->type == FIELD_ENUM || named;
}

/* ?deployment_id=…&status=…: only fields that the table lets through, only bound values. "null"
 * finds rows without a reference. */
static enum rc read_filters(const struct api_call *c, const struct scope *scope,
                            const struct resource *res, struct row_query *q, struct err *err)
{
    for (size_t i = 0; i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        struct str v = may_filter(f, scope) ? http_query(c->http, f->name) : STR_NONE;
        if (!v.p)
            continue;
        if (q->n_filters == ROW_FILTERS_MAX)
            return err_field(err, RC_BAD_INPUT, f->name, "at most %d filters", ROW_FILTERS_MAX);
        if (!str_is_utf8(v) || str_find_byte(v, '\0') >= 0)
            return err_field(err, RC_BAD_INPUT, f->name, "%s is not valid UTF-8", f->name);
        if (f->type == FIELD_REF && str_is(v, "null"))
            v = STR_NONE;
        q->filter[q->n_filters++] = (struct row_filter){f, v};
    }
    return RC_OK;
}

static enum rc read_query(const struct api_call *c, const struct scope *scope,
                          const struct resource *res, struct row_query *q, struct err *err)
{
    struct id id;
    struct str order = http_query(c->http, "order");
    q->after = http_query(c->http, "after");
    enum rc rc = api_query_i64(c, "limit", 1, ROW_LIMIT_MAX, LIMIT_DEFAULT, &q->limit, err);
    if (rc != RC_OK)
        return rc;
    if (q->after.p && !id_parse(q->after, res->prefix, &id))
        return err_field(err, RC_BAD_INPUT, "after",
                         "after must be the `next` of a page before this one");
    if (order.p && !str_is(order, "asc") && !str_is(order, "desc"))
        return err_field(err, RC_BAD_INPUT, "order", "order must be asc or desc");
    q->newest_first = order.p && str_is(order, "desc");
    return read_filters(c, scope, res, q, err);
}

static struct str id_of(const struct resource *res, const void *row)
{
    const struct field *f = resource_field(res, STR("id"));
    return *(const struct str *)(const void *)((const char *)row + f->offset);
}

static int64_t version_of(const struct resource *res, const void *row)
{
    const struct field *f = resource_field(res, STR("version"));
    return f ? *(const int64_t *)(const void *)((const char *)row + f->offset) : 0;
}

static enum rc list_rows(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct resource *res = c->route->res;
    const struct scope *scope;
    struct row_query q = {0};
    void *rows;
    size_t n = 0;
    enum rc rc = api_scope(c, res, ACCESS_READ, &scope, err);
    if (rc == RC_OK)
        rc = read_query(c, scope, res, &q, err);
    if (rc != RC_OK)
        return rc;
    size_t page = (size_t)q.limit++; /* one more, to know whether another page follows */
    rc = row_list(txn, scope, res, &q, c->arena, &rows, &n, err);
    if (rc != RC_OK)
        return rc;
    bool more = n > page;
    struct buf *to = &c->reply.body;
    n = MIN_OF(n, page);
    buf_z(to, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_byte(to, ',');
        resource_to_json(res, (const char *)rows + i * res->size, scope_view(scope), to);
    }
    buf_z(to, "],\"next\":");
    if (more)
        buf_json(to, id_of(res, (const char *)rows + (n - 1) * res->size));
    else
        buf_z(to, "null");
    buf_byte(to, '}');
    return RC_OK;
}

static enum rc get_row(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct resource *res = c->route->res;
    const struct scope *scope;
    void *row = arena_alloc(c->arena, 1, res->size);
    enum rc rc = row ? api_scope(c, res, ACCESS_READ, &scope, err) : no_memory(err);
    if (rc == RC_OK)
        rc = row_get(txn, scope, res, api_path(c, 0), c->arena, row, err);
    if (rc != RC_OK)
        return rc;
    resource_to_json(res, row, scope_view(scope), &c->reply.body);
    c->reply.version = version_of(res, row);
    return RC_OK;
}

/* The row, with one more member for a secret that is shown this once. */
static void show_secret(struct api_call *c, const char *name, const char *secret)
{
    struct buf *to = &c->reply.body;
    if (!secret[0])
        return;
    ASSERT(to->len && to->p[to->len - 1] == '}');
    to->len--;
    buf_printf(to, ",\"%s\":\"%s\"}", name, secret);
    c->reply.has_secret = true;
}

static struct entity_act act_of(struct api_call *c, struct txn *txn, const struct scope *scope)
{
    return (struct entity_act){.txn = txn,
                               .scope = scope,
                               .secrets = api_secrets(c->api),
                               .arena = c->arena,
                               .password_hash = c->password_hash,
                               .session = c->caller.session};
}

static enum rc create_row(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct resource *res = c->route->res;
    const struct scope *scope;
    void *row = arena_alloc(c->arena, 1, res->size);
    enum rc rc = row ? api_scope(c, res, ACCESS_CREATE, &scope, err) : no_memory(err);
    if (rc == RC_OK)
        rc = resource_from_json(res, c->body, RESOURCE_CREATE, scope_who(scope), c->arena, row,
                                NULL, err);
    if (rc != RC_OK)
        return rc;
    struct entity_act act = act_of(c, txn, scope);
    rc = entity_create(&act, res, row, err);
    if (rc != RC_OK)
        return rc;
    resource_to_json(res, row, scope_view(scope), &c->reply.body);
    show_secret(c, "key", act.key.text);
    show_secret(c, "token", act.token);
    hash_wipe(&act.key, sizeof act.key);
    hash_wipe(act.token, sizeof act.token);
    c->reply.status = 201;
    c->reply.version = version_of(res, row);
    c->reply.location =
        arena_printf(c->arena, "/api/v1/%s/" STR_FMT, res->plural, STR_ARG(id_of(res, row)));
    return RC_OK;
}

/* If-Match: "3". *ret 0: any version will do. */
static enum rc if_match(const struct api_call *c, int64_t *ret, struct err *err)
{
    struct str v = http_header(c->http, "if-match");
    *ret = 0;
    if (!v.p || str_is(v, "*"))
        return RC_OK;
    if (str_starts(v, STR("W/")))
        v = str_sub(v, 2, v.len);
    if (v.len < 3 || v.p[0] != '"' || v.p[v.len - 1] != '"' ||
        !str_to_i64(str_sub(v, 1, v.len - 2), 1, INT64_MAX, ret))
        return err_field(err, RC_PRECONDITION, "If-Match",
                         "If-Match must be an ETag that this resource once had");
    return RC_OK;
}

static enum rc update_row(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct resource *res = c->route->res;
    const struct scope *scope;
    int64_t version = 0;
    void *row = arena_alloc(c->arena, 1, res->size);
    enum rc rc = row ? api_scope(c, res, ACCESS_UPDATE, &scope, err) : no_memory(err);
    if (rc == RC_OK)
        rc = if_match(c, &version, err);
    if (rc != RC_OK)
        return rc;
    struct entity_act act = act_of(c, txn, scope);
    rc = entity_update(&act, res, api_path(c, 0), c->body, version, row, err);
    if (rc != RC_OK)
        return rc;
    resource_to_json(res, row, scope_view(scope), &c->reply.body);
    c->reply.version = version_of(res, row);
    return RC_OK;
}

static enum rc delete_row(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct resource *res = c->route->res;
    const struct scope *scope;
    int64_t version = 0;
    enum rc rc = api_scope(c, res, ACCESS_DELETE, &scope, err);
    if (rc == RC_OK)
        rc = if_match(c, &version, err);
    if (rc != RC_OK)
        return rc;
    struct entity_act act = act_of(c, txn, scope);
    c->reply.status = 204;
    return entity_delete(&act, res, api_path(c, 0), version, err);
}

static enum rc hash_password(struct api_call *c, struct err *err)
{
    const json_t *v = json_object_get(c->body, "password");
    char *z = arena_alloc(c->arena, SECRET_PASSWORD_BYTES, 1);
    struct str password = str_make(json_string_value(v), json_string_length(v));
    enum rc rc = z ? secret_password_hash(password, z, err) : no_memory(err);
    if (rc == RC_OK)
        c->password_hash = str_of(z);
    return rc;
}

/* A password that the table would refuse is not worth hashing; `run` then says why. */
static enum rc user_before(struct api_call *c, struct txn *txn, struct err *err)
{
    const json_t *v = json_object_get(c->body, "password");
    size_t len = json_is_string(v) ? json_string_length(v) : 0;
    (void)txn;
    (void)err;
    if (len >= PASSWORD_MIN && len <= PASSWORD_MAX)
        c->slow = hash_password;
    return RC_OK;
}

/* clang-format off */
#define LIST(res_, path_, Name)                                                                    \
    {"GET", "/api/v1/" path_, API_USER, API_READ, list_rows, NULL, &resource_##res_,               \
     {.summary = "List " path_, .tag = path_, .response = OPENAPI_REF(Name "List"),                \
      .list_of = &resource_##res_}}
#define GET(res_, path_, Name)                                                                     \
    {"GET", "/api/v1/" path_ "/{id}", API_USER, API_READ, get_row, NULL, &resource_##res_,         \
     {.summary = "Get one of the " path_, .tag = path_, .response = OPENAPI_REF(Name)}}
#define POST(res_, path_, Name, before_, Answer)                                                   \
    {"POST", "/api/v1/" path_, API_USER, API_WRITE, create_row, before_, &resource_##res_,         \
     {.summary = "Make one of the " path_, .tag = path_, .request = OPENAPI_REF(Name "Create"),    \
      .response = OPENAPI_REF(Answer), .status = 201}}
#define PATCH(res_, path_, Name, before_)                                                          \
    {"PATCH", "/api/v1/" path_ "/{id}", API_USER, API_WRITE, update_row, before_, &resource_##res_,\
     {.summary = "Change one of the " path_, .tag = path_,                                         \
      .request = OPENAPI_REF(Name "Update"), .response = OPENAPI_REF(Name)}}
#define DELETE(res_, path_)                                                                        \
    {"DELETE", "/api/v1/" path_ "/{id}", API_USER, API_WRITE, delete_row, NULL, &resource_##res_,  \
     {.summary = "Delete one of the " path_, .tag = path_, .status = 204}}
#define ALL(res_, path_, Name)                                                                     \
    LIST(res_, path_, Name), POST(res_, path_, Name, NULL, Name), GET(res_, path_, Name),          \
    PATCH(res_, path_, Name, NULL), DELETE(res_, path_)

const struct api_route resource_routes[] = {
    ALL(org, "orgs", "Org"),
    LIST(user, "users", "User"), POST(user, "users", "User", user_before, "User"),
    GET(user, "users", "User"), PATCH(user, "users", "User", user_before), DELETE(user, "users"),
    LIST(key, "keys", "Key"), POST(key, "keys", "Key", NULL, "KeyWithSecret"),
    GET(key, "keys", "Key"), PATCH(key, "keys", "Key", NULL), DELETE(key, "keys"),
    LIST(token, "tokens", "Token"), POST(token, "tokens", "Token", NULL, "TokenWithSecret"),
    GET(token, "tokens", "Token"), DELETE(token, "tokens"),
    ALL(provider, "providers", "Provider"),
    ALL(model, "models", "Model"),
    ALL(cluster, "clusters", "Cluster"),
    ALL(endpoint, "endpoints", "Endpoint"),
    ALL(deployment, "deployments", "Deployment"),
    LIST(share, "shares", "Share"), POST(share, "shares", "Share", NULL, "Share"),
    GET(share, "shares", "Share"), DELETE(share, "shares"),
    ALL(limit, "limits", "Limit"),
    LIST(price, "prices", "Price"), POST(price, "prices", "Price", NULL, "Price"),
    GET(price, "prices", "Price"), /* a version is never edited (I6): 405 for the rest */
    LIST(audit, "audit", "Audit"), GET(audit, "audit", "Audit"),
};
/* clang-format on */
const size_t resource_n_routes = ARRAY_LEN(resource_routes);
