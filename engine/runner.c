/* runner.c - between two rings: messages in, steps, bytes out. */
#include "engine/runner.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

enum {
    MSG_ARENA_MAX = FRAME_BODY_MAX * 2,
    LATE_MS = 1,
    BACKED_UP_BYTES = 256 << 10 /* from here on TOKENS frames are merged */
};

struct runner_msg *runner_msg_new(enum runner_kind kind, uint64_t conn)
{
    struct runner_msg *m = calloc(1, sizeof *m);
    if (m) {
        m->kind = kind;
        m->conn = conn;
        arena_init(&m->arena, MSG_ARENA_MAX);
    }
    return m;
}

void runner_msg_free(struct runner_msg *m)
{
    if (!m)
        return;
    arena_done(&m->arena);
    free(m);
}

void runner_out_free(struct runner_out *o)
{
    if (!o)
        return;
    buf_done(&o->bytes);
    free(o);
}

static struct runner_conn *slot_of(struct runner *r, uint64_t conn)
{
    return &r->conn[conn % RUNNER_CONNS_MAX];
}

/* ---- what the scheduler says ---- */

static void on_frame(void *ctx, uint64_t conn, const struct frame *f)
{
    struct runner *r = ctx;
    struct runner_conn *c = slot_of(r, conn);
    struct err err;
    if (c->id != conn || c->is_fatal)
        return;
    if (frame_write(&c->out, f, &err) != RC_OK) {
        log_warn("runner.conn_lost", "conn=%" PRIx64 " msg=%s", conn, err.msg);
        c->is_fatal = true; /* its requests go after this step, not in the middle of it */
    }
}

static bool is_ready(void *ctx, uint64_t conn)
{
    struct runner *r = ctx;
    return !r->is_late && atomic_load_explicit(&r->backlog[conn % RUNNER_CONNS_MAX],
                                               memory_order_relaxed) < BACKED_UP_BYTES;
}

static bool push_out(struct runner *r, struct runner_out from)
{
    struct runner_out *o = malloc(sizeof *o);
    if (!o)
        return false;
    *o = from;
    if (ring_push(&r->out, o))
        return true;
    free(o);
    return false;
}

static bool flush(struct runner *r)
{
    bool any = false;
    r->is_late = false;
    for (size_t i = 0; i < RUNNER_CONNS_MAX; i++) {
        struct runner_conn *c = &r->conn[i];
        if (c->id == 0 || (c->out.len == 0 && !c->is_fatal))
            continue;
        const struct runner_out o = {.conn = c->id, .bytes = c->out, .is_fatal = c->is_fatal};
        r->is_late = !push_out(r, o);
        if (r->is_late) /* the I/O thread is behind: pieces grow meanwhile */
            break;
        any = true;
        buf_init(&c->out, RUNNER_OUT_MAX);
        if (c->is_fatal) {
            sched_drop_conn(&r->sched, c->id);
            *c = (struct runner_conn){0};
        }
    }
    if (r->is_draining && !r->told_drained && !sched_has_work(&r->sched) &&
        push_out(r, (struct runner_out){.is_drained = true}))
        any = r->told_drained = true;
    return any;
}

/* ---- what the gateways say ---- */

static void greet(struct runner *r, uint64_t conn)
{
    struct runner_conn *c = slot_of(r, conn);
    ASSERT(c->id == 0);
    c->id = conn;
    buf_init(&c->out, RUNNER_OUT_MAX);
    const struct sched_opts *o = &r->sched.opts;
    const struct frame f = {.type = FRAME_HELLO_ACK,
                            .hello_ack = {.n_ctx = r->sched.limit_tok,
                                          .n_vocab = o->n_vocab,
                                          .max_seqs = o->max_seqs,
                                          .max_waiting = o->max_waiting,
                                          .load = sched_load(&r->sched),
                                          .path = r->opts.path,
                                          .card = r->opts.card}};
    on_frame(r, conn, &f);
}

static void submit(struct runner *r, struct runner_msg *m)
{
    struct err err;
    const struct frame_submit *req = &m->frame.submit;
    if (slot_of(r, m->conn)->id != m->conn)
        return;
    if (sched_submit(&r->sched, m->conn, req, m->arrived_ns, &err) == RC_OK)
        return;
    const struct frame f = {.type = FRAME_ERROR,
                            .error = {.rid = req->rid, .rc = err.rc, .message = str_of(err.msg)}};
    on_frame(r, m->conn, &f);
}

static void report(const struct runner *r)
{
    struct frame_load l = sched_load(&r->sched);
    const struct sched_stats *s = &r->sched.stats;
    log_info("engine.load",
             "running=%d waiting=%d pages_free=%d pages_cached=%d pages_total=%d steps=%" PRId64
             " rows=%" PRId64 " prefill_tok=%" PRId64 " decode_tok=%" PRId64 " cached_tok=%" PRId64
             " recomputed_tok=%" PRId64 " preempted=%" PRId64 " stop=%" PRId64 " length=%" PRId64
             " abort=%" PRId64 " error=%" PRId64,
             l.running, l.waiting, l.pages_free, r->sched.pool.n_cached, l.pages_total, l.steps,
             s->rows, s->prefill_tok, s->decode_tok, s->cached_tok, s->recomputed_tok, s->preempted,
             s->finished[FINISH_STOP], s->finished[FINISH_LENGTH], s->finished[FINISH_ABORT],
             s->finished[FINISH_ERROR]);
}

static void pong(struct runner *r, const struct runner_msg *m)
{
    const struct frame f = {
        .type = FRAME_STATUS,
        .status = {.nonce = m->frame.ping.nonce, .load = sched_load(&r->sched)}};
    on_frame(r, m->conn, &f);
}

static void close_conn(struct runner *r, uint64_t conn)
{
    struct runner_conn *c = slot_of(r, conn);
    if (c->id != conn)
        return;
    sched_drop_conn(&r->sched, conn);
    buf_done(&c->out);
    *c = (struct runner_conn){0};
}

static void handle(struct runner *r, struct runner_msg *m)
{
    switch (m->kind) {
    case RUNNER_OPEN:
        greet(r, m->conn);
        break;
    case RUNNER_SUBMIT:
        submit(r, m);
        break;
    case RUNNER_CANCEL:
        sched_cancel(&r->sched, m->conn, m->frame.cancel.rid);
        break;
    case RUNNER_PING:
        pong(r, m);
        break;
    case RUNNER_CLOSE:
        close_conn(r, m->conn);
        break;
    case RUNNER_DRAIN:
        r->is_draining = true;
        sched_drain(&r->sched);
        break;
    case RUNNER_ABORT_ALL:
        sched_abort_all(&r->sched);
        break;
    case RUNNER_REPORT:
        report(r);
        break;
    case RUNNER_STOP:
        r->is_stopping = true;
    }
}

static bool drain_messages(struct runner *r)
{
    bool any = false;
    for (struct runner_msg *m; (m = ring_pop(&r->in)) != NULL; any = true) {
        atomic_fetch_sub(&r->in_bytes, m->arena.used);
        handle(r, m);
        runner_msg_free(m);
    }
    return any && atomic_exchange(&r->wants_room, false);
}

/* Sleeps until a message is pushed; only shortly when the ring out was full. */
static void sleep_until_message(struct runner *r)
{
    atomic_store(&r->is_asleep, true);
    if (ring_is_empty(&r->in)) {
        struct pollfd p = {.fd = r->wake_fd, .events = POLLIN};
        uint64_t count;
        if (poll(&p, 1, r->is_late ? LATE_MS : -1) > 0 &&
            read(r->wake_fd, &count, sizeof count) < 0)
            log_error("runner.wake", "msg=%s", strerror(errno));
    }
    atomic_store(&r->is_asleep, false);
}

static void *run(void *arg)
{
    struct runner *r = arg;
    while (!r->is_stopping) {
        bool news = drain_messages(r);
        if (sched_has_work(&r->sched))
            sched_step(&r->sched);
        news |= flush(r);
        if (news)
            r->opts.on_news(r->opts.ctx);
        if (!r->is_stopping && !sched_has_work(&r->sched))
            sleep_until_message(r);
    }
    return NULL;
}

enum rc runner_open(struct runner *r, const struct runner_opts *opts, struct err *err)
{
    memset(r, 0, sizeof *r);
    r->opts = *opts;
    r->wake_fd = eventfd(0, EFD_CLOEXEC);
    enum rc rc = r->wake_fd < 0 ? err_errno(err, errno, "eventfd") : RC_OK;
    if (rc == RC_OK)
        rc = ring_open(&r->in, RUNNER_RING, err);
    if (rc == RC_OK)
        rc = ring_open(&r->out, RUNNER_RING, err);
    const struct answer_sink sink = {.ctx = r, .on_frame = on_frame, .is_ready = is_ready};
    if (rc == RC_OK)
        rc = sched_open(&r->sched, &opts->sched, opts->ops, opts->backend, opts->tok, opts->clock,
                        &sink, err);
    if (rc == RC_OK) {
        int e = pthread_create(&r->thread, NULL, run, r);
        r->has_thread = e == 0;
        rc = e ? err_errno(err, e, "cannot start the engine's thread") : RC_OK;
    }
    if (rc != RC_OK)
        runner_close(r);
    return rc;
}

static bool push_in(struct runner *r, struct runner_msg *m)
{
    size_t bytes = m->arena.used; /* before the push: then it is the runner's */
    if (atomic_load(&r->in_bytes) > RUNNER_IN_MAX || !ring_push(&r->in, m))
        return false;
    atomic_fetch_add(&r->in_bytes, bytes);
    return true;
}

bool runner_send(struct runner *r, struct runner_msg *m)
{
    if (!push_in(r, m)) {
        atomic_store(&r->wants_room, true);
        /* The runner may have emptied the ring between the two: then nobody would tell us. */
        if (!push_in(r, m))
            return false;
    }
    if (atomic_exchange(&r->is_asleep, false)) {
        uint64_t one = 1;
        ssize_t n = write(r->wake_fd, &one, sizeof one);
        (void)n; /* the counter cannot overflow: it is read before the next sleep */
    }
    return true;
}

struct runner_out *runner_take(struct runner *r)
{
    return ring_pop(&r->out);
}

static void stop_thread(struct runner *r)
{
    struct runner_msg *stop = runner_msg_new(RUNNER_STOP, 0);
    ASSERT(stop);
    while (!runner_send(r, stop)) /* full: it is being emptied this very moment */
        sched_yield();
    pthread_join(r->thread, NULL);
    r->has_thread = false;
}

void runner_close(struct runner *r)
{
    if (r->has_thread)
        stop_thread(r);
    for (struct runner_msg *m; r->in.slot && (m = ring_pop(&r->in)) != NULL;)
        runner_msg_free(m);
    for (struct runner_out *o; r->out.slot && (o = ring_pop(&r->out)) != NULL;)
        runner_out_free(o);
    for (size_t i = 0; i < RUNNER_CONNS_MAX; i++)
        buf_done(&r->conn[i].out);
    sched_close(&r->sched);
    ring_close(&r->in);
    ring_close(&r->out);
    if (r->wake_fd > 0)
        close(r->wake_fd);
    r->wake_fd = 0;
}
