#include "gateway/worker.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/units.h"
#include "gateway/caller.h"
#include "gateway/guard.h"
#include "gateway/req.h"
#include "gateway/route.h"
#include "gateway/stats.h"

enum { SCRATCH_MAX = 64 * 1024 * 1024, UPSTREAM_CALLS_MAX = 4096, DRAIN_LOOK_MS = 10 };

/* ---- dispatch ---- */

static void options(struct worker *w, struct http_req *http)
{
    http_add_header(http, "Access-Control-Allow-Origin", "*");
    http_add_header(http, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    http_add_header(http, "Access-Control-Allow-Headers",
                    http_header(http, "Access-Control-Request-Headers").p
                        ? http_header(http, "Access-Control-Request-Headers").p
                        : "Authorization, Content-Type, X-Request-ID, x-api-key");
    http_add_header(http, "Access-Control-Max-Age", "86400");
    metrics_add(&w->metrics->http[2], 1);
    http_reply(http, 204, NULL, STR_NONE);
}

/* Ready: there are tables to check keys with. Whether a model runs is the model's own answer. */
static void ready(struct worker *w, struct http_req *http)
{
    bool ok = w->tables && !atomic_load(&w->gate->draining);
    gate_reply(w, http, ok ? 200 : 503,
               ok ? STR("{\"object\":\"health\",\"status\":\"ready\",\"message\":\"ready\"}")
                  : STR("{\"object\":\"health\",\"status\":\"not ready\",\"message\":\"not "
                        "ready\"}"));
}

static void metrics(struct worker *w, struct http_req *http)
{
    struct buf *b = &w->scratch;
    stats_print(w->gate, b);
    http_reply(http, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(b));
    buf_clear(b);
}

static void on_request(struct http_req *http, void *user)
{
    struct worker *w = user;
    struct route route = {0};
    struct err err = {0};
    enum rc rc = route_find(http_method(http), http_target(http), http_arena(http), &route, &err);
    if (rc != RC_OK) {
        struct fault f = fault_of(rc, &err, NULL);
        if (route.allow)
            http_add_header(http, "Allow", route.allow);
        gate_fail(w, http, &f);
        return;
    }
    switch (route.kind) {
    case ROUTE_CHAT:
        req_begin(w, http, CHAT_CHAT);
        break;
    case ROUTE_COMPLETIONS:
        req_begin(w, http, CHAT_TEXT);
        break;
    case ROUTE_MODELS:
        caller_begin(w, http, STR_NONE, h_models_list);
        break;
    case ROUTE_MODEL:
        caller_begin(w, http, route.arg, h_models_get);
        break;
    case ROUTE_TOKENIZE:
        caller_begin(w, http, STR_NONE, h_tokenize);
        break;
    case ROUTE_LIVE:
        gate_reply(w, http, 200,
                   STR("{\"object\":\"health\",\"status\":\"live\",\"message\":\"live\"}"));
        break;
    case ROUTE_READY:
        ready(w, http);
        break;
    case ROUTE_METRICS:
        metrics(w, http);
        break;
    case ROUTE_OPTIONS:
        options(w, http);
        break;
    }
}

/* ---- tables ---- */

static void on_tables(struct loop_post *p)
{
    struct worker *w = p->user;
    tables_unref(w->tables);
    w->tables = replica_get(w->gate->replica);
    pools_sync(w->pools, w->tables);
}

static void on_seat(struct pool_item *it, struct engine_link *link)
{
    answer_send(it->user, link);
}

/* ---- the end ---- */

/* First the running requests may end by themselves, then they are given up, and at last nobody is
 * waited for. */
static void on_drain_time(struct loop_timer *t)
{
    struct worker *w = t->user;
    int64_t now = loop_now_ms(w->loop);
    bool empty = http_server_active(w->server) == 0;
    if (empty || now > w->drain_until_ms + 2LL * w->gate->conf.drain_ms + 3000) {
        if (!empty)
            log_error("worker.drain", "worker=%d left=%d", w->index, http_server_active(w->server));
        loop_stop(w->loop);
        return;
    }
    for (struct req *r = w->reqs, *next; now >= w->drain_until_ms && r; r = next) {
        next = r->next;
        if (r->state != REQ_LINED && r->state != REQ_SENT && r->state != REQ_STREAMING)
            continue;
        struct req_end end = {
            .outcome = r->state == REQ_LINED ? OUTCOME_REFUSED : OUTCOME_TIMEOUT,
            .fault = fault_make(RC_UNAVAILABLE, NULL, NULL, "The gateway is shutting down.")};
        req_give_up(r, &end);
    }
    loop_timer_set(w->loop, t, now + DRAIN_LOOK_MS, NULL);
}

static void on_drain(struct loop_post *p)
{
    struct worker *w = p->user;
    http_server_quiesce(w->server);
    w->drain_until_ms = loop_now_ms(w->loop) + w->gate->conf.shutdown_ms;
    loop_timer_set(w->loop, &w->drain_timer, loop_now_ms(w->loop), NULL);
}

void worker_drain(struct worker *w)
{
    loop_post(w->loop, &w->drain_post);
}

/* ---- life ---- */

static enum rc open_server(struct worker *w, struct err *err)
{
    const struct gate_conf *c = &w->gate->conf;
    struct http_server_opts opts = {.bind = c->bind,
                                    .port = c->port,
                                    .reuse_port = true,
                                    .max_conns = c->max_conns,
                                    .max_body = c->max_body,
                                    .arena_cap = c->arena_cap,
                                    .stream_max = c->stream_max,
                                    .head_ms = 10000,
                                    .body_ms = 30000,
                                    .idle_ms = 75000,
                                    .write_stall_ms = 30000,
                                    .on_head = guard_head,
                                    .on_request = on_request,
                                    .on_error = guard_error,
                                    .user = w};
    enum rc rc = http_server_open(w->loop, &opts, &w->server, err);
    if (rc == RC_OK)
        w->gate->conf.port = http_server_port(w->server);
    return rc;
}

static enum rc open_parts(struct worker *w, struct err *err)
{
    struct gateway *g = w->gate;
    enum rc rc = loop_open(g->clock, &w->loop, err);
    if (rc == RC_OK)
        rc = http_client_open(w->loop, UPSTREAM_CALLS_MAX, &w->http, err);
    struct pools_opts pools = {.loop = w->loop,
                               .seats = g->seats,
                               .texts = g->texts,
                               .gateway = str_of(g->id),
                               .on_seat = on_seat};
    if (rc == RC_OK)
        rc = pools_open(&pools, &w->pools, err);
    if (rc == RC_OK)
        rc = open_server(w, err);
    return rc;
}

enum rc worker_open(struct gateway *gate, int index, struct worker **ret, struct err *err)
{
    struct worker *w = calloc(1, sizeof *w);
    struct metrics *m = calloc(1, sizeof *m);
    if (!w || !m) {
        free(w);
        free(m);
        return err_set(err, RC_NO_MEMORY, "no memory for a worker");
    }
    w->gate = gate;
    w->index = index;
    w->metrics = m;
    buf_init(&w->scratch, SCRATCH_MAX);
    enum rc rc = open_parts(w, err);
    if (rc != RC_OK) {
        worker_close(w);
        return rc;
    }
    w->drain_post = (struct loop_post){.on_post = on_drain, .user = w};
    w->drain_timer = (struct loop_timer){.on_time = on_drain_time, .user = w};
    w->watch = (struct replica_watch){.loop = w->loop, .post = {.on_post = on_tables, .user = w}};
    replica_watch_add(gate->replica, &w->watch);
    w->tables = replica_get(gate->replica);
    pools_sync(w->pools, w->tables);
    *ret = w;
    return RC_OK;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    struct err err = {0};
    w->rc = loop_run(w->loop, &err);
    if (w->rc != RC_OK)
        log_error("worker.run", "worker=%d error=%s", w->index, LOG_STR(str_of(err.msg)));
    atomic_store(&w->ended, true);
    return NULL;
}

enum rc worker_start(struct worker *w, struct err *err)
{
    int rc = pthread_create(&w->thread, NULL, run, w);
    return rc ? err_errno(err, rc, "cannot start a worker") : RC_OK;
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

void worker_close(struct worker *w)
{
    if (!w)
        return;
    http_server_close(w->server);
    pools_close(w->pools);
    http_client_close(w->http);
    tables_unref(w->tables);
    if (w->loop)
        loop_timer_clear(w->loop, &w->drain_timer);
    loop_close(w->loop);
    buf_done(&w->scratch);
    free(w->metrics);
    free(w);
}
