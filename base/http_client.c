/* http_client.c - libcurl's multi interface on our loop.
 *
 * curl tells which sockets to watch (on_socket) and when to call back (on_curl_timer). A call that
 * fails at once still reports through on_done from the loop, so callers have one path. */
#include "base/http_client.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/units.h"

enum { CONNECT_MS = 5000, TOTAL_MS = 60000, BODY_MAX = 16 * 1024 * 1024 };

struct watched {
    struct loop_io io;
    struct http_client *client;
    struct watched *next_dead;
};

struct http_call {
    struct http_client *client;
    struct http_call *prev, *next;
    CURL *easy;
    struct curl_slist *headers;
    struct http_call_opts opts;
    struct buf sent, body;
    struct loop_timer idle;
    struct err err;
    enum rc stop_rc; /* why we stopped it ourselves, or RC_OK */
    bool head_told, paused;
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct loop_hook hook;
    struct http_call *calls;
    struct watched *dead; /* freed at the turn's end: the loop may still hold their events */
    int32_t n_calls, max_calls;
    bool look; /* finished transfers may be waiting */
};

static void call_free(struct http_call *call)
{
    struct http_client *c = call->client;
    if (c) {
        loop_timer_clear(c->loop, &call->idle);
        if (call->prev)
            call->prev->next = call->next;
        else
            c->calls = call->next;
        if (call->next)
            call->next->prev = call->prev;
        c->n_calls--;
        curl_multi_remove_handle(c->multi, call->easy);
    }
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    buf_done(&call->sent);
    buf_done(&call->body);
    free(call);
}

static int http_status(struct http_call *call)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static void tell_head(struct http_call *call)
{
    if (call->head_told)
        return;
    call->head_told = true;
    if (call->opts.on_head)
        call->opts.on_head(call->opts.user, http_status(call));
}

static void stop(struct http_call *call, enum rc rc, const char *why)
{
    call->stop_rc = err_set(&call->err, rc, "%s", why);
}

static void set_idle(struct http_call *call)
{
    if (call->client && call->opts.idle_ms > 0)
        loop_timer_set(call->client->loop, &call->idle,
                       loop_now_ms(call->client->loop) + call->opts.idle_ms, NULL);
}

static size_t on_bytes(char *p, size_t size, size_t n, void *user)
{
    struct http_call *call = user;
    size_t len = size * n;
    tell_head(call);
    set_idle(call);
    if (!call->opts.on_data) {
        if (buf_add(&call->body, p, len))
            return len;
        stop(call, RC_TOO_LARGE, "the answer is larger than allowed");
        return 0;
    }
    switch (call->opts.on_data(call->opts.user, str_make(p, len))) {
    case HTTP_GO_ON:
        return len;
    case HTTP_PAUSE:
        call->paused = true;
        if (call->client)
            loop_timer_clear(call->client->loop, &call->idle);
        return CURL_WRITEFUNC_PAUSE;
    case HTTP_STOP:
        break;
    }
    stop(call, RC_CLIENT_GONE, "stopped by the caller");
    return 0;
}

static enum rc rc_of_curl(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return RC_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return RC_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return RC_UNAVAILABLE;
    case CURLE_OUT_OF_MEMORY:
        return RC_NO_MEMORY;
    default:
        return RC_UPSTREAM;
    }
}

static enum rc outcome(struct http_call *call, CURLcode code)
{
    if (call->stop_rc != RC_OK)
        return call->stop_rc;
    enum rc rc = rc_of_curl(code);
    if (rc != RC_OK)
        err_set(&call->err, rc, "%s", curl_easy_strerror(code));
    return rc;
}

static void finish(struct http_call *call, CURLcode code)
{
    enum rc rc = outcome(call, code);
    if (rc == RC_OK)
        tell_head(call); /* an answer without a body */
    struct http_call_opts opts = call->opts;
    opts.on_done(opts.user, rc, http_status(call), buf_view(&call->body), &call->err);
    call_free(call);
}

static void reap(struct http_client *c)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        finish(call, msg->data.result);
    }
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct watched *w = io->user;
    struct http_client *c = w->client;
    int mask = (events & EPOLLIN ? CURL_CSELECT_IN : 0) |
               (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(c->multi, io->fd, mask, &running);
    c->look = true;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *of_socket)
{
    (void)easy;
    struct http_client *c = user;
    struct watched *w = of_socket;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            loop_io_del(c->loop, &w->io);
            w->next_dead = c->dead;
            c->dead = w;
            curl_multi_assign(c->multi, fd, NULL);
        }
        return 0;
    }
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
    if (w) {
        loop_io_mod(c->loop, &w->io, events);
        return 0;
    }
    w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    w->client = c;
    w->io = (struct loop_io){.fd = fd, .on_ready = on_io, .user = w};
    if (loop_io_add(c->loop, &w->io, events, NULL) != RC_OK) {
        free(w);
        return -1;
    }
    curl_multi_assign(c->multi, fd, w);
    return 0;
}

static int on_curl_timer(CURLM *multi, long wait_ms, void *user)
{
    (void)multi;
    struct http_client *c = user;
    if (wait_ms < 0)
        loop_timer_clear(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, clock_mono_ms(loop_clock(c->loop)) + wait_ms, NULL);
    return 0;
}

static void on_time(struct loop_timer *t)
{
    struct http_client *c = t->user;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    c->look = true;
}

static bool on_turn(struct loop_hook *h)
{
    struct http_client *c = h->user;
    while (c->dead) {
        struct watched *w = c->dead;
        c->dead = w->next_dead;
        free(w);
    }
    if (!c->look)
        return false;
    c->look = false;
    reap(c);
    return true;
}

enum rc http_client_open(struct loop *l, int32_t max_calls, struct http_client **ret,
                         struct err *err)
{
    struct http_client *c = calloc(1, sizeof *c);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!c || !(c->multi = curl_multi_init())) {
        free(c);
        return err_set(err, RC_NO_MEMORY, "no memory for an HTTP client");
    }
    c->loop = l;
    c->max_calls = max_calls;
    c->timer = (struct loop_timer){.on_time = on_time, .user = c};
    c->hook = (struct loop_hook){.on_turn = on_turn, .user = c};
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)MAX_OF(max_calls, 16));
    loop_hook_add(l, &c->hook);
    *ret = c;
    return RC_OK;
}

void http_client_close(struct http_client *c)
{
    if (!c)
        return;
    while (c->calls) {
        stop(c->calls, RC_CLIENT_GONE, "the client is closing");
        finish(c->calls, CURLE_OK);
    }
    curl_multi_cleanup(c->multi);
    on_turn(&c->hook);
    loop_timer_clear(c->loop, &c->timer);
    loop_hook_del(c->loop, &c->hook);
    free(c);
}

static void on_idle(struct loop_timer *t)
{
    struct http_call *call = t->user;
    stop(call, RC_TIMEOUT, "no byte came in time");
    finish(call, CURLE_OPERATION_TIMEDOUT);
}

static enum rc set_up(struct http_call *call, struct err *err)
{
    const struct http_call_opts *o = &call->opts;
    CURL *e = call->easy;
    if (!buf_str(&call->sent, o->body))
        return err_set(err, RC_NO_MEMORY, "no memory for a request body");
    for (const char *const *h = o->headers; h && *h; h++) {
        struct curl_slist *more = curl_slist_append(call->headers, *h);
        if (!more)
            return err_set(err, RC_NO_MEMORY, "no memory for request headers");
        call->headers = more;
    }
    struct curl_slist *more = curl_slist_append(call->headers, "Expect:");
    if (!more)
        return err_set(err, RC_NO_MEMORY, "no memory for request headers");
    call->headers = more;
    curl_easy_setopt(e, CURLOPT_URL, o->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the environment's proxies are not for us */
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, o->method);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(o->connect_ms ? o->connect_ms : CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(o->total_ms ? o->total_ms : TOTAL_MS));
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    if (o->unix_path)
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, o->unix_path);
    if (call->sent.len || strcmp(o->method, "POST") == 0 || strcmp(o->method, "PATCH") == 0) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->sent.p ? call->sent.p : "");
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->sent.len);
    }
    return RC_OK;
}

static enum rc call_new(const struct http_call_opts *opts, struct http_call **ret, struct err *err)
{
    struct http_call *call = calloc(1, sizeof *call);
    if (!call || !(call->easy = curl_easy_init())) {
        free(call);
        return err_set(err, RC_NO_MEMORY, "no memory for an HTTP call");
    }
    call->opts = *opts;
    buf_init(&call->sent, SIZE_MAX);
    buf_init(&call->body, opts->max_body ? opts->max_body : (size_t)BODY_MAX);
    enum rc rc = set_up(call, err);
    if (rc == RC_OK)
        *ret = call;
    else
        call_free(call);
    return rc;
}

enum rc http_call_start(struct http_client *c, const struct http_call_opts *opts,
                        struct http_call **ret, struct err *err)
{
    if (c->n_calls >= c->max_calls)
        return err_set(err, RC_UNAVAILABLE, "%d HTTP calls are under way, no more are allowed",
                       c->n_calls);
    struct http_call *call = NULL;
    enum rc rc = call_new(opts, &call, err);
    if (rc != RC_OK)
        return rc;
    CURLMcode code = curl_multi_add_handle(c->multi, call->easy);
    if (code != CURLM_OK) {
        call_free(call);
        return err_set(err, RC_INTERNAL, "cannot start an HTTP call: %s",
                       curl_multi_strerror(code));
    }
    call->client = c;
    call->next = c->calls;
    if (call->next)
        call->next->prev = call;
    c->calls = call;
    c->n_calls++;
    c->look = true; /* a call may fail while it is added */
    call->idle = (struct loop_timer){.on_time = on_idle, .user = call};
    set_idle(call);
    if (ret)
        *ret = call;
    return RC_OK;
}

void http_call_resume(struct http_call *call)
{
    if (!call->paused)
        return;
    call->paused = false;
    set_idle(call);
    curl_easy_pause(call->easy, CURLPAUSE_CONT);
    call->client->look = true;
}

void http_call_cancel(struct http_call *call)
{
    if (call)
        call_free(call);
}

struct waited {
    struct buf *body;
    struct err *err;
    enum rc rc;
    int status;
};

static void on_waited(void *user, enum rc rc, int status, struct str body, const struct err *err)
{
    struct waited *w = user;
    w->rc = rc;
    w->status = status;
    if (rc != RC_OK && w->err)
        *w->err = *err;
    else if (w->body && !buf_str(w->body, body))
        w->rc = err_set(w->err, RC_TOO_LARGE, "the answer is larger than allowed");
}

enum rc http_call_wait(const struct http_call_opts *opts, int *ret_status, struct buf *ret_body,
                       struct err *err)
{
    struct waited w = {.body = ret_body, .err = err};
    struct http_call_opts o = *opts;
    if (!o.on_done) {
        o.on_done = on_waited;
        o.user = o.on_data ? o.user : &w;
    }
    ASSERT(!o.on_data || opts->on_done); /* one user pointer cannot serve two owners */
    struct http_call *call = NULL;
    enum rc rc = call_new(&o, &call, err);
    if (rc != RC_OK)
        return rc;
    CURLcode code = curl_easy_perform(call->easy);
    rc = outcome(call, code);
    if (rc != RC_OK && err)
        *err = call->err;
    int status = http_status(call);
    finish(call, code);
    if (rc == RC_OK && o.on_done == on_waited)
        rc = w.rc;
    if (rc == RC_OK && ret_status)
        *ret_status = status;
    return rc;
}
