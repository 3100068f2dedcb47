/* server.c - accepts gateways, cuts the stream into frames, carries bytes back. */
#include "engine/server.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "engine/listen.h"

enum {
    READ_BYTES = 64 << 10,
    READS_A_TURN = 8, /* then others get their turn */
    HELLO_MS = 10 * 1000,
    REST_MS = 1000,
    FLUSH_MS = 1000, /* for last words, at the end */
    LINGER_MS = 1000 /* for the ERROR frame before a close */
};

struct conn {
    struct server *server;
    uint64_t id;
    struct loop_io io;
    struct loop_timer timer; /* no HELLO yet, or last words */
    struct buf in, out;
    size_t sent;                /* of out */
    struct runner_msg *stalled; /* the runner's ring was full; nothing is read meanwhile */
    bool is_open;               /* HELLO went to the runner */
    uint32_t watched;           /* epoll events asked for */
    bool is_closing;            /* nothing more is read; close when out is empty */
};

struct server {
    struct loop *loop;
    struct server_opts opts;
    struct runner runner;
    int fd;
    struct loop_io io;
    struct loop_post news;
    struct loop_timer drain, rest;
    struct conn *conn[RUNNER_CONNS_MAX];
    /* A connection that is gone while the ring was full: its CLOSE is still to be sent. */
    uint64_t gone[RUNNER_CONNS_MAX];
    uint64_t serial;
    int32_t n_conns;
    enum { SERVING, DRAINING, FLUSHING } phase;
};

static size_t slot_of(uint64_t id)
{
    return id % RUNNER_CONNS_MAX;
}

static bool tell_runner(struct server *s, enum runner_kind kind, uint64_t conn)
{
    struct runner_msg *m = runner_msg_new(kind, conn);
    if (m && runner_send(&s->runner, m))
        return true;
    runner_msg_free(m);
    return false;
}

/* ---- the end of a connection ---- */

static void conn_close(struct conn *c, const char *why)
{
    struct server *s = c->server;
    log_info("conn.close", "conn=%" PRIx64 " why=%s", c->id, why);
    loop_timer_clear(s->loop, &c->timer);
    loop_io_del(s->loop, &c->io);
    close(c->io.fd);
    s->conn[slot_of(c->id)] = NULL;
    if (c->is_open && !tell_runner(s, RUNNER_CLOSE, c->id))
        s->gone[slot_of(c->id)] = c->id;
    runner_msg_free(c->stalled);
    buf_done(&c->in);
    buf_done(&c->out);
    free(c);
    s->n_conns--;
    if (s->n_conns == 0 && s->phase == FLUSHING)
        loop_stop(s->loop);
}

static void on_conn_time(struct loop_timer *t)
{
    struct conn *c = t->user;
    conn_close(c, c->is_closing ? "last_words_not_read" : "no_hello");
}

static void watch(struct conn *c)
{
    bool reads = !c->is_closing && !c->stalled, writes = c->sent < c->out.len;
    uint32_t events = (uint32_t)((reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0));
    if (events != c->watched)
        loop_io_mod(c->server->loop, &c->io, events);
    c->watched = events;
}

/* false: the connection is gone. */
static bool conn_write(struct conn *c)
{
    struct server *s = c->server;
    while (c->sent < c->out.len) {
        ssize_t n = send(c->io.fd, c->out.p + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            conn_close(c, "write_failed");
            return false;
        }
        if (n < 0)
            break;
        c->sent += (size_t)n;
    }
    if (c->sent == c->out.len) {
        buf_clear(&c->out);
        c->sent = 0;
    } else if (c->sent > c->out.len / 2) { /* seldom enough to stay linear */
        buf_drop(&c->out, c->sent);
        c->sent = 0;
    }
    atomic_store_explicit(&s->runner.backlog[slot_of(c->id)], c->out.len - c->sent,
                          memory_order_relaxed);
    if (c->is_closing && c->out.len == 0) {
        conn_close(c, "refused");
        return false;
    }
    watch(c);
    return true;
}

/* Says why, then closes. */
static void conn_refuse(struct conn *c, const struct err *why)
{
    struct err err;
    log_warn("conn.refused", "conn=%" PRIx64 " rc=%s msg=%s", c->id, rc_name(why->rc), why->msg);
    const struct frame f = {.type = FRAME_ERROR,
                            .error = {.rc = why->rc, .message = str_of(why->msg)}};
    c->is_closing = true;
    loop_timer_clear(c->server->loop, &c->timer);
    if (frame_write(&c->out, &f, &err) != RC_OK ||
        loop_timer_set(c->server->loop, &c->timer, loop_now_ms(c->server->loop) + LINGER_MS,
                       &err) != RC_OK) {
        conn_close(c, "refused");
        return;
    }
    conn_write(c);
}

/* ---- frames in ---- */

/* Strings of a frame are views of the read buffer, which moves on: the message keeps its own. */
static bool own_strings(struct runner_msg *m)
{
    if (m->frame.type != FRAME_SUBMIT)
        return true;
    struct frame_params *p = &m->frame.submit.params;
    for (int32_t i = 0; i < p->n_stop; i++) {
        p->stop[i] = arena_dup(&m->arena, p->stop[i]);
        if (!p->stop[i].p)
            return false;
    }
    return true;
}

static enum rc plan_message(struct conn *c, struct runner_msg *m, struct err *err)
{
    bool is_hello = m->frame.type == FRAME_HELLO;
    if (is_hello == c->is_open)
        return err_set(err, RC_CORRUPT,
                       is_hello ? "second HELLO on one connection" : "first frame must be HELLO");
    switch (m->frame.type) {
    case FRAME_HELLO:
        m->kind = RUNNER_OPEN;
        c->is_open = true;
        loop_timer_clear(c->server->loop, &c->timer);
        log_info("conn.hello", "conn=%" PRIx64 " gateway=%s", c->id,
                 LOG_STR(m->frame.hello.gateway));
        return RC_OK;
    case FRAME_SUBMIT:
        m->kind = RUNNER_SUBMIT;
        return RC_OK;
    case FRAME_CANCEL:
        m->kind = RUNNER_CANCEL;
        return RC_OK;
    case FRAME_PING:
        m->kind = RUNNER_PING;
        return RC_OK;
    default:
        return err_set(err, RC_CORRUPT, "a gateway does not send frames of type %d", m->frame.type);
    }
}

/* One frame to one message. RC_AGAIN: no whole frame, or no room at the runner. */
static enum rc take_frame(struct conn *c, size_t *at, struct err *err)
{
    struct server *s = c->server;
    struct runner_msg *m = runner_msg_new(RUNNER_OPEN, c->id);
    if (!m)
        return err_set(err, RC_NO_MEMORY, "no memory for a frame");
    size_t used = 0;
    enum rc rc =
        frame_read(str_sub(buf_view(&c->in), *at, c->in.len), &m->arena, &m->frame, &used, err);
    if (rc == RC_OK)
        rc = plan_message(c, m, err);
    if (rc == RC_OK && !own_strings(m))
        rc = err_set(err, RC_NO_MEMORY, "no memory for a frame");
    if (rc != RC_OK) {
        runner_msg_free(m);
        return rc;
    }
    *at += used;
    m->arrived_ns = clock_mono_ns(s->opts.runner.clock);
    if (runner_send(&s->runner, m))
        return RC_OK;
    c->stalled = m;
    return RC_AGAIN;
}

/* false: the connection is gone. */
static bool take_frames(struct conn *c)
{
    struct err err;
    size_t at = 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && at < c->in.len)
        rc = take_frame(c, &at, &err);
    buf_drop(&c->in, at);
    if (rc == RC_OK || rc == RC_AGAIN)
        return true;
    conn_refuse(c, &err);
    return false;
}

static void conn_read(struct conn *c)
{
    for (int i = 0; i < READS_A_TURN && !c->stalled && !c->is_closing; i++) {
        char *to = buf_reserve(&c->in, READ_BYTES);
        if (!to) {
            struct err err;
            err_set(&err, RC_NO_MEMORY, "no memory to read a frame");
            conn_refuse(c, &err);
            return;
        }
        ssize_t n = recv(c->io.fd, to, READ_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            conn_close(c, n == 0 ? "hung_up" : "read_failed");
            return;
        }
        c->in.len += (size_t)n;
        if (!take_frames(c))
            return;
    }
    watch(c);
}

static void on_conn(struct loop_io *io, uint32_t events)
{
    struct conn *c = io->user;
    if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN)) {
        conn_close(c, "hung_up");
        return;
    }
    if (events & EPOLLOUT && !conn_write(c))
        return;
    if (events & EPOLLIN)
        conn_read(c);
}

/* ---- new connections ---- */

static struct conn *conn_new(struct server *s, size_t slot, int fd)
{
    struct err err;
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->server = s;
    c->id = ++s->serial * RUNNER_CONNS_MAX + slot;
    c->io = (struct loop_io){.fd = fd, .on_ready = on_conn, .user = c};
    c->timer = (struct loop_timer){.on_time = on_conn_time, .user = c};
    buf_init(&c->in, FRAME_HEADER_BYTES + FRAME_BODY_MAX + READ_BYTES);
    buf_init(&c->out, s->opts.backlog_max);
    c->watched = EPOLLIN;
    if (loop_io_add(s->loop, &c->io, c->watched, &err) != RC_OK) {
        free(c);
        return NULL;
    }
    if (loop_timer_set(s->loop, &c->timer, loop_now_ms(s->loop) + HELLO_MS, &err) != RC_OK) {
        loop_io_del(s->loop, &c->io);
        free(c);
        return NULL;
    }
    return c;
}

/* Out of descriptors, the listener would call again at once and for ever. */
static void rest_from_accepting(struct server *s, int why)
{
    struct err err;
    if (why != EMFILE && why != ENFILE && why != ENOMEM && why != ENOBUFS)
        return;
    log_error("server.accept", "msg=%s", strerror(why));
    if (loop_timer_set(s->loop, &s->rest, loop_now_ms(s->loop) + REST_MS, &err) == RC_OK)
        loop_io_mod(s->loop, &s->io, 0);
}

static void on_rested(struct loop_timer *t)
{
    struct server *s = t->user;
    if (s->phase == SERVING)
        loop_io_mod(s->loop, &s->io, EPOLLIN);
}

static void on_accept(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct server *s = io->user;
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        rest_from_accepting(s, errno);
        return;
    }
    size_t slot = 0;
    while (slot < RUNNER_CONNS_MAX && (s->conn[slot] || s->gone[slot]))
        slot++;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* unix sockets say no */
    if (slot < RUNNER_CONNS_MAX)
        s->conn[slot] = conn_new(s, slot, fd);
    if (slot == RUNNER_CONNS_MAX || !s->conn[slot]) {
        log_warn("conn.too_many", "max=%d", RUNNER_CONNS_MAX);
        close(fd);
        return;
    }
    s->n_conns++;
    atomic_store_explicit(&s->runner.backlog[slot], 0, memory_order_relaxed);
}

/* ---- what the runner says ---- */

/* The last request is over: connections close as soon as their last byte is out. */
static void flush_and_stop(struct server *s)
{
    struct err err;
    for (size_t i = 0; i < RUNNER_CONNS_MAX; i++) {
        struct conn *c = s->conn[i];
        if (c && c->out.len == 0)
            conn_close(c, "stopping");
        else if (c)
            c->is_closing = true;
    }
    s->phase = FLUSHING;
    if (s->n_conns == 0 ||
        loop_timer_set(s->loop, &s->drain, loop_now_ms(s->loop) + FLUSH_MS, &err) != RC_OK)
        loop_stop(s->loop);
}

static void deliver(struct server *s, struct runner_out *o)
{
    struct conn *c = o->is_drained ? NULL : s->conn[slot_of(o->conn)];
    if (!c || c->id != o->conn) {
        if (o->is_drained)
            flush_and_stop(s);
        return;
    }
    if (c->is_closing) /* it has been refused: these words are for nobody */
        return;
    if (o->is_fatal || !buf_str(&c->out, buf_view(&o->bytes))) {
        conn_close(c, "too_slow");
        return;
    }
    conn_write(c);
}

static void retry_stalled(struct server *s)
{
    for (size_t i = 0; i < RUNNER_CONNS_MAX; i++) {
        if (s->gone[i] && tell_runner(s, RUNNER_CLOSE, s->gone[i]))
            s->gone[i] = 0;
        struct conn *c = s->conn[i];
        if (!c || !c->stalled || !runner_send(&s->runner, c->stalled))
            continue;
        c->stalled = NULL;
        if (take_frames(c))
            watch(c);
    }
}

static void on_news(struct loop_post *p)
{
    struct server *s = p->user;
    struct runner_out *o;
    while ((o = runner_take(&s->runner)) != NULL) {
        deliver(s, o);
        runner_out_free(o);
    }
    retry_stalled(s);
}

static void wake_loop(void *ctx)
{
    struct server *s = ctx;
    loop_post(s->loop, &s->news);
}

/* ---- life ---- */

static void on_drain_time(struct loop_timer *t)
{
    struct server *s = t->user;
    if (s->phase == FLUSHING) {
        loop_stop(s->loop);
        return;
    }
    log_warn("engine.drain_deadline", "after_ms=%d", s->opts.drain_ms);
    if (!tell_runner(s, RUNNER_ABORT_ALL, 0))
        loop_stop(s->loop);
}

void server_stop(struct server *s)
{
    struct err err;
    bool again = s->phase != SERVING;
    if (!again) {
        loop_io_del(s->loop, &s->io);
        close(s->fd);
        s->fd = -1;
        listen_unlink(s->opts.listen);
        s->phase = DRAINING;
    }
    bool told = tell_runner(s, again ? RUNNER_ABORT_ALL : RUNNER_DRAIN, 0);
    if (!told || (!again && loop_timer_set(s->loop, &s->drain,
                                           loop_now_ms(s->loop) + s->opts.drain_ms, &err) != RC_OK))
        loop_stop(s->loop); /* no memory to be gentle */
}

void server_report(struct server *s)
{
    tell_runner(s, RUNNER_REPORT, 0);
}

int server_port(const struct server *s)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    if (getsockname(s->fd, (struct sockaddr *)&a, &len) != 0)
        return 0;
    if (a.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&a)->sin_port);
    return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}

enum rc server_open(struct loop *loop, const struct server_opts *opts, struct server **ret,
                    struct err *err)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, RC_NO_MEMORY, "no memory for the server");
    s->loop = loop;
    s->opts = *opts;
    s->fd = -1;
    if (s->opts.backlog_max == 0)
        s->opts.backlog_max = SERVER_BACKLOG_MAX;
    s->news = (struct loop_post){.on_post = on_news, .user = s};
    s->rest = (struct loop_timer){.on_time = on_rested, .user = s};
    s->drain = (struct loop_timer){.on_time = on_drain_time, .user = s};
    s->opts.runner.on_news = wake_loop;
    s->opts.runner.ctx = s;
    enum rc rc = runner_open(&s->runner, &s->opts.runner, err);
    if (rc == RC_OK)
        rc = listen_open(opts->listen, &s->fd, err);
    s->io = (struct loop_io){.fd = s->fd, .on_ready = on_accept, .user = s};
    if (rc == RC_OK)
        rc = loop_io_add(loop, &s->io, EPOLLIN, err);
    if (rc != RC_OK) {
        server_close(s);
        return rc;
    }
    *ret = s;
    return RC_OK;
}

void server_close(struct server *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < RUNNER_CONNS_MAX; i++)
        if (s->conn[i])
            conn_close(s->conn[i], "server_closed");
    loop_timer_clear(s->loop, &s->drain);
    loop_timer_clear(s->loop, &s->rest);
    if (s->fd >= 0) {
        loop_io_del(s->loop, &s->io);
        close(s->fd);
        listen_unlink(s->opts.listen);
    }
    runner_close(&s->runner);
    free(s);
}
