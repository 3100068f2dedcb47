/* http_server.c - libmicrohttpd on our loop.
 *
 * The daemon runs without threads of its own: its epoll descriptor is one io of our loop, and
 * MHD_run() does what is ready. Two traps of 0.9.75 shape this file (GATEWAY D2): a resumed
 * connection does not wake the outer epoll, so every resume sets `dirty` and the turn's hook runs
 * the daemon until nothing is dirty; and a suspended connection is deaf, so each socket is also
 * watched by our own epoll for a hang-up.
 *
 *   HEAD ──headers──▶ BODY ──whole──▶ WAITING ──http_reply──▶ REPLYING ──▶ closed
 *                                        └──http_stream_begin──▶ STREAMING ──▶ closed
 */
#include "base/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http_guard.h"
#include "base/http_req.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"

enum { SWEEP_MS = 500 };

/* ---- a request's life ---------------------------------------------------------------------- */

static void refuse(struct http_req *r, const struct err *err)
{
    struct http_server *s = r->conn->server;
    SCOPED_BUF body;
    buf_init(&body, 4 * KIB);
    if (s->opts.on_error)
        s->opts.on_error(r, s->opts.user, err, &body);
    http_reply_close(r, rc_http_status(err->rc), "application/json", buf_view(&body));
}

/* The request line is there: the first we hear of a request. The raw target is only to be had here.
 */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    (void)cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *c = info ? info->socket_context : NULL;
    struct http_req *r = c ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return NULL;
    struct http_server *s = c->server;
    r->conn = c;
    c->req = r;
    c->mhd = mhd;
    c->since_ms = loop_now_ms(s->loop);
    arena_init(&r->arena, s->opts.arena_cap);
    struct str target = str_of(uri);
    target.len = strcspn(uri, "?");
    r->target = arena_dup(&r->arena, target);
    return r;
}

/* The library parses in place, so its strings lie in the request as it came: each name must begin
 * CR LF behind the end of what was before it, and the last value must end CR LF CR LF before the
 * end of the block. That is how lines are seen which it takes for something else: bare LF, folded
 * lines, a NUL (the value ends there), and ": x", which ends its header block and makes a second
 * request of the lines below. */
struct guard_walk {
    struct http_guard guard;
    const char *end; /* of what was last: the request line, or a value */
    struct err *err;
    enum rc rc;
};

static enum rc broken_line(struct err *err)
{
    return err_set(err, RC_BAD_INPUT, "each header must be one line, NAME: VALUE, ended by CR LF");
}

static enum MHD_Result guard_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    struct guard_walk *w = cls;
    w->rc = http_guard_add(&w->guard, str_make(name, name_len), str_make(value, value_len), w->err);
    if (w->rc == RC_OK && (!value || name != w->end + 2))
        w->rc = broken_line(w->err);
    w->end = value + value_len;
    return w->rc == RC_OK ? MHD_YES : MHD_NO;
}

static enum rc check_head(struct http_req *r, const char *method, const char *version,
                          struct err *err)
{
    struct http_server *s = r->conn->server;
    struct guard_walk w = {.end = version + strlen(version), .err = err, .rc = RC_OK};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    http_guard_init(&w.guard);
    MHD_get_connection_values_n(r->conn->mhd, MHD_HEADER_KIND, guard_header, &w);
    if (w.rc == RC_OK && (!info || method + info->header_size != w.end + 4))
        w.rc = broken_line(err);
    if (w.rc == RC_OK)
        w.rc = http_guard_end(&w.guard, str_of(version), err);
    if (w.rc != RC_OK)
        return w.rc;
    r->chunked = w.guard.chunked;
    if (!r->target.p)
        return err_set(err, RC_NO_MEMORY, "the request target is too long");
    if (str_find(r->target, STR("%00")) >= 0)
        return err_set(err, RC_BAD_INPUT, "the path has a NUL byte");
    if (w.guard.length > (int64_t)s->opts.max_body)
        return err_set(err, RC_TOO_LARGE, "the body has %lld bytes, at most %zu are allowed",
                       (long long)w.guard.length, s->opts.max_body);
    return s->opts.on_head ? s->opts.on_head(r, s->opts.user, err) : RC_OK;
}

static enum MHD_Result queue_reply(struct http_req *r)
{
    struct MHD_Response *reply = r->reply;
    r->reply = NULL;
    if (r->phase != REQ_STREAMING)
        r->phase = REQ_REPLYING;
    r->conn->since_ms = loop_now_ms(r->conn->server->loop);
    enum MHD_Result ok = MHD_queue_response(r->conn->mhd, (unsigned)r->status, reply);
    MHD_destroy_response(reply);
    return ok;
}

static enum MHD_Result take_head(struct http_req *r, const char *method, const char *url,
                                 const char *version)
{
    struct err err = {0};
    r->phase = REQ_BODY;
    r->conn->since_ms = loop_now_ms(r->conn->server->loop);
    r->method = arena_dup(&r->arena, str_of(method));
    r->path = arena_dup(&r->arena, str_of(url));
    buf_init(&r->body, r->conn->server->opts.max_body);
    enum rc rc = r->path.p ? check_head(r, method, version, &err)
                           : err_set(&err, RC_NO_MEMORY, "the request target is too long");
    if (rc == RC_OK)
        return MHD_YES;
    err.rc = rc;
    r->in_call = true;
    refuse(r, &err);
    r->in_call = false;
    return queue_reply(r);
}

static enum MHD_Result take_end(struct http_req *r)
{
    struct http_server *s = r->conn->server;
    if (r->phase == REQ_BODY) {
        r->phase = REQ_WAITING;
        r->in_call = true;
        if (r->body.failed) {
            struct err err = {0};
            err_set(&err, RC_TOO_LARGE, "the body has more than %zu bytes", s->opts.max_body);
            refuse(r, &err);
        } else {
            r->accepted = true;
            s->active++;
            s->opts.on_request(r, s->opts.user);
        }
        r->in_call = false;
    }
    if (r->reply)
        return queue_reply(r);
    if (s->closing)
        return MHD_NO;
    r->suspended = true;
    MHD_suspend_connection(r->conn->mhd);
    return MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_len, void **context)
{
    (void)cls;
    (void)mhd;
    struct http_req *r = *context;
    if (!r)
        return MHD_NO; /* out of memory at the request line */
    if (r->phase == REQ_HEAD)
        return take_head(r, method, url, version);
    if (*data_len == 0)
        return take_end(r);
    /* The library answers only what it has read: as much again is dropped, and then the line. */
    if (r->body.failed)
        r->dropped += *data_len;
    else
        buf_add(&r->body, data, *data_len);
    *data_len = 0;
    return r->dropped <= r->conn->server->opts.max_body ? MHD_YES : MHD_NO;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode how)
{
    (void)cls;
    (void)mhd;
    struct http_req *r = *context;
    if (!r)
        return;
    *context = NULL;
    struct http_conn *c = r->conn;
    struct http_server *s = c->server;
    c->req = NULL;
    c->served = true;
    c->since_ms = loop_now_ms(s->loop);
    if (r->accepted) {
        s->active--;
        r->gone = r->gone || how != MHD_REQUEST_TERMINATED_COMPLETED_OK;
        if (s->opts.on_close)
            s->opts.on_close(r, s->opts.user, r->gone || r->cut);
    }
    if (r->reply)
        MHD_destroy_response(r->reply);
    buf_done(&r->body);
    buf_done(&r->out);
    arena_done(&r->arena);
    free(r);
}

/* ---- connections --------------------------------------------------------------------------- */

static void client_is_gone(struct http_conn *c)
{
    struct http_req *r = c->req;
    if (!r || r->gone || !r->accepted)
        return; /* the library notices by itself */
    r->gone = true;
    if (r->on_gone)
        r->on_gone(r);
}

static void on_watch(struct loop_io *io, uint32_t events)
{
    struct http_conn *c = io->user;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        loop_io_del(c->server->loop, io);
        client_is_gone(c);
    }
}

static void peer_text(struct http_conn *c, const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, c->peer,
                  sizeof c->peer);
    else if (a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, c->peer,
                  sizeof c->peer);
}

static void conn_begin(struct http_server *s, struct MHD_Connection *mhd, void **context)
{
    struct http_conn *c = calloc(1, sizeof *c);
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *addr =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    *context = c;
    if (!c || !fd)
        return;
    c->server = s;
    c->mhd = mhd;
    c->since_ms = loop_now_ms(s->loop);
    if (addr)
        peer_text(c, addr->client_addr);
    int on = 1;
    setsockopt(fd->connect_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->watch = (struct loop_io){.fd = fd->connect_fd, .on_ready = on_watch, .user = c};
    struct err err;
    if (loop_io_add(s->loop, &c->watch, EPOLLRDHUP | EPOLLET, &err) != RC_OK)
        log_warn("http.watch", "error=%s", LOG_STR(str_of(err.msg)));
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
}

static void conn_end(struct http_server *s, struct http_conn *c)
{
    loop_io_del(s->loop, &c->watch);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_begin(s, mhd, context);
    else if (*context)
        conn_end(s, *context);
}

static int64_t patience_ms(const struct http_conn *c)
{
    const struct http_server_opts *o = &c->server->opts;
    const struct http_req *r = c->req;
    if (!r)
        return c->served ? o->idle_ms : o->head_ms;
    switch (r->phase) {
    case REQ_HEAD:
        return o->head_ms;
    case REQ_BODY:
        return o->body_ms;
    case REQ_WAITING:
        return INT64_MAX; /* the handler has deadlines of its own */
    case REQ_STREAMING:
        return http_stream_unsent(r) || r->ended ? o->write_stall_ms : INT64_MAX;
    case REQ_REPLYING:
        return o->write_stall_ms;
    }
    return INT64_MAX;
}

static void on_sweep(struct loop_timer *t)
{
    struct http_server *s = t->user;
    int64_t now = loop_now_ms(s->loop);
    for (struct http_conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        int64_t patience = patience_ms(c);
        if (patience <= 0 || patience == INT64_MAX || now - c->since_ms < patience)
            continue;
        shutdown(c->watch.fd, SHUT_RDWR); /* the library closes it on its next look */
        c->since_ms = now;
        s->dirty = true;
        client_is_gone(c);
    }
    loop_timer_set(s->loop, t, now + SWEEP_MS, NULL);
}

/* ---- the server ---------------------------------------------------------------------------- */

static void on_daemon_ready(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct http_server *s = io->user;
    s->dirty = true; /* run once a turn, after everybody has written */
}

static bool on_turn(struct loop_hook *h)
{
    struct http_server *s = h->user;
    MHD_UNSIGNED_LONG_LONG wait;
    if (!s->dirty)
        return false;
    s->dirty = false;
    MHD_run(s->daemon);
    if (MHD_get_timeout(s->daemon, &wait) == MHD_YES && wait == 0)
        s->dirty = true;
    return true;
}

static enum rc listen_on(const struct http_server_opts *o, int *ret_fd, uint16_t *ret_port,
                         struct err *err)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t len;
    if (inet_pton(AF_INET, o->bind, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(o->port);
        len = sizeof a.v4;
    } else if (inet_pton(AF_INET6, o->bind, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(o->port);
        len = sizeof a.v6;
    } else {
        return err_field(err, RC_BAD_INPUT, "bind", "\"%s\" is not an IPv4 or IPv6 address",
                         o->bind);
    }
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0)
        return err_errno(err, errno, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (o->reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, &a.any, len) < 0 || listen(fd, 1024) < 0 || getsockname(fd, &a.any, &len) < 0) {
        enum rc rc = err_errno(err, errno, "cannot listen on %s port %u", o->bind, o->port);
        close(fd);
        return rc;
    }
    *ret_port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
    *ret_fd = fd;
    return RC_OK;
}

static void on_library_log(void *cls, const char *fmt, va_list args)
{
    (void)cls;
    char text[256];
    vsnprintf(text, sizeof text, fmt, args); /* NOLINT: the library's own format */
    log_debug("http.library", "%s", LOG_STR(str_trim(str_of(text))));
}

static enum rc start_daemon(struct http_server *s, int fd, struct err *err)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access, s,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, s, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        s, MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)s->opts.max_conns, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONN_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!s->daemon) {
        close(fd);
        return err_set(err, RC_INTERNAL, "the HTTP library does not start");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    s->io = (struct loop_io){.fd = info->epoll_fd, .on_ready = on_daemon_ready, .user = s};
    return loop_io_add(s->loop, &s->io, EPOLLIN, err);
}

enum rc http_server_open(struct loop *l, const struct http_server_opts *opts,
                         struct http_server **ret, struct err *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, RC_NO_MEMORY, "no memory for an HTTP server");
    s->loop = l;
    s->opts = *opts;
    s->hook = (struct loop_hook){.on_turn = on_turn, .user = s};
    s->sweep = (struct loop_timer){.on_time = on_sweep, .user = s};
    int fd = -1;
    enum rc rc = listen_on(opts, &fd, &s->port, err);
    if (rc == RC_OK)
        rc = start_daemon(s, fd, err);
    if (rc == RC_OK)
        rc = loop_timer_set(l, &s->sweep, loop_now_ms(l) + SWEEP_MS, err);
    if (rc != RC_OK) {
        http_server_close(s);
        return rc;
    }
    loop_hook_add(l, &s->hook);
    *ret = s;
    return RC_OK;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

int32_t http_server_active(const struct http_server *s)
{
    return s->active;
}

void http_server_quiesce(struct http_server *s)
{
    if (s->quiet)
        return;
    s->quiet = true;
    int fd = MHD_quiesce_daemon(s->daemon);
    if (fd >= 0)
        close(fd);
}

void http_server_close(struct http_server *s)
{
    if (!s)
        return;
    s->closing = true;
    if (s->daemon) {
        http_server_quiesce(s);
        /* The library aborts the process when it is stopped with a suspended connection. */
        for (struct http_conn *c = s->conns; c; c = c->next)
            if (c->req) {
                c->req->gone = true;
                c->req->cut = true;
                http_req_wake(c->req);
            }
        MHD_run(s->daemon);
        loop_io_del(s->loop, &s->io);
        MHD_stop_daemon(s->daemon);
    }
    loop_timer_clear(s->loop, &s->sweep);
    loop_hook_del(s->loop, &s->hook);
    free(s);
}
