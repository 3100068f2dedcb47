#include "gateway/tables.h"

#include <stdlib.h>

#include "base/units.h"
#include "gateway/tables_rows.h"

enum { ROW_ARENA_MAX = 512 * 1024 };

static const struct resource *const resource_of[KIND_COUNT] = {
    [KIND_org] = &resource_org,           [KIND_user] = &resource_user,
    [KIND_key] = &resource_key,           [KIND_model] = &resource_model,
    [KIND_endpoint] = &resource_endpoint, [KIND_deployment] = &resource_deployment,
    [KIND_share] = &resource_share,       [KIND_limit] = &resource_limit,
    [KIND_price] = &resource_price,
};

static bool index_init(struct tables_index *x, size_t n)
{
    size_t cap = 16;
    while (cap < 2 * n)
        cap *= 2;
    *x = (struct tables_index){.slot = calloc(cap, sizeof *x->slot), .mask = cap - 1};
    return x->slot != NULL;
}

static void index_add(struct tables_index *x, uint64_t hash, struct tables_row *row)
{
    size_t i = (hash ^ hash >> 32) & x->mask;
    while (x->slot[i])
        i = (i + 1) & x->mask;
    x->slot[i] = row;
    x->n++;
}

/* ---- rows ---- */

static void row_unref(struct tables_row *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    arena_done(&r->arena);
    free(r);
}

static enum rc row_read(enum tables_kind kind, const json_t *json, struct tables_row **ret,
                        struct err *err)
{
    struct tables_row *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, RC_NO_MEMORY, "no memory for a row");
    atomic_init(&r->refs, 1);
    r->kind = kind;
    arena_init(&r->arena, ROW_ARENA_MAX);
    uint64_t set = 0;
    enum rc rc = resource_from_json(resource_of[kind], json, RESOURCE_FEED, FIELD_WO, &r->arena,
                                    &r->org, &set, err);
    if (rc == RC_OK && !r->id.len)
        rc = err_set(err, RC_CORRUPT, "a row of the feed has no id");
    if (rc != RC_OK) {
        row_unref(r);
        return rc;
    }
    *ret = r;
    return RC_OK;
}

static int64_t row_version(const struct tables_row *r)
{
    switch (r->kind) {
    case KIND_org:
        return r->org.version;
    case KIND_user:
        return r->user.version;
    case KIND_key:
        return r->key.version;
    case KIND_model:
        return r->model.version;
    case KIND_endpoint:
        return r->endpoint.version;
    case KIND_limit:
        return r->limit.version;
    default:
        return 0; /* never edited, or edited by the reconciler without a new version */
    }
}

/* ---- deployments ---- */

static bool text_is(const json_t *obj, const char *name, const char *want)
{
    const json_t *v = json_object_get(obj, name);
    return json_is_string(v) && str_is(str_of(json_string_value(v)), want);
}

/* The addresses of the replicas that run. The list is the control plane's own; what is odd in it
 * is left out. */
static void read_replicas(struct tables *t, struct tables_dep *d)
{
    if (d->row->engine != ENGINE_INTEGRATED && d->row->upstream_url.len) {
        d->address[d->n_addresses++] = d->row->upstream_url;
        return;
    }
    struct str text = d->row->replica_list;
    json_t *list = text.len ? json_loadb(text.p, text.len, 0, NULL) : NULL;
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        const json_t *address = json_object_get(one, "address");
        if (!text_is(one, "state", "running") || !json_is_string(address) ||
            d->n_addresses == TABLES_REPLICAS_MAX)
            continue;
        struct str kept = arena_dup(&t->arena, str_of(json_string_value(address)));
        if (kept.len)
            d->address[d->n_addresses++] = kept;
    }
    json_decref(list);
}

static int newest_price_first(const void *a, const void *b)
{
    const struct price *x = *(const struct price *const *)a, *y = *(const struct price *const *)b;
    if (x->effective_from != y->effective_from)
        return x->effective_from > y->effective_from ? -1 : 1;
    return str_cmp(y->id, x->id); /* ids are ordered by time */
}

static int by_name_then_age(const void *a, const void *b)
{
    const struct tables_dep *x = a, *y = b;
    int c = str_cmp(x->name, y->name);
    return c ? c : str_cmp(x->row->id, y->row->id);
}

/* Rows of one kind that belong to the deployment, as a list in the snapshot's arena. */
static const void *collect(struct tables *t, enum tables_kind kind, struct str dep_id,
                           int32_t *ret_n)
{
    int32_t n = 0;
    const void **list = NULL;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && n)
            list = ARENA_ARRAY(&t->arena, const void *, (size_t)n);
        if (pass == 1 && !list)
            break;
        n = 0;
        for (size_t i = 0; i <= t->by_id.mask; i++) {
            struct tables_row *r = t->by_id.slot[i];
            if (!r || r->kind != kind ||
                !str_eq(kind == KIND_share ? r->share.deployment_id : r->price.deployment_id,
                        dep_id))
                continue;
            if (list)
                list[n] = &r->org;
            n++;
        }
    }
    *ret_n = list ? n : 0;
    return list;
}

static void fill_dep(struct tables *t, struct tables_dep *d)
{
    struct tables_row *endpoint = tables_find_row(&t->by_id, KIND_endpoint, d->row->endpoint_id);
    struct tables_row *model = tables_find_row(&t->by_id, KIND_model, d->row->model_id);
    d->endpoint = endpoint ? &endpoint->endpoint : NULL;
    d->name = d->row->served_name.len ? d->row->served_name : model ? model->model.name : STR("");
    d->shares = collect(t, KIND_share, d->row->id, &d->n_shares);
    d->prices = collect(t, KIND_price, d->row->id, &d->n_prices);
    if (d->n_prices)
        qsort((void *)(uintptr_t)d->prices, (size_t)d->n_prices, sizeof *d->prices,
              newest_price_first);
    for (int32_t i = 0; i < d->n_shares; i++)
        d->shared_with_all = d->shared_with_all || !d->shares[i]->org_id.len;
    read_replicas(t, d);
}

static enum rc make_deps(struct tables *t, struct err *err)
{
    size_t n = 0;
    for (size_t i = 0; i <= t->by_id.mask; i++)
        n += t->by_id.slot[i] && t->by_id.slot[i]->kind == KIND_deployment;
    t->deps = n ? ARENA_ARRAY(&t->arena, struct tables_dep, n) : NULL;
    if (n && !t->deps)
        return err_set(err, RC_NO_MEMORY, "no memory for %zu deployments", n);
    for (size_t i = 0; i <= t->by_id.mask; i++)
        if (t->by_id.slot[i] && t->by_id.slot[i]->kind == KIND_deployment)
            t->deps[t->n_deps++].row = &t->by_id.slot[i]->deployment;
    for (int32_t i = 0; i < t->n_deps; i++)
        fill_dep(t, &t->deps[i]);
    if (n)
        qsort(t->deps, n, sizeof *t->deps, by_name_then_age);
    return RC_OK;
}

static enum rc make_indexes(struct tables *t, struct err *err)
{
    if (!index_init(&t->by_public, t->by_id.n) || !index_init(&t->by_limit, t->by_id.n))
        return err_set(err, RC_NO_MEMORY, "no memory for the indexes");
    for (size_t i = 0; i <= t->by_id.mask; i++) {
        struct tables_row *r = t->by_id.slot[i];
        if (r && r->kind == KIND_key)
            index_add(&t->by_public, tables_mix(TABLES_SEED, r->key.public_id), r);
        if (r && r->kind == KIND_limit && r->limit.enabled)
            index_add(
                &t->by_limit,
                tables_hash_limit(r->limit.deployment_id, r->limit.scope, r->limit.subject_id), r);
    }
    return make_deps(t, err);
}

/* ---- a new snapshot from an old one and changes ---- */

struct tables *tables_ref(struct tables *t)
{
    if (t)
        atomic_fetch_add(&t->refs, 1);
    return t;
}

void tables_unref(struct tables *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    for (size_t i = 0; t->by_id.slot && i <= t->by_id.mask; i++)
        row_unref(t->by_id.slot[i]);
    free(t->by_id.slot);
    free(t->by_public.slot);
    free(t->by_limit.slot);
    arena_done(&t->arena);
    hash_wipe(t->hash_key, sizeof t->hash_key);
    free(t);
}

static bool kind_of(const json_t *change, enum tables_kind *ret)
{
    for (int k = 0; k < KIND_COUNT; k++)
        if (text_is(change, "kind", resource_of[k]->name)) {
            *ret = (enum tables_kind)k;
            return true;
        }
    return false;
}

/* The changed rows, by (kind, id); a row that is gone has a NULL `row`. */
struct change {
    enum tables_kind kind;
    struct str id;
    struct tables_row *row;
};

static enum rc read_changes(const json_t *list, struct change *ret, size_t *ret_n, struct err *err)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        enum tables_kind kind;
        const json_t *row = json_object_get(one, "row"), *id = json_object_get(one, "id");
        if (!kind_of(one, &kind))
            continue; /* newer control planes may have kinds that we do not need */
        if (!json_is_string(id))
            return err_set(err, RC_CORRUPT, "change %zu of the feed has no id", i);
        struct change *c = &ret[*ret_n];
        *c = (struct change){.kind = kind, .id = str_of(json_string_value(id))};
        if (row && !json_is_null(row)) {
            enum rc rc = row_read(kind, row, &c->row, err);
            if (rc != RC_OK)
                return rc;
        }
        ++*ret_n;
    }
    return RC_OK;
}

/* Old rows that no change touches, then the changes; the last change of a row wins. */
static bool merge(struct tables *t, const struct tables *old, struct change *change, size_t n)
{
    struct tables_index last = {0};
    if (n && !index_init(&last, n))
        return false;
    for (size_t i = n; i-- > 0;) {
        struct change *c = &change[i];
        uint64_t h = tables_hash_id(c->kind, c->id);
        bool seen = false;
        INDEX_EACH(&last, h, k)
        {
            struct change *other = (struct change *)(void *)last.slot[k];
            seen = seen || (other->kind == c->kind && str_eq(other->id, c->id));
        }
        if (seen)
            continue;
        index_add(&last, h, (struct tables_row *)(void *)c);
        struct tables_row *had = old ? tables_find_row(&old->by_id, c->kind, c->id) : NULL;
        struct tables_row *now = c->row;
        if (now && had && row_version(had) > row_version(now))
            now = had;
        if (now) {
            atomic_fetch_add(&now->refs, 1);
            index_add(&t->by_id, h, now);
        }
    }
    for (size_t i = 0; old && i <= old->by_id.mask; i++) {
        struct tables_row *r = old->by_id.slot[i];
        bool touched = false;
        if (r && n) {
            uint64_t h = tables_hash_id(r->kind, r->id);
            INDEX_EACH(&last, h, k)
            {
                struct change *c = (struct change *)(void *)last.slot[k];
                touched = touched || (c->kind == r->kind && str_eq(c->id, r->id));
            }
        }
        if (r && !touched) {
            atomic_fetch_add(&r->refs, 1);
            index_add(&t->by_id, tables_hash_id(r->kind, r->id), r);
        }
    }
    free(last.slot);
    return true;
}

static enum rc build(const struct tables *old, struct change *change, size_t n, struct tables *t,
                     struct err *err)
{
    size_t most = n + (old ? old->by_id.n : 0);
    if (most > TABLES_ROWS_MAX)
        return err_set(err, RC_TOO_LARGE, "the feed has more than %d rows", TABLES_ROWS_MAX);
    arena_init(&t->arena, SIZE_MAX / 2);
    if (!index_init(&t->by_id, most))
        return err_set(err, RC_NO_MEMORY, "no memory for %zu rows", most);
    if (!merge(t, old, change, n))
        return err_set(err, RC_NO_MEMORY, "no memory for %zu changes", n);
    return make_indexes(t, err);
}

static enum rc make(const struct tables *old, struct change *change, size_t n,
                    const struct tables *meta, struct tables **ret, struct err *err)
{
    struct tables *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, RC_NO_MEMORY, "no memory for the tables");
    atomic_init(&t->refs, 1);
    t->rev = meta->rev;
    memcpy(t->epoch, meta->epoch, sizeof t->epoch);
    memcpy(t->hash_key, meta->hash_key, sizeof t->hash_key);
    enum rc rc = build(old, change, n, t, err);
    if (rc != RC_OK) {
        tables_unref(t);
        return rc;
    }
    *ret = t;
    return RC_OK;
}

static enum rc read_meta(const json_t *reply, struct tables *ret, struct err *err)
{
    const json_t *rev = json_object_get(reply, "rev"), *epoch = json_object_get(reply, "epoch");
    const json_t *hash_key = json_object_get(reply, "hash_key");
    if (!json_is_integer(rev) || !json_is_string(epoch) || !json_is_string(hash_key))
        return err_set(err, RC_CORRUPT, "the feed's reply lacks rev, epoch or hash_key");
    struct str e = str_of(json_string_value(epoch));
    if (e.len >= sizeof ret->epoch)
        return err_set(err, RC_CORRUPT, "the feed's epoch is too long");
    memcpy(ret->epoch, e.p, e.len);
    ret->rev = json_integer_value(rev);
    if (!str_from_hex(str_of(json_string_value(hash_key)), ret->hash_key, sizeof ret->hash_key))
        return err_set(err, RC_CORRUPT, "the feed's hash_key is not 64 hex digits");
    return RC_OK;
}

enum rc tables_apply(struct tables *old, const json_t *reply, struct tables **ret, struct err *err)
{
    const json_t *list = json_object_get(reply, "changes");
    struct tables meta = {0};
    if (!json_is_array(list) || json_array_size(list) > TABLES_ROWS_MAX)
        return err_set(err, RC_CORRUPT, "the feed's reply has no list of changes");
    enum rc rc = read_meta(reply, &meta, err);
    if (rc != RC_OK)
        return rc;
    size_t n = 0;
    struct change *change = calloc(json_array_size(list) + 1, sizeof *change);
    if (!change)
        return err_set(err, RC_NO_MEMORY, "no memory for the feed's changes");
    rc = read_changes(list, change, &n, err);
    if (rc == RC_OK)
        rc = make(json_is_true(json_object_get(reply, "full")) ? NULL : old, change, n, &meta, ret,
                  err);
    for (size_t i = 0; i < n; i++)
        row_unref(change[i].row);
    free(change);
    return rc;
}

enum rc tables_apply_key(struct tables *old, const json_t *row, int64_t rev, struct tables **ret,
                         struct err *err)
{
    if (rev <= old->rev)
        return err_set(err, RC_CONFLICT, "the key's row is older than the replica");
    struct change c = {.kind = KIND_key};
    enum rc rc = row_read(KIND_key, row, &c.row, err);
    if (rc != RC_OK)
        return rc;
    c.id = c.row->id;
    rc = make(old, &c, 1, old, ret, err);
    row_unref(c.row);
    return rc;
}

void tables_to_json(const struct tables *t, struct buf *to)
{
    char hex[2 * HASH_KEY_BYTES + 1];
    str_to_hex(t->hash_key, sizeof t->hash_key, hex);
    buf_z(to, "{\"epoch\":");
    buf_json(to, str_of(t->epoch));
    buf_printf(to, ",\"rev\":%lld,\"full\":true,\"hash_key\":\"%s\",\"changes\":[",
               (long long)t->rev, hex);
    bool first = true;
    for (size_t i = 0; i <= t->by_id.mask; i++) {
        const struct tables_row *r = t->by_id.slot[i];
        if (!r)
            continue;
        buf_z(to, first ? "\n" : ",\n");
        first = false;
        buf_printf(to, "{\"kind\":\"%s\",\"id\":", resource_of[r->kind]->name);
        buf_json(to, r->id);
        buf_z(to, ",\"row\":");
        resource_to_json(resource_of[r->kind], &r->org, VIEW_FEED, to);
        buf_byte(to, '}');
    }
    buf_z(to, "]}\n");
}
