/* catalog - the rules of providers and models, and of where models can run: clusters and endpoints.
 * Each goes only when nothing stands on it. */
#include "control/access.h"
#include "control/db.h"
#include "control/entity.h"
#include "control/row.h"

static enum rc provider_before_delete(struct entity_act *act, const void *row, struct err *err)
{
    return entity_refuse_in_use(act, &resource_model, "provider_id",
                                ((const struct provider *)row)->id, err);
}

static enum rc model_before_delete(struct entity_act *act, const void *row, struct err *err)
{
    return entity_refuse_in_use(act, &resource_deployment, "model_id",
                                ((const struct model_row *)row)->id, err);
}

static enum rc cluster_before_delete(struct entity_act *act, const void *row, struct err *err)
{
    return entity_refuse_in_use(act, &resource_endpoint, "cluster_id",
                                ((const struct cluster *)row)->id, err);
}

static enum rc endpoint_before_delete(struct entity_act *act, const void *row, struct err *err)
{
    return entity_refuse_in_use(act, &resource_deployment, "endpoint_id",
                                ((const struct endpoint *)row)->id, err);
}

/* Lower case, letters, digits, dots and hyphens; and no other endpoint's. */
static enum rc check_hostname(struct entity_act *act, struct endpoint *e, struct err *err)
{
    struct endpoint other = {0};
    if (e->hostname.len == 0)
        return RC_OK;
    char *z = arena_zdup(act->arena, e->hostname);
    if (!z)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    for (size_t i = 0; i < e->hostname.len; i++) {
        if (z[i] >= 'A' && z[i] <= 'Z')
            z[i] = (char)(z[i] + 32);
        bool ok = (z[i] >= 'a' && z[i] <= 'z') || (z[i] >= '0' && z[i] <= '9') || z[i] == '-' ||
                  z[i] == '.';
        if (!ok)
            return err_field(err, RC_BAD_INPUT, "hostname",
                             "hostname may hold letters, digits, dots and hyphens");
    }
    e->hostname = str_make(z, e->hostname.len);
    enum rc rc = row_find(act->txn, access_system(), &resource_endpoint, "hostname", e->hostname,
                          act->arena, &other, err);
    if (rc == RC_NOT_FOUND || (rc == RC_OK && e->id.p && str_eq(other.id, e->id)))
        return RC_OK;
    return rc != RC_OK ? rc
                       : err_field(err, RC_CONFLICT, "hostname",
                                   "another endpoint has this hostname already");
}

static enum rc endpoint_before_create(struct entity_act *act, void *row, struct err *err)
{
    return check_hostname(act, row, err);
}

static enum rc endpoint_before_update(struct entity_act *act, const void *old, void *row,
                                      uint64_t set, struct err *err)
{
    (void)old;
    (void)set;
    return check_hostname(act, row, err);
}

const struct entity_hooks provider_hooks = {.before_delete = provider_before_delete};
const struct entity_hooks model_hooks = {.before_delete = model_before_delete};
const struct entity_hooks cluster_hooks = {.before_delete = cluster_before_delete};
const struct entity_hooks endpoint_hooks = {endpoint_before_create, NULL, endpoint_before_update,
                                            endpoint_before_delete};
