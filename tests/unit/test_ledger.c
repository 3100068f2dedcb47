/* The ledger and the reports over it, on a real database. */
#include "tests/unit/ledger_fixture.h"

#include "control/report.h"

static struct fixture fixture;
static struct fixture *const fx = &fixture;

static void open_fixture(void)
{
    fixture_open(fx);
}

static void close_fixture(void)
{
    fixture_close(fx);
}

/* ---- applying ---- */

START_TEST(a_row_counts_once_however_often_it_is_sent)
{
    struct usage row = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 30, 7);
    for (int i = 0; i < 10; i++) {
        struct ledger_result r = fixture_apply(fx, &row, 1, 1, 100);
        ck_assert_int_eq(r.added, i == 0);
        ck_assert_int_eq(r.skipped, i != 0);
    }
    ck_assert_int_eq(fixture_i64(fx, "SELECT count(*) FROM usage"), 1);
    ck_assert_int_eq(fixture_i64(fx, "SELECT requests FROM usage_hour"), 1);
    ck_assert_int_eq(fixture_i64(fx, "SELECT rows FROM usage_applied"), 1);
    ck_assert_int_eq(fixture_i64(fx, "SELECT count(*) FROM usage_chain"), 1);
}
END_TEST

START_TEST(the_applied_place_only_moves_forward)
{
    fixture_apply(fx, NULL, 0, 2, 500);
    struct ledger_result r = fixture_apply(fx, NULL, 0, 1, 9000);
    ck_assert_int_eq(r.segment, 2);
    ck_assert_int_eq(r.offset, 500);
    r = fixture_apply(fx, NULL, 0, 2, 501);
    ck_assert_int_eq(r.offset, 501);
    r = fixture_apply(fx, NULL, 0, 3, 8);
    ck_assert_int_eq(r.segment, 3);
    ck_assert_int_eq(r.offset, 8);
}
END_TEST

START_TEST(a_batch_that_fails_leaves_nothing)
{
    struct usage rows[2] = {fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 30, 7),
                            fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 30, 7)};
    static char long_name[8192];
    memset(long_name, 'm', sizeof long_name);
    rows[1].model = str_make(long_name, sizeof long_name); /* too long for a link of the chain */
    struct ledger_batch batch = {
        .gateway = STR("gw_a"), .segment = 1, .offset = 1, .rows = rows, .n = 2};
    struct ledger_result result;
    struct txn txn = {0};
    MUST(txn_begin_write(fx->db, FIXTURE_NOW, &txn, &fx->err));
    ck_assert_int_ne(ledger_apply(&txn, &batch, &fx->arena, &result, &fx->err), RC_OK);
    txn_end(&txn);
    ck_assert_int_eq(fixture_i64(fx, "SELECT count(*) FROM usage"), 0);
    ck_assert_int_eq(fixture_i64(fx, "SELECT count(*) FROM usage_applied"), 0);
}
END_TEST

START_TEST(a_row_that_contradicts_its_price_is_kept_and_flagged)
{
    struct usage rows[4];
    for (int i = 0; i < 4; i++)
        rows[i] = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 30, 7);
    rows[0].cost++;
    rows[1].price_id = STR("prc_nobody");
    rows[2].currency = STR("EUR");
    struct ledger_result r = fixture_apply(fx, rows, 4, 1, 1);
    ck_assert_int_eq(r.added, 4);
    ck_assert_int_eq(r.flagged, 3);
    ck_assert_int_eq(fixture_i64(fx, "SELECT count(*) FROM usage_chain WHERE flag IN "
                                     "('cost', 'unknown_price', 'currency')"),
                     3);
}
END_TEST

START_TEST(a_cost_is_tokens_times_price_and_nothing_is_rounded)
{
    struct usage row = {.input_tokens = 3, .cached_tokens = 2, .output_tokens = 1};
    struct price price = {
        .input_per_1m = 1, .cached_input_per_1m = 10, .output_per_1m = INT64_C(1000000000000)};
    int64_t pico = 0;
    ck_assert_int_eq(ledger_cost(&price, &row, &pico, NULL), RC_OK);
    ck_assert_int_eq(pico, 3 + 20 + INT64_C(1000000000000));
    price.cached_input_per_1m = -1; /* as input */
    ck_assert_int_eq(ledger_cost(&price, &row, &pico, NULL), RC_OK);
    ck_assert_int_eq(pico, 5 + INT64_C(1000000000000));
    row.output_tokens = INT64_MAX / 1000;
    ck_assert_int_eq(ledger_cost(&price, &row, &pico, NULL), RC_INVALID);
    ck_assert_int_eq(ledger_cost(NULL, &row, &pico, NULL), RC_OK);
    ck_assert_int_eq(pico, 0);
}
END_TEST

START_TEST(the_ledger_is_only_added_to)
{
    struct usage row = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 30, 7);
    fixture_apply(fx, &row, 1, 1, 1);
    struct txn txn = {0};
    MUST(txn_begin_write(fx->db, FIXTURE_NOW, &txn, &fx->err));
    ck_assert_int_ne(db_exec(&txn, "UPDATE usage SET output_tokens = 0", &fx->err), RC_OK);
    ck_assert_int_ne(db_exec(&txn, "DELETE FROM usage", &fx->err), RC_OK);
    txn_end(&txn);
    ck_assert_int_eq(fixture_i64(fx, "SELECT output_tokens FROM usage"), 7);
}
END_TEST

/* ---- reading a batch ---- */

static enum rc parse(const char *text, struct ledger_batch *ret)
{
    json_t *json = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(json);
    enum rc rc = ledger_parse(json, &fx->arena, ret, &fx->err);
    json_decref(json);
    return rc;
}

START_TEST(a_batch_is_read_from_what_the_feed_carries)
{
    struct usage row = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 30, 7);
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_z(&text, "{\"gateway\": \"gw_a\", \"segment\": 3, \"offset\": 128, \"rows\": [");
    resource_to_json(&resource_usage, &row, VIEW_FEED, &text);
    buf_z(&text, "]}");
    buf_byte(&text, '\0');
    struct ledger_batch batch = {0};
    MUST(parse(text.p, &batch));
    buf_done(&text);
    ck_assert_int_eq(batch.n, 1);
    ck_assert_int_eq(batch.segment, 3);
    ck_assert_int_eq(batch.offset, 128);
    ck_assert(str_eq(batch.rows[0].id, row.id));
    uint8_t a[HASH_BYTES], b[HASH_BYTES], none[HASH_BYTES] = {0};
    MUST(ledger_link(none, none, &row, a, &fx->err));
    MUST(ledger_link(none, none, &batch.rows[0], b, &fx->err));
    ck_assert_mem_eq(a, b, HASH_BYTES); /* every field survived */
}
END_TEST

START_TEST(a_batch_that_lacks_something_is_refused)
{
    struct ledger_batch batch;
    static const char *const bad[] = {
        "{}",
        "{\"gateway\": \"\", \"segment\": 1, \"offset\": 1, \"rows\": []}",
        "{\"gateway\": \"g\", \"segment\": -1, \"offset\": 1, \"rows\": []}",
        "{\"gateway\": \"g\", \"segment\": 1, \"offset\": 1.5, \"rows\": []}",
        "{\"gateway\": \"g\", \"segment\": 1, \"offset\": 1, \"rows\": {}}",
        "{\"gateway\": \"g\", \"segment\": 1, \"offset\": 1, \"rows\": [1]}",
        "{\"gateway\": \"g\", \"segment\": 1, \"offset\": 1, \"rows\": [{\"id\": \"nope\"}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(parse(bad[i], &batch) == RC_BAD_INPUT, "%s", bad[i]);
}
END_TEST

/* ---- reports ---- */

static const struct scope *scope_of(enum user_role role, const char *org, const char *user)
{
    struct caller caller = {.role = role, .user_id = str_of(user), .org_id = str_of(org)};
    const struct scope *scope = NULL;
    MUST(access_check(&caller, &resource_usage, ACCESS_READ, &fx->arena, &scope, &fx->err));
    return scope;
}

static size_t count_seen(const struct scope *scope)
{
    struct report_filter all = {0};
    struct usage *rows = NULL;
    size_t n = 0;
    struct str next;
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(report_requests(&txn, scope, &all, STR_NONE, 200, &fx->arena, &rows, &n, &next, &fx->err));
    txn_end(&txn);
    return n;
}

static void apply_mixed(void)
{
    static const char *const orgs[] = {"org_a", "org_a", "org_b"};
    static const char *const users[] = {"usr_a", "usr_b", "usr_c"};
    struct usage rows[30];
    for (int i = 0; i < 30; i++)
        rows[i] = fixture_row(fx, orgs[i % 3], users[i % 3], FIXTURE_NOW + i * 1000, i, i);
    fixture_apply(fx, rows, 30, 1, 1);
}

START_TEST(tenants_see_their_own_rows_only)
{
    apply_mixed();
    ck_assert_uint_eq(count_seen(access_system()), 30);
    ck_assert_uint_eq(count_seen(scope_of(ROLE_OPERATOR, NULL, "usr_o")), 30);
    ck_assert_uint_eq(count_seen(scope_of(ROLE_ORG_ADMIN, "org_a", "usr_x")), 20);
    ck_assert_uint_eq(count_seen(scope_of(ROLE_MEMBER, "org_a", "usr_b")), 10);
    ck_assert_uint_eq(count_seen(scope_of(ROLE_MEMBER, "org_a", "usr_nobody")), 0);
}
END_TEST

START_TEST(sums_follow_the_same_scopes)
{
    apply_mixed();
    struct report_filter all = {0};
    struct report_group *groups = NULL;
    size_t n = 0;
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(report_summary(&txn, scope_of(ROLE_MEMBER, "org_a", "usr_b"), &all, 1u << REPORT_USER,
                        REPORT_NO_BUCKET, &fx->arena, &groups, &n, &fx->err));
    txn_end(&txn);
    ck_assert_uint_eq(n, 1);
    ck_assert(str_is(groups[0].value[REPORT_USER], "usr_b"));
    ck_assert_int_eq(groups[0].sums.requests, 10);
}
END_TEST

START_TEST(pages_walk_over_all_rows_once_newest_first)
{
    struct usage rows[57];
    for (int i = 0; i < 57; i++) /* many in the same millisecond */
        rows[i] = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW + i / 10, 1, 1);
    fixture_apply(fx, rows, 57, 1, 1);
    struct report_filter all = {0};
    struct str after = STR_NONE;
    int64_t last_time = INT64_MAX;
    size_t seen = 0;
    do {
        struct usage *page = NULL;
        size_t n = 0;
        struct txn txn = {0};
        MUST(txn_begin_read(fx->db, &txn, &fx->err));
        MUST(report_requests(&txn, access_system(), &all, after, 10, &fx->arena, &page, &n, &after,
                             &fx->err));
        txn_end(&txn);
        for (size_t i = 0; i < n; i++) {
            ck_assert_int_le(page[i].time, last_time);
            last_time = page[i].time;
        }
        seen += n;
        ck_assert_uint_le(seen, 57);
    } while (after.p);
    ck_assert_uint_eq(seen, 57);
    struct usage *page;
    size_t n;
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    ck_assert_int_eq(report_requests(&txn, access_system(), &all, STR("nonsense"), 10, &fx->arena,
                                     &page, &n, &after, &fx->err),
                     RC_BAD_INPUT);
    txn_end(&txn);
}
END_TEST

/* Sums by the hour and cut hours at both ends, against adding up rows by hand. */
START_TEST(a_summary_is_exact_for_any_start_and_end)
{
    enum { N = 300, SPAN = 6 * 3600 * 1000 };
    static struct usage rows[N];
    srand(3);
    for (int i = 0; i < N; i++)
        rows[i] = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW + rand() % SPAN, rand() % 1000,
                              rand() % 1000);
    fixture_apply(fx, rows, N, 1, 1);
    for (int round = 0; round < 200; round++) {
        struct report_filter f = {.start_ms = FIXTURE_NOW + rand() % SPAN};
        f.end_ms = f.start_ms + 1 + rand() % (round % 2 ? SPAN : 1000000);
        int64_t requests = 0, tokens = 0, cost = 0;
        for (int i = 0; i < N; i++) {
            if (rows[i].time < f.start_ms || rows[i].time >= f.end_ms)
                continue;
            requests++;
            tokens += rows[i].input_tokens + rows[i].cached_tokens + rows[i].output_tokens;
            cost += rows[i].cost;
        }
        struct report_group *g = NULL;
        size_t n = 0;
        struct txn txn = {0};
        MUST(txn_begin_read(fx->db, &txn, &fx->err));
        MUST(report_summary(&txn, access_system(), &f, 0, REPORT_NO_BUCKET, &fx->arena, &g, &n,
                            &fx->err));
        txn_end(&txn);
        struct report_sums s = n ? g[0].sums : (struct report_sums){0};
        ck_assert_int_eq(s.requests, requests);
        ck_assert_int_eq(s.input + s.cached + s.output, tokens);
        ck_assert_int_eq(s.cost_units * LEDGER_UNIT_PICO + s.cost_pico, cost);
    }
}
END_TEST

START_TEST(days_and_months_are_those_of_utc)
{
    int64_t times[3];
    ck_assert(clock_from_text(STR("2026-01-31T23:59:59.999Z"), &times[0]));
    ck_assert(clock_from_text(STR("2026-02-01T00:00:00Z"), &times[1]));
    ck_assert(clock_from_text(STR("2026-02-28T12:00:00Z"), &times[2]));
    struct usage rows[3];
    for (int i = 0; i < 3; i++)
        rows[i] = fixture_row(fx, "org_a", "usr_a", times[i], 1, 1);
    fixture_apply(fx, rows, 3, 1, 1);
    struct report_filter all = {0};
    struct report_group *g = NULL;
    size_t n = 0;
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(
        report_summary(&txn, access_system(), &all, 0, REPORT_MONTH, &fx->arena, &g, &n, &fx->err));
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(g[1].bucket_ms, times[1]);
    ck_assert_int_eq(g[1].sums.requests, 2);
    MUST(report_summary(&txn, access_system(), &all, 0, REPORT_DAY, &fx->arena, &g, &n, &fx->err));
    txn_end(&txn);
    ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(costs_add_up_beyond_63_bits)
{
    enum { N = 40 };
    struct usage rows[N];
    for (int i = 0; i < N; i++) {
        rows[i] = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW, 1, 1);
        rows[i].cost = INT64_C(9000000000000000001); /* flagged, and kept */
    }
    fixture_apply(fx, rows, N, 1, 1);
    struct report_filter all = {0};
    struct report_group *g = NULL;
    size_t n = 0;
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(report_summary(&txn, access_system(), &all, 0, REPORT_NO_BUCKET, &fx->arena, &g, &n,
                        &fx->err));
    txn_end(&txn);
    char text[REPORT_COST_BYTES];
    report_cost_text(&g[0].sums, text);
    ck_assert_str_eq(text, "360000000.00000000004"); /* 40 × 9,000,000.000000000001 */
}
END_TEST

START_TEST(a_cost_is_printed_exactly_with_two_decimals_at_least)
{
    char text[REPORT_COST_BYTES];
    report_cost_text(&(struct report_sums){.cost_units = 3}, text);
    ck_assert_str_eq(text, "3.00");
    report_cost_text(&(struct report_sums){.cost_pico = 4200000}, text);
    ck_assert_str_eq(text, "0.0000042");
    report_cost_text(&(struct report_sums){.cost_units = 1, .cost_pico = 1}, text);
    ck_assert_str_eq(text, "1.000000000001");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ledger");
    TCase *t = tcase_create("ledger");
    tcase_add_checked_fixture(t, open_fixture, close_fixture);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_row_counts_once_however_often_it_is_sent);
    tcase_add_test(t, the_applied_place_only_moves_forward);
    tcase_add_test(t, a_batch_that_fails_leaves_nothing);
    tcase_add_test(t, a_row_that_contradicts_its_price_is_kept_and_flagged);
    tcase_add_test(t, a_cost_is_tokens_times_price_and_nothing_is_rounded);
    tcase_add_test(t, the_ledger_is_only_added_to);
    tcase_add_test(t, a_batch_is_read_from_what_the_feed_carries);
    tcase_add_test(t, a_batch_that_lacks_something_is_refused);
    tcase_add_test(t, tenants_see_their_own_rows_only);
    tcase_add_test(t, sums_follow_the_same_scopes);
    tcase_add_test(t, pages_walk_over_all_rows_once_newest_first);
    tcase_add_test(t, a_summary_is_exact_for_any_start_and_end);
    tcase_add_test(t, days_and_months_are_those_of_utc);
    tcase_add_test(t, costs_add_up_beyond_63_bits);
    tcase_add_test(t, a_cost_is_printed_exactly_with_two_decimals_at_least);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
