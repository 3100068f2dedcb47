#ifndef SLUICE_ENGINE_CPU_THREADS_H
#define SLUICE_ENGINE_CPU_THREADS_H
/* threads - a crew that runs one function together, with barriers inside it.
 *
 * The caller is thread 0. Waiting spins for some microseconds, because the next stage of a layer
 * is that near, then sleeps on a futex: an idle engine costs nothing, and a crew member that lost
 * its core to another process does not burn the cores of the others. */

#include "base/err.h"

#define THREADS_MAX 256

struct threads;

enum rc threads_new(int n /* 1..THREADS_MAX */, struct threads **ret, struct err *err);
void threads_free(struct threads *t); /* accepts NULL */
int threads_count(const struct threads *t);

/* fn(arg, id) on every thread, id 0..n-1; returns when all are done. One caller at a time. */
void threads_run(struct threads *t, void (*fn)(void *arg, int id), void *arg);

/* Inside fn: returns when all threads came here; what they wrote before is visible after. */
void threads_barrier(struct threads *t);

/* Cores that this process may use: its affinity mask, and the CPU quota of its cgroup. */
int threads_usable_cores(void);

#endif
