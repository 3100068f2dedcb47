/* terms - the rules of limits and prices: under which terms a deployment is used. */
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/entity.h"
#include "control/row.h"
#include "control/txn.h"

enum { PAST_GRACE_MS = 5 * 60 * MS_PER_SEC };

/* The subject must be there, and be what the scope says. */
static enum rc limit_before_create(struct entity_act *act, void *row, struct err *err)
{
    static const struct resource *const subjects[] = {
        [LIMIT_ORG] = &resource_org, [LIMIT_USER] = &resource_user, [LIMIT_KEY] = &resource_key};
    const struct limit *l = row;
    return l->subject_id.p
               ? entity_must_exist(act, subjects[l->scope], l->subject_id, "subject_id", err)
               : RC_OK;
}

static enum rc last_price(struct txn *txn, struct str deployment_id, int64_t *ret, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc =
        stmt_get(txn, "SELECT max(effective_from) FROM prices WHERE deployment_id = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, deployment_id);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK)
        *ret = stmt_i64(s, 0);
    return rc;
}

/* A version starts now or later, never in the past: what was admitted keeps its price. */
static enum rc price_before_create(struct entity_act *act, void *row, struct err *err)
{
    struct price *p = row;
    int64_t last = 0, now = act->txn->now_ms;
    for (size_t i = 0; i < p->currency.len; i++)
        if (p->currency.p[i] < 'A' || p->currency.p[i] > 'Z')
            return err_field(err, RC_BAD_INPUT, "currency",
                             "currency must be three capital letters such as USD");
    if (p->effective_from && p->effective_from < now - PAST_GRACE_MS)
        return err_field(err, RC_INVALID, "effective_from",
                         "effective_from is in the past; a price holds from now or later");
    if (p->effective_from)
        return RC_OK;
    enum rc rc = last_price(act->txn, p->deployment_id, &last, err);
    if (rc == RC_OK)
        p->effective_from = last == now ? now + 1 : now; /* two versions in one millisecond */
    return rc;
}

const struct entity_hooks limit_hooks = {.before_create = limit_before_create};
const struct entity_hooks price_hooks = {.before_create = price_before_create};
