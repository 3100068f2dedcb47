#include "control/writer.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

enum { CHECKPOINT_EVERY_COMMITS = 64 };

struct writer {
    struct db *db;
    struct loop *loop;
    void (*on_commit)(void *user);
    void *user;
    struct loop_post committed; /* tells the loop that changes were fed */
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake, finished;
    struct writer_job *first, **last;     /* waiting */
    struct writer_job *done, **done_last; /* finished, on_done still due */
    struct loop_post deliver;
    int n_waiting;
    bool closing;
};

/* Runs in the loop's thread: hands finished jobs back. */
static void hand_back(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    struct writer_job *job = w->done;
    w->done = NULL;
    w->done_last = &w->done;
    pthread_mutex_unlock(&w->lock);
    while (job) {
        struct writer_job *next = job->next;
        job->on_done(job, job->rc, &job->err); /* may free it */
        job = next;
    }
}

static void on_deliver(struct loop_post *p)
{
    hand_back(p->user);
}

static void on_committed(struct loop_post *p)
{
    struct writer *w = p->user;
    if (w->on_commit)
        w->on_commit(w->user);
}

static void run_job(struct writer_job *job, struct txn *txn)
{
    int64_t fed = txn->n_fed;
    job->rc = txn_save(txn, &job->err);
    if (job->rc != RC_OK)
        return;
    job->rc = job->run(job, txn, &job->err);
    struct err err = {0};
    enum rc rc = job->rc == RC_OK ? txn_save_keep(txn, &err) : txn_save_undo(txn, &err);
    if (job->rc != RC_OK)
        txn->n_fed = fed;
    if (rc != RC_OK) { /* SQLite ended the whole transaction: the commit will fail too */
        log_error("writer.savepoint_failed", "err=\"%s\"", err.msg);
        if (job->rc == RC_OK) {
            job->rc = rc;
            job->err = err;
        }
    }
}

static void fail_all(struct writer_job *jobs, enum rc rc, const struct err *err)
{
    for (struct writer_job *j = jobs; j; j = j->next)
        if (j->rc == RC_OK) { /* those that failed alone keep their own reason */
            j->rc = rc;
            j->err = *err;
        }
}

static void run_group(struct writer *w, struct writer_job *jobs)
{
    SCOPED_TXN txn = {0};
    struct err err = {0};
    for (struct writer_job *j = jobs; j; j = j->next)
        j->rc = RC_OK;
    enum rc rc = txn_begin_write(w->db, clock_wall_ms(loop_clock(w->loop)), &txn, &err);
    for (struct writer_job *j = jobs; rc == RC_OK && j; j = j->next)
        run_job(j, &txn);
    int64_t fed = txn.n_fed;
    if (rc == RC_OK)
        rc = txn_commit(&txn, &err);
    if (rc != RC_OK) {
        log_error("writer.commit_failed", "rc=%s err=\"%s\"", rc_name(rc), err.msg);
        fail_all(jobs, rc, &err);
    } else if (fed > 0) {
        loop_post(w->loop, &w->committed);
    }
}

static struct writer_job *take_group(struct writer *w)
{
    struct writer_job *jobs = w->first, *end = jobs;
    for (int n = 1; end && end->next && n < WRITER_GROUP_MAX; n++)
        end = end->next;
    if (!end)
        return NULL;
    w->first = end->next;
    if (!w->first)
        w->last = &w->first;
    end->next = NULL;
    for (struct writer_job *j = jobs; j; j = j->next)
        w->n_waiting--;
    return jobs;
}

/* With the lock held: to whoever waits, or to the loop. */
static void file_finished(struct writer *w, struct writer_job *jobs)
{
    bool deliver = false, wake = false;
    while (jobs) {
        struct writer_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        if (job->waited) {
            job->finished = wake = true;
        } else {
            *w->done_last = job;
            w->done_last = &job->next;
            deliver = true;
        }
    }
    if (wake)
        pthread_cond_broadcast(&w->finished);
    if (deliver)
        loop_post(w->loop, &w->deliver);
}

static void *thread_main(void *arg)
{
    struct writer *w = arg;
    int commits = 0;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->closing)
            pthread_cond_wait(&w->wake, &w->lock);
        struct writer_job *jobs = take_group(w);
        if (!jobs)
            break;
        pthread_mutex_unlock(&w->lock);
        run_group(w, jobs);
        if (++commits % CHECKPOINT_EVERY_COMMITS == 0)
            txn_checkpoint(w->db);
        pthread_mutex_lock(&w->lock);
        file_finished(w, jobs);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

enum rc writer_open(struct db *db, struct loop *loop, void (*on_commit)(void *user), void *user,
                    struct writer **ret, struct err *err)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, RC_NO_MEMORY, "no memory for the writer");
    *w = (struct writer){.db = db, .loop = loop, .on_commit = on_commit, .user = user};
    w->last = &w->first;
    w->done_last = &w->done;
    w->deliver = (struct loop_post){.on_post = on_deliver, .user = w};
    w->committed = (struct loop_post){.on_post = on_committed, .user = w};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_cond_init(&w->finished, NULL);
    int failed = pthread_create(&w->thread, NULL, thread_main, w);
    if (failed) {
        free(w);
        return err_errno(err, failed, "cannot start the writer's thread");
    }
    *ret = w;
    return RC_OK;
}

void writer_close(struct writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    hand_back(w);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->finished);
    free(w);
}

enum rc writer_post(struct writer *w, struct writer_job *job, struct err *err)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&w->lock);
    if (w->closing || w->n_waiting >= WRITER_QUEUE_MAX) {
        rc = err_set(err, RC_UNAVAILABLE,
                     w->closing ? "the server is stopping"
                                : "too many writes are waiting; try again");
    } else {
        job->next = NULL;
        *w->last = job;
        w->last = &job->next;
        w->n_waiting++;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

struct waited {
    struct writer_job job;
    enum rc (*run)(void *user, struct txn *txn, struct err *err);
    void *user;
};

static enum rc run_waited(struct writer_job *job, struct txn *txn, struct err *err)
{
    struct waited *wait = job->user;
    return wait->run(wait->user, txn, err);
}

enum rc writer_call(struct writer *w, enum rc (*run)(void *user, struct txn *txn, struct err *err),
                    void *user, struct err *err)
{
    struct waited wait = {.run = run, .user = user};
    wait.job = (struct writer_job){.run = run_waited, .user = &wait, .waited = true};
    enum rc rc = writer_post(w, &wait.job, err);
    if (rc != RC_OK)
        return rc;
    pthread_mutex_lock(&w->lock);
    while (!wait.job.finished)
        pthread_cond_wait(&w->finished, &w->lock);
    pthread_mutex_unlock(&w->lock);
    if (wait.job.rc != RC_OK && err)
        *err = wait.job.err;
    return wait.job.rc;
}
