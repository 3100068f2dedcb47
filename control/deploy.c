#include "control/deploy.h"

#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/entity.h"
#include "control/row.h"
#include "control/sweep.h"

/* Without a name of its own a deployment serves under its model's; written down, so that it stays
 * when the model is renamed, and so that the database keeps it unique. */
static enum rc fill_served_name(struct entity_act *act, struct deployment *d, struct err *err)
{
    struct model_row m = {0};
    if (d->served_name.len)
        return RC_OK;
    enum rc rc =
        row_get(act->txn, access_system(), &resource_model, d->model_id, act->arena, &m, err);
    if (rc == RC_OK)
        d->served_name = m.name;
    return rc;
}

static enum rc check_upstream(const struct deployment *d, struct err *err)
{
    bool is_http =
        str_starts(d->upstream_url, STR("http://")) || str_starts(d->upstream_url, STR("https://"));
    if (d->engine == ENGINE_EXTERNAL && !is_http)
        return err_field(err, RC_INVALID, "upstream_url",
                         "an external engine needs an upstream_url with http:// or https://");
    if (d->upstream_url.len && !is_http)
        return err_field(err, RC_BAD_INPUT, "upstream_url",
                         "upstream_url must start with http:// or https://");
    return RC_OK;
}

static enum rc check_place(struct entity_act *act, const struct deployment *d, struct err *err)
{
    struct endpoint e = {0};
    struct cluster c = {0};
    enum rc rc =
        row_get(act->txn, access_system(), &resource_endpoint, d->endpoint_id, act->arena, &e, err);
    if (rc == RC_OK)
        rc = row_get(act->txn, access_system(), &resource_cluster, e.cluster_id, act->arena, &c,
                     err);
    if (rc == RC_OK && d->engine == ENGINE_INTEGRATED && c.kind != CLUSTER_LOCAL)
        rc = err_field(err, RC_INVALID, "engine",
                       "the integrated engine runs on a cluster of kind local");
    return rc;
}

static enum rc before_create(struct entity_act *act, void *row, struct err *err)
{
    enum rc rc = check_upstream(row, err);
    if (rc == RC_OK)
        rc = check_place(act, row, err);
    if (rc == RC_OK)
        rc = fill_served_name(act, row, err);
    return rc;
}

static enum rc before_update(struct entity_act *act, const void *old, void *row, uint64_t set,
                             struct err *err)
{
    (void)old;
    (void)set;
    enum rc rc = check_upstream(row, err);
    if (rc == RC_OK)
        rc = fill_served_name(act, row, err);
    return rc;
}

/* Prices and usage rows stay: they are what was billed. */
static enum rc before_delete(struct entity_act *act, const void *row, struct err *err)
{
    struct str id = ((const struct deployment *)row)->id;
    enum rc rc = sweep_rows(act, &resource_share, "deployment_id", id, err);
    if (rc == RC_OK)
        rc = sweep_rows(act, &resource_limit, "deployment_id", id, err);
    return rc;
}

const struct entity_hooks deployment_hooks = {before_create, NULL, before_update, before_delete};
const struct entity_hooks share_hooks = {0};

enum rc deploy_report(struct txn *txn, struct str id, const struct deploy_report *report,
                      struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, MIB);
    struct deployment d = {0};
    enum rc rc = row_get(txn, access_system(), &resource_deployment, id, &arena, &d, err);
    if (rc != RC_OK)
        return rc;
    if (d.state == (int64_t)report->state && str_eq(d.state_reason, report->reason) &&
        d.progress == report->progress && str_eq(d.replica_list, report->replica_list))
        return RC_OK;
    d.state = (int64_t)report->state;
    d.state_reason = report->reason.p ? report->reason : STR("");
    d.progress = report->progress;
    d.replica_list = report->replica_list.len ? report->replica_list : STR("[]");
    return row_update(txn, access_system(), &resource_deployment, &d, err);
}
