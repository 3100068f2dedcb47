/* tables_find.c - look-ups in a snapshot. */
#include "base/units.h"
#include "gateway/tables_rows.h"

int64_t tables_rev(const struct tables *t)
{
    return t->rev;
}

const char *tables_epoch(const struct tables *t)
{
    return t->epoch;
}

const uint8_t *tables_hash_key(const struct tables *t)
{
    return t->hash_key;
}

size_t tables_rows(const struct tables *t)
{
    return t->by_id.n;
}

const struct org *tables_org(const struct tables *t, struct str id)
{
    struct tables_row *r = tables_find_row(&t->by_id, KIND_org, id);
    return r ? &r->org : NULL;
}

const struct user *tables_user(const struct tables *t, struct str id)
{
    struct tables_row *r = tables_find_row(&t->by_id, KIND_user, id);
    return r ? &r->user : NULL;
}

const struct key *tables_key(const struct tables *t, struct str public_id)
{
    uint64_t h = tables_mix(TABLES_SEED, public_id);
    INDEX_EACH(&t->by_public, h, i)
    {
        if (str_eq(t->by_public.slot[i]->key.public_id, public_id))
            return &t->by_public.slot[i]->key;
    }
    return NULL;
}

int32_t tables_deps(const struct tables *t, const struct tables_dep **ret)
{
    *ret = t->deps;
    return t->n_deps;
}

bool tables_is_shared(const struct tables_dep *d, struct str org_id)
{
    if (d->shared_with_all)
        return true;
    for (int32_t i = 0; i < d->n_shares; i++)
        if (str_eq(d->shares[i]->org_id, org_id))
            return true;
    return false;
}

static bool host_is_an_endpoint(const struct tables *t, struct str host)
{
    for (int32_t i = 0; host.len && i < t->n_deps; i++)
        if (t->deps[i].endpoint && str_eq_nocase(t->deps[i].endpoint->hostname, host))
            return true;
    return false;
}

/* Of several that fit, one that has a running replica. */
const struct tables_dep *tables_route(const struct tables *t, struct str host, struct str model,
                                      struct str org_id)
{
    bool by_host = host_is_an_endpoint(t, host);
    const struct tables_dep *found = NULL;
    for (int32_t i = 0; i < t->n_deps; i++) {
        const struct tables_dep *d = &t->deps[i];
        if (!str_eq(d->name, model) || !tables_is_shared(d, org_id))
            continue;
        if (by_host && (!d->endpoint || !str_eq_nocase(d->endpoint->hostname, host)))
            continue;
        if (!found || (found->n_addresses == 0 && d->n_addresses > 0))
            found = d;
    }
    return found;
}

const struct price *tables_price(const struct tables_dep *d, int64_t wall_ms)
{
    for (int32_t i = 0; i < d->n_prices; i++)
        if (d->prices[i]->effective_from <= wall_ms)
            return d->prices[i];
    return NULL;
}

static const struct limit *find_limit(const struct tables *t, struct str deployment,
                                      enum limit_scope scope, struct str subject)
{
    uint64_t h = tables_hash_limit(deployment, (int64_t)scope, subject);
    INDEX_EACH(&t->by_limit, h, i)
    {
        const struct limit *l = &t->by_limit.slot[i]->limit;
        if (l->scope == (int64_t)scope && str_eq(l->deployment_id, deployment) &&
            str_eq(l->subject_id, subject))
            return l;
    }
    return NULL;
}

int32_t tables_claims(const struct tables *t, const struct tables_dep *d, const struct key *key,
                      struct limit_claim ret[LIMIT_CLAIMS_MAX])
{
    const struct str subjects[] = {
        [LIMIT_ORG] = key->org_id, [LIMIT_USER] = key->user_id, [LIMIT_KEY] = key->id};
    const struct str deployments[] = {d->row->id, STR_NONE};
    int32_t n = 0;
    for (size_t i = 0; t->by_limit.n && i < ARRAY_LEN(deployments); i++)
        for (int scope = LIMIT_ORG; scope <= LIMIT_KEY; scope++) {
            enum limit_scope s = (enum limit_scope)scope;
            const struct limit *l = find_limit(t, deployments[i], s, subjects[scope]);
            if (!l)
                l = find_limit(t, deployments[i], s, STR_NONE);
            if (!l)
                continue;
            ret[n++] = (struct limit_claim){.scope = s,
                                            .subject = subjects[scope],
                                            .deployment = deployments[i],
                                            .requests_per_min = l->requests_per_min,
                                            .tokens_per_min = l->tokens_per_min,
                                            .concurrency = l->concurrency};
        }
    return n;
}
