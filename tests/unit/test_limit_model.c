/* The limit store against a plain list of events: the same answers over 10^5 random steps, and no
 * 60 seconds in which more was admitted than the limit says (I3). */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/units.h"
#include "gateway/limit_local.h"

struct fixture {
    int64_t now_ms;
    struct clock clock;
    struct limit_store *store;
    struct limit_refusal why;
    struct err err;
};

static int64_t fake_mono_ns(void *ctx)
{
    return *(int64_t *)ctx * NS_PER_MS;
}

static int64_t fake_wall_ms(void *ctx)
{
    return *(int64_t *)ctx;
}

static void fixture_open(struct fixture *fx)
{
    *fx = (struct fixture){.now_ms = 1000000};
    fx->clock = (struct clock){fake_mono_ns, fake_wall_ms, &fx->now_ms};
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    ck_assert_int_eq(limit_local_new(&fx->clock, 0, &fx->store, &fx->err), RC_OK);
}

enum { STEPS = 100000, KEYS = 24, HOLDS = 64, EVENTS = 1 << 13, CLAIMS = 5 };

struct event {
    int64_t at_ms, tok;
    int32_t requests;
    bool debt; /* not admitted by anybody */
};
struct model_key {
    char subject[16], deployment[16];
    enum limit_scope scope;
    int64_t limit[3];
    struct event *events;
    int32_t first, n, running;
};
struct model_hold {
    struct limit_hold hold;
    bool open;
    int64_t at_ms;
    int32_t n, key[CLAIMS], event[CLAIMS];
};
struct model {
    struct fixture fx;
    uint64_t seed;
    struct model_key keys[KEYS];
    struct model_hold holds[HOLDS];
    int64_t admitted, refused;
};

static uint64_t dice(struct model *m, uint64_t n)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return (m->seed >> 11) % n;
}

static struct event *event_at(struct model_key *k, int32_t i)
{
    return &k->events[i % EVENTS];
}

/* By slots, as promised; and by milliseconds, as I3 wants it. */
static void model_sums(struct model *m, struct model_key *k, int64_t *req, int64_t *tok,
                       int64_t *exact_tok)
{
    int64_t slot = m->fx.now_ms / 1000;
    *req = *tok = *exact_tok = 0;
    while (k->first < k->n && slot - event_at(k, k->first)->at_ms / 1000 > 60)
        k->first++;
    for (int32_t i = k->first; i < k->n; i++) {
        const struct event *e = event_at(k, i);
        *req += e->requests;
        *tok += e->tok;
        if (!e->debt && m->fx.now_ms - e->at_ms <= 60000)
            *exact_tok += e->tok;
    }
}

static int32_t event_add(struct model *m, struct model_key *k, int64_t tok, bool debt)
{
    ck_assert_int_lt(k->n - k->first, EVENTS);
    *event_at(k, k->n) = (struct event){m->fx.now_ms, tok, debt ? 0 : 1, debt};
    return k->n++;
}

static void model_reserve(struct model *m)
{
    struct limit_claim claims[CLAIMS];
    int32_t n = (int32_t)dice(m, CLAIMS) + 1, key[CLAIMS];
    int32_t first = (int32_t)dice(m, KEYS);
    for (int32_t i = 0; i < n; i++) {
        key[i] = (first + i * 5) % KEYS; /* 5 and 24 share no factor: all different */
        struct model_key *k = &m->keys[key[i]];
        claims[i] = (struct limit_claim){k->scope,    str_of(k->subject), str_of(k->deployment),
                                         k->limit[0], k->limit[1],        k->limit[2]};
    }
    int64_t min = (int64_t)dice(m, 120), max = min + (int64_t)(dice(m, 2) ? 0 : dice(m, 400));
    int64_t grant = max;
    bool ok = true;
    for (int32_t i = 0; i < n; i++) {
        struct model_key *k = &m->keys[key[i]];
        int64_t req, tok, exact;
        model_sums(m, k, &req, &tok, &exact);
        if (k->limit[1] != LIMIT_NONE && k->limit[1] - tok < grant)
            grant = k->limit[1] - tok;
        ok = ok && (k->limit[0] == LIMIT_NONE || req + 1 <= k->limit[0]) &&
             (k->limit[2] == LIMIT_NONE || k->running + 1 <= k->limit[2]);
    }
    ok = ok && grant >= min;

    struct model_hold *h = NULL;
    for (int32_t i = 0; i < HOLDS && !h; i++)
        h = m->holds[i].open ? NULL : &m->holds[i];
    if (!h)
        return;
    struct limit_ask ask = {claims, n, min, max};
    enum rc rc = limit_reserve(m->fx.store, &ask, &h->hold, &m->fx.why, &m->fx.err);
    ck_assert_int_eq(rc, ok ? RC_OK : RC_LIMIT);
    m->admitted += ok;
    m->refused += !ok;
    if (!ok)
        return;
    ck_assert_int_eq(h->hold.granted_tok, grant);
    h->open = true;
    h->at_ms = m->fx.now_ms;
    h->n = n;
    for (int32_t i = 0; i < n; i++) {
        struct model_key *k = &m->keys[key[i]];
        int64_t req, tok, exact;
        h->key[i] = key[i];
        h->event[i] = event_add(m, k, grant, false);
        k->running++;
        model_sums(m, k, &req, &tok, &exact);
        ck_assert(k->limit[1] == LIMIT_NONE || exact <= k->limit[1]); /* I3 */
        struct limit_count c =
            limit_peek(m->fx.store, k->scope, str_of(k->subject), str_of(k->deployment));
        ck_assert_int_eq(c.tokens, tok);
        ck_assert_int_eq(c.requests, req);
        ck_assert_int_eq(c.running, k->running);
    }
}

static void model_settle(struct model *m)
{
    struct model_hold *h = &m->holds[dice(m, HOLDS)];
    if (!h->open)
        return;
    h->open = false;
    bool cancel = dice(m, 10) == 0;
    int64_t granted = h->hold.granted_tok, used = (int64_t)dice(m, (uint64_t)granted + 1);
    if (dice(m, 20) == 0)
        used = granted + (int64_t)dice(m, 300);
    if (cancel) {
        limit_cancel(m->fx.store, &h->hold);
        used = 0;
    } else {
        limit_settle(m->fx.store, &h->hold, used);
    }
    for (int32_t i = 0; i < h->n; i++) {
        struct model_key *k = &m->keys[h->key[i]];
        k->running--;
        if (h->event[i] >= k->first) {
            struct event *e = event_at(k, h->event[i]);
            e->tok = MIN_OF(used, granted);
            e->requests -= cancel;
        }
        if (used > granted)
            event_add(m, k, used - granted, true);
    }
}

static void model_step(struct model *m)
{
    uint64_t what = dice(m, 100);
    if (what < 50) {
        model_reserve(m);
    } else if (what < 80) {
        model_settle(m);
    } else if (what < 98) {
        m->fx.now_ms += (int64_t)dice(m, 1500);
    } else if (what < 99) {
        m->fx.now_ms += (int64_t)dice(m, 10) ? (int64_t)dice(m, 61500) : (int64_t)dice(m, 900000);
    } else {
        int64_t now[3] = {(int64_t)dice(m, 60) + 1, (int64_t)dice(m, 4000),
                          (int64_t)dice(m, 12) + 1};
        struct model_key *k = &m->keys[dice(m, KEYS)];
        uint64_t kind = dice(m, 3);
        k->limit[kind] = dice(m, 6) ? now[kind] : LIMIT_NONE;
    }
}

START_TEST(a_random_trace_agrees_with_a_list_of_events)
{
    static struct model m;
    m = (struct model){.seed = UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)_i};
    fixture_open(&m.fx);
    for (int32_t i = 0; i < KEYS; i++) {
        struct model_key *k = &m.keys[i];
        k->scope = (enum limit_scope)(i % 3);
        snprintf(k->subject, sizeof k->subject, "s%d", i / 6);
        snprintf(k->deployment, sizeof k->deployment, "%s", i % 6 < 3 ? "" : "dep_a");
        k->limit[0] = 40 + i;
        k->limit[1] = 1000 + 200 * i;
        k->limit[2] = 8 + i;
        k->events = calloc(EVENTS, sizeof *k->events);
    }
    for (int step = 0; step < STEPS; step++)
        model_step(&m);
    ck_assert_int_gt(m.admitted, STEPS / 20);
    ck_assert_int_gt(m.refused, STEPS / 20);
    for (int32_t i = 0; i < HOLDS; i++)
        if (m.holds[i].open)
            limit_settle(m.fx.store, &m.holds[i].hold, 0);
    struct limit_sums s = limit_total(m.fx.store);
    ck_assert_int_eq(s.holds, 0);
    ck_assert_int_eq(s.held_tok, 0);
    ck_assert_int_eq(s.admitted_tok, s.settled_tok);
    printf("seed %d: %" PRId64 " admitted, %" PRId64 " refused\n", _i, m.admitted, m.refused);
    for (int32_t i = 0; i < KEYS; i++)
        free(m.keys[i].events);
    limit_free(m.fx.store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("limit_model");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 120);
    tcase_add_loop_test(model, a_random_trace_agrees_with_a_list_of_events, 0, 3);
    suite_add_tcase(suite, model);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
