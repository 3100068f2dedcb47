#include "control/entity.h"

#include "base/units.h"
#include "control/access.h"
#include "control/row.h"

static const struct entity_hooks *hooks_of(const struct resource *res)
{
    static const struct {
        const struct resource *res;
        const struct entity_hooks *hooks;
    } all[] = {
        {&resource_org, &org_hooks},           {&resource_user, &user_hooks},
        {&resource_key, &key_hooks},           {&resource_provider, &provider_hooks},
        {&resource_model, &model_hooks},       {&resource_cluster, &cluster_hooks},
        {&resource_endpoint, &endpoint_hooks}, {&resource_deployment, &deployment_hooks},
        {&resource_share, &share_hooks},       {&resource_limit, &limit_hooks},
        {&resource_price, &price_hooks},       {&resource_token, &token_hooks},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].res == res)
            return all[i].hooks;
    ASSERT(!"a resource without hooks");
    return NULL;
}

enum rc entity_must_exist(struct entity_act *act, const struct resource *res, struct str id,
                          const char *field, struct err *err)
{
    int64_t n = 0;
    enum rc rc = row_count(act->txn, act->scope, res, "id", id, &n, err);
    if (rc == RC_OK && n == 0)
        rc = err_field(err, RC_INVALID, field, "there is no %s " STR_FMT, res->name, STR_ARG(id));
    return rc;
}

enum rc entity_refuse_in_use(struct entity_act *act, const struct resource *user_of,
                             const char *field, struct str id, struct err *err)
{
    int64_t n = 0;
    enum rc rc = row_count(act->txn, access_system(), user_of, field, id, &n, err);
    if (rc == RC_OK && n > 0)
        rc = err_set(err, RC_CONFLICT, "it is in use by %lld %s; delete or change those first",
                     (long long)n, n == 1 ? user_of->name : user_of->plural);
    return rc;
}

/* What the row refers to must be there and visible to whoever refers to it. */
static enum rc check_refs(struct entity_act *act, const struct resource *res, const void *row,
                          uint64_t set, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        if (f->type != FIELD_REF || !(set >> i & 1))
            continue;
        struct str id = *(const struct str *)(const void *)((const char *)row + f->offset);
        if (id.p)
            rc = entity_must_exist(act, resource_find(str_of(f->values)), id, f->name, err);
    }
    return rc;
}

enum rc entity_create(struct entity_act *act, const struct resource *res, void *row,
                      struct err *err)
{
    const struct entity_hooks *h = hooks_of(res);
    act->key.text[0] = act->token[0] = '\0';
    enum rc rc = check_refs(act, res, row, UINT64_MAX, err);
    if (rc == RC_OK && h->before_create)
        rc = h->before_create(act, row, err);
    if (rc == RC_OK)
        rc = row_insert(act->txn, act->scope, res, act->arena, row, err);
    if (rc == RC_OK && h->after_create)
        rc = h->after_create(act, row, err);
    return rc;
}

static enum rc check_version(const struct resource *res, const void *row, int64_t if_version,
                             struct err *err)
{
    const struct field *f = resource_field(res, STR("version"));
    if (!f || if_version <= 0)
        return RC_OK;
    int64_t version = *(const int64_t *)(const void *)((const char *)row + f->offset);
    if (version == if_version)
        return RC_OK;
    return err_set(err, RC_PRECONDITION, "it was changed meanwhile: version %lld is now %lld",
                   (long long)if_version, (long long)version);
}

enum rc entity_update(struct entity_act *act, const struct resource *res, struct str id,
                      const json_t *json, int64_t if_version, void *ret_row, struct err *err)
{
    const struct entity_hooks *h = hooks_of(res);
    uint64_t set = 0;
    void *old = arena_alloc(act->arena, 1, res->size);
    if (!old)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    enum rc rc = row_get(act->txn, act->scope, res, id, act->arena, old, err);
    if (rc == RC_OK)
        rc = check_version(res, old, if_version, err);
    if (rc == RC_OK) {
        memcpy(ret_row, old, res->size);
        rc = resource_from_json(res, json, RESOURCE_UPDATE, scope_who(act->scope), act->arena,
                                ret_row, &set, err);
    }
    if (rc == RC_OK)
        rc = check_refs(act, res, ret_row, set, err);
    if (rc == RC_OK && h->before_update)
        rc = h->before_update(act, old, ret_row, set, err);
    if (rc == RC_OK && set)
        rc = row_update(act->txn, act->scope, res, ret_row, err);
    return rc;
}

enum rc entity_delete(struct entity_act *act, const struct resource *res, struct str id,
                      int64_t if_version, struct err *err)
{
    const struct entity_hooks *h = hooks_of(res);
    void *row = arena_alloc(act->arena, 1, res->size);
    if (!row)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    enum rc rc = row_get(act->txn, act->scope, res, id, act->arena, row, err);
    if (rc == RC_OK)
        rc = check_version(res, row, if_version, err);
    if (rc == RC_OK && h->before_delete)
        rc = h->before_delete(act, row, err);
    if (rc == RC_OK)
        rc = row_delete(act->txn, act->scope, res, id, err);
    return rc;
}
