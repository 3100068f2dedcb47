#include "engine/cpu/threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scoped.h"

/* Pauses before a sleep: some 30 us. On two quiet cores fewer cost speed (200: half of it), with
 * a busy neighbour more do (50,000: a tenth is left, since the one we wait for has no core). */
#define SPINS 1500

/* Somewhere to wait for a number to change. A waiter that sleeps is counted, so that the one who
 * changes it makes a system call only when somebody needs it. */
struct gate {
    _Alignas(64) atomic_uint round;
    atomic_uint sleepers;
};

struct worker {
    struct threads *crew;
    int id;
    pthread_t thread;
};

struct threads {
    int n, started;
    void (*fn)(void *arg, int id); /* published by `start` */
    void *arg;
    bool stop;
    struct gate start, meet;
    _Alignas(64) atomic_int arrived; /* at `meet`, this round */
    struct worker *worker;           /* [n], [0] unused */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void gate_wait(struct gate *g, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&g->round, memory_order_acquire) != seen)
            return;
        pause_cpu();
    }
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->round) == seen)
        syscall(SYS_futex, &g->round, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->sleepers, 1);
}

/* The order "change, then look for sleepers" against "count as sleeper, then look for the change"
 * needs sequential consistency: one of the two must see the other. */
static void gate_open(struct gate *g)
{
    atomic_fetch_add(&g->round, 1);
    if (atomic_load(&g->sleepers) > 0)
        syscall(SYS_futex, &g->round, FUTEX_WAKE_PRIVATE, THREADS_MAX, NULL, NULL, 0);
}

void threads_barrier(struct threads *t)
{
    if (t->n == 1)
        return;
    unsigned seen = atomic_load_explicit(&t->meet.round, memory_order_acquire);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == t->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        gate_open(&t->meet);
    } else {
        gate_wait(&t->meet, seen);
    }
}

static void *work(void *p)
{
    struct worker *w = p;
    struct threads *t = w->crew;
    for (unsigned seen = 0;; seen++) {
        gate_wait(&t->start, seen);
        if (t->stop)
            return NULL;
        t->fn(t->arg, w->id);
        threads_barrier(t);
    }
}

void threads_run(struct threads *t, void (*fn)(void *arg, int id), void *arg)
{
    t->fn = fn;
    t->arg = arg;
    if (t->n > 1)
        gate_open(&t->start);
    fn(arg, 0);
    threads_barrier(t);
}

enum rc threads_new(int n, struct threads **ret, struct err *err)
{
    ASSERT(n >= 1 && n <= THREADS_MAX);
    struct threads *t = aligned_alloc(64, sizeof(*t));
    if (!t)
        return err_set(err, RC_NO_MEMORY, "no memory for %d threads", n);
    *t = (struct threads){.n = n, .started = 1};
    t->worker = calloc((size_t)n, sizeof(*t->worker));
    enum rc rc = t->worker ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for %d threads", n);
    for (int i = 1; rc == RC_OK && i < n; i++) {
        t->worker[i] = (struct worker){.crew = t, .id = i};
        int e = pthread_create(&t->worker[i].thread, NULL, work, &t->worker[i]);
        if (e != 0)
            rc = err_errno(err, e, "cannot start thread %d of %d", i + 1, n);
        else
            t->started++;
    }
    if (rc == RC_OK)
        *ret = t;
    else
        threads_free(t);
    return rc;
}

void threads_free(struct threads *t)
{
    if (!t)
        return;
    t->stop = true;
    gate_open(&t->start);
    for (int i = 1; i < t->started; i++)
        pthread_join(t->worker[i].thread, NULL);
    free(t->worker);
    free(t);
}

int threads_count(const struct threads *t)
{
    return t->n;
}

/* "max 100000" or "150000 100000": microseconds of CPU in each period. */
static int quota_cores(void)
{
    SCOPED_FILE f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long long quota = 0, period = 0;
    if (!f || fscanf(f, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return THREADS_MAX;
    long long cores = (quota + period - 1) / period;
    return cores < THREADS_MAX ? (int)cores : THREADS_MAX;
}

int threads_usable_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = quota_cores();
    n = n < quota ? n : quota;
    return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : n;
}
