/* Rows reach the ledger in order and count once there, whatever happens in between. The ledger is a
 * real HTTP server that keeps rows by id, as the control plane does, and fails on demand. */
#include <check.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/units.h"
#include "gateway/ship.h"
#include "schema/feed.h"

enum { ROWS_MAX = 5000, SMALL = 64 * 1024 };
#define TOKEN "the-internal-token"

/* What the ledger does with a batch. */
enum fault { FINE, REFUSE, APPLY_THEN_500, APPLY_THEN_CUT, NONSENSE, FAULTS };

struct ledger {
    struct http_server *server;
    uint16_t port;
    int seen[ROWS_MAX]; /* times a row with this number arrived */
    int rows;           /* different ones */
    int last;           /* number of the last new row: they come in order */
    bool in_order;
    struct journal_pos applied;
    int32_t fault_percent;
    enum fault always;
    int batches, asks, unauthorised;
};

struct fixture {
    char dir[64], url[64];
    struct loop *loop;
    struct http_client *http;
    struct journal *journal;
    struct ship *ship;
    struct ledger ledger;
    struct loop_timer tick;
    bool (*until)(struct fixture *fx);
    int64_t give_up_ms;
    bool met;
    struct ship_opts opts;
    struct err err;
};

/* ---- the ledger ---- */

static void apply(struct ledger *l, const json_t *batch)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(batch, "rows"), i, row)
    {
        int64_t n = -1;
        const char *id = json_string_value(json_object_get(row, "id"));
        ck_assert_ptr_nonnull(id);
        ck_assert(str_to_i64(str_of(id + 4), 0, ROWS_MAX - 1, &n));
        ck_assert_int_eq(json_integer_value(json_object_get(row, "output_tokens")), n);
        if (l->seen[n]++)
            continue; /* known: skipped */
        l->rows++;
        l->in_order = l->in_order && n == l->last + 1;
        l->last = (int)n;
    }
    struct journal_pos pos = {(uint64_t)json_integer_value(json_object_get(batch, "segment")),
                              (uint64_t)json_integer_value(json_object_get(batch, "offset"))};
    if (journal_pos_cmp(pos, l->applied) > 0)
        l->applied = pos;
}

static void reply_place(struct ledger *l, struct http_req *r)
{
    char text[128];
    snprintf(text, sizeof text, "{\"segment\": %" PRIu64 ", \"offset\": %" PRIu64 "}",
             l->applied.segment, l->applied.offset);
    http_reply(r, 200, "application/json", str_of(text));
}

static void on_batch(struct ledger *l, struct http_req *r)
{
    enum fault f = l->always;
    if (f == FINE && lrand48() % 100 < l->fault_percent)
        f = (enum fault)(1 + lrand48() % (FAULTS - 1));
    json_t *batch = json_loadb(http_body(r).p, http_body(r).len, 0, NULL);
    ck_assert_ptr_nonnull(batch);
    ck_assert_int_le((int)json_array_size(json_object_get(batch, "rows")), FEED_ROWS_MAX);
    l->batches++;
    if (f == FINE || f == APPLY_THEN_500 || f == APPLY_THEN_CUT)
        apply(l, batch);
    json_decref(batch);
    if (f == FINE) {
        reply_place(l, r);
    } else if (f == APPLY_THEN_CUT) {
        http_stream_begin(r, 200, "application/json");
        http_stream_cut(r);
    } else if (f == NONSENSE) {
        http_reply(r, 200, "application/json", STR("{\"segment\": \"x\"}"));
    } else {
        http_reply(r, f == REFUSE ? 400 : 500, "application/json", STR("{}"));
    }
}

static void on_request(struct http_req *r, void *user)
{
    struct ledger *l = user;
    if (!str_is(http_header(r, "Authorization"), "Bearer " TOKEN)) {
        l->unauthorised++;
        http_reply(r, 401, "application/json", STR("{}"));
    } else if (str_is(http_path(r), FEED_PATH_USAGE) && str_is(http_method(r), "POST")) {
        on_batch(l, r);
    } else {
        ck_assert(str_is(http_path(r), FEED_PATH_APPLIED));
        ck_assert(str_starts(http_query(r, "gateway"), STR("gw_")));
        l->asks++;
        reply_place(l, r);
    }
}

static void ledger_up(struct fixture *fx)
{
    struct http_server_opts opts = {.bind = "127.0.0.1",
                                    .port = fx->ledger.port,
                                    .max_conns = 16,
                                    .max_body = 4 * MIB,
                                    .arena_cap = 8 * MIB,
                                    .stream_max = 64 * KIB,
                                    .head_ms = 5000,
                                    .body_ms = 5000,
                                    .idle_ms = 30000,
                                    .write_stall_ms = 5000,
                                    .on_request = on_request,
                                    .user = &fx->ledger};
    enum rc rc = http_server_open(fx->loop, &opts, &fx->ledger.server, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
    fx->ledger.port = http_server_port(fx->ledger.server);
}

static void ledger_down(struct fixture *fx)
{
    http_server_close(fx->ledger.server);
    fx->ledger.server = NULL;
}

/* ---- the gateway's side ---- */

static void ship_start(struct fixture *fx)
{
    enum rc rc = ship_open(&fx->opts, &fx->ship, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
}

static void fixture_open(struct fixture *fx)
{
    *fx = (struct fixture){.dir = "/tmp/sluice-ship-XXXXXX",
                           .ledger = {.last = -1, .in_order = true}};
    srand48(42);
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    ck_assert_ptr_nonnull(mkdtemp(fx->dir));
    ck_assert_int_eq(loop_open(clock_system(), &fx->loop, &fx->err), RC_OK);
    ck_assert_int_eq(http_client_open(fx->loop, 16, &fx->http, &fx->err), RC_OK);
    struct journal_opts opts = {
        .dir = fx->dir, .clock = clock_system(), .segment_bytes = SMALL, .open_max = 32};
    ck_assert_int_eq(journal_new(&opts, &fx->journal, &fx->err), RC_OK);
    ledger_up(fx);
    snprintf(fx->url, sizeof fx->url, "http://127.0.0.1:%d", fx->ledger.port);
    fx->opts = (struct ship_opts){.loop = fx->loop,
                                  .http = fx->http,
                                  .journal = fx->journal,
                                  .url = fx->url,
                                  .token = TOKEN,
                                  .lag_segments_max = 1000,
                                  .disk_low_bytes = 1,
                                  .wait_min_ms = 1,
                                  .wait_max_ms = 20};
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void fixture_done(struct fixture *fx)
{
    ship_close(fx->ship);
    ledger_down(fx);
    http_client_close(fx->http);
    journal_free(fx->journal);
    loop_close(fx->loop);
    nftw(fx->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_tick(struct loop_timer *t)
{
    struct fixture *fx = t->user;
    fx->met = fx->until(fx);
    if (fx->met || loop_now_ms(fx->loop) > fx->give_up_ms)
        loop_stop(fx->loop);
    else
        loop_timer_set(fx->loop, t, loop_now_ms(fx->loop) + 2, NULL);
}

/* Runs the loop until it is so; false after 20 s. */
static bool run_until(struct fixture *fx, bool (*until)(struct fixture *fx))
{
    fx->until = until;
    fx->give_up_ms = clock_mono_ms(clock_system()) + 20000;
    fx->tick = (struct loop_timer){.on_time = on_tick, .user = fx};
    loop_timer_set(fx->loop, &fx->tick, 0, NULL);
    ck_assert_int_eq(loop_run(fx->loop, &fx->err), RC_OK);
    return fx->met;
}

static bool all_applied(struct fixture *fx)
{
    struct ship_stats s;
    struct journal_stats j;
    ship_stat(fx->ship, &s);
    journal_stat(fx->journal, &j);
    return s.idle && s.connected && journal_pos_cmp(j.applied, j.end) >= 0;
}

static bool is_shedding(struct fixture *fx)
{
    struct ship_stats s;
    ship_stat(fx->ship, &s);
    return s.shedding;
}

static bool is_not_shedding(struct fixture *fx)
{
    return !is_shedding(fx);
}

static bool has_failed(struct fixture *fx)
{
    struct ship_stats s;
    ship_stat(fx->ship, &s);
    return s.failures > 3;
}

static struct usage row_of(char id[40], int number)
{
    snprintf(id, 40, "req_%05d", number);
    return (struct usage){.id = str_of(id),
                          .org_id = STR("org_a"),
                          .user_id = STR("usr_a"),
                          .deployment_id = STR("dep_a"),
                          .model = STR("m"),
                          .route = STR("completions"),
                          .outcome = OUTCOME_RECOVERED,
                          .currency = STR("USD"),
                          .output_tokens = number};
}

static void make_rows(struct fixture *fx, int from, int to)
{
    static const struct rate free_of_charge;
    char id[40];
    for (int i = from; i < to; i++) {
        struct usage row = row_of(id, i);
        struct journal_entry e;
        for (int tries = 0; journal_open(fx->journal, &row, &free_of_charge, &e, &fx->err) != RC_OK;
             tries++) {
            ck_assert_msg(tries < 10000, "%s", fx->err.msg);
            usleep(500); /* for the spare segment */
        }
        row.outcome = OUTCOME_STOP;
        ck_assert_int_eq(journal_close(fx->journal, &e, &row, NULL, &fx->err), RC_OK);
    }
}

static void each_once(struct fixture *fx, int n)
{
    ck_assert_int_eq(fx->ledger.rows, n);
    ck_assert(fx->ledger.in_order);
    for (int i = 0; i < n; i++)
        ck_assert_int_ge(fx->ledger.seen[i], 1);
}

/* ---- tests ---- */

START_TEST(rows_arrive_once_and_in_order_and_their_segments_go)
{
    static struct fixture fx;
    fixture_open(&fx);
    ship_start(&fx);
    make_rows(&fx, 0, 1500);
    ck_assert(run_until(&fx, all_applied));
    each_once(&fx, 1500);
    for (int i = 0; i < 1500; i++)
        ck_assert_int_eq(fx.ledger.seen[i], 1);
    make_rows(&fx, 1500, 1501); /* a single one does not wait for more */
    ck_assert(run_until(&fx, all_applied));
    each_once(&fx, 1501);
    struct journal_stats j;
    journal_stat(fx.journal, &j);
    ck_assert_int_eq(j.segments, 1);
    fixture_done(&fx);
}
END_TEST

/* T56, T57: applied but not answered is sent again, and is one row. */
START_TEST(a_ledger_that_fails_at_random_loses_and_doubles_nothing)
{
    static struct fixture fx;
    fixture_open(&fx);
    fx.ledger.fault_percent = 60;
    ship_start(&fx);
    for (int i = 0; i < 20; i++) {
        make_rows(&fx, i * 100, i * 100 + 100);
        ck_assert(run_until(&fx, all_applied));
    }
    each_once(&fx, 2000);
    struct ship_stats s;
    ship_stat(fx.ship, &s);
    ck_assert_int_gt(s.failures, 5);
    printf("%" PRId64 " failures, %d batches, 2000 rows kept once\n", s.failures,
           fx.ledger.batches);
    fixture_done(&fx);
}
END_TEST

START_TEST(rows_wait_for_a_ledger_that_is_down)
{
    static struct fixture fx;
    fixture_open(&fx);
    ledger_down(&fx);
    ship_start(&fx);
    make_rows(&fx, 0, 300);
    ck_assert(run_until(&fx, has_failed));
    ck_assert_int_eq(fx.ledger.rows, 0);
    ledger_up(&fx);
    ck_assert(run_until(&fx, all_applied));
    each_once(&fx, 300);
    fixture_done(&fx);
}
END_TEST

START_TEST(a_new_ship_goes_on_where_the_ledger_is)
{
    static struct fixture fx;
    fixture_open(&fx);
    ship_start(&fx);
    make_rows(&fx, 0, 100);
    ck_assert(run_until(&fx, all_applied));
    ship_close(fx.ship);
    make_rows(&fx, 100, 200);
    ship_start(&fx);
    ck_assert(run_until(&fx, all_applied));
    each_once(&fx, 200);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(fx.ledger.seen[i], 1);
    fixture_done(&fx);
}
END_TEST

/* A journal that was put back from a backup: places say nothing, ids do. */
START_TEST(a_ledger_that_is_ahead_is_offered_everything)
{
    static struct fixture fx;
    fixture_open(&fx);
    make_rows(&fx, 0, 50);
    ship_start(&fx);
    ck_assert(run_until(&fx, all_applied));
    ship_close(fx.ship);
    fx.ledger.applied = (struct journal_pos){1000, 500};
    make_rows(&fx, 50, 100);
    ship_start(&fx);
    ck_assert(run_until(&fx, all_applied));
    each_once(&fx, 100);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(fx.ledger.seen[i], i < 50 ? 2 : 1);
    fixture_done(&fx);
}
END_TEST

START_TEST(far_behind_means_no_new_requests_until_it_has_caught_up)
{
    static struct fixture fx;
    static const struct rate free_of_charge;
    fixture_open(&fx);
    fx.opts.lag_segments_max = 2;
    fx.ledger.always = REFUSE;
    make_rows(&fx, 0, 1000);
    ship_start(&fx);
    ck_assert(run_until(&fx, is_shedding));
    char id[40];
    struct usage row = row_of(id, 1000);
    struct journal_entry e;
    ck_assert_int_eq(journal_open(fx.journal, &row, &free_of_charge, &e, &fx.err), RC_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(fx.err.msg, "too far behind"));
    fx.ledger.always = FINE;
    ck_assert(run_until(&fx, is_not_shedding));
    make_rows(&fx, 1000, 1001);
    ck_assert(run_until(&fx, all_applied));
    each_once(&fx, 1001);
    fixture_done(&fx);
}
END_TEST

START_TEST(a_disk_that_is_nearly_full_means_no_new_requests)
{
    static struct fixture fx;
    fixture_open(&fx);
    fx.opts.disk_low_bytes = INT64_MAX;
    ship_start(&fx);
    ck_assert(run_until(&fx, is_shedding));
    static const struct rate free_of_charge;
    char id[40];
    struct usage row = row_of(id, 0);
    struct journal_entry e;
    ck_assert_int_eq(journal_open(fx.journal, &row, &free_of_charge, &e, &fx.err), RC_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(fx.err.msg, "disk"));
    fixture_done(&fx);
}
END_TEST

int main(void)
{
    log_init("test", LOG_ERROR + 1);
    Suite *suite = suite_create("ship");
    TCase *tc = tcase_create("ship");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, rows_arrive_once_and_in_order_and_their_segments_go);
    tcase_add_test(tc, a_ledger_that_fails_at_random_loses_and_doubles_nothing);
    tcase_add_test(tc, rows_wait_for_a_ledger_that_is_down);
    tcase_add_test(tc, a_new_ship_goes_on_where_the_ledger_is);
    tcase_add_test(tc, a_ledger_that_is_ahead_is_offered_everything);
    tcase_add_test(tc, far_behind_means_no_new_requests_until_it_has_caught_up);
    tcase_add_test(tc, a_disk_that_is_nearly_full_means_no_new_requests);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
