/* The writer: one commit for many jobs, failure alone, success only after the commit. */
#include "tests/unit/control_folder.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/units.h"
#include "control/db.h"
#include "control/writer.h"

static struct folder folder;
static struct db *db;
static struct loop *loop;
static struct writer *writer;
static int n_commits; /* seen by the loop */

static void on_commit(void *user)
{
    (void)user;
    n_commits++;
}

static void set_up(void)
{
    must(hash_init(err));
    folder = folder_new();
    must(db_open(&(struct db_opts){.path = folder.db}, &db, err));
    must(loop_open(clock_system(), &loop, err));
    must(writer_open(db, loop, on_commit, NULL, &writer, err));
}

static void tear_down(void)
{
    writer_close(writer);
    loop_close(loop);
    db_close(db);
    folder_done(&folder);
}

struct org_job {
    struct writer_job job;
    int id;
    bool fail;
    enum rc rc;
    int *left; /* the loop stops at 0 */
};

static enum rc insert_org(struct writer_job *job, struct txn *txn, struct err *err)
{
    struct org_job *o = job->user;
    SCOPED_STMT s = NULL;
    char id[32];
    snprintf(id, sizeof id, "org_%d", o->id);
    enum rc rc = stmt_get(txn, "INSERT INTO orgs VALUES (?1, ?1, 'active', 0, 1)", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, str_of(id));
    rc = stmt_run(s, NULL, err);
    txn->n_fed++;
    return rc == RC_OK && o->fail ? err_set(err, RC_INVALID, "on purpose") : rc;
}

static int64_t count_orgs(void)
{
    SCOPED_TXN txn = {0};
    int64_t n = -1;
    must(txn_begin_read(db, &txn, err));
    must(db_i64(&txn, "SELECT count(*) FROM orgs", &n, err));
    return n;
}

static void on_done(struct writer_job *job, enum rc rc, const struct err *err)
{
    struct org_job *o = job->user;
    o->rc = rc;
    ck_assert(rc == RC_OK || err->msg[0]);
    if (--*o->left == 0)
        loop_stop(loop);
}

static void post(struct org_job *o, int id, bool fail, int *left)
{
    *o = (struct org_job){.id = id, .fail = fail, .rc = RC_COUNT, .left = left};
    o->job = (struct writer_job){.run = insert_org, .on_done = on_done, .user = o};
    must(writer_post(writer, &o->job, err));
}

START_TEST(many_jobs_are_done_in_order_and_a_failing_one_alone_is_undone)
{
    static struct org_job jobs[300];
    int left = 300;
    for (int i = 0; i < 300; i++)
        post(&jobs[i], i, i % 7 == 3, &left);
    must(loop_run(loop, err));
    int64_t ok = 0;
    for (int i = 0; i < 300; i++) {
        ck_assert_int_eq(jobs[i].rc, i % 7 == 3 ? RC_INVALID : RC_OK);
        ok += jobs[i].rc == RC_OK;
    }
    ck_assert_int_eq(count_orgs(), ok);
    ck_assert_int_gt(n_commits, 0);
    ck_assert_int_lt(n_commits, 300); /* grouped */
}
END_TEST

START_TEST(a_broken_rule_fails_its_own_job_only)
{
    static struct org_job jobs[3];
    int left = 3;
    post(&jobs[0], 1, false, &left);
    post(&jobs[1], 1, false, &left); /* the same id */
    post(&jobs[2], 2, false, &left);
    must(loop_run(loop, err));
    ck_assert_int_eq(jobs[0].rc, RC_OK);
    ck_assert_int_eq(jobs[1].rc, RC_CONFLICT);
    ck_assert_int_eq(jobs[2].rc, RC_OK);
    ck_assert_int_eq(count_orgs(), 2);
}
END_TEST

static enum rc wait_here(struct writer_job *job, struct txn *txn, struct err *err)
{
    (void)txn;
    (void)err;
    pthread_mutex_lock(job->user);
    pthread_mutex_unlock(job->user);
    return RC_OK;
}

static void ignore(struct writer_job *job, enum rc rc, const struct err *err)
{
    (void)job;
    (void)rc;
    (void)err;
}

START_TEST(a_full_queue_refuses_and_loses_nothing)
{
    static struct org_job jobs[WRITER_QUEUE_MAX + 200];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct writer_job block = {.run = wait_here, .on_done = ignore, .user = &gate};
    int left = INT32_MAX, taken = 0;
    struct err why = {0};
    enum rc rc = RC_OK;
    pthread_mutex_lock(&gate);
    must(writer_post(writer, &block, err));
    while (rc == RC_OK) {
        struct org_job *o = &jobs[taken];
        *o = (struct org_job){.id = taken, .left = &left};
        o->job = (struct writer_job){.run = insert_org, .on_done = on_done, .user = o};
        rc = writer_post(writer, &o->job, &why);
        taken += rc == RC_OK;
    }
    ck_assert_int_eq(rc, RC_UNAVAILABLE);
    ck_assert_int_ge(taken, WRITER_QUEUE_MAX - 1);
    pthread_mutex_unlock(&gate);
    writer_close(writer); /* finishes what it took */
    writer = NULL;
    ck_assert_int_eq(INT32_MAX - left, taken);
    ck_assert_int_eq(count_orgs(), taken);
}
END_TEST

static enum rc count_up(void *user, struct txn *txn, struct err *err)
{
    struct org_job o = {.id = (*(int *)user)++};
    struct writer_job job = {.user = &o};
    return insert_org(&job, txn, err);
}

START_TEST(a_call_waits_for_the_commit)
{
    int n = 0;
    for (int i = 0; i < 50; i++) {
        must(writer_call(writer, count_up, &n, err));
        ck_assert_int_eq(count_orgs(), i + 1);
    }
    n = 0;
    struct err why = {0};
    ck_assert_int_eq(writer_call(writer, count_up, &n, &why), RC_CONFLICT);
    ck_assert(why.msg[0]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("writer");
    TCase *t = tcase_create("writer");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, many_jobs_are_done_in_order_and_a_failing_one_alone_is_undone);
    tcase_add_test(t, a_broken_rule_fails_its_own_job_only);
    tcase_add_test(t, a_full_queue_refuses_and_loses_nothing);
    tcase_add_test(t, a_call_waits_for_the_commit);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
