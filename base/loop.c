/* loop.c - epoll, a binary heap of timers, an eventfd for other threads.
 *
 * One turn: fire due timers, run hooks until none makes progress, wait, dispatch. Deleting an io
 * while its events are being dispatched is the common accident: the turn's batch is kept in the
 * loop, and loop_io_del strikes the io out of it. */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/units.h"

enum { BATCH = 256, TIMERS_MAX = 1 << 20, WAIT_MAX_MS = 60 * 1000 };

struct loop {
    int epoll_fd, wake_fd, signal_fd;
    const struct clock *clock;
    int64_t now_ms;
    atomic_bool stopping;

    struct epoll_event batch[BATCH];
    int batch_len, batch_at;

    struct loop_timer **heap;
    int32_t heap_len, heap_cap;

    pthread_mutex_t post_lock;
    struct loop_post *post_head, *post_tail;

    struct loop_hook *hooks, *hook_next; /* hook_next: where the running walk goes on */
    struct loop_io wake_io, signal_io;
    void (*on_signal)(int signo, void *user);
    void *signal_user;
};

static void on_wake(struct loop_io *io, uint32_t events)
{
    (void)events;
    uint64_t count;
    ssize_t n = read(io->fd, &count, sizeof count);
    (void)n; /* only the edge matters */
    struct loop *l = io->user;
    pthread_mutex_lock(&l->post_lock);
    struct loop_post *p = l->post_head;
    l->post_head = l->post_tail = NULL;
    pthread_mutex_unlock(&l->post_lock);
    while (p) {
        struct loop_post *next = p->next;
        __atomic_store_n(&p->queued, 0, __ATOMIC_RELEASE); /* may be posted again from on_post */
        p->on_post(p);
        p = next;
    }
}

enum rc loop_open(const struct clock *clock, struct loop **ret, struct err *err)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, RC_NO_MEMORY, "no memory for an event loop");
    l->clock = clock;
    l->signal_fd = -1;
    pthread_mutex_init(&l->post_lock, NULL);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || l->wake_fd < 0) {
        enum rc rc = err_errno(err, errno, "cannot make an event loop");
        loop_close(l);
        return rc;
    }
    l->now_ms = clock_mono_ms(clock);
    l->wake_io = (struct loop_io){.fd = l->wake_fd, .on_ready = on_wake, .user = l};
    enum rc rc = loop_io_add(l, &l->wake_io, EPOLLIN, err);
    if (rc != RC_OK) {
        loop_close(l);
        return rc;
    }
    *ret = l;
    return RC_OK;
}

void loop_close(struct loop *l)
{
    if (!l)
        return;
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->signal_fd >= 0)
        close(l->signal_fd);
    pthread_mutex_destroy(&l->post_lock);
    free(l->heap);
    free(l);
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

const struct clock *loop_clock(const struct loop *l)
{
    return l->clock;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one); /* full means: already awake */
    (void)n;
}

enum rc loop_io_add(struct loop *l, struct loop_io *io, uint32_t events, struct err *err)
{
    struct epoll_event e = {.events = events, .data.ptr = io};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, io->fd, &e) < 0)
        return err_errno(err, errno, "cannot watch descriptor %d", io->fd);
    io->added = true;
    return RC_OK;
}

void loop_io_mod(struct loop *l, struct loop_io *io, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = io};
    int rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, io->fd, &e);
    ASSERT(rc == 0);
}

void loop_io_del(struct loop *l, struct loop_io *io)
{
    if (!io->added)
        return;
    io->added = false;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    for (int i = l->batch_at; i < l->batch_len; i++)
        if (l->batch[i].data.ptr == io)
            l->batch[i].data.ptr = NULL;
}

static void heap_put(struct loop *l, int32_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->slot = i + 1;
}

static void heap_up(struct loop *l, int32_t i)
{
    struct loop_timer *t = l->heap[i];
    for (; i > 0 && l->heap[(i - 1) / 2]->at_ms > t->at_ms; i = (i - 1) / 2)
        heap_put(l, i, l->heap[(i - 1) / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, int32_t i)
{
    struct loop_timer *t = l->heap[i];
    for (;;) {
        int32_t kid = 2 * i + 1;
        if (kid >= l->heap_len)
            break;
        if (kid + 1 < l->heap_len && l->heap[kid + 1]->at_ms < l->heap[kid]->at_ms)
            kid++;
        if (l->heap[kid]->at_ms >= t->at_ms)
            break;
        heap_put(l, i, l->heap[kid]);
        i = kid;
    }
    heap_put(l, i, t);
}

enum rc loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_ms, struct err *err)
{
    loop_timer_clear(l, t);
    if (l->heap_len == l->heap_cap) {
        int32_t cap = l->heap_cap ? 2 * l->heap_cap : 64;
        struct loop_timer **heap =
            cap <= TIMERS_MAX ? realloc(l->heap, (size_t)cap * sizeof *heap) : NULL;
        if (!heap)
            return err_set(err, RC_NO_MEMORY, "too many timers (%d)", l->heap_len);
        l->heap = heap;
        l->heap_cap = cap;
    }
    t->at_ms = at_ms;
    l->heap[l->heap_len] = t;
    heap_up(l, l->heap_len++);
    return RC_OK;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    if (t->slot == 0)
        return;
    int32_t i = t->slot - 1;
    t->slot = 0;
    struct loop_timer *last = l->heap[--l->heap_len];
    if (last == t)
        return;
    l->heap[i] = last;
    heap_up(l, i);
    heap_down(l, last->slot - 1);
}

bool loop_post(struct loop *l, struct loop_post *p)
{
    if (__atomic_exchange_n(&p->queued, 1, __ATOMIC_ACQ_REL))
        return false;
    p->next = NULL;
    pthread_mutex_lock(&l->post_lock);
    bool was_empty = l->post_head == NULL;
    if (was_empty)
        l->post_head = p;
    else
        l->post_tail->next = p;
    l->post_tail = p;
    pthread_mutex_unlock(&l->post_lock);
    if (was_empty) {
        uint64_t one = 1;
        ssize_t n = write(l->wake_fd, &one, sizeof one);
        (void)n;
    }
    return true;
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    h->next = l->hooks;
    l->hooks = h;
}

void loop_hook_del(struct loop *l, struct loop_hook *h)
{
    if (l->hook_next == h)
        l->hook_next = h->next;
    for (struct loop_hook **at = &l->hooks; *at; at = &(*at)->next)
        if (*at == h) {
            *at = h->next;
            return;
        }
}

static void on_signal_ready(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct loop *l = io->user;
    struct signalfd_siginfo info;
    while (read(io->fd, &info, sizeof info) == sizeof info)
        l->on_signal((int)info.ssi_signo, l->signal_user);
}

enum rc loop_signals(struct loop *l, void (*on_signal)(int signo, void *user), void *user,
                     struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l->signal_fd < 0)
        return err_errno(err, errno, "cannot watch signals");
    l->on_signal = on_signal;
    l->signal_user = user;
    l->signal_io = (struct loop_io){.fd = l->signal_fd, .on_ready = on_signal_ready, .user = l};
    return loop_io_add(l, &l->signal_io, EPOLLIN, err);
}

static void fire_timers(struct loop *l)
{
    int64_t now = l->now_ms;
    int32_t most = l->heap_len; /* a timer set again for now waits for the next turn */
    while (most-- > 0 && l->heap_len && l->heap[0]->at_ms <= now) {
        struct loop_timer *t = l->heap[0];
        loop_timer_clear(l, t);
        t->on_time(t);
    }
}

static void run_hooks(struct loop *l)
{
    enum { ROUNDS_MAX = 64 }; /* a hook that always claims progress must not starve the rest */
    bool again = true;
    for (int round = 0; again && round < ROUNDS_MAX; round++) {
        again = false;
        for (struct loop_hook *h = l->hooks; h; h = l->hook_next) {
            l->hook_next = h->next;
            again |= h->on_turn(h);
        }
    }
    l->hook_next = NULL;
}

static int wait_ms(const struct loop *l)
{
    if (l->heap_len == 0)
        return WAIT_MAX_MS;
    int64_t left = l->heap[0]->at_ms - clock_mono_ms(l->clock);
    return left <= 0 ? 0 : (int)MIN_OF(left, (int64_t)WAIT_MAX_MS);
}

enum rc loop_run(struct loop *l, struct err *err)
{
    while (!atomic_load(&l->stopping)) {
        l->now_ms = clock_mono_ms(l->clock);
        fire_timers(l);
        run_hooks(l);
        if (atomic_load(&l->stopping))
            break;
        int n = epoll_wait(l->epoll_fd, l->batch, BATCH, wait_ms(l));
        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "the event loop cannot wait");
        l->now_ms = clock_mono_ms(l->clock);
        l->batch_len = n > 0 ? n : 0;
        for (int i = 0; i < l->batch_len; i++) {
            struct loop_io *io = l->batch[i].data.ptr;
            l->batch_at = i + 1;
            if (io)
                io->on_ready(io, l->batch[i].events);
        }
        l->batch_len = 0;
    }
    atomic_store(&l->stopping, false);
    return RC_OK;
}
