#ifndef SLUICE_BASE_LOOP_H
#define SLUICE_BASE_LOOP_H
/* loop - one thread, one epoll: descriptors, timers, messages from other threads.
 *
 * All calls belong to the loop's own thread, but for loop_post and loop_stop. Nothing here blocks
 * except loop_run. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/err.h"

struct loop;

enum rc loop_open(const struct clock *clock, struct loop **ret, struct err *err);
void loop_close(struct loop *l);                   /* accepts NULL */
enum rc loop_run(struct loop *l, struct err *err); /* until loop_stop */
void loop_stop(struct loop *l);                    /* from any thread or a signal handler */
int64_t loop_now_ms(const struct loop *l);         /* monotonic, read once a turn */
const struct clock *loop_clock(const struct loop *l);

/* A watched descriptor; lives in its owner's struct until loop_io_del. Events are level-triggered
 * unless EPOLLET is given. on_ready may delete its own or any other io. */
struct loop_io {
    int fd;
    void (*on_ready)(struct loop_io *io, uint32_t events);
    void *user;
    bool added;
};
enum rc loop_io_add(struct loop *l, struct loop_io *io, uint32_t events, struct err *err);
void loop_io_mod(struct loop *l, struct loop_io *io, uint32_t events);
void loop_io_del(struct loop *l, struct loop_io *io); /* before the fd is closed; twice is fine */

/* A timer that fires once; set again to repeat. Lives in its owner. */
struct loop_timer {
    void (*on_time)(struct loop_timer *t);
    void *user;
    int64_t at_ms;
    int32_t slot; /* heap index + 1; 0: not set */
};
enum rc loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_ms, struct err *err);
void loop_timer_clear(struct loop *l, struct loop_timer *t);

/* Runs on_post in the loop's thread soon. The node belongs to the sender until then and may sit in
 * the queue once: post of a queued node is a no-op and returns false. */
struct loop_post {
    void (*on_post)(struct loop_post *p);
    void *user;
    struct loop_post *next;
    int queued;
};
bool loop_post(struct loop *l, struct loop_post *p);

/* Runs before every wait; returns true when it made progress that others may want to see, and all
 * hooks run again. This is where a server pushes out what was written during the turn. */
struct loop_hook {
    bool (*on_turn)(struct loop_hook *h);
    void *user;
    struct loop_hook *next;
};
void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_del(struct loop *l, struct loop_hook *h);

/* SIGINT and SIGTERM → on_signal in the loop's thread. One loop a process; block the signals in
 * main before threads start. */
enum rc loop_signals(struct loop *l, void (*on_signal)(int signo, void *user), void *user,
                     struct err *err);

#endif
