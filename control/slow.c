#include "control/slow.h"

#include <pthread.h>
#include <stdlib.h>

struct slow {
    struct loop *loop;
    struct loop_post deliver;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct slow_job *first, **last;
    struct slow_job *done, **done_last;
    int n_waiting;
    bool closing;
};

static void hand_back(struct slow *s)
{
    pthread_mutex_lock(&s->lock);
    struct slow_job *job = s->done;
    s->done = NULL;
    s->done_last = &s->done;
    pthread_mutex_unlock(&s->lock);
    while (job) {
        struct slow_job *next = job->next;
        job->on_done(job);
        job = next;
    }
}

static void on_deliver(struct loop_post *p)
{
    hand_back(p->user);
}

static void *thread_main(void *arg)
{
    struct slow *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->closing)
            pthread_cond_wait(&s->wake, &s->lock);
        struct slow_job *job = s->first;
        if (!job)
            break;
        s->first = job->next;
        if (!s->first)
            s->last = &s->first;
        s->n_waiting--;
        pthread_mutex_unlock(&s->lock);
        job->run(job);
        pthread_mutex_lock(&s->lock);
        job->next = NULL;
        *s->done_last = job;
        s->done_last = &job->next;
        loop_post(s->loop, &s->deliver);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum rc slow_open(struct loop *loop, struct slow **ret, struct err *err)
{
    struct slow *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, RC_NO_MEMORY, "no memory for the password thread");
    *s = (struct slow){.loop = loop};
    s->last = &s->first;
    s->done_last = &s->done;
    s->deliver = (struct loop_post){.on_post = on_deliver, .user = s};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    int failed = pthread_create(&s->thread, NULL, thread_main, s);
    if (failed) {
        free(s);
        return err_errno(err, failed, "cannot start the password thread");
    }
    *ret = s;
    return RC_OK;
}

void slow_close(struct slow *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    hand_back(s);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}

enum rc slow_post(struct slow *s, struct slow_job *job, struct err *err)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&s->lock);
    if (s->closing || s->n_waiting >= SLOW_QUEUE_MAX) {
        rc = err_set(err, RC_UNAVAILABLE, "too many logins at once; try again");
    } else {
        job->next = NULL;
        *s->last = job;
        s->last = &job->next;
        s->n_waiting++;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}
