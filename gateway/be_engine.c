#include "gateway/be_engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/units.h"

enum link_phase { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_READY };

/* A slot's number and its generation make the rid; a late frame of an old call finds no match. */
struct slot {
    struct engine_call *call; /* NULL: free, or forgotten and waiting for its end */
    uint32_t generation;
    bool busy;
};

struct engine_link {
    struct engine_link_opts opts;
    char address[256], gateway[64];
    enum link_phase phase;
    struct engine_link_state state;
    struct text_model *text;
    struct loop_io io;
    struct loop_timer timer;
    struct loop_hook hook;
    struct buf in, out;
    struct arena arena; /* of one frame */
    bool want_write, reading, broken;
    int32_t fails;
    int64_t heard_ms, pinged_ms;
    uint64_t nonce;
    int32_t next_slot;
    struct slot slot[ENGINE_CALLS_MAX];
};

static void drop(struct engine_link *l, const char *why);

/* ---- sockets ---- */

static enum rc parse_address(struct str a, struct sockaddr_storage *ret, socklen_t *ret_len,
                             struct err *err)
{
    struct sockaddr_un *un = (void *)ret;
    struct sockaddr_in *in = (void *)ret;
    struct sockaddr_in6 *in6 = (void *)ret;
    memset(ret, 0, sizeof *ret);
    if (str_starts(a, STR("unix:"))) {
        struct str path = str_sub(a, 5, SIZE_MAX);
        if (path.len == 0 || path.len >= sizeof un->sun_path)
            return err_set(err, RC_BAD_INPUT, "the socket path has %zu bytes", path.len);
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, path.p, path.len);
        *ret_len = sizeof *un;
        return RC_OK;
    }
    struct str host = str_sub(a, 4, SIZE_MAX);
    int64_t port = 0;
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < host.len; i++)
        if (host.p[i] == ':')
            colon = (ptrdiff_t)i;
    if (!str_starts(a, STR("tcp:")) || colon <= 0 ||
        !str_to_i64(str_sub(host, (size_t)colon + 1, SIZE_MAX), 1, 65535, &port))
        return err_set(err, RC_BAD_INPUT, "\"" STR_FMT "\" is no unix:PATH or tcp:HOST:PORT",
                       STR_ARG(a));
    host.len = (size_t)colon;
    char z[64];
    snprintf(z, sizeof z, STR_FMT, STR_ARG(host));
    if (strcmp(z, "localhost") == 0)
        strcpy(z, "127.0.0.1");
    if (inet_pton(AF_INET, z, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        *ret_len = sizeof *in;
    } else if (inet_pton(AF_INET6, z, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        *ret_len = sizeof *in6;
    } else {
        return err_set(err, RC_BAD_INPUT, "the engine's host must be an IP address");
    }
    return RC_OK;
}

static void say_hello(struct engine_link *l)
{
    struct err err = {0};
    struct frame f = {.type = FRAME_HELLO, .hello = {.gateway = str_of(l->gateway)}};
    l->phase = LINK_GREETING;
    l->heard_ms = loop_now_ms(l->opts.loop);
    if (frame_write(&l->out, &f, &err) != RC_OK)
        drop(l, err.msg);
}

static void dial(struct engine_link *l)
{
    struct sockaddr_storage a;
    socklen_t len = 0;
    struct err err = {0};
    if (parse_address(str_of(l->address), &a, &len, &err) != RC_OK) {
        drop(l, err.msg);
        return;
    }
    int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) {
        drop(l, strerror(errno));
        return;
    }
    if (a.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    l->io.fd = fd;
    l->phase = LINK_CONNECTING;
    l->heard_ms = loop_now_ms(l->opts.loop);
    int rc = connect(fd, (void *)&a, len);
    if (rc < 0 && errno != EINPROGRESS) {
        drop(l, strerror(errno));
        return;
    }
    l->want_write = true;
    if (loop_io_add(l->opts.loop, &l->io, EPOLLIN | EPOLLOUT, &err) != RC_OK) {
        drop(l, err.msg);
        return;
    }
    loop_timer_set(l->opts.loop, &l->timer, loop_now_ms(l->opts.loop) + ENGINE_PING_MS, NULL);
}

static void flush(struct engine_link *l)
{
    while (l->out.len && !l->broken) {
        ssize_t n = send(l->io.fd, l->out.p, l->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            drop(l, strerror(errno));
            return;
        }
        if (n <= 0)
            break;
        buf_drop(&l->out, (size_t)n);
    }
    bool want = l->out.len > 0;
    if (want != l->want_write) {
        l->want_write = want;
        loop_io_mod(l->opts.loop, &l->io, want ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

/* What was submitted during the turn goes out in one write. */
static bool on_turn(struct loop_hook *h)
{
    struct engine_link *l = h->user;
    if (!l->out.len || l->want_write || l->phase < LINK_GREETING)
        return false;
    flush(l);
    return l->phase == LINK_DOWN; /* its calls may have gone to other links */
}

/* ---- the end of a connection ---- */

static void fail_all(struct engine_link *l)
{
    for (int32_t i = 0; i < ENGINE_CALLS_MAX; i++) {
        struct slot *s = &l->slot[i];
        struct engine_call *c = s->call;
        s->call = NULL;
        s->generation += s->busy;
        s->busy = false;
        if (!c)
            continue;
        c->link = NULL;
        c->on_fail(c, RC_UPSTREAM, NULL, STR("The model's server was lost."));
    }
}

static void come_back_later(struct engine_link *l)
{
    int64_t wait = ENGINE_BACKOFF_MIN;
    for (int32_t i = 0; i < l->fails && wait < ENGINE_BACKOFF_MAX; i++)
        wait *= 2;
    wait = MIN_OF(wait, ENGINE_BACKOFF_MAX);
    wait = wait / 2 + (int64_t)(random_u64() % (uint64_t)(wait / 2 + 1));
    l->fails = MIN_OF(l->fails + 1, 20);
    loop_timer_set(l->opts.loop, &l->timer, loop_now_ms(l->opts.loop) + wait, NULL);
}

/* Safe from anywhere but in the middle of reading frames, which looks at `broken` and ends. */
static void drop(struct engine_link *l, const char *why)
{
    if (!l->broken && (l->phase == LINK_READY || l->fails == 0))
        log_warn("engine.lost", "address=%s error=%s calls=%d", l->address, LOG_STR(str_of(why)),
                 l->state.calls);
    l->broken = true;
    if (l->reading)
        return;
    l->broken = false;
    if (l->io.fd >= 0) {
        loop_io_del(l->opts.loop, &l->io);
        close(l->io.fd);
        l->io.fd = -1;
    }
    l->phase = LINK_DOWN;
    l->want_write = false;
    buf_clear(&l->in);
    buf_clear(&l->out);
    l->state.calls = 0;
    come_back_later(l);
    fail_all(l);
    l->opts.on_change(l, l->opts.user);
}

/* ---- frames ---- */

static struct slot *slot_of(struct engine_link *l, uint64_t rid)
{
    struct slot *s = &l->slot[rid % ENGINE_CALLS_MAX];
    return s->busy && s->generation == (uint32_t)(rid / ENGINE_CALLS_MAX) ? s : NULL;
}

static struct engine_call *end_slot(struct engine_link *l, struct slot *s)
{
    struct engine_call *c = s->call;
    s->call = NULL;
    s->busy = false;
    s->generation++;
    l->state.calls--;
    if (c)
        c->link = NULL;
    return c;
}

static void on_hello(struct engine_link *l, const struct frame_hello_ack *f)
{
    struct err err = {0};
    struct text_model *text = NULL;
    if (text_model_get(l->opts.texts, f->card, &text, &err) != RC_OK) {
        drop(l, err.msg);
        return;
    }
    text_model_unref(l->text);
    l->text = text;
    l->state.n_ctx = f->n_ctx;
    l->state.max_seqs = MAX_OF(f->max_seqs, 1);
    l->state.max_waiting = MAX_OF(f->max_waiting, 0);
    l->state.load = f->load;
    l->phase = LINK_READY;
    l->fails = 0;
    l->state.reconnects++;
    log_info("engine.ready", "address=%s path=%s n_ctx=%d max_seqs=%d", l->address,
             LOG_STR(f->path), f->n_ctx, f->max_seqs);
    l->opts.on_change(l, l->opts.user);
}

static void on_error(struct engine_link *l, const struct frame_error *f)
{
    if (f->rid == 0) {
        char why[200];
        snprintf(why, sizeof why, STR_FMT, STR_ARG(f->message));
        drop(l, why);
        return;
    }
    struct slot *s = slot_of(l, f->rid);
    struct engine_call *c = s ? end_slot(l, s) : NULL;
    if (c)
        c->on_fail(c, f->rc, &f->usage, f->message);
    if (s)
        l->opts.on_change(l, l->opts.user);
}

static void on_done(struct engine_link *l, const struct frame_done *f)
{
    struct slot *s = slot_of(l, f->rid);
    struct engine_call *c = s ? end_slot(l, s) : NULL;
    if (c)
        c->on_done(c, f);
    if (s)
        l->opts.on_change(l, l->opts.user);
}

static void on_frame(struct engine_link *l, const struct frame *f)
{
    struct slot *s;
    switch (f->type) {
    case FRAME_HELLO_ACK:
        if (l->phase == LINK_GREETING)
            on_hello(l, &f->hello_ack);
        else
            drop(l, "a second HELLO_ACK");
        break;
    case FRAME_TOKENS:
        s = slot_of(l, f->tokens.rid);
        if (s && s->call)
            s->call->on_tokens(s->call, &f->tokens);
        break;
    case FRAME_DONE:
        on_done(l, &f->done);
        break;
    case FRAME_ERROR:
        on_error(l, &f->error);
        break;
    case FRAME_STATUS:
        l->state.load = f->status.load;
        break;
    default:
        drop(l, "a frame that engines do not send");
    }
}

static void read_frames(struct engine_link *l)
{
    size_t at = 0;
    l->reading = true;
    while (!l->broken) {
        struct frame f;
        struct err err = {0};
        size_t used = 0;
        arena_reset(&l->arena);
        enum rc rc =
            frame_read(str_sub(buf_view(&l->in), at, SIZE_MAX), &l->arena, &f, &used, &err);
        if (rc == RC_AGAIN)
            break;
        if (rc != RC_OK) {
            drop(l, err.msg);
            break;
        }
        at += used;
        l->heard_ms = loop_now_ms(l->opts.loop);
        on_frame(l, &f);
    }
    l->reading = false;
    buf_drop(&l->in, at);
}

static void receive(struct engine_link *l)
{
    enum { BLOCK = 64 * 1024, BLOCKS = 16 };
    for (int i = 0; i < BLOCKS && !l->broken; i++) {
        char *to = buf_reserve(&l->in, BLOCK);
        if (!to) {
            drop(l, "a frame is too large");
            return;
        }
        ssize_t n = recv(l->io.fd, to, BLOCK, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            break;
        if (n <= 0) {
            drop(l, n == 0 ? "the engine closed the connection" : strerror(errno));
            return;
        }
        l->in.len += (size_t)n;
        read_frames(l);
        if (l->broken) { /* seen while frames were read */
            drop(l, "the connection is broken");
            return;
        }
        if (n < BLOCK)
            break;
    }
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct engine_link *l = io->user;
    if (l->phase == LINK_CONNECTING) {
        int fault = 0;
        socklen_t len = sizeof fault;
        getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &fault, &len);
        if (fault || (events & (EPOLLERR | EPOLLHUP))) {
            drop(l, strerror(fault ? fault : ECONNRESET));
            return;
        }
        say_hello(l);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        receive(l);
    if (l->phase >= LINK_GREETING && (events & EPOLLOUT || l->out.len))
        flush(l);
}

/* ---- time ---- */

static void on_time(struct loop_timer *t)
{
    struct engine_link *l = t->user;
    int64_t now = loop_now_ms(l->opts.loop);
    if (l->phase == LINK_DOWN) {
        dial(l);
        return;
    }
    int64_t patience = l->phase == LINK_READY ? ENGINE_SILENCE_MS : ENGINE_HELLO_MS;
    if (now - l->heard_ms > patience) {
        drop(l, "the engine does not answer");
        return;
    }
    if (l->phase == LINK_READY) {
        struct err err = {0};
        struct frame f = {.type = FRAME_PING, .ping = {.nonce = ++l->nonce}};
        if (frame_write(&l->out, &f, &err) != RC_OK) {
            drop(l, err.msg);
            return;
        }
    }
    loop_timer_set(l->opts.loop, t, now + ENGINE_PING_MS, NULL);
}

/* ---- calls ---- */

static struct slot *free_slot(struct engine_link *l, uint64_t *ret_rid)
{
    for (int32_t i = 0; i < ENGINE_CALLS_MAX; i++) {
        int32_t at = (l->next_slot + i) % ENGINE_CALLS_MAX;
        if (l->slot[at].busy)
            continue;
        l->next_slot = (at + 1) % ENGINE_CALLS_MAX;
        *ret_rid = (uint64_t)l->slot[at].generation * ENGINE_CALLS_MAX + (uint64_t)at;
        return &l->slot[at];
    }
    return NULL;
}

enum rc engine_call_submit(struct engine_link *l, struct engine_call *c, struct frame_submit *s,
                           struct err *err)
{
    ASSERT(!c->link);
    struct slot *slot = l->phase == LINK_READY && !l->broken ? free_slot(l, &s->rid) : NULL;
    if (!slot)
        return err_set(err, RC_UNAVAILABLE, "the engine at %s has no room", l->address);
    struct frame f = {.type = FRAME_SUBMIT, .submit = *s};
    enum rc rc = frame_write(&l->out, &f, err);
    if (rc != RC_OK)
        return rc;
    slot->busy = true;
    slot->call = c;
    c->link = l;
    c->rid = s->rid;
    l->state.calls++;
    return RC_OK;
}

void engine_call_cancel(struct engine_call *c)
{
    struct engine_link *l = c->link;
    if (!l || l->phase != LINK_READY)
        return;
    struct err err = {0};
    struct frame f = {.type = FRAME_CANCEL, .cancel = {.rid = c->rid}};
    if (frame_write(&l->out, &f, &err) != RC_OK)
        log_warn("engine.cancel", "address=%s error=%s", l->address, LOG_STR(str_of(err.msg)));
}

void engine_call_forget(struct engine_call *c)
{
    if (!c->link)
        return;
    engine_call_cancel(c);
    struct slot *s = slot_of(c->link, c->rid);
    ASSERT(s && s->call == c);
    s->call = NULL; /* stays busy until the engine says that it is over */
    c->link = NULL;
}

/* ---- life ---- */

enum rc engine_link_open(const struct engine_link_opts *opts, struct engine_link **ret,
                         struct err *err)
{
    struct engine_link *l = calloc(1, sizeof *l);
    if (!l || opts->address.len >= sizeof l->address) {
        free(l);
        return err_set(err, RC_NO_MEMORY, "no memory for a connection to an engine");
    }
    l->opts = *opts;
    memcpy(l->address, opts->address.p, opts->address.len);
    snprintf(l->gateway, sizeof l->gateway, STR_FMT, STR_ARG(opts->gateway));
    l->opts.address = str_of(l->address);
    l->io = (struct loop_io){.fd = -1, .on_ready = on_ready, .user = l};
    l->timer = (struct loop_timer){.on_time = on_time, .user = l};
    l->hook = (struct loop_hook){.on_turn = on_turn, .user = l};
    l->slot[0].generation = 1; /* rid 0 means the connection */
    buf_init(&l->in, FRAME_BODY_MAX + FRAME_HEADER_BYTES + 128 * KIB);
    buf_init(&l->out, ENGINE_OUT_MAX);
    arena_init(&l->arena, 64 * MIB);
    loop_hook_add(opts->loop, &l->hook);
    loop_timer_set(opts->loop, &l->timer, loop_now_ms(opts->loop), NULL);
    *ret = l;
    return RC_OK;
}

void engine_link_close(struct engine_link *l)
{
    if (!l)
        return;
    ASSERT(!l->reading);
    l->phase = LINK_DOWN;
    l->state.calls = 0;
    fail_all(l);
    loop_timer_clear(l->opts.loop, &l->timer);
    loop_hook_del(l->opts.loop, &l->hook);
    if (l->io.fd >= 0) {
        loop_io_del(l->opts.loop, &l->io);
        close(l->io.fd);
    }
    text_model_unref(l->text);
    buf_done(&l->in);
    buf_done(&l->out);
    arena_done(&l->arena);
    free(l);
}

struct str engine_link_address(const struct engine_link *l)
{
    return str_of(l->address);
}

bool engine_link_ready(const struct engine_link *l)
{
    return l->phase == LINK_READY && !l->broken;
}

struct text_model *engine_link_text(const struct engine_link *l)
{
    return l->text;
}

const struct engine_link_state *engine_link_state(const struct engine_link *l)
{
    return &l->state;
}
