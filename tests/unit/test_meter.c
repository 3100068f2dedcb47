/* Reserve, count, settle: the billing rule row by row, once on every path, and sums that balance.
 */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/units.h"
#include "gateway/limit_local.h"
#include "gateway/meter.h"

static bool sync_fails; /* the disk, in front of the C library's call */

int fdatasync(int fd)
{
    if (__atomic_load_n(&sync_fails, __ATOMIC_RELAXED)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

struct fixture {
    char dir[64];
    int64_t now_ms;
    struct clock clock;
    struct journal *journal;
    struct limit_store *limits;
    struct meter *meter;
    struct limit_claim claim;
    struct price price;
    struct limit_refusal why;
    struct err err;
};

static int64_t fake_mono_ns(void *ctx)
{
    return __atomic_load_n((int64_t *)ctx, __ATOMIC_RELAXED) * NS_PER_MS;
}

static int64_t fake_wall_ms(void *ctx)
{
    return 1700000000000 + __atomic_load_n((int64_t *)ctx, __ATOMIC_RELAXED);
}

static void advance(struct fixture *fx, int64_t ms)
{
    __atomic_add_fetch(&fx->now_ms, ms, __ATOMIC_RELAXED);
}

static void start(struct fixture *fx)
{
    struct journal_opts journal = {
        .dir = fx->dir, .clock = &fx->clock, .segment_bytes = 256 * 1024, .open_max = 256};
    enum rc rc = journal_new(&journal, &fx->journal, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
    ck_assert_int_eq(limit_local_new(&fx->clock, 0, &fx->limits, &fx->err), RC_OK);
    struct meter_opts opts = {fx->journal, fx->limits, &fx->clock};
    ck_assert_int_eq(meter_open(&opts, &fx->meter, &fx->err), RC_OK);
}

static void stop(struct fixture *fx)
{
    meter_close(fx->meter);
    limit_free(fx->limits);
    journal_free(fx->journal);
}

static void fixture_open(struct fixture *fx, int64_t tokens_per_min)
{
    *fx = (struct fixture){.dir = "/tmp/sluice-meter-XXXXXX", .now_ms = 5000000};
    fx->clock = (struct clock){fake_mono_ns, fake_wall_ms, &fx->now_ms};
    fx->claim = (struct limit_claim){.scope = LIMIT_ORG,
                                     .subject = STR("org_a"),
                                     .requests_per_min = 1000,
                                     .tokens_per_min = tokens_per_min,
                                     .concurrency = 100};
    fx->price = (struct price){.id = STR("prc_1"),
                               .currency = STR("EUR"),
                               .input_per_1m = 100,
                               .cached_input_per_1m = 10,
                               .output_per_1m = 1000};
    sync_fails = false;
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    ck_assert_ptr_nonnull(mkdtemp(fx->dir));
    start(fx);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void fixture_done(struct fixture *fx)
{
    stop(fx);
    nftw(fx->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static enum rc reserve(struct fixture *fx, const char *id, int64_t tok, struct meter_hold *hold)
{
    struct meter_ask ask = {
        .who = {.id = str_of(id),
                .org_id = STR("org_a"),
                .user_id = STR("usr_a"),
                .key_id = STR("key_a"),
                .deployment_id = STR("dep_a"),
                .model = STR("smollm"),
                .route = STR("chat.completions"),
                .source = SOURCE_ENGINE},
        .price = &fx->price,
        .limits = {.claims = &fx->claim, .n_claims = 1, .tok_min = tok, .tok_max = tok}};
    return meter_reserve(fx->meter, &ask, hold, &fx->why, &fx->err);
}

static int64_t org_tokens(struct fixture *fx)
{
    return limit_peek(fx->limits, LIMIT_ORG, STR("org_a"), STR_NONE).tokens;
}

static void must_balance(struct fixture *fx)
{
    struct meter_sums sums;
    enum rc rc = meter_check(fx->meter, &sums, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
}

/* The rows in the journal, summed. */
struct sums {
    int64_t rows, tokens, cost;
};

static void on_row(void *user, const struct usage *u)
{
    struct sums *s = user;
    s->rows++;
    s->tokens += u->input_tokens + u->cached_tokens + u->output_tokens;
    s->cost += u->cost;
}

static struct sums journal_sums(struct fixture *fx)
{
    struct sums s = {0};
    struct journal_pos at = {0}, next = {0};
    ck_assert_int_eq(journal_sync(fx->journal, &fx->err), RC_OK);
    for (int64_t before = -1; before != s.rows; at = next) {
        before = s.rows;
        ck_assert_int_eq(journal_read(fx->journal, at, 1000, 1 << 20, on_row, &s, &next, &fx->err),
                         RC_OK);
    }
    return s;
}

/* ---- the table of docs/metering.md, a row at a time ---- */

static const struct {
    enum usage_outcome outcome;
    struct token_count counted, billed;
    enum usage_outcome row;
    int64_t requests; /* left in the window */
} table[] = {
    {OUTCOME_STOP, {10, 90, 5}, {10, 90, 5}, OUTCOME_STOP, 1},
    {OUTCOME_STOP, {10, 90, 0}, {10, 90, 0}, OUTCOME_STOP, 1}, /* T11: an empty answer */
    {OUTCOME_LENGTH, {10, 0, 50}, {10, 0, 50}, OUTCOME_LENGTH, 1},
    {OUTCOME_ABORTED, {10, 0, 3}, {10, 0, 3}, OUTCOME_ABORTED, 1},
    {OUTCOME_ABORTED, {10, 0, 0}, {10, 0, 0}, OUTCOME_ABORTED, 1}, /* T05: prompt was computed */
    {OUTCOME_ABORTED, {0, 0, 0}, {0, 0, 0}, OUTCOME_ABORTED, 1},   /* left while queued */
    {OUTCOME_TIMEOUT, {10, 0, 7}, {10, 0, 7}, OUTCOME_TIMEOUT, 1},
    {OUTCOME_FAILED, {10, 0, 0}, {0, 0, 0}, OUTCOME_FAILED, 1},
    {OUTCOME_FAILED, {10, 0, 2}, {10, 0, 2}, OUTCOME_BROKEN, 1}, /* it was not before the first */
    {OUTCOME_BROKEN, {10, 0, 6}, {10, 0, 6}, OUTCOME_BROKEN, 1},
    {OUTCOME_BROKEN, {10, 0, 0}, {0, 0, 0}, OUTCOME_FAILED, 1},
    {OUTCOME_REFUSED, {0, 0, 0}, {0, 0, 0}, OUTCOME_REFUSED, 0},
};

START_TEST(each_outcome_is_billed_by_its_rule)
{
    struct fixture fx;
    fixture_open(&fx, 100000);
    struct meter_hold hold;
    struct usage row;
    ck_assert_int_eq(reserve(&fx, "req_1", 500, &hold), RC_OK);
    ck_assert_int_eq(org_tokens(&fx), 500);
    ck_assert(meter_count(fx.meter, &hold, &table[_i].counted));
    advance(&fx, 1234);
    struct meter_end end = {.outcome = table[_i].outcome, .http_status = 200, .ttft_ms = 12};
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, &row, &fx.err), RC_OK);
    const struct token_count *b = &table[_i].billed;
    ck_assert_int_eq(row.outcome, table[_i].row);
    ck_assert_int_eq(row.input_tokens, b->input);
    ck_assert_int_eq(row.cached_tokens, b->cached);
    ck_assert_int_eq(row.output_tokens, b->output);
    ck_assert_int_eq(row.cost, b->input * 100 + b->cached * 10 + b->output * 1000);
    ck_assert_int_eq(row.duration_ms, 1234);
    ck_assert(str_is(row.price_id, "prc_1") && str_is(row.currency, "EUR"));
    ck_assert(str_eq(row.gateway, journal_gateway(fx.journal)));
    ck_assert_int_eq(org_tokens(&fx), b->input + b->cached + b->output);
    ck_assert_int_eq(limit_peek(fx.limits, LIMIT_ORG, STR("org_a"), STR_NONE).requests,
                     table[_i].requests);
    struct sums s = journal_sums(&fx);
    ck_assert_int_eq(s.rows, 1);
    ck_assert_int_eq(s.cost, row.cost);
    must_balance(&fx);
    fixture_done(&fx);
}
END_TEST

START_TEST(a_restart_gives_nobody_a_fresh_window)
{
    struct fixture fx;
    fixture_open(&fx, 1000);
    struct meter_hold hold;
    struct meter_end end = {.outcome = OUTCOME_STOP, .http_status = 200, .ttft_ms = 1};
    ck_assert_int_eq(reserve(&fx, "req_1", 600, &hold), RC_OK);
    ck_assert(meter_count(fx.meter, &hold, &(struct token_count){500, 50, 50}));
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, NULL, &fx.err), RC_OK);
    ck_assert_int_eq(reserve(&fx, "req_2", 100, &hold), RC_OK); /* refused ones do not count */
    end.outcome = OUTCOME_REFUSED;
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, NULL, &fx.err), RC_OK);
    stop(&fx);
    advance(&fx, 30000);
    start(&fx);
    struct str org = STR("org_a"), key = STR("key_a"), dep = STR("dep_a");
    ck_assert_int_eq(org_tokens(&fx), 600);
    ck_assert_int_eq(limit_peek(fx.limits, LIMIT_ORG, org, STR_NONE).requests, 1);
    ck_assert_int_eq(limit_peek(fx.limits, LIMIT_KEY, key, dep).tokens, 600);
    ck_assert_int_eq(reserve(&fx, "req_3", 401, &hold), RC_LIMIT);
    advance(&fx, 31000);
    ck_assert_int_eq(org_tokens(&fx), 0);
    stop(&fx);
    start(&fx); /* a minute later there is nothing to count */
    ck_assert_int_eq(org_tokens(&fx), 0);
    fixture_done(&fx);
}
END_TEST

START_TEST(a_recovered_request_is_billed_what_was_counted)
{
    struct fixture fx;
    fixture_open(&fx, 100000);
    struct meter_hold counted, silent;
    ck_assert_int_eq(reserve(&fx, "req_1", 500, &counted), RC_OK);
    ck_assert_int_eq(reserve(&fx, "req_2", 500, &silent), RC_OK);
    ck_assert(meter_count(fx.meter, &counted, &(struct token_count){20, 0, 4}));
    fx.price.output_per_1m = 999999; /* a later price does not reach back */
    log_init("test", LOG_ERROR + 1);
    stop(&fx);
    start(&fx);
    struct sums s = journal_sums(&fx);
    ck_assert_int_eq(s.rows, 2);
    ck_assert_int_eq(s.tokens, 24);
    ck_assert_int_eq(s.cost, 20 * 100 + 4 * 1000);
    must_balance(&fx);
    fixture_done(&fx);
}
END_TEST

START_TEST(every_outcome_has_a_rule)
{
    for (int o = OUTCOME_STOP; o <= OUTCOME_RECOVERED; o++) {
        ck_assert_int_eq(meter_rule_of((enum usage_outcome)o)->outcome, o);
        ck_assert_ptr_nonnull(meter_rule_of((enum usage_outcome)o)->why);
    }
}
END_TEST

/* ---- the three moves ---- */

/* T38 */
START_TEST(settling_twice_writes_one_row)
{
    struct fixture fx;
    fixture_open(&fx, 100000);
    struct meter_hold hold;
    struct meter_end end = {.outcome = OUTCOME_STOP, .http_status = 200};
    ck_assert_int_eq(reserve(&fx, "req_1", 500, &hold), RC_OK);
    meter_count(fx.meter, &hold, &(struct token_count){1, 0, 1});
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, NULL, &fx.err), RC_OK);
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, NULL, &fx.err), RC_INVALID);
    ck_assert(!meter_count(fx.meter, &hold, &(struct token_count){1, 0, 9}));
    ck_assert_int_eq(org_tokens(&fx), 2);
    ck_assert_int_eq(journal_sums(&fx).rows, 1);
    must_balance(&fx);
    fixture_done(&fx);
}
END_TEST

START_TEST(a_refused_request_leaves_nothing_behind)
{
    struct fixture fx;
    fixture_open(&fx, 1000);
    struct meter_hold hold;
    ck_assert_int_eq(reserve(&fx, "req_1", 1001, &hold), RC_LIMIT);
    ck_assert_int_eq(fx.why.retry_ms, LIMIT_NEVER);
    ck_assert_int_eq(hold.state, METER_NOTHING);
    struct meter_end end = {.outcome = OUTCOME_REFUSED};
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, NULL, &fx.err), RC_INVALID);

    journal_shed(fx.journal, true, "the ledger is too far behind");
    ck_assert_int_eq(reserve(&fx, "req_2", 10, &hold), RC_UNAVAILABLE);
    ck_assert_int_gt(fx.why.retry_ms, 0);
    ck_assert_int_eq(org_tokens(&fx), 0);
    journal_shed(fx.journal, false, NULL);

    fx.price.output_per_1m = 1000000000000;
    fx.claim.tokens_per_min = LIMIT_NONE;
    ck_assert_int_eq(reserve(&fx, "req_3", 10000000, &hold), RC_BAD_INPUT);
    ck_assert_int_eq(journal_sums(&fx).rows, 0);
    must_balance(&fx);
    fixture_done(&fx);
}
END_TEST

/* T13, T17, T18 */
START_TEST(counts_that_fall_or_are_negative_are_not_taken)
{
    struct fixture fx;
    fixture_open(&fx, 100000);
    struct meter_hold hold;
    struct usage row;
    ck_assert_int_eq(reserve(&fx, "req_1", 500, &hold), RC_OK);
    ck_assert(meter_count(fx.meter, &hold, &(struct token_count){100, 0, 4}));
    ck_assert(meter_count(fx.meter, &hold, &(struct token_count){40, 60, 4})); /* of it cached */
    ck_assert(!meter_count(fx.meter, &hold, &(struct token_count){40, 60, 3}));
    ck_assert(!meter_count(fx.meter, &hold, &(struct token_count){10, 60, 9}));
    ck_assert(!meter_count(fx.meter, &hold, &(struct token_count){-1, 101, 9}));
    ck_assert(!meter_count(fx.meter, &hold, &(struct token_count){INT64_MAX, 1, 9}));
    struct meter_end end = {.outcome = OUTCOME_STOP, .estimated = true, .degraded = STR("guess")};
    ck_assert_int_eq(meter_settle(fx.meter, &hold, &end, NULL, &row, &fx.err), RC_OK);
    ck_assert_int_eq(row.input_tokens, 40);
    ck_assert_int_eq(row.cached_tokens, 60);
    ck_assert_int_eq(row.output_tokens, 4);
    ck_assert_int_eq(row.source, SOURCE_ESTIMATED);
    ck_assert(str_is(row.degraded, "guess"));
    fixture_done(&fx);
}
END_TEST

START_TEST(what_an_engine_reports_becomes_disjoint_classes)
{
    struct token_count t =
        tokens_of_engine(&(struct frame_usage){.input = 100, .cached = 64, .output = 7});
    ck_assert_int_eq(t.input, 36);
    ck_assert_int_eq(t.cached, 64);
    ck_assert_int_eq(t.output, 7);
    t = tokens_of_engine(&(struct frame_usage){.input = 10, .cached = 64});
    ck_assert_int_eq(t.input + t.cached, 10);
}
END_TEST

/* T37: the journal fails between the row and the limits; the limits are settled all the same. */
START_TEST(a_journal_that_fails_leaves_no_hold_behind)
{
    struct fixture fx;
    fixture_open(&fx, 100000);
    struct meter_hold a, b;
    struct meter_end end = {.outcome = OUTCOME_STOP, .http_status = 200};
    log_init("test", LOG_ERROR + 1);
    ck_assert_int_eq(reserve(&fx, "req_a", 500, &a), RC_OK);
    ck_assert_int_eq(reserve(&fx, "req_b", 500, &b), RC_OK);
    __atomic_store_n(&sync_fails, true, __ATOMIC_RELAXED);
    ck_assert_int_eq(meter_settle(fx.meter, &a, &end, NULL, NULL, &fx.err), RC_OK);
    ck_assert_int_eq(journal_sync(fx.journal, &fx.err), RC_IO);
    ck_assert_int_eq(meter_settle(fx.meter, &b, &end, NULL, NULL, &fx.err), RC_IO);
    ck_assert_int_eq(org_tokens(&fx), 0);
    ck_assert_int_eq(limit_peek(fx.limits, LIMIT_ORG, STR("org_a"), STR_NONE).running, 0);
    ck_assert_int_eq(reserve(&fx, "req_c", 500, &a), RC_UNAVAILABLE);
    must_balance(&fx);
    __atomic_store_n(&sync_fails, false, __ATOMIC_RELAXED);
    fixture_done(&fx);
}
END_TEST

/* ---- T31 ---- */

enum { RACERS = 200 };
struct racer {
    struct fixture *fx;
    pthread_barrier_t *start;
    struct meter_hold hold;
    char id[16];
    enum rc rc;
    pthread_t thread;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct limit_refusal why;
    struct meter_ask ask = {
        .who = {.id = str_of(r->id),
                .org_id = STR("org_a"),
                .user_id = STR("usr_a"),
                .deployment_id = STR("dep_a"),
                .model = STR("m"),
                .route = STR("completions")},
        .price = &r->fx->price,
        .limits = {.claims = &r->fx->claim, .n_claims = 1, .tok_min = 100, .tok_max = 100}};
    pthread_barrier_wait(r->start);
    r->rc = meter_reserve(r->fx->meter, &ask, &r->hold, &why, NULL);
    return NULL;
}

START_TEST(two_hundred_at_once_with_budget_for_three_admit_three)
{
    struct fixture fx;
    fixture_open(&fx, 399);
    static struct racer racers[RACERS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, RACERS);
    int admitted = 0;
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.fx = &fx, .start = &barrier};
        snprintf(racers[i].id, sizeof racers[i].id, "req_%d", i);
        ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(racers[i].thread, NULL);
    for (int i = 0; i < RACERS; i++) {
        struct meter_end end = {.outcome = OUTCOME_LENGTH, .http_status = 200};
        ck_assert(racers[i].rc == RC_OK || racers[i].rc == RC_LIMIT);
        if (racers[i].rc != RC_OK)
            continue;
        admitted++;
        ck_assert(meter_count(fx.meter, &racers[i].hold, &(struct token_count){60, 0, 40}));
        ck_assert_int_eq(meter_settle(fx.meter, &racers[i].hold, &end, NULL, NULL, &fx.err), RC_OK);
    }
    ck_assert_int_eq(admitted, 3);
    ck_assert_int_eq(org_tokens(&fx), 300);
    ck_assert_int_eq(journal_sums(&fx).tokens, 300);
    must_balance(&fx);
    pthread_barrier_destroy(&barrier);
    fixture_done(&fx);
}
END_TEST

/* ---- T70 ---- */

enum { STEPS = 20000, HOLDS = 40 };

START_TEST(random_traffic_balances_at_every_moment)
{
    struct fixture fx;
    fixture_open(&fx, 20000);
    static struct meter_hold holds[HOLDS];
    static char ids[HOLDS][24];
    memset(holds, 0, sizeof holds);
    int64_t tokens = 0, rows = 0, cost = 0, refused = 0;
    srand48(7);
    for (int step = 0; step < STEPS; step++) {
        int which = (int)(lrand48() % HOLDS);
        struct meter_hold *h = &holds[which];
        advance(&fx, lrand48() % 50);
        if (h->state != METER_HELD) {
            snprintf(ids[which], sizeof ids[which], "req_%d", step);
            enum rc rc = reserve(&fx, ids[which], lrand48() % 800, h);
            while (rc == RC_UNAVAILABLE) { /* no spare segment yet */
                usleep(500);
                rc = reserve(&fx, ids[which], lrand48() % 800, h);
            }
            ck_assert(rc == RC_OK || rc == RC_LIMIT);
            refused += rc == RC_LIMIT;
        } else if (lrand48() % 3) {
            struct token_count next = {h->used.input + lrand48() % 50, h->used.cached,
                                       h->used.output + lrand48() % 60};
            ck_assert(meter_count(fx.meter, h, &next));
        } else {
            struct meter_end end = {.outcome = (enum usage_outcome)(lrand48() % OUTCOME_RECOVERED)};
            struct usage row;
            ck_assert_int_eq(meter_settle(fx.meter, h, &end, NULL, &row, &fx.err), RC_OK);
            tokens += row.input_tokens + row.cached_tokens + row.output_tokens;
            cost += row.cost;
            rows++;
        }
        if (step % 100 == 0)
            must_balance(&fx);
    }
    must_balance(&fx);
    struct sums s = journal_sums(&fx);
    ck_assert_int_eq(s.rows, rows);
    ck_assert_int_eq(s.tokens, tokens);
    ck_assert_int_eq(s.cost, cost);
    ck_assert_int_gt(refused, 100);
    struct meter_sums sums;
    ck_assert_int_eq(meter_check(fx.meter, &sums, &fx.err), RC_OK);
    ck_assert_int_eq(sums.used.input + sums.used.cached + sums.used.output, tokens);
    ck_assert(sums.cost_pico == cost);
    printf("%" PRId64 " rows, %" PRId64 " refused, %" PRId64 " tokens balance\n", rows, refused,
           tokens);
    for (int i = 0; i < HOLDS; i++) {
        struct meter_end end = {.outcome = OUTCOME_ABORTED};
        if (holds[i].state == METER_HELD)
            ck_assert_int_eq(meter_settle(fx.meter, &holds[i], &end, NULL, NULL, &fx.err), RC_OK);
    }
    must_balance(&fx);
    fixture_done(&fx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("meter");
    TCase *tc = tcase_create("meter");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, each_outcome_is_billed_by_its_rule, 0, (int)ARRAY_LEN(table));
    tcase_add_test(tc, a_recovered_request_is_billed_what_was_counted);
    tcase_add_test(tc, every_outcome_has_a_rule);
    tcase_add_test(tc, settling_twice_writes_one_row);
    tcase_add_test(tc, a_refused_request_leaves_nothing_behind);
    tcase_add_test(tc, counts_that_fall_or_are_negative_are_not_taken);
    tcase_add_test(tc, what_an_engine_reports_becomes_disjoint_classes);
    tcase_add_test(tc, a_restart_gives_nobody_a_fresh_window);
    tcase_add_test(tc, a_journal_that_fails_leaves_no_hold_behind);
    tcase_add_test(tc, two_hundred_at_once_with_budget_for_three_admit_three);
    tcase_add_test(tc, random_traffic_balances_at_every_moment);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
