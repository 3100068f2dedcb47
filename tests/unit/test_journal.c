/* Each OPEN has exactly one row: after a close, after a crash, after a torn tail, with no room left
 * and with a disk that fails. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
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
#include "gateway/journal.h"
#include "schema/segment.h"

/* The system calls that a disk can fail, in front of the C library's: the seam is the linker. */
static struct {
    bool sync_fails, disk_full;
    int syncs;
} disk;

int fdatasync(int fd)
{
    __atomic_add_fetch(&disk.syncs, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&disk.sync_fails, __ATOMIC_RELAXED)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (__atomic_load_n(&disk.disk_full, __ATOMIC_RELAXED)) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

enum { SMALL = 64 * 1024 };

struct fixture {
    char dir[64];
    struct journal *j;
    struct err err;
};

static void start(struct fixture *fx)
{
    struct journal_opts opts = {
        .dir = fx->dir, .clock = clock_system(), .segment_bytes = SMALL, .open_max = 64};
    enum rc rc = journal_new(&opts, &fx->j, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
}

static void fixture_open(struct fixture *fx)
{
    *fx = (struct fixture){.dir = "/tmp/sluice-journal-XXXXXX"};
    disk.sync_fails = disk.disk_full = false;
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
    journal_free(fx->j);
    nftw(fx->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void restart(struct fixture *fx)
{
    journal_free(fx->j);
    fx->j = NULL;
    start(fx);
}

static struct usage row_of(const char *id)
{
    return (struct usage){.id = str_of(id),
                          .time = 1700000000000,
                          .org_id = STR("org_a"),
                          .user_id = STR("usr_a"),
                          .key_id = STR("key_a"),
                          .deployment_id = STR("dep_a"),
                          .model = STR("smollm"),
                          .route = STR("chat.completions"),
                          .outcome = OUTCOME_RECOVERED,
                          .currency = STR("USD"),
                          .ttft_ms = -1};
}

static const struct rate rate = {100, 10, 1000};

static struct journal_entry must_open(struct fixture *fx, const char *id)
{
    struct journal_entry e;
    struct usage row = row_of(id);
    enum rc rc = journal_open(fx->j, &row, &rate, &e, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
    return e;
}

static enum rc close_with(struct fixture *fx, struct journal_entry *e, const char *id,
                          int64_t output, struct journal_wait *wait)
{
    struct usage row = row_of(id);
    row.outcome = OUTCOME_STOP;
    row.http_status = 200;
    row.input_tokens = 7;
    row.output_tokens = output;
    row.cost = 7 * rate.input_pico + output * rate.output_pico;
    return journal_close(fx->j, e, &row, wait, &fx->err);
}

/* All rows from the start, by id. */
enum { ROWS_MAX = 4096 };
struct rows {
    int n;
    struct {
        char id[40];
        int64_t outcome, input, cached, output, cost, source;
    } row[ROWS_MAX];
};

static void row_take(void *user, const struct usage *u)
{
    struct rows *r = user;
    ck_assert_int_lt(r->n, ROWS_MAX);
    snprintf(r->row[r->n].id, sizeof r->row[0].id, STR_FMT, STR_ARG(u->id));
    r->row[r->n].outcome = u->outcome;
    r->row[r->n].source = u->source;
    r->row[r->n].input = u->input_tokens;
    r->row[r->n].cached = u->cached_tokens;
    r->row[r->n].output = u->output_tokens;
    r->row[r->n++].cost = u->cost;
}

static struct rows *all_rows(struct fixture *fx)
{
    static struct rows rows;
    struct journal_pos at = {0}, next = {0};
    rows.n = 0;
    ck_assert_int_eq(journal_sync(fx->j, &fx->err), RC_OK);
    for (int before = -1; before != rows.n;) {
        before = rows.n;
        enum rc rc = journal_read(fx->j, at, 7, 100000, row_take, &rows, &next, &fx->err);
        ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
        ck_assert_int_ge(journal_pos_cmp(next, at), 0);
        at = next;
    }
    return &rows;
}

START_TEST(a_closed_request_is_one_row_and_stays_one_after_a_restart)
{
    struct fixture fx;
    fixture_open(&fx);
    struct journal_entry e = must_open(&fx, "req_1");
    ck_assert_int_eq(close_with(&fx, &e, "req_1", 5, NULL), RC_OK);
    for (int i = 0; i < 3; i++) {
        struct rows *r = all_rows(&fx);
        ck_assert_int_eq(r->n, 1);
        ck_assert_str_eq(r->row[0].id, "req_1");
        ck_assert_int_eq(r->row[0].outcome, OUTCOME_STOP);
        ck_assert_int_eq(r->row[0].output, 5);
        restart(&fx);
    }
    fixture_done(&fx);
}
END_TEST

START_TEST(an_open_request_is_settled_by_what_was_counted)
{
    struct fixture fx;
    fixture_open(&fx);
    struct journal_entry none = must_open(&fx, "req_none"), some = must_open(&fx, "req_some");
    for (int64_t i = 1; i <= 9; i++)
        journal_count(fx.j, &some, &(struct token_count){20, 4, i});
    (void)none;
    restart(&fx); /* journal_free settles nothing: to the journal this is a crash */
    for (int i = 0; i < 2; i++) {
        struct rows *r = all_rows(&fx);
        ck_assert_int_eq(r->n, 2);
        ck_assert_str_eq(r->row[0].id, "req_none");
        ck_assert_int_eq(r->row[0].outcome, OUTCOME_RECOVERED);
        ck_assert_int_eq(r->row[0].source, SOURCE_RECOVERED);
        ck_assert_int_eq(r->row[0].input + r->row[0].cached + r->row[0].output, 0);
        ck_assert_int_eq(r->row[0].cost, 0);
        ck_assert_str_eq(r->row[1].id, "req_some");
        ck_assert_int_eq(r->row[1].input, 20);
        ck_assert_int_eq(r->row[1].cached, 4);
        ck_assert_int_eq(r->row[1].output, 9);
        ck_assert_int_eq(r->row[1].cost, 20 * 100 + 4 * 10 + 9 * 1000);
        restart(&fx);
    }
    fixture_done(&fx);
}
END_TEST

/* A cell is used again by the next request: its old counts belong to the old one. */
START_TEST(counts_of_an_earlier_request_are_not_taken_for_a_later_one)
{
    struct fixture fx;
    fixture_open(&fx);
    struct journal_entry a = must_open(&fx, "req_a");
    for (int64_t i = 1; i <= 500; i++)
        journal_count(fx.j, &a, &(struct token_count){1000, 0, i});
    ck_assert_int_eq(close_with(&fx, &a, "req_a", 500, NULL), RC_OK);
    struct journal_entry b = must_open(&fx, "req_b");
    restart(&fx);
    (void)b;
    struct rows *r = all_rows(&fx);
    ck_assert_int_eq(r->n, 2);
    ck_assert_str_eq(r->row[1].id, "req_b");
    ck_assert_int_eq(r->row[1].output, 0);
    fixture_done(&fx);
}
END_TEST

START_TEST(two_gateways_cannot_have_one_journal)
{
    struct fixture fx;
    fixture_open(&fx);
    struct journal_opts opts = {.dir = fx.dir, .clock = clock_system(), .segment_bytes = SMALL};
    struct journal *second = NULL;
    ck_assert_int_eq(journal_new(&opts, &second, &fx.err), RC_CONFLICT);
    ck_assert_ptr_null(second);
    fixture_done(&fx);
}
END_TEST

static int file_is_private(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    return type == FTW_F && (st->st_mode & 077) ? 1 : 0;
}

START_TEST(files_are_for_nobody_else)
{
    struct fixture fx;
    fixture_open(&fx);
    must_open(&fx, "req_1");
    ck_assert_int_eq(nftw(fx.dir, file_is_private, 16, FTW_PHYS), 0);
    fixture_done(&fx);
}
END_TEST

START_TEST(the_gateway_keeps_its_name_for_good)
{
    struct fixture fx;
    fixture_open(&fx);
    char name[40];
    snprintf(name, sizeof name, STR_FMT, STR_ARG(journal_gateway(fx.j)));
    restart(&fx);
    ck_assert(str_eq(journal_gateway(fx.j), str_of(name)));
    ck_assert(str_starts(str_of(name), STR("gw_")));
    fixture_done(&fx);
}
END_TEST

/* ---- segments ---- */

static struct journal_stats stat_of(struct fixture *fx)
{
    struct journal_stats s;
    journal_stat(fx->j, &s);
    return s;
}

/* The spare is made by another thread; there is nothing to wait on but its being there. */
static void wait_spare(struct fixture *fx)
{
    for (int i = 0; i < 20000 && !stat_of(fx).spare; i++)
        usleep(500);
    ck_assert(stat_of(fx).spare);
}

static void fill(struct fixture *fx, int from, int to)
{
    char id[40];
    for (int i = from; i < to; i++) {
        snprintf(id, sizeof id, "req_%05d", i);
        struct journal_entry e;
        struct usage row = row_of(id);
        while (journal_open(fx->j, &row, &rate, &e, &fx->err) == RC_UNAVAILABLE)
            wait_spare(fx);
        ck_assert_int_eq(close_with(fx, &e, id, i, NULL), RC_OK);
    }
}

START_TEST(rows_are_read_in_order_over_many_segments)
{
    struct fixture fx;
    fixture_open(&fx);
    fill(&fx, 0, 1000);
    ck_assert_int_gt(stat_of(&fx).segments, 3);
    for (int again = 0; again < 2; again++) {
        struct rows *r = all_rows(&fx);
        ck_assert_int_eq(r->n, 1000);
        for (int i = 0; i < r->n; i++)
            ck_assert_int_eq(r->row[i].output, i);
        restart(&fx);
    }
    fixture_done(&fx);
}
END_TEST

START_TEST(segments_go_when_their_rows_are_applied_and_their_requests_closed)
{
    struct fixture fx;
    fixture_open(&fx);
    struct journal_entry old = must_open(&fx, "req_old");
    fill(&fx, 0, 600);
    ck_assert_int_eq(journal_sync(fx.j, &fx.err), RC_OK);
    int before = stat_of(&fx).segments;
    ck_assert_int_gt(before, 2);
    journal_applied(fx.j, stat_of(&fx).durable);
    ck_assert_int_eq(stat_of(&fx).segments, before); /* req_old is in the first */
    ck_assert_int_eq(close_with(&fx, &old, "req_old", 1, NULL), RC_OK);
    ck_assert_int_eq(journal_sync(fx.j, &fx.err), RC_OK);
    journal_applied(fx.j, stat_of(&fx).durable);
    ck_assert_int_eq(stat_of(&fx).segments, 1);
    uint64_t number = stat_of(&fx).end.segment;
    restart(&fx); /* numbers go on: a place is never used twice */
    ck_assert_uint_ge(stat_of(&fx).end.segment, number);
    fixture_done(&fx);
}
END_TEST

START_TEST(an_unused_segment_is_used_by_the_next_start)
{
    struct fixture fx;
    fixture_open(&fx);
    wait_spare(&fx);
    for (int i = 0; i < 5; i++)
        restart(&fx);
    ck_assert_uint_le(stat_of(&fx).end.segment, 3);
    ck_assert_int_le(stat_of(&fx).segments, 3);
    fixture_done(&fx);
}
END_TEST

/* ---- a disk that is full or broken ---- */

/* T60 */
START_TEST(with_no_room_new_requests_wait_and_running_ones_still_close)
{
    struct fixture fx;
    fixture_open(&fx);
    wait_spare(&fx);
    __atomic_store_n(&disk.disk_full, true, __ATOMIC_RELAXED);
    struct journal_entry open[64];
    char id[40];
    int n = 0, done = 0;
    struct usage row = row_of("req_x");
    enum rc rc = RC_OK;
    /* 20 at a time stay open while the rest of the journal is used up. */
    for (; n < 20; n++)
        open[n] = must_open(&fx, "req_x");
    for (; rc == RC_OK; done++) {
        struct journal_entry e;
        snprintf(id, sizeof id, "req_%d", done);
        row.id = str_of(id);
        rc = journal_open(fx.j, &row, &rate, &e, &fx.err);
        if (rc == RC_OK)
            ck_assert_int_eq(close_with(&fx, &e, id, 1, NULL), RC_OK);
    }
    done--;
    ck_assert_int_eq(rc, RC_UNAVAILABLE);
    ck_assert_int_gt(done, 100);
    ck_assert(!stat_of(&fx).spare);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(close_with(&fx, &open[i], "req_x", 1, NULL), RC_OK);
    ck_assert_int_eq(journal_sync(fx.j, &fx.err), RC_OK);
    ck_assert_int_eq(all_rows(&fx)->n, done + n);

    __atomic_store_n(&disk.disk_full, false, __ATOMIC_RELAXED);
    wait_spare(&fx); /* without a restart */
    struct journal_entry e = must_open(&fx, "req_again");
    ck_assert_int_eq(close_with(&fx, &e, "req_again", 1, NULL), RC_OK);
    ck_assert_int_eq(all_rows(&fx)->n, done + n + 1);
    restart(&fx);
    ck_assert_int_eq(all_rows(&fx)->n, done + n + 1);
    fixture_done(&fx);
}
END_TEST

static void on_durable(struct journal_wait *w, enum rc rc)
{
    __atomic_store_n((int *)w->user, (int)rc + 1, __ATOMIC_RELEASE);
}

static int await(int *told)
{
    for (int i = 0; i < 20000 && !__atomic_load_n(told, __ATOMIC_ACQUIRE); i++)
        usleep(500);
    return __atomic_load_n(told, __ATOMIC_ACQUIRE) - 1;
}

START_TEST(a_failed_sync_stops_admission_until_the_next_start)
{
    struct fixture fx;
    fixture_open(&fx);
    wait_spare(&fx);
    struct journal_entry a = must_open(&fx, "req_a"), b = must_open(&fx, "req_b"), c;
    int told = 0;
    struct journal_wait wait = {.on_durable = on_durable, .user = &told};
    __atomic_store_n(&disk.sync_fails, true, __ATOMIC_RELAXED);
    ck_assert_int_eq(close_with(&fx, &a, "req_a", 1, &wait), RC_OK);
    ck_assert_int_eq(await(&told), RC_IO);
    __atomic_store_n(&disk.sync_fails, false, __ATOMIC_RELAXED); /* too late */
    struct usage row = row_of("req_c");
    ck_assert_int_eq(journal_open(fx.j, &row, &rate, &c, &fx.err), RC_UNAVAILABLE);
    int never = 0;
    struct journal_wait unheard = {.on_durable = on_durable, .user = &never};
    ck_assert_int_eq(close_with(&fx, &b, "req_b", 1, &unheard), RC_IO);
    ck_assert_int_eq(never, 0);
    ck_assert_int_eq(journal_sync(fx.j, &fx.err), RC_IO);
    restart(&fx);
    ck_assert_int_eq(all_rows(&fx)->n, 2);
    c = must_open(&fx, "req_c");
    ck_assert_int_eq(close_with(&fx, &c, "req_c", 1, NULL), RC_OK);
    fixture_done(&fx);
}
END_TEST

START_TEST(too_many_open_requests_and_unwritable_rows_are_refused)
{
    struct fixture fx;
    fixture_open(&fx);
    struct journal_entry e;
    struct usage row = row_of("req_1");
    row.model = STR("\xff");
    ck_assert_int_eq(journal_open(fx.j, &row, &rate, &e, &fx.err), RC_BAD_INPUT);
    ck_assert_str_eq(fx.err.field, "model");
    char longer[300];
    memset(longer, 'x', sizeof longer);
    row.model = str_make(longer, 201);
    ck_assert_int_eq(journal_open(fx.j, &row, &rate, &e, &fx.err), RC_BAD_INPUT);
    row.model = str_make(longer, 200);
    ck_assert_int_eq(journal_open(fx.j, &row, &rate, &e, &fx.err), RC_OK);
    journal_shed(fx.j, true, "the ledger is too far behind");
    ck_assert_int_eq(journal_open(fx.j, &row, &rate, &e, &fx.err), RC_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(fx.err.msg, "too far behind"));
    journal_shed(fx.j, false, NULL);
    int n = 1;
    row = row_of("req_2");
    while (journal_open(fx.j, &row, &rate, &e, &fx.err) == RC_OK)
        n++;
    ck_assert_int_le(n, 64);
    ck_assert_int_gt(n, 30);
    fixture_done(&fx);
}
END_TEST

/* ---- many threads ---- */

enum { THREADS = 8, EACH = 300 };
struct worker {
    struct fixture *fx;
    pthread_t thread;
    int number, durable;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    char id[40];
    for (int i = 0; i < EACH; i++) {
        snprintf(id, sizeof id, "req_%d_%d", w->number, i);
        struct journal_entry e;
        struct usage row = row_of(id);
        struct err err;
        while (journal_open(w->fx->j, &row, &rate, &e, &err) == RC_UNAVAILABLE)
            usleep(1000);
        int told = 0;
        struct journal_wait wait = {.on_durable = on_durable, .user = &told};
        journal_count(w->fx->j, &e, &(struct token_count){1, 0, i});
        row.outcome = OUTCOME_STOP;
        row.output_tokens = i;
        if (journal_close(w->fx->j, &e, &row, &wait, &err) != RC_OK || await(&told) != RC_OK)
            return NULL;
        w->durable++;
    }
    return NULL;
}

START_TEST(many_threads_share_commits_and_lose_nothing)
{
    struct fixture fx;
    fixture_open(&fx);
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.fx = &fx, .number = i};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        ck_assert_int_eq(workers[i].durable, EACH);
    }
    struct journal_stats s = stat_of(&fx);
    ck_assert_int_eq(s.records, 2 * THREADS * EACH);
    ck_assert_int_le(s.commits, THREADS * EACH);
    ck_assert_int_eq(all_rows(&fx)->n, THREADS * EACH);
    fixture_done(&fx);
}
END_TEST

int main(void)
{
    log_init("test", LOG_ERROR + 1);
    Suite *suite = suite_create("journal");
    TCase *tc = tcase_create("journal");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_closed_request_is_one_row_and_stays_one_after_a_restart);
    tcase_add_test(tc, an_open_request_is_settled_by_what_was_counted);
    tcase_add_test(tc, counts_of_an_earlier_request_are_not_taken_for_a_later_one);
    tcase_add_test(tc, two_gateways_cannot_have_one_journal);
    tcase_add_test(tc, files_are_for_nobody_else);
    tcase_add_test(tc, the_gateway_keeps_its_name_for_good);
    tcase_add_test(tc, rows_are_read_in_order_over_many_segments);
    tcase_add_test(tc, segments_go_when_their_rows_are_applied_and_their_requests_closed);
    tcase_add_test(tc, an_unused_segment_is_used_by_the_next_start);
    tcase_add_test(tc, with_no_room_new_requests_wait_and_running_ones_still_close);
    tcase_add_test(tc, a_failed_sync_stops_admission_until_the_next_start);
    tcase_add_test(tc, too_many_open_requests_and_unwritable_rows_are_refused);
    tcase_add_test(tc, many_threads_share_commits_and_lose_nothing);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
