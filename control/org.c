/* org - the rules of tenants: one goes only when nothing of it is left. */
#include "control/access.h"
#include "control/entity.h"
#include "control/row.h"
#include "control/sweep.h"

static enum rc before_delete(struct entity_act *act, const void *row, struct err *err)
{
    const struct org *org = row;
    enum rc rc = entity_refuse_in_use(act, &resource_user, "org_id", org->id, err);
    if (rc == RC_OK)
        rc = entity_refuse_in_use(act, &resource_key, "org_id", org->id, err);
    if (rc == RC_OK)
        rc = sweep_rows(act, &resource_share, "org_id", org->id, err);
    if (rc == RC_OK)
        rc = sweep_rows(act, &resource_limit, "subject_id", org->id, err);
    return rc;
}

const struct entity_hooks org_hooks = {.before_delete = before_delete};
