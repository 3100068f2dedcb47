#include "gateway/req.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/units.h"
#include "gateway/be_http.h"

/* ---- states ---- */

#define TO(state) (1u << (state))

static const uint32_t req_moves[REQ_STATE_COUNT] = {
    [REQ_BEGUN] = TO(REQ_ASKING) | TO(REQ_LINED) | TO(REQ_SETTLING),
    [REQ_ASKING] = TO(REQ_BEGUN),
    [REQ_LINED] = TO(REQ_SENT) | TO(REQ_SETTLING),
    [REQ_SENT] = TO(REQ_LINED) | TO(REQ_STREAMING) | TO(REQ_DRAINING) | TO(REQ_SETTLING),
    [REQ_STREAMING] = TO(REQ_DRAINING) | TO(REQ_SETTLING),
    [REQ_DRAINING] = TO(REQ_SETTLING),
    [REQ_SETTLING] = TO(REQ_OVER),
};

void req_check(const struct req *r)
{
    bool held = r->hold.state == METER_HELD;
    bool working = r->state == REQ_SENT || r->state == REQ_STREAMING || r->state == REQ_DRAINING;
    ASSERT(held || !(r->state == REQ_LINED || working));
    ASSERT(!held || r->state != REQ_OVER);
    ASSERT(r->state != REQ_LINED || r->n_live == 0);
    ASSERT(r->state < REQ_SETTLING || (r->n_live == 0 && !r->item.pool && !r->timer.slot));
}

void req_move(struct req *r, enum req_state to)
{
    ASSERT(req_moves[r->state] & TO(to));
    metrics_add(&r->worker->metrics->queued, (to == REQ_LINED) - (r->state == REQ_LINED));
    r->state = to;
    req_check(r);
}

/* ---- time ---- */

static int64_t now_ms(const struct req *r)
{
    return loop_now_ms(r->worker->loop);
}

static void arm(struct req *r)
{
    int64_t at = MIN_OF(r->phase_at_ms, r->total_at_ms);
    if (r->ping_at_ms && r->state != REQ_DRAINING)
        at = MIN_OF(at, r->ping_at_ms);
    loop_timer_set(r->worker->loop, &r->timer, at, NULL);
}

/* The timer is moved only when it has to ring earlier: a token only pushes its time out. */
void req_deadline(struct req *r, int64_t in_ms)
{
    r->phase_at_ms = now_ms(r) + in_ms;
    if (!r->timer.slot || r->timer.at_ms > r->phase_at_ms)
        arm(r);
}

static void ping(struct req *r)
{
    r->ping_at_ms = now_ms(r) + r->worker->gate->conf.ping_ms;
    answer_open(r);
    if (http_stream_unsent(r->http) == 0)
        http_stream_write(r->http, STR(": ping\n\n"));
}

static void on_time(struct loop_timer *t)
{
    struct req *r = t->user;
    int64_t now = now_ms(r);
    if (r->state == REQ_DRAINING && now >= r->phase_at_ms) {
        log_warn("req.no_last_word", "req=%s live=%d", r->id.z, r->n_live);
        req_finish(r, &r->end);
        return;
    }
    if (r->state != REQ_DRAINING && (now >= r->phase_at_ms || now >= r->total_at_ms)) {
        bool lined = r->state == REQ_LINED;
        struct req_end end = {
            .outcome = lined ? OUTCOME_REFUSED : OUTCOME_TIMEOUT,
            .fault = lined ? fault_make(RC_UNAVAILABLE, NULL, NULL,
                                        "The model is overloaded: no replica was free in time. "
                                        "Please try again later.")
                           : fault_make(RC_TIMEOUT, NULL, NULL, "The model took too long.")};
        req_give_up(r, &end);
        return;
    }
    if (r->ping_at_ms && now >= r->ping_at_ms && r->state != REQ_DRAINING)
        ping(r);
    arm(r);
}

/* ---- the beginning ---- */

static void on_gone(struct http_req *http)
{
    struct req *r = http_user(http);
    r->gone = true;
    if (r->state != REQ_LINED && r->state != REQ_SENT && r->state != REQ_STREAMING)
        return;
    struct req_end end = {.outcome = OUTCOME_ABORTED,
                          .fault = fault_make(RC_CLIENT_GONE, NULL, NULL, "the client hung up")};
    req_give_up(r, &end);
}

static void on_key_answer(struct replica_ask *a, enum rc rc)
{
    struct req *r = a->user;
    struct worker *w = r->worker;
    req_move(r, REQ_BEGUN);
    if (r->gone || rc == RC_UNAVAILABLE) {
        struct fault f = r->gone ? fault_make(RC_CLIENT_GONE, NULL, NULL, "the client hung up")
                                 : fault_make(RC_UNAVAILABLE, NULL, NULL,
                                              "The key cannot be checked right now. Please try "
                                              "again in a moment.");
        req_fail(r, &f);
        return;
    }
    tables_unref(r->tables);
    r->tables = replica_get(w->gate->replica);
    req_admit(r);
}

void req_begin(struct worker *w, struct http_req *http, enum chat_route route)
{
    struct req *r = ARENA_NEW(http_arena(http), struct req);
    if (!r) {
        http_reply_close(http, 503, "application/json", STR("{}"));
        return;
    }
    r->worker = w;
    r->http = http;
    r->arena = http_arena(http);
    r->id = id_new("req_");
    r->began_ns = clock_mono_ns(w->gate->clock);
    r->tables = tables_ref(w->tables);
    r->chat.route = route;
    r->degraded = "";
    r->timer = (struct loop_timer){.on_time = on_time, .user = r};
    r->total_at_ms = now_ms(r) + w->gate->conf.total_ms;
    r->ask = (struct replica_ask){
        .replica = w->gate->replica, .loop = w->loop, .on_answer = on_key_answer, .user = r};
    r->next = w->reqs;
    if (w->reqs)
        w->reqs->prev = r;
    w->reqs = r;
    http_set_user(http, r);
    http_on_gone(http, on_gone);
    req_admit(r);
}

/* ---- the end ---- */

static void release(struct req *r)
{
    for (int32_t i = 0; i < r->n_choices; i++) {
        buf_done(&r->choice[i].text);
        reply_logprobs_done(&r->choice[i].logprobs);
    }
    chat_done(&r->chat);
    text_model_unref(r->text);
    tables_unref(r->tables);
    r->text = NULL;
    r->tables = NULL;
    *(r->prev ? &r->prev->next : &r->worker->reqs) = r->next;
    if (r->next)
        r->next->prev = r->prev;
}

static int64_t since_ms(const struct req *r, int64_t ns)
{
    return (ns - r->began_ns) / NS_PER_MS;
}

static enum metrics_end metrics_end_of(const struct req *r)
{
    if (r->gone)
        return END_CANCELLED;
    switch (r->end.fault.status) {
    case 0:
        return END_SUCCESS;
    case 404:
        return END_NOT_FOUND;
    case 429:
        return END_LIMIT;
    case 503:
        return END_OVERLOAD;
    default:
        return r->end.fault.status < 500 ? END_VALIDATION : END_INTERNAL;
    }
}

static void add_metrics(const struct req *r, int64_t now_ns)
{
    struct metrics_model *m = r->metrics;
    int status = r->end.fault.status ? r->end.fault.status : 200;
    metrics_add(&r->worker->metrics->http[MIN_OF(status / 100, 5)], 1);
    if (status == 401)
        metrics_add(&r->worker->metrics->unauthenticated, 1);
    if (!m)
        return;
    metrics_add(&m->requests[r->chat.route][r->chat.stream][metrics_end_of(r)], 1);
    metrics_add(&m->active, -1);
    if (r->hold.state == METER_NOTHING)
        return;
    metrics_add(&m->input, r->used.input + r->used.cached);
    metrics_add(&m->cached, r->used.cached);
    metrics_add(&m->output, r->used.output);
    histogram_add(&m->duration, HISTOGRAM_SECONDS, (double)(now_ns - r->began_ns) / 1e9);
    histogram_add(&m->input_len, HISTOGRAM_TOKENS, (double)r->input_tok);
    histogram_add(&m->output_len, HISTOGRAM_TOKENS, (double)r->used.output);
}

static void log_end(const struct req *r, int64_t now_ns)
{
    log_info("req.done",
             "req=%s key=" STR_FMT " org=" STR_FMT " model=%s in_tok=%" PRId64
             " cached_tok=%" PRId64 " out_tok=%" PRId64 " outcome=%d status=%d rc=%s ms=%" PRId64,
             r->id.z, STR_ARG(r->key_public.p ? r->key_public : STR("-")),
             STR_ARG(r->auth.org ? r->auth.org->id : STR("-")), LOG_STR(r->chat.model),
             r->used.input, r->used.cached, r->used.output, (int)r->end.outcome,
             r->end.fault.status ? r->end.fault.status : 200, rc_name(r->end.fault.rc),
             since_ms(r, now_ns));
}

/* The row is durable, or there is none: now the last bytes may go. */
static void close_answer(struct req *r)
{
    int64_t now_ns = clock_mono_ns(r->worker->gate->clock);
    req_move(r, REQ_OVER);
    if (r->end.fault.rc == RC_OK)
        answer_end(r);
    else
        answer_fault(r, &r->end.fault);
    add_metrics(r, now_ns);
    log_end(r, now_ns);
    release(r);
}

static void not_recorded(struct req *r)
{
    r->end.fault =
        fault_make(RC_INTERNAL, NULL, NULL, "The usage of this request could not be recorded.");
    r->end.fault.never_retry = true;
}

static void on_durable(struct journal_wait *wait, enum rc rc)
{
    struct req *r = wait->user;
    if (rc != RC_OK)
        not_recorded(r);
    close_answer(r);
}

/* What the client was answered, or would have been. */
static int status_of(const struct req *r)
{
    return r->streaming || r->end.fault.rc == RC_OK ? 200 : r->end.fault.status;
}

static void settle(struct req *r)
{
    struct err err = {0};
    struct meter_end end = {.outcome = r->end.outcome,
                            .http_status = status_of(r),
                            .ttft_ms = r->first_ns ? since_ms(r, r->first_ns) : -1,
                            .degraded = str_of(r->degraded)};
    r->wait = (struct journal_wait){.loop = r->worker->loop, .on_durable = on_durable, .user = r};
    enum rc rc = meter_settle(r->worker->gate->meter, &r->hold, &end, &r->wait, NULL, &err);
    if (rc == RC_OK)
        return; /* on_durable goes on */
    log_error("req.settle", "req=%s error=%s", r->id.z, LOG_STR(str_of(err.msg)));
    not_recorded(r);
    close_answer(r);
}

static void let_go(struct req *r)
{
    for (int32_t i = 0; i < r->n_choices; i++) {
        engine_call_forget(&r->choice[i].call);
        r->choice[i].live = false;
    }
    r->n_live = 0;
    upstream_drop(r);
    loop_timer_clear(r->worker->loop, &r->timer);
}

void req_finish(struct req *r, const struct req_end *end)
{
    if (end != &r->end)
        r->end = *end;
    bool held = r->hold.state == METER_HELD;
    let_go(r);
    pool_leave(&r->item, r->used.input + r->used.cached + r->used.output);
    req_move(r, REQ_SETTLING);
    if (held)
        settle(r);
    else
        close_answer(r);
}

void req_fail(struct req *r, const struct fault *f)
{
    ASSERT(r->hold.state == METER_NOTHING);
    struct req_end end = {.outcome = OUTCOME_REFUSED, .fault = *f};
    req_finish(r, &end);
}

void req_give_up(struct req *r, const struct req_end *end)
{
    if (r->n_live == 0) {
        upstream_give_up(r);
        req_finish(r, end);
        return;
    }
    r->end = *end;
    for (int32_t i = 0; i < r->n_choices; i++)
        engine_call_cancel(&r->choice[i].call);
    req_move(r, REQ_DRAINING);
    req_deadline(r, r->worker->gate->conf.drain_ms);
}
