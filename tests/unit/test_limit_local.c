/* The window is exact on the safe side, all or nothing, and forgets nothing but what is over. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>
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
    return __atomic_load_n((int64_t *)ctx, __ATOMIC_RELAXED) * NS_PER_MS;
}

static int64_t fake_wall_ms(void *ctx)
{
    return *(int64_t *)ctx;
}

static void fixture_open(struct fixture *fx, int32_t scopes_max)
{
    *fx = (struct fixture){.now_ms = 1000000};
    fx->clock = (struct clock){fake_mono_ns, fake_wall_ms, &fx->now_ms};
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    ck_assert_int_eq(limit_local_new(&fx->clock, scopes_max, &fx->store, &fx->err), RC_OK);
}

static struct limit_claim org_claim(int64_t rpm, int64_t tpm, int64_t concurrency)
{
    return (struct limit_claim){.scope = LIMIT_ORG,
                                .subject = STR("org_a"),
                                .deployment = STR_NONE,
                                .requests_per_min = rpm,
                                .tokens_per_min = tpm,
                                .concurrency = concurrency};
}

static enum rc reserve(struct fixture *fx, const struct limit_claim *claims, int32_t n, int64_t tok,
                       struct limit_hold *hold)
{
    struct limit_ask ask = {.claims = claims, .n_claims = n, .tok_min = tok, .tok_max = tok};
    *hold = (struct limit_hold){0};
    return limit_reserve(fx->store, &ask, hold, &fx->why, &fx->err);
}

static int64_t org_used(struct fixture *fx)
{
    return limit_peek(fx->store, LIMIT_ORG, STR("org_a"), STR_NONE).tokens;
}

START_TEST(settle_returns_the_unused_part_at_once)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(LIMIT_NONE, 1000, LIMIT_NONE);
    struct limit_hold a, b;
    ck_assert_int_eq(reserve(&fx, &c, 1, 800, &a), RC_OK);
    ck_assert_int_eq(reserve(&fx, &c, 1, 300, &b), RC_LIMIT);
    limit_settle(fx.store, &a, 150);
    ck_assert_int_eq(org_used(&fx), 150);
    ck_assert_int_eq(reserve(&fx, &c, 1, 850, &b), RC_OK);
    limit_settle(fx.store, &b, 850);
    limit_free(fx.store);
}
END_TEST

/* T38 */
START_TEST(settling_twice_has_one_effect)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(10, 1000, 1);
    struct limit_hold a, b;
    ck_assert_int_eq(reserve(&fx, &c, 1, 500, &a), RC_OK);
    limit_settle(fx.store, &a, 100);
    limit_settle(fx.store, &a, 100);
    limit_cancel(fx.store, &a);
    struct limit_count n = limit_peek(fx.store, LIMIT_ORG, STR("org_a"), STR_NONE);
    ck_assert_int_eq(n.tokens, 100);
    ck_assert_int_eq(n.requests, 1);
    ck_assert_int_eq(n.running, 0);
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &b), RC_OK);
    limit_settle(fx.store, &b, 1);
    limit_free(fx.store);
}
END_TEST

/* T39: the slot of the hold is over, so its refund must not credit the window that runs now. */
START_TEST(a_refund_after_its_window_credits_nobody)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(LIMIT_NONE, 1000, LIMIT_NONE);
    struct limit_hold old, young, more;
    ck_assert_int_eq(reserve(&fx, &c, 1, 900, &old), RC_OK);
    fx.now_ms += 61000;
    ck_assert_int_eq(reserve(&fx, &c, 1, 900, &young), RC_OK);
    limit_settle(fx.store, &old, 0);
    ck_assert_int_eq(org_used(&fx), 900);
    ck_assert_int_eq(reserve(&fx, &c, 1, 200, &more), RC_LIMIT);
    limit_settle(fx.store, &young, 900);
    limit_free(fx.store);
}
END_TEST

START_TEST(more_than_was_granted_is_debt_for_a_whole_window)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(LIMIT_NONE, 1000, LIMIT_NONE);
    struct limit_hold a, b;
    ck_assert_int_eq(reserve(&fx, &c, 1, 100, &a), RC_OK);
    fx.now_ms += 300 * 1000; /* a long answer: its own slot is gone */
    limit_settle(fx.store, &a, 1500);
    ck_assert_int_eq(org_used(&fx), 1400);
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &b), RC_LIMIT);
    ck_assert_int_eq(reserve(&fx, &c, 1, 0, &b), RC_LIMIT);
    fx.now_ms += fx.why.retry_ms - 1;
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &b), RC_LIMIT);
    fx.now_ms += 1;
    ck_assert_int_eq(reserve(&fx, &c, 1, 1000, &b), RC_OK);
    limit_settle(fx.store, &b, 0);
    limit_free(fx.store);
}
END_TEST

START_TEST(a_refusal_by_one_scope_leaves_the_others_untouched)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c[3] = {org_claim(100, 1000, 10), org_claim(100, 1000, 10),
                               org_claim(100, 50, 10)};
    c[1].scope = LIMIT_USER;
    c[1].subject = STR("usr_a");
    c[2].scope = LIMIT_KEY;
    c[2].subject = STR("key_a");
    struct limit_hold a;
    ck_assert_int_eq(reserve(&fx, c, 3, 40, &a), RC_OK);
    limit_settle(fx.store, &a, 40);
    ck_assert_int_eq(reserve(&fx, c, 3, 40, &a), RC_LIMIT);
    ck_assert_int_eq(fx.why.scope, LIMIT_KEY);
    ck_assert_int_eq(fx.why.kind, LIMIT_TOKENS);
    ck_assert_str_eq(fx.why.subject.z, "key_a");
    ck_assert_int_eq(fx.why.limit, 50);
    ck_assert_int_eq(fx.why.used, 40);
    ck_assert_int_eq(fx.why.asked, 40);
    struct limit_count n = limit_peek(fx.store, LIMIT_ORG, STR("org_a"), STR_NONE);
    ck_assert_int_eq(n.requests, 1);
    ck_assert_int_eq(n.tokens, 40);
    ck_assert_int_eq(n.running, 0);
    limit_free(fx.store);
}
END_TEST

/* T48 */
START_TEST(asking_again_and_again_waits_no_longer)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(2, LIMIT_NONE, LIMIT_NONE);
    struct limit_hold h;
    int64_t start = fx.now_ms;
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_OK);
    limit_settle(fx.store, &h, 1);
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_OK);
    limit_settle(fx.store, &h, 1);
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_LIMIT);
    int64_t free_at = fx.now_ms + fx.why.retry_ms;
    ck_assert_int_le(free_at, start + 61000);
    while (fx.now_ms + 100 < free_at) {
        fx.now_ms += 100;
        ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_LIMIT);
        ck_assert_int_eq(fx.now_ms + fx.why.retry_ms, free_at);
    }
    fx.now_ms = free_at;
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_OK);
    limit_settle(fx.store, &h, 1);
    limit_free(fx.store);
}
END_TEST

/* T44 */
START_TEST(remaining_falls_within_a_window_and_agrees_with_what_is_refused)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c[2] = {org_claim(1000, 1000, LIMIT_NONE), org_claim(50, 5000, LIMIT_NONE)};
    c[1].scope = LIMIT_KEY;
    int64_t before = INT64_MAX;
    struct limit_hold h;
    while (reserve(&fx, c, 2, 70, &h) == RC_OK) {
        ck_assert_int_eq(h.tokens.limit, 1000);
        ck_assert_int_eq(h.requests.limit, 50);
        ck_assert_int_lt(h.tokens.remaining, before);
        ck_assert_int_gt(h.tokens.reset_ms, 0);
        ck_assert_int_le(h.tokens.reset_ms, 61000);
        before = h.tokens.remaining;
        limit_settle(fx.store, &h, 70);
        fx.now_ms += 10;
    }
    ck_assert_int_lt(before, 70);
    ck_assert_int_eq(fx.why.tokens.remaining, before);
    ck_assert_int_eq(reserve(&fx, c, 2, before, &h), RC_OK);
    limit_settle(fx.store, &h, before);
    limit_free(fx.store);
}
END_TEST

START_TEST(a_hold_above_the_limit_is_told_that_it_can_never_fit)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(LIMIT_NONE, 1000, LIMIT_NONE);
    struct limit_hold h;
    ck_assert_int_eq(reserve(&fx, &c, 1, 1001, &h), RC_LIMIT);
    ck_assert_int_eq(fx.why.retry_ms, LIMIT_NEVER);
    ck_assert_ptr_nonnull(strstr(fx.err.msg, "1001 tokens"));
    ck_assert_ptr_nonnull(strstr(fx.err.msg, "1000 tokens per minute"));
    ck_assert_ptr_nonnull(strstr(fx.err.msg, "max_tokens"));
    limit_free(fx.store);
}
END_TEST

START_TEST(a_range_is_granted_as_far_as_it_fits)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c[2] = {org_claim(LIMIT_NONE, 1000, LIMIT_NONE),
                               org_claim(LIMIT_NONE, 600, LIMIT_NONE)};
    c[1].scope = LIMIT_USER;
    struct limit_ask ask = {.claims = c, .n_claims = 2, .tok_min = 100, .tok_max = 4096};
    struct limit_hold a = {0}, b = {0};
    ck_assert_int_eq(limit_reserve(fx.store, &ask, &a, &fx.why, &fx.err), RC_OK);
    ck_assert_int_eq(a.granted_tok, 600);
    ck_assert_int_eq(limit_reserve(fx.store, &ask, &b, &fx.why, &fx.err), RC_LIMIT);
    ck_assert_int_eq(fx.why.asked, 100);
    limit_settle(fx.store, &a, 450);
    ck_assert_int_eq(limit_reserve(fx.store, &ask, &b, &fx.why, &fx.err), RC_OK);
    ck_assert_int_eq(b.granted_tok, 150);
    limit_settle(fx.store, &b, 150);
    limit_free(fx.store);
}
END_TEST

START_TEST(a_changed_limit_holds_from_the_next_request)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(LIMIT_NONE, LIMIT_NONE, LIMIT_NONE);
    struct limit_hold h;
    ck_assert_int_eq(reserve(&fx, &c, 1, 900, &h), RC_OK);
    ck_assert_int_eq(h.tokens.limit, LIMIT_NONE);
    limit_settle(fx.store, &h, 900);
    c.tokens_per_min = 1000;
    ck_assert_int_eq(reserve(&fx, &c, 1, 200, &h), RC_LIMIT);
    c.tokens_per_min = 2000;
    ck_assert_int_eq(reserve(&fx, &c, 1, 200, &h), RC_OK);
    limit_settle(fx.store, &h, 200);
    c.tokens_per_min = 0;
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_LIMIT);
    ck_assert_int_eq(fx.why.retry_ms, LIMIT_NEVER);
    limit_free(fx.store);
}
END_TEST

START_TEST(one_scope_named_twice_counts_once_by_the_lower_numbers)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c[2] = {org_claim(10, 1000, LIMIT_NONE), org_claim(LIMIT_NONE, 500, 1)};
    struct limit_hold a, b;
    ck_assert_int_eq(reserve(&fx, c, 2, 400, &a), RC_OK);
    ck_assert_int_eq(org_used(&fx), 400);
    ck_assert_int_eq(a.tokens.limit, 500);
    ck_assert_int_eq(a.requests.limit, 10);
    ck_assert_int_eq(reserve(&fx, c, 2, 10, &b), RC_LIMIT);
    ck_assert_int_eq(fx.why.kind, LIMIT_CONCURRENCY);
    limit_settle(fx.store, &a, 0);
    limit_free(fx.store);
}
END_TEST

/* T36: every way a hold can end frees its place. */
START_TEST(concurrency_is_free_again_however_a_request_ends)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(LIMIT_NONE, LIMIT_NONE, 1);
    struct limit_hold a, b;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(reserve(&fx, &c, 1, 10, &a), RC_OK);
        ck_assert_int_eq(reserve(&fx, &c, 1, 10, &b), RC_LIMIT);
        ck_assert_int_gt(fx.why.retry_ms, 0);
        fx.now_ms += i * 100000;
        if (i == 0)
            limit_settle(fx.store, &a, 5);
        else if (i == 1)
            limit_settle(fx.store, &a, 500);
        else
            limit_cancel(fx.store, &a);
    }
    ck_assert_int_eq(limit_peek(fx.store, LIMIT_ORG, STR("org_a"), STR_NONE).running, 0);
    limit_free(fx.store);
}
END_TEST

START_TEST(a_cancelled_request_was_never_there)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    struct limit_claim c = org_claim(1, 100, 1);
    struct limit_hold h;
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(reserve(&fx, &c, 1, 100, &h), RC_OK);
        limit_cancel(fx.store, &h);
    }
    ck_assert_int_eq(limit_peek(fx.store, LIMIT_ORG, STR("org_a"), STR_NONE).requests, 0);
    limit_free(fx.store);
}
END_TEST

/* T49 */
START_TEST(numbers_stay_whole_at_ten_to_the_fifteen_and_above)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    const int64_t big = INT64_C(1000000000000000);
    struct limit_claim c = org_claim(LIMIT_NONE, 1000 * big + 1, LIMIT_NONE);
    struct limit_hold h;
    ck_assert_int_eq(reserve(&fx, &c, 1, 999 * big, &h), RC_OK);
    limit_settle(fx.store, &h, 999 * big);
    ck_assert_int_eq(reserve(&fx, &c, 1, big, &h), RC_OK);
    ck_assert_int_eq(h.tokens.remaining, 1);
    limit_settle(fx.store, &h, big);
    ck_assert_int_eq(org_used(&fx), 1000 * big);
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_OK);
    limit_settle(fx.store, &h, 1);
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_LIMIT);
    ck_assert_int_eq(reserve(&fx, &c, 1, LIMIT_TOK_MAX + 1, &h), RC_BAD_INPUT);
    ck_assert_int_eq(reserve(&fx, &c, 1, -1, &h), RC_BAD_INPUT);
    /* Debt beyond 63 bits stays at the top instead of turning into credit. */
    c.tokens_per_min = LIMIT_NONE;
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(reserve(&fx, &c, 1, LIMIT_TOK_MAX, &h), RC_OK);
        limit_settle(fx.store, &h, INT64_MAX);
    }
    ck_assert_int_eq(org_used(&fx), INT64_MAX);
    limit_free(fx.store);
}
END_TEST

START_TEST(idle_scopes_are_forgotten_and_a_full_table_says_so)
{
    struct fixture fx;
    fixture_open(&fx, 100);
    struct limit_claim c = org_claim(LIMIT_NONE, 100, LIMIT_NONE);
    struct limit_hold h, open;
    char name[32];
    c.subject = STR("org_open");
    ck_assert_int_eq(reserve(&fx, &c, 1, 1, &open), RC_OK);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 99; i++) {
            snprintf(name, sizeof name, "org_%d_%d", round, i);
            c.subject = str_of(name);
            ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_OK);
            limit_settle(fx.store, &h, 1);
        }
        c.subject = STR("org_one_more");
        ck_assert_int_eq(reserve(&fx, &c, 1, 1, &h), RC_UNAVAILABLE);
        c.subject = STR("org_open"); /* known ones are still served */
        ck_assert_int_eq(reserve(&fx, &c, 1, 0, &h), RC_OK);
        limit_settle(fx.store, &h, 0);
        fx.now_ms += 62000;
    }
    ck_assert_int_le(limit_total(fx.store).scopes, 100);
    limit_settle(fx.store, &open, 1);
    fx.now_ms += 62000;
    for (int i = 0; i < 64; i++) { /* the walk comes by */
        c.subject = STR("org_z");
        ck_assert_int_eq(reserve(&fx, &c, 1, 0, &h), RC_OK);
        limit_settle(fx.store, &h, 0);
    }
    ck_assert_int_eq(limit_total(fx.store).scopes, 1);
    limit_free(fx.store);
}
END_TEST

/* ---- T31 ---- */

enum { RACERS = 200 };
struct racer {
    struct fixture *fx;
    pthread_barrier_t *start;
    struct limit_hold hold;
    enum rc rc;
    pthread_t thread;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct limit_claim c = org_claim(LIMIT_NONE, 3 * 100, LIMIT_NONE);
    struct limit_ask ask = {.claims = &c, .n_claims = 1, .tok_min = 100, .tok_max = 100};
    struct limit_refusal why;
    pthread_barrier_wait(r->start);
    r->rc = limit_reserve(r->fx->store, &ask, &r->hold, &why, NULL);
    return NULL;
}

START_TEST(two_hundred_at_once_with_budget_for_three_admit_three)
{
    struct fixture fx;
    fixture_open(&fx, 0);
    static struct racer racers[RACERS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, RACERS);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.fx = &fx, .start = &start};
        ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    int admitted = 0;
    for (int i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        admitted += racers[i].rc == RC_OK;
        ck_assert(racers[i].rc == RC_OK || racers[i].rc == RC_LIMIT);
        limit_settle(fx.store, &racers[i].hold, racers[i].rc == RC_OK ? 100 : 0);
    }
    ck_assert_int_eq(admitted, 3);
    ck_assert_int_eq(limit_total(fx.store).held_tok, 0);
    ck_assert_int_eq(limit_total(fx.store).settled_tok, 300);
    pthread_barrier_destroy(&start);
    limit_free(fx.store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("limit_local");
    TCase *tc = tcase_create("window");
    tcase_add_test(tc, settle_returns_the_unused_part_at_once);
    tcase_add_test(tc, settling_twice_has_one_effect);
    tcase_add_test(tc, a_refund_after_its_window_credits_nobody);
    tcase_add_test(tc, more_than_was_granted_is_debt_for_a_whole_window);
    tcase_add_test(tc, a_refusal_by_one_scope_leaves_the_others_untouched);
    tcase_add_test(tc, asking_again_and_again_waits_no_longer);
    tcase_add_test(tc, remaining_falls_within_a_window_and_agrees_with_what_is_refused);
    tcase_add_test(tc, a_hold_above_the_limit_is_told_that_it_can_never_fit);
    tcase_add_test(tc, a_range_is_granted_as_far_as_it_fits);
    tcase_add_test(tc, a_changed_limit_holds_from_the_next_request);
    tcase_add_test(tc, one_scope_named_twice_counts_once_by_the_lower_numbers);
    tcase_add_test(tc, concurrency_is_free_again_however_a_request_ends);
    tcase_add_test(tc, a_cancelled_request_was_never_there);
    tcase_add_test(tc, numbers_stay_whole_at_ten_to_the_fifteen_and_above);
    tcase_add_test(tc, idle_scopes_are_forgotten_and_a_full_table_says_so);
    tcase_add_test(tc, two_hundred_at_once_with_budget_for_three_admit_three);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
