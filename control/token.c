/* token - the rules of bearer tokens: one acts as the user who made it, and is seen once. */
#include <stdio.h>

#include "control/access.h"
#include "control/entity.h"
#include "control/session.h"
#include "control/txn.h"

static enum rc before_create(struct entity_act *act, void *row, struct err *err)
{
    struct token_row *t = row;
    char hash[65];
    if (!t->user_id.p) /* start-up names the user; over HTTP the field cannot be set */
        t->user_id = scope_user(act->scope);
    if (!t->user_id.p)
        return err_field(err, RC_INVALID, "user_id", "a token needs a user");
    if (t->expires_at && t->expires_at <= act->txn->now_ms)
        return err_field(err, RC_INVALID, "expires_at", "expires_at is in the past");
    session_token_new(act->secrets, "slt_", act->token, hash);
    t->hash = arena_dup(act->arena, str_of(hash));
    return t->hash.p ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for the request");
}

const struct entity_hooks token_hooks = {.before_create = before_create};
