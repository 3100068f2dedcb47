/* limit_local.c - a hash table of sliding windows behind one mutex.
 *
 * A window has one-second slots. An event at time t is in slot t / 1 s; two events less than 60 s
 * apart are at most 60 slots apart. So the sum over the newest 61 slots covers every 60 s interval
 * that ends now, wherever its edges fall, and needs no fractions: it can only err on the safe side,
 * by less than one second. The ring has 64 places because a power of two indexes cheaply. */
#include "gateway/limit_local.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/units.h"

enum {
    SLOTS = 61,
    RING = 64,
    SLOT_MS = 1000,
    KEY_BYTES = 88, /* scope digit, subject (<= 40), '|', deployment (<= 40) */
    PART_BYTES = 40,
    SWEEP_BUCKETS = 4, /* looked at by each reservation: the table is walked while it is used */
    BUSY_RETRY_MS = 1000
};

struct scope {
    struct scope *next; /* in its bucket */
    uint64_t hash;
    char key[KEY_BYTES];
    int32_t key_len;
    int32_t holds;  /* open; a scope with holds stays */
    int64_t at;     /* newest slot that the sums reach */
    int64_t newest; /* newest slot that anything was added to */
    int64_t req_sum, tok_sum;
    int64_t req[RING], tok[RING];
};

struct local {
    struct limit_store store; /* first */
    const struct clock *clock;
    pthread_mutex_t lock;
    uint64_t seed;
    int64_t now_ms;    /* newest time seen: it never runs backwards here */
    int64_t full_slot; /* when the whole table was last swept */
    struct limit_sums sums;
    int32_t scopes_max;
    uint32_t n_buckets, hand; /* power of two; hand: next bucket to sweep */
    struct scope **buckets;
};

/* One row of a reservation: a claim, or several of the same name, with the scope if it is known. */
struct row {
    const struct limit_claim *claim;
    char key[KEY_BYTES];
    int32_t key_len;
    uint64_t hash;
    struct scope *scope;
    int64_t limit[3]; /* by enum limit_kind */
};

static int64_t add_capped(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return b > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

/* ---- a window ---- */

static void scope_advance(struct scope *s, int64_t slot)
{
    if (slot - s->at >= SLOTS) {
        memset(s->req, 0, sizeof s->req);
        memset(s->tok, 0, sizeof s->tok);
        s->req_sum = s->tok_sum = 0;
        s->at = slot;
    }
    while (s->at < slot) {
        s->at++;
        int64_t gone = (s->at - SLOTS) & (RING - 1);
        s->req_sum -= s->req[gone];
        s->tok_sum -= s->tok[gone];
        s->req[gone] = s->tok[gone] = 0;
    }
}

static void scope_add(struct scope *s, int64_t slot, int64_t requests, int64_t tok)
{
    int64_t i = slot & (RING - 1);
    s->req[i] += requests;
    s->req_sum += requests;
    s->tok[i] = add_capped(s->tok[i], tok);
    s->tok_sum = add_capped(s->tok_sum, tok);
    if (slot > s->newest)
        s->newest = slot;
}

static bool scope_is_idle(const struct scope *s, int64_t slot)
{
    return s->holds == 0 && slot - s->newest >= SLOTS;
}

/* The first moment when `sum` over the ring has fallen to `most`, if nothing else happens. */
static int64_t wait_for(const struct scope *s, const int64_t *ring, int64_t sum, int64_t most,
                        int64_t now_ms)
{
    int64_t slot = s->at - SLOTS + 1;
    for (; slot < s->at; slot++) {
        sum -= ring[slot & (RING - 1)];
        if (sum <= most)
            break;
    }
    return (slot + SLOTS) * SLOT_MS - now_ms;
}

/* ---- the table ---- */

static uint64_t hash_key(const struct local *l, const char *key, int32_t len)
{
    uint64_t h = l->seed ^ UINT64_C(14695981039346656037);
    for (int32_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)key[i]) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

static struct scope **bucket_of(struct local *l, uint64_t hash)
{
    return &l->buckets[hash & (l->n_buckets - 1)];
}

static struct scope *scope_find(struct local *l, uint64_t hash, const char *key, int32_t len)
{
    for (struct scope *s = *bucket_of(l, hash); s; s = s->next)
        if (s->hash == hash && s->key_len == len && memcmp(s->key, key, (size_t)len) == 0)
            return s;
    return NULL;
}

static void sweep(struct local *l, uint32_t n_buckets, int64_t slot)
{
    for (uint32_t i = 0; i < n_buckets; i++, l->hand++) {
        struct scope **at = &l->buckets[l->hand & (l->n_buckets - 1)];
        while (*at) {
            struct scope *s = *at;
            if (scope_is_idle(s, slot)) {
                *at = s->next;
                free(s);
                l->sums.scopes--;
            } else {
                at = &s->next;
            }
        }
    }
}

static bool table_has_room(struct local *l, int64_t wanted, int64_t slot)
{
    if (l->sums.scopes + wanted > l->scopes_max && l->full_slot != slot) {
        l->full_slot = slot; /* once a second at most: a full table must not make us slow */
        sweep(l, l->n_buckets, slot);
    }
    return l->sums.scopes + wanted <= l->scopes_max;
}

static struct scope *scope_new(struct local *l, const struct row *r, int64_t slot)
{
    struct scope *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    struct scope **bucket = bucket_of(l, r->hash);
    s->hash = r->hash;
    memcpy(s->key, r->key, (size_t)r->key_len);
    s->key_len = r->key_len;
    s->at = s->newest = slot;
    s->next = *bucket;
    *bucket = s;
    l->sums.scopes++;
    return s;
}

/* ---- a reservation ---- */

static bool key_make(enum limit_scope scope, struct str subject, struct str deployment, char *ret,
                     int32_t *ret_len)
{
    if (subject.len > PART_BYTES || deployment.len > PART_BYTES)
        return false;
    int n = snprintf(ret, KEY_BYTES, "%d" STR_FMT "|" STR_FMT, (int)scope, STR_ARG(subject),
                     STR_ARG(deployment));
    *ret_len = n;
    return true;
}

static int64_t lower(int64_t a, int64_t b)
{
    if (a == LIMIT_NONE || b == LIMIT_NONE)
        return MAX_OF(a, b);
    return MIN_OF(a, b);
}

static enum rc rows_make(struct local *l, const struct limit_ask *ask, struct row *rows,
                         int32_t *ret_n, struct err *err)
{
    int32_t n = 0;
    if (ask->n_claims < 0 || ask->n_claims > LIMIT_CLAIMS_MAX)
        return err_set(err, RC_BAD_INPUT, "%d limits apply to one request, %d can be checked",
                       ask->n_claims, LIMIT_CLAIMS_MAX);
    if (ask->tok_min < 0 || ask->tok_max < ask->tok_min || ask->tok_max > LIMIT_TOK_MAX)
        return err_set(err, RC_BAD_INPUT, "a request cannot use %" PRId64 " tokens", ask->tok_max);
    for (int32_t i = 0; i < ask->n_claims; i++) {
        const struct limit_claim *c = &ask->claims[i];
        struct row *r = &rows[n];
        if (!key_make(c->scope, c->subject, c->deployment, r->key, &r->key_len))
            return err_set(err, RC_BAD_INPUT, "an id has more than %d bytes", PART_BYTES);
        r->hash = hash_key(l, r->key, r->key_len);
        struct row *same = rows;
        while (same < r && !(same->hash == r->hash && same->key_len == r->key_len &&
                             memcmp(same->key, r->key, (size_t)r->key_len) == 0))
            same++;
        const int64_t limit[3] = {c->requests_per_min, c->tokens_per_min, c->concurrency};
        for (int k = 0; k < 3; k++)
            same->limit[k] = same == r ? limit[k] : lower(same->limit[k], limit[k]);
        if (same < r)
            continue;
        r->claim = c;
        r->scope = NULL;
        n++;
    }
    *ret_n = n;
    return RC_OK;
}

static int64_t used_of(const struct row *r, enum limit_kind kind)
{
    if (!r->scope)
        return 0;
    return kind == LIMIT_REQUESTS ? r->scope->req_sum
           : kind == LIMIT_TOKENS ? r->scope->tok_sum
                                  : r->scope->holds;
}

static int64_t retry_of(const struct local *l, const struct row *r, enum limit_kind kind,
                        int64_t asked)
{
    const struct scope *s = r->scope;
    if (asked > r->limit[kind])
        return LIMIT_NEVER;
    if (kind == LIMIT_CONCURRENCY)
        return BUSY_RETRY_MS; /* when the running ones end is not ours to know */
    bool tok = kind == LIMIT_TOKENS;
    return wait_for(s, tok ? s->tok : s->req, used_of(r, kind), r->limit[kind] - asked, l->now_ms);
}

/* Is `a` a longer wait than `b`? */
static bool waits_longer(int64_t a, int64_t b)
{
    return b != LIMIT_NEVER && (a == LIMIT_NEVER || a > b);
}

static void room_narrow(const struct local *l, const struct row *r, enum limit_kind kind,
                        struct limit_room *room)
{
    if (r->limit[kind] == LIMIT_NONE)
        return;
    int64_t left = MAX_OF(INT64_C(0), r->limit[kind] - used_of(r, kind));
    if (room->limit != LIMIT_NONE && room->remaining <= left)
        return;
    room->limit = r->limit[kind];
    room->remaining = left;
    room->reset_ms = 0;
    if (r->scope && used_of(r, kind) > 0)
        room->reset_ms = MAX_OF(INT64_C(0), (r->scope->newest + SLOTS) * SLOT_MS - l->now_ms);
}

static void rooms(const struct local *l, const struct row *rows, int32_t n, struct limit_room *req,
                  struct limit_room *tok)
{
    *req = *tok = (struct limit_room){.limit = LIMIT_NONE};
    for (int32_t i = 0; i < n; i++) {
        room_narrow(l, &rows[i], LIMIT_REQUESTS, req);
        room_narrow(l, &rows[i], LIMIT_TOKENS, tok);
    }
}

static enum rc refuse(const struct limit_refusal *why, struct err *err)
{
    static const char *const scopes[] = {"organization", "user", "key"};
    static const char *const kinds[] = {"requests per min (RPM)", "tokens per min (TPM)",
                                        "concurrent requests"};
    const char *where = why->one_deployment ? "" : " over all models";
    if (why->retry_ms == LIMIT_NEVER && why->kind == LIMIT_TOKENS)
        return err_set(err, RC_LIMIT,
                       "This request asks for %" PRId64 " tokens and can never fit: the limit of "
                       "its %s is %" PRId64 " tokens per minute%s. Shorten the prompt or lower "
                       "max_tokens.",
                       why->asked, scopes[why->scope], why->limit, where);
    if (why->retry_ms == LIMIT_NEVER)
        return err_set(err, RC_LIMIT, "The limit of this %s on %s%s is %" PRId64 ".",
                       scopes[why->scope], kinds[why->kind], where, why->limit);
    return err_set(err, RC_LIMIT,
                   "Rate limit reached for this %s on %s%s: Limit %" PRId64 ", Used %" PRId64
                   ", Requested %" PRId64 ". Please try again in %" PRId64 ".%03ds.",
                   scopes[why->scope], kinds[why->kind], where, why->limit, why->used, why->asked,
                   why->retry_ms / MS_PER_SEC, (int)(why->retry_ms % MS_PER_SEC));
}

/* How much may be granted; or the refusal that is longest in the way. */
static bool fits(const struct local *l, const struct row *rows, int32_t n,
                 const struct limit_ask *ask, int64_t *ret_tok, struct limit_refusal *reterr)
{
    bool ok = true;
    int64_t grant = ask->tok_max;
    for (int32_t i = 0; i < n; i++) {
        const struct row *r = &rows[i];
        for (int k = LIMIT_REQUESTS; k <= LIMIT_CONCURRENCY; k++) {
            int64_t asked = k == LIMIT_TOKENS ? ask->tok_min : 1;
            int64_t left = add_capped(r->limit[k], -used_of(r, k));
            if (r->limit[k] == LIMIT_NONE)
                continue;
            if (k == LIMIT_TOKENS && left < grant)
                grant = left;
            /* tok_min 0 with a window in debt: nothing may start either. */
            if (left >= asked)
                continue;
            int64_t retry = retry_of(l, r, k, asked);
            if (!ok && !waits_longer(retry, reterr->retry_ms))
                continue;
            ok = false;
            *reterr = (struct limit_refusal){.kind = k,
                                             .scope = r->claim->scope,
                                             .one_deployment = r->claim->deployment.len > 0,
                                             .limit = r->limit[k],
                                             .used = used_of(r, k),
                                             .asked = asked,
                                             .retry_ms = retry};
            size_t len = MIN_OF(r->claim->subject.len, sizeof reterr->subject.z - 1);
            memcpy(reterr->subject.z, r->claim->subject.p, len);
        }
    }
    if (ok)
        *ret_tok = grant;
    else
        rooms(l, rows, n, &reterr->requests, &reterr->tokens);
    return ok;
}

/* Makes the scopes that are new. A failure leaves only empty ones behind, which are swept. */
static enum rc rows_take_scopes(struct local *l, struct row *rows, int32_t n, int64_t slot,
                                struct err *err)
{
    int64_t missing = 0;
    for (int32_t i = 0; i < n; i++)
        missing += rows[i].scope == NULL;
    if (missing == 0)
        return RC_OK;
    for (int32_t i = 0; i < n; i++)
        if (rows[i].scope)
            rows[i].scope->holds++; /* the sweep must not take what this request stands on */
    bool room = table_has_room(l, missing, slot);
    for (int32_t i = 0; i < n; i++)
        if (rows[i].scope)
            rows[i].scope->holds--;
    if (!room)
        return err_set(err, RC_UNAVAILABLE, "more than %d limits are being counted", l->scopes_max);
    for (int32_t i = 0; i < n; i++)
        if (!rows[i].scope && !(rows[i].scope = scope_new(l, &rows[i], slot)))
            return err_set(err, RC_UNAVAILABLE, "no memory to count limits");
    return RC_OK;
}

static int64_t now_slot(struct local *l)
{
    int64_t now_ms = clock_mono_ms(l->clock);
    if (now_ms > l->now_ms)
        l->now_ms = now_ms;
    return l->now_ms / SLOT_MS;
}

static enum rc reserve_locked(struct local *l, const struct limit_ask *ask, struct limit_hold *ret,
                              struct limit_refusal *reterr, struct err *err)
{
    struct row rows[LIMIT_CLAIMS_MAX];
    int32_t n = 0;
    int64_t slot = now_slot(l), tok = 0;
    enum rc rc = rows_make(l, ask, rows, &n, err);
    if (rc != RC_OK)
        return rc;
    sweep(l, SWEEP_BUCKETS, slot);
    for (int32_t i = 0; i < n; i++) {
        rows[i].scope = scope_find(l, rows[i].hash, rows[i].key, rows[i].key_len);
        if (rows[i].scope)
            scope_advance(rows[i].scope, slot);
    }
    if (!fits(l, rows, n, ask, &tok, reterr)) {
        l->sums.refused++;
        return refuse(reterr, err);
    }
    rc = rows_take_scopes(l, rows, n, slot, err);
    if (rc != RC_OK)
        return rc;
    *ret = (struct limit_hold){.granted_tok = tok, .store = &l->store, .slot = slot, .n_scopes = n};
    for (int32_t i = 0; i < n; i++) {
        scope_add(rows[i].scope, slot, 1, tok);
        rows[i].scope->holds++;
        ret->scopes[i] = rows[i].scope;
    }
    rooms(l, rows, n, &ret->requests, &ret->tokens);
    l->sums.holds++;
    l->sums.admitted_tok = add_capped(l->sums.admitted_tok, tok);
    l->sums.held_tok = add_capped(l->sums.held_tok, tok);
    return RC_OK;
}

static enum rc local_reserve(struct limit_store *s, const struct limit_ask *ask,
                             struct limit_hold *ret, struct limit_refusal *reterr, struct err *err)
{
    struct local *l = (struct local *)s;
    pthread_mutex_lock(&l->lock);
    enum rc rc = reserve_locked(l, ask, ret, reterr, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static void local_settle(struct limit_store *st, struct limit_hold *hold, int64_t used_tok,
                         bool cancel)
{
    struct local *l = (struct local *)st;
    pthread_mutex_lock(&l->lock);
    int64_t slot = now_slot(l);
    int64_t kept = MIN_OF(used_tok, hold->granted_tok), debt = used_tok - kept;
    for (int32_t i = 0; i < hold->n_scopes; i++) {
        struct scope *s = hold->scopes[i];
        scope_advance(s, slot);
        if (slot - hold->slot < SLOTS)
            scope_add(s, hold->slot, cancel ? -1 : 0, kept - hold->granted_tok);
        if (debt > 0)
            scope_add(s, slot, 0, debt);
        s->holds--;
    }
    l->sums.holds--;
    l->sums.held_tok -= hold->granted_tok;
    l->sums.settled_tok = add_capped(l->sums.settled_tok, used_tok);
    l->sums.admitted_tok = add_capped(l->sums.admitted_tok, used_tok - hold->granted_tok);
    pthread_mutex_unlock(&l->lock);
}

static enum rc restore_locked(struct local *l, const struct limit_claim *claim, int64_t age_ms,
                              int64_t requests, int64_t tok, struct err *err)
{
    const struct limit_ask ask = {.claims = claim, .n_claims = 1};
    struct row row;
    int32_t n = 0;
    int64_t slot = now_slot(l), then = (l->now_ms - age_ms) / SLOT_MS;
    enum rc rc = rows_make(l, &ask, &row, &n, err);
    if (rc != RC_OK || slot - then >= SLOTS)
        return rc;
    row.scope = scope_find(l, row.hash, row.key, row.key_len);
    rc = rows_take_scopes(l, &row, 1, slot, err);
    if (rc != RC_OK)
        return rc;
    scope_advance(row.scope, slot);
    scope_add(row.scope, then, requests, tok);
    return RC_OK;
}

static enum rc local_restore(struct limit_store *st, const struct limit_claim *claim,
                             int64_t age_ms, int64_t requests, int64_t tok, struct err *err)
{
    struct local *l = (struct local *)st;
    pthread_mutex_lock(&l->lock);
    enum rc rc = restore_locked(l, claim, MAX_OF(age_ms, INT64_C(0)), requests, tok, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static struct limit_count local_peek(struct limit_store *st, enum limit_scope scope,
                                     struct str subject, struct str deployment)
{
    struct local *l = (struct local *)st;
    struct limit_count c = {0};
    char key[KEY_BYTES];
    int32_t len;
    if (!key_make(scope, subject, deployment, key, &len))
        return c;
    pthread_mutex_lock(&l->lock);
    struct scope *s = scope_find(l, hash_key(l, key, len), key, len);
    if (s) {
        scope_advance(s, now_slot(l));
        c = (struct limit_count){s->req_sum, s->tok_sum, s->holds};
    }
    pthread_mutex_unlock(&l->lock);
    return c;
}

static struct limit_sums local_total(struct limit_store *st)
{
    struct local *l = (struct local *)st;
    pthread_mutex_lock(&l->lock);
    struct limit_sums sums = l->sums;
    pthread_mutex_unlock(&l->lock);
    return sums;
}

static void local_free(struct limit_store *st)
{
    struct local *l = (struct local *)st;
    for (uint32_t i = 0; l->buckets && i < l->n_buckets; i++)
        while (l->buckets[i]) {
            struct scope *s = l->buckets[i];
            l->buckets[i] = s->next;
            free(s);
        }
    free(l->buckets);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static const struct limit_ops local_ops = {.name = "local",
                                           .reserve = local_reserve,
                                           .settle = local_settle,
                                           .restore = local_restore,
                                           .peek = local_peek,
                                           .total = local_total,
                                           .free = local_free};

enum rc limit_local_new(const struct clock *clock, int32_t scopes_max, struct limit_store **ret,
                        struct err *err)
{
    struct local *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, RC_NO_MEMORY, "no memory for the limits");
    pthread_mutex_init(&l->lock, NULL);
    l->store.ops = &local_ops;
    l->clock = clock;
    l->scopes_max = scopes_max > 0 ? scopes_max : LIMIT_LOCAL_SCOPES_MAX;
    l->full_slot = -1;
    l->seed = random_u64();
    l->n_buckets = 64;
    while (l->n_buckets < (uint32_t)l->scopes_max)
        l->n_buckets *= 2;
    l->buckets = calloc(l->n_buckets, sizeof *l->buckets);
    if (!l->buckets) {
        local_free(&l->store);
        return err_set(err, RC_NO_MEMORY, "no memory for %d limits", l->scopes_max);
    }
    *ret = &l->store;
    return RC_OK;
}
