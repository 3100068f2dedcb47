/* key - the rules of API keys: one belongs to a user and by that to an org; its secret is seen
 * once; a revoked one stays revoked. */
#include "base/hash.h"
#include "control/access.h"
#include "control/entity.h"
#include "control/row.h"
#include "control/secret.h"
#include "control/sweep.h"
#include "control/txn.h"

static enum rc find_owner(struct entity_act *act, struct key *k, struct err *err)
{
    struct user u = {0};
    if (!k->user_id.p)
        k->user_id = scope_user(act->scope);
    if (!k->user_id.p)
        return err_field(err, RC_INVALID, "user_id", "a key needs a user_id");
    enum rc rc = row_get(act->txn, act->scope, &resource_user, k->user_id, act->arena, &u, err);
    if (rc == RC_NOT_FOUND)
        return err_field(err, RC_INVALID, "user_id", "there is no user " STR_FMT,
                         STR_ARG(k->user_id));
    if (rc != RC_OK)
        return rc;
    if (!u.org_id.p)
        return err_field(err, RC_INVALID, "user_id",
                         "a key acts for a user of an org, and operators have none; give user_id");
    if (k->org_id.p && !str_eq(k->org_id, u.org_id))
        return err_field(err, RC_INVALID, "org_id", "the user belongs to another org");
    k->org_id = u.org_id;
    return RC_OK;
}

static enum rc before_create(struct entity_act *act, void *row, struct err *err)
{
    struct key *k = row;
    uint8_t hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    struct str public_id = STR_NONE;
    enum rc rc = find_owner(act, k, err);
    if (rc == RC_OK && k->expires_at && k->expires_at <= act->txn->now_ms)
        rc = err_field(err, RC_INVALID, "expires_at", "expires_at is in the past");
    if (rc != RC_OK)
        return rc;
    apikey_new(&act->key);
    bool ok = apikey_parse(str_of(act->key.text), &public_id);
    ASSERT(ok);
    apikey_hash(str_of(act->key.text), act->secrets->apikey, hash);
    str_to_hex(hash, sizeof hash, hex);
    k->public_id = arena_dup(act->arena, public_id);
    k->hash = arena_dup(act->arena, str_of(hex));
    if (!k->public_id.p || !k->hash.p)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    return RC_OK;
}

static enum rc before_update(struct entity_act *act, const void *old_row, void *row, uint64_t set,
                             struct err *err)
{
    const struct key *old = old_row;
    const struct key *k = row;
    (void)act;
    (void)set;
    if (old->status == KEY_REVOKED && k->status != KEY_REVOKED)
        return err_field(err, RC_INVALID, "status", "a revoked key stays revoked; make a new one");
    return RC_OK;
}

static enum rc before_delete(struct entity_act *act, const void *row, struct err *err)
{
    return sweep_rows(act, &resource_limit, "subject_id", ((const struct key *)row)->id, err);
}

const struct entity_hooks key_hooks = {before_create, NULL, before_update, before_delete};
