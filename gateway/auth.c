#include "gateway/auth.h"

#include "base/hash.h"
#include "schema/apikey.h"

enum rc auth_refuse(struct err *err)
{
    return err_set(err, RC_UNAUTHENTICATED,
                   "Incorrect API key provided. Check that the key is whole and still active.");
}

static struct str bearer_of(struct str authorization)
{
    struct str scheme = str_sub(authorization, 0, 7);
    return str_eq_nocase(scheme, STR("Bearer ")) ? str_trim(str_sub(authorization, 7, SIZE_MAX))
                                                 : STR_NONE;
}

enum rc auth_key_text(struct str authorization, struct str x_api_key, struct str *ret_key,
                      struct str *ret_public, struct err *err)
{
    struct str bearer = bearer_of(authorization), other = str_trim(x_api_key);
    if (authorization.p && x_api_key.p && !str_eq(bearer, other))
        return err_set(err, RC_BAD_INPUT,
                       "'Authorization' and 'x-api-key' name different keys; send one of them.");
    struct str key = bearer.len ? bearer : other;
    if (key.len == 0)
        return err_set(err, RC_UNAUTHENTICATED,
                       "You didn't provide an API key. Send it in the header "
                       "'Authorization: Bearer YOUR_KEY'.");
    if (!apikey_parse(key, ret_public))
        return auth_refuse(err);
    *ret_key = key;
    return RC_OK;
}

static bool key_matches(const struct tables *t, const struct key *k, struct str key)
{
    uint8_t want[HASH_BYTES], got[HASH_BYTES];
    apikey_hash(key, tables_hash_key(t), got);
    return str_from_hex(k->hash, want, sizeof want) && hash_equal(want, got, sizeof want);
}

enum rc auth_check(const struct tables *t, struct str key, struct str public_id, int64_t wall_ms,
                   struct auth *ret, struct err *err)
{
    const struct key *k = tables_key(t, public_id);
    if (!k)
        return RC_AGAIN;
    if (!key_matches(t, k, key))
        return auth_refuse(err);
    const struct user *user = tables_user(t, k->user_id);
    const struct org *org = tables_org(t, k->org_id);
    if (k->status != KEY_ACTIVE || (k->expires_at && k->expires_at <= wall_ms))
        return auth_refuse(err);
    if (!user || user->status != USER_ACTIVE || !org || org->status != ORG_ACTIVE)
        return auth_refuse(err);
    if (user->org_id.len && !str_eq(user->org_id, org->id))
        return auth_refuse(err); /* moved to another org: the key stays behind */
    *ret = (struct auth){k, user, org};
    return RC_OK;
}
