/* What `sluice verify` finds: nothing in a ledger that was only added to, and each way of changing
 * one, in the database or in a journal. */
#include "tests/unit/ledger_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "control/verify.h"
#include "schema/segment.h"

static struct fixture fixture;
static struct fixture *const fx = &fixture;
static char journal_dir[128];
static char last_line[512];

static void open_fixture(void)
{
    fixture_open(fx);
    snprintf(journal_dir, sizeof journal_dir, "%s/journal", fx->dir);
    mkdir(journal_dir, 0700);
    last_line[0] = '\0';
}

static void close_fixture(void)
{
    fixture_close(fx);
}

static void on_difference(void *user, const char *line)
{
    (void)user;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static struct verify look(int64_t gateway_since_ms)
{
    struct verify v = {.on_difference = on_difference};
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(verify_ledger(&txn, &v, &fx->err));
    MUST(verify_journal(&txn, journal_dir, gateway_since_ms, &v, &fx->err));
    txn_end(&txn);
    return v;
}

/* ---- the ledger ---- */

enum { N = 12 };
static struct usage rows[N];

static void fill_ledger(void)
{
    for (int i = 0; i < N; i++)
        rows[i] = fixture_row(fx, i % 2 ? "org_a" : "org_b", "usr_a",
                              FIXTURE_NOW - 1000 - i * 1000000, 10 + i, 3 * i);
    fixture_apply(fx, rows, N / 2, 1, 100);
    fixture_apply(fx, rows + N / 2, N - N / 2, 1, 200);
}

START_TEST(a_ledger_that_was_only_added_to_has_no_difference)
{
    fill_ledger();
    struct verify v = look(0);
    ck_assert_msg(v.differences == 0, "%s", last_line);
    ck_assert_int_eq(v.rows, N);
    ck_assert_int_eq(v.links, N);
    ck_assert_int_eq(v.prices, 1);
    ck_assert_int_gt(v.hours, 1);
}
END_TEST

/* Each change, and a word of the line that must name it. */
static const struct {
    const char *sql, *says;
} changes[] = {
    {"UPDATE usage SET output_tokens = output_tokens + 1 WHERE rowid = 5",
     "is not as it was written"},
    {"UPDATE usage SET org_id = 'org_x' WHERE rowid = 2", "is not as it was written"},
    {"UPDATE usage SET cost = cost - 1 WHERE rowid = 3", "has a fault: cost"},
    {"UPDATE usage SET time = time + 1 WHERE rowid = 12", "is not as it was written"},
    {"UPDATE usage SET degraded = 'x' WHERE rowid = 1", "is not as it was written"},
    {"DELETE FROM usage WHERE rowid = 7", "is gone"},
    {"DELETE FROM usage_chain WHERE seq = 7", "lacks links 7 to 7"},
    {"DELETE FROM usage_chain WHERE seq = 12", "has no link for row"},
    {"UPDATE prices SET output_per_1m = 1", "was edited after it was used"},
    {"DELETE FROM prices", "was used and is gone"},
    {"UPDATE usage_hour SET requests = requests + 1 WHERE org_id = 'org_a'", "the sums are off"},
    {"UPDATE usage_hour SET cost_pico = cost_pico + 1 WHERE org_id = 'org_b'", "the sums are off"},
    {"DELETE FROM usage_hour WHERE org_id = 'org_b'", "the sums are off"},
    {"UPDATE usage_applied SET rows = rows + 1", "brought 13 rows"},
    {"INSERT INTO usage SELECT 'req_00000000000000000000000001', time, org_id, user_id, key_id, "
     "deployment_id, model, route, stream, outcome, http_status, input_tokens, cached_tokens, "
     "output_tokens, price_id, currency, cost, ttft_ms, duration_ms, source, degraded, 'gw_b' "
     "FROM usage LIMIT 1",
     "has no link for row"},
};

struct found {
    const char *says;
    bool seen;
};

static void on_expected(void *user, const char *line)
{
    struct found *f = user;
    f->seen = f->seen || strstr(line, f->says) != NULL;
    snprintf(last_line, sizeof last_line, "%s", line);
}

START_TEST(every_change_of_the_ledger_is_found_and_named)
{
    fill_ledger();
    fixture_tamper(fx, changes[_i].sql);
    struct found found = {.says = changes[_i].says};
    struct verify v = {.on_difference = on_expected, .user = &found};
    struct txn txn = {0};
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(verify_ledger(&txn, &v, &fx->err));
    txn_end(&txn);
    ck_assert_int_gt(v.differences, 0);
    ck_assert_int_eq(v.passing, 0);
    ck_assert_msg(found.seen, "%s: wanted \"%s\", got \"%s\"", changes[_i].sql, changes[_i].says,
                  last_line);
}
END_TEST

/* ---- journals ---- */

/* A segment under construction, as the gateway writes it. */
struct segment {
    uint8_t bytes[64 * 1024];
    uint64_t number, at;
};

static void segment_begin(struct segment *s, uint64_t number, int64_t created_ms)
{
    memset(s, 0, sizeof *s);
    s->number = number;
    s->at = SEGMENT_HEAD_BYTES;
    struct segment_head head = {.segment = number, .created_ms = created_ms, .gateway = "gw_a"};
    segment_head_put(&head, s->bytes);
}

static uint64_t segment_add(struct segment *s, enum segment_type type, const uint8_t *fixed,
                            size_t n_fixed, const struct usage *row)
{
    struct buf payload;
    buf_init(&payload, SEGMENT_PAYLOAD_MAX);
    buf_add(&payload, fixed, n_fixed);
    resource_pack(&resource_usage, row, &payload);
    uint64_t at = s->at;
    segment_record_put(s->bytes + at, s->number, at, type, buf_view(&payload),
                       crc32c(0, payload.p, payload.len));
    s->at += segment_record_bytes(payload.len);
    ck_assert_uint_lt(s->at, sizeof s->bytes);
    buf_done(&payload);
    return at;
}

static uint64_t segment_add_open(struct segment *s, const struct usage *row)
{
    uint8_t fixed[SEGMENT_OPEN_BYTES];
    segment_open_put(&(struct segment_open){.input_pico = 100000}, fixed);
    return segment_add(s, SEGMENT_OPEN, fixed, sizeof fixed, row);
}

static void segment_add_close(struct segment *s, uint64_t open_at, const struct usage *row)
{
    uint8_t fixed[SEGMENT_CLOSE_BYTES];
    segment_close_put(&(struct segment_close){.segment = s->number, .offset = open_at}, fixed);
    segment_add(s, SEGMENT_CLOSE, fixed, sizeof fixed, row);
}

static void segment_write(const struct segment *s)
{
    char name[SEGMENT_NAME_BYTES], path[200];
    segment_name(s->number, name);
    snprintf(path, sizeof path, "%s/%s", journal_dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, s->bytes, sizeof s->bytes), (ssize_t)sizeof s->bytes);
    close(fd);
}

/* n rows opened and closed in one segment; returns it for more. */
static struct segment *journal_of(struct usage *of, int n)
{
    static struct segment s;
    segment_begin(&s, 1, FIXTURE_NOW - 100000000);
    for (int i = 0; i < n; i++)
        segment_add_close(&s, segment_add_open(&s, &of[i]), &of[i]);
    return &s;
}

static void make_rows(int n)
{
    for (int i = 0; i < n; i++)
        rows[i] = fixture_row(fx, "org_a", "usr_a", FIXTURE_NOW - 5000 + i, 10 + i, 3 * i);
}

START_TEST(a_journal_that_was_applied_agrees_with_the_ledger)
{
    make_rows(N);
    struct segment *s = journal_of(rows, N);
    segment_write(s);
    fixture_apply(fx, rows, N, 1, (int64_t)s->at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_msg(v.differences == 0, "%s", last_line);
    ck_assert_int_eq(v.opens, N);
    ck_assert_int_eq(v.closes, N);
    ck_assert_int_eq(v.in_flight, 0);
    ck_assert_int_eq(v.running, 0);
}
END_TEST

START_TEST(rows_beyond_what_was_applied_are_in_flight)
{
    make_rows(N);
    journal_of(rows, N - 2);
    struct segment *s = journal_of(rows, N - 2);
    int64_t applied = (int64_t)s->at;
    for (int i = N - 2; i < N; i++)
        segment_add_close(s, segment_add_open(s, &rows[i]), &rows[i]);
    segment_write(s);
    fixture_apply(fx, rows, N - 2, 1, applied);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_msg(v.differences == 0, "%s", last_line);
    ck_assert_int_eq(v.in_flight, 2);
}
END_TEST

START_TEST(a_close_that_the_ledger_lost_is_a_difference)
{
    make_rows(N);
    struct segment *s = journal_of(rows, N);
    segment_write(s);
    fixture_apply(fx, rows, N - 1, 1, (int64_t)s->at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_int_eq(v.differences, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "the ledger has no row of it"));
    ck_assert_ptr_nonnull(strstr(last_line, rows[N - 1].id.p));
}
END_TEST

START_TEST(a_row_that_no_journal_knows_is_a_difference)
{
    make_rows(N);
    struct segment *s = journal_of(rows, N - 1);
    segment_write(s);
    fixture_apply(fx, rows, N, 1, (int64_t)s->at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_int_eq(v.differences, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "is in the ledger and not in the journal"));
}
END_TEST

START_TEST(rows_from_before_the_oldest_segment_need_no_close)
{
    make_rows(N);
    rows[0].time = FIXTURE_NOW - 200000000; /* its segment was deleted */
    struct segment *s = journal_of(rows + 1, N - 1);
    segment_write(s);
    fixture_apply(fx, rows, N, 1, (int64_t)s->at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_msg(v.differences == 0, "%s", last_line);
}
END_TEST

START_TEST(a_row_that_says_less_than_its_journal_is_a_difference)
{
    make_rows(N);
    struct segment *s = journal_of(rows, N);
    segment_write(s);
    rows[4].output_tokens--;
    fixture_price_row(fx, &rows[4]); /* consistent in itself */
    fixture_apply(fx, rows, N, 1, (int64_t)s->at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_int_eq(v.differences, 1);
    ck_assert_ptr_nonnull(strstr(last_line, rows[4].id.p));
}
END_TEST

START_TEST(a_request_closed_twice_is_a_difference)
{
    make_rows(1);
    static struct segment s;
    segment_begin(&s, 1, FIXTURE_NOW - 100000000);
    uint64_t at = segment_add_open(&s, &rows[0]);
    segment_add_close(&s, at, &rows[0]);
    segment_add_close(&s, at, &rows[0]);
    segment_write(&s);
    fixture_apply(fx, rows, 1, 1, (int64_t)s.at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_int_eq(v.differences, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "was closed 2 times"));
}
END_TEST

START_TEST(an_open_request_is_a_difference_only_when_its_gateway_is_gone_and_another_runs)
{
    make_rows(1); /* admitted at FIXTURE_NOW - 5000 */
    static struct segment s;
    segment_begin(&s, 1, FIXTURE_NOW - 100000000);
    segment_add_open(&s, &rows[0]);
    segment_write(&s);
    ck_assert_int_eq(look(0).running, 1); /* nothing runs: the next start settles it */
    ck_assert_int_eq(look(0).differences, 0);
    ck_assert_int_eq(look(FIXTURE_NOW - 6000).differences, 0); /* this gateway's own */
    struct verify v = look(FIXTURE_NOW);
    ck_assert_int_eq(v.differences, 1);
    ck_assert_int_eq(v.passing, 1);
}
END_TEST

START_TEST(a_close_in_a_later_segment_closes_the_open_of_an_earlier_one)
{
    make_rows(1);
    static struct segment a, b;
    segment_begin(&a, 1, FIXTURE_NOW - 100000000);
    uint64_t at = segment_add_open(&a, &rows[0]);
    segment_begin(&b, 2, FIXTURE_NOW - 50000000);
    uint8_t fixed[SEGMENT_CLOSE_BYTES];
    segment_close_put(&(struct segment_close){.segment = 1, .offset = at}, fixed);
    segment_add(&b, SEGMENT_CLOSE, fixed, sizeof fixed, &rows[0]);
    segment_write(&a);
    segment_write(&b);
    fixture_apply(fx, rows, 1, 2, (int64_t)b.at);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_msg(v.differences == 0, "%s", last_line);
    ck_assert_int_eq(v.running, 0);
}
END_TEST

START_TEST(a_torn_tail_ends_the_journal_and_is_no_difference)
{
    make_rows(N);
    struct segment *s = journal_of(rows, N - 1);
    int64_t good = (int64_t)s->at;
    segment_add_close(s, segment_add_open(s, &rows[N - 1]), &rows[N - 1]);
    s->bytes[good + 20] ^= 1; /* the last OPEN was cut short, and what came after it is lost */
    segment_write(s);
    fixture_apply(fx, rows, N - 1, 1, good);
    struct verify v = look(FIXTURE_NOW);
    ck_assert_msg(v.differences == 0, "%s", last_line);
    ck_assert_int_eq(v.closes, N - 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_add_checked_fixture(t, open_fixture, close_fixture);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_ledger_that_was_only_added_to_has_no_difference);
    tcase_add_loop_test(t, every_change_of_the_ledger_is_found_and_named, 0,
                        (int)ARRAY_LEN(changes));
    tcase_add_test(t, a_journal_that_was_applied_agrees_with_the_ledger);
    tcase_add_test(t, rows_beyond_what_was_applied_are_in_flight);
    tcase_add_test(t, a_close_that_the_ledger_lost_is_a_difference);
    tcase_add_test(t, a_row_that_no_journal_knows_is_a_difference);
    tcase_add_test(t, rows_from_before_the_oldest_segment_need_no_close);
    tcase_add_test(t, a_row_that_says_less_than_its_journal_is_a_difference);
    tcase_add_test(t, a_request_closed_twice_is_a_difference);
    tcase_add_test(t,
                   an_open_request_is_a_difference_only_when_its_gateway_is_gone_and_another_runs);
    tcase_add_test(t, a_close_in_a_later_segment_closes_the_open_of_an_earlier_one);
    tcase_add_test(t, a_torn_tail_ends_the_journal_and_is_no_difference);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
