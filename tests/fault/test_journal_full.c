/* T60 on a disk that is really full: a small tmpfs. New requests are refused, running ones end with
 * their rows, and when the ledger lets old segments go the journal goes on without a restart. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "gateway/journal.h"

enum { SMALL = 64 * 1024, RUNNING = 20, ROWS_MAX = 20000 };

static const struct rate rate = {1, 1, 1};

static struct journal *journal_at(const char *dir)
{
    char path[128];
    snprintf(path, sizeof path, "%s/journal", dir);
    struct journal_opts opts = {
        .dir = path, .clock = clock_system(), .segment_bytes = SMALL, .open_max = 64};
    struct journal *j = NULL;
    struct err err = {0};
    enum rc rc = journal_new(&opts, &j, &err);
    ck_assert_msg(rc == RC_OK, "%s", err.msg);
    return j;
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
                          .outcome = OUTCOME_STOP,
                          .currency = STR("USD")};
}

static enum rc open_one(struct journal *j, int number, struct journal_entry *e)
{
    char id[40];
    struct usage row = row_of(id, number);
    return journal_open(j, &row, &rate, e, NULL);
}

static void close_one(struct journal *j, int number, struct journal_entry *e)
{
    char id[40];
    struct usage row = row_of(id, number);
    ck_assert_int_eq(journal_close(j, e, &row, NULL, NULL), RC_OK);
}

static bool opens_in_time(struct journal *j, int number, struct journal_entry *e)
{
    enum rc rc = RC_UNAVAILABLE;
    for (int i = 0; i < 3000 && rc == RC_UNAVAILABLE; i++) {
        rc = open_one(j, number, e);
        if (rc == RC_UNAVAILABLE)
            usleep(1000); /* another thread makes the segment; it tries twice a second */
    }
    return rc == RC_OK;
}

static void on_row(void *user, const struct usage *row)
{
    int64_t n = -1;
    uint8_t *seen = user;
    ck_assert(str_to_i64(str_sub(row->id, 4, 10), 0, ROWS_MAX - 1, &n));
    ck_assert_int_eq(seen[n]++, 0);
}

static void every_row_is_there(struct journal *j, const int *from, int to)
{
    static uint8_t seen[ROWS_MAX];
    struct journal_pos at = {0}, next = {0};
    struct err err;
    memset(seen, 0, sizeof seen);
    ck_assert_int_eq(journal_sync(j, &err), RC_OK);
    ck_assert_int_eq(journal_read(j, at, ROWS_MAX, 1 << 30, on_row, seen, &next, &err), RC_OK);
    for (int i = *from; i < to; i++)
        ck_assert_int_eq(seen[i], 1);
}

START_TEST(a_full_disk_refuses_then_recovers_without_a_restart)
{
    char dir[] = "/tmp/sluice-full-XXXXXX";
    struct err err;
    ck_assert_int_eq(hash_init(&err), RC_OK);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    if (mount("tmpfs", dir, "tmpfs", 0, "size=1m") < 0) {
        printf("skipped: mounting a tmpfs is not allowed here\n");
        rmdir(dir);
        return;
    }
    struct journal *j = journal_at(dir);
    struct journal_entry running[RUNNING], e;
    struct journal_stats s;
    int n = 0, from = 0;
    while (n < RUNNING - 1 && opens_in_time(j, n, &running[n]))
        n++;
    for (; opens_in_time(j, n, &e); n++)
        close_one(j, n, &e);
    journal_stat(j, &s);
    printf("full after %d requests in %d segments, %lld bytes free\n", n, s.segments,
           (long long)s.disk_free);
    ck_assert_int_gt(n, 200);
    ck_assert_int_lt(s.disk_free, SMALL + 4096);
    ck_assert(!s.failed);
    for (int i = 0; i < RUNNING - 1; i++)
        close_one(j, i, &running[i]);
    every_row_is_there(j, &from, n);

    journal_stat(j, &s);
    journal_applied(j, s.durable); /* the ledger has them */
    ck_assert(opens_in_time(j, n, &e));
    close_one(j, n, &e);
    from = n;
    every_row_is_there(j, &from, n + 1);
    journal_free(j);
    j = journal_at(dir);
    every_row_is_there(j, &from, n + 1);
    journal_free(j);
    ck_assert_int_eq(umount(dir), 0);
    rmdir(dir);
}
END_TEST

int main(void)
{
    log_init("test", LOG_ERROR + 1);
    Suite *suite = suite_create("journal_full");
    TCase *tc = tcase_create("full");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_full_disk_refuses_then_recovers_without_a_restart);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
