/* answer.c - engines' words into the client's stream: counted first, then written. */
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "gateway/req.h"
#include "gateway/sse.h"

/* ---- headers ---- */

#define EXPOSED                                                                                    \
    "x-request-id, openai-processing-ms, openai-version, openai-organization, "                    \
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "       \
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, "         \
    "retry-after, retry-after-ms, x-should-retry, x-sluice-degraded"

void req_common_headers(struct http_req *http)
{
    http_add_header(http, "openai-version", "2020-10-01");
    if (!http_header(http, "Origin").p)
        return; /* not a browser */
    http_add_header(http, "Access-Control-Allow-Origin", "*");
    http_add_header(http, "Access-Control-Expose-Headers", EXPOSED);
}

static void add_i64(struct http_req *http, const char *name, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    http_add_header(http, name, text);
}

static void room_headers(struct http_req *http, const struct limit_room *room, const char *limit,
                         const char *remaining, const char *reset)
{
    char text[SSE_DURATION_BYTES];
    if (room->limit == LIMIT_NONE)
        return;
    add_i64(http, limit, room->limit);
    add_i64(http, remaining, room->remaining);
    http_add_header(http, reset, sse_duration(room->reset_ms, text));
}

static void add_headers(struct req *r)
{
    struct http_req *http = r->http;
    req_common_headers(http);
    http_add_header(http, "x-request-id", r->id.z);
    add_i64(http, "openai-processing-ms",
            (clock_mono_ns(r->worker->gate->clock) - r->began_ns) / NS_PER_MS);
    if (r->auth.org)
        http_add_header(http, "openai-organization", arena_zdup(r->arena, r->auth.org->id));
    if (*r->degraded)
        http_add_header(http, "x-sluice-degraded", r->degraded);
    if (r->hold.state == METER_NOTHING)
        return;
    room_headers(http, &r->hold.limit.requests, "x-ratelimit-limit-requests",
                 "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
    room_headers(http, &r->hold.limit.tokens, "x-ratelimit-limit-tokens",
                 "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
}

/* ---- writing ---- */

static struct reply_usage usage_of(const struct req *r)
{
    return (struct reply_usage){.prompt = r->used.input + r->used.cached,
                                .cached = r->used.cached,
                                .completion = r->used.output};
}

void answer_open(struct req *r)
{
    if (r->streaming)
        return;
    r->streaming = true;
    add_headers(r);
    http_add_header(r->http, "Cache-Control", "no-cache");
    http_add_header(r->http, "X-Accel-Buffering", "no");
    http_stream_begin(r->http, 200, "text/event-stream; charset=utf-8");
}

/* Sends what is in the worker's scratch. A reader that is slower than the bound is cut off: memory
 * has an end, and what was produced is billed. */
static void flush(struct req *r)
{
    struct buf *b = &r->worker->scratch;
    enum rc rc = b->failed ? RC_LIMIT : http_stream_write(r->http, buf_view(b));
    buf_clear(b);
    if (r->ping_at_ms)
        r->ping_at_ms = loop_now_ms(r->worker->loop) + r->worker->gate->conf.ping_ms;
    if (rc != RC_LIMIT || r->state != REQ_STREAMING)
        return;
    metrics_add(&r->worker->metrics->slow_clients, 1);
    struct req_end end = {
        .outcome = OUTCOME_ABORTED,
        .fault = fault_make(RC_CLIENT_GONE, NULL, NULL, "the client reads too slowly")};
    req_give_up(r, &end);
}

/* /v1/completions with echo: the prompt is the answer's beginning. */
static void add_echo(struct req *r, const struct choice *c, struct buf *to)
{
    struct err err = {0};
    if (!r->chat.echo)
        return;
    const struct chat_prompt *p = &r->chat.prompt[c->prompt];
    if (p->n_ids < 0)
        buf_str(to, p->text);
    else if (count_decode(r->text, p->id, p->n_ids, to, &err) != RC_OK)
        log_warn("req.echo", "req=%s error=%s", r->id.z, err.msg);
}

static void open_choice(struct req *r, struct choice *c)
{
    if (c->opened)
        return;
    c->opened = true;
    reply_chunk_role(&r->worker->scratch, &r->head, c->index);
    if (!r->chat.echo)
        return;
    add_echo(r, c, &c->text);
    reply_chunk_text(&r->worker->scratch, &r->head, c->index, buf_view(&c->text), NULL, NULL);
    buf_clear(&c->text);
}

static void add_logprobs(struct req *r, struct choice *c, const struct frame_tokens *t)
{
    for (int32_t i = 0; i < t->n_tokens; i++)
        reply_logprobs_add(&c->logprobs, r->chat.route, &t->token[i]);
}

static void write_tokens(struct req *r, struct choice *c, const struct frame_tokens *t)
{
    bool with_logprobs = r->chat.params.logprobs;
    if (!r->chat.stream) {
        add_logprobs(r, c, t);
        buf_str(&c->text, t->text);
        return;
    }
    if (!t->text.len && !t->n_tokens && c->opened)
        return; /* held back: a part of a character or of a stop string */
    struct reply_usage usage = usage_of(r);
    answer_open(r);
    open_choice(r, c);
    add_logprobs(r, c, t);
    if (t->text.len || t->n_tokens)
        reply_chunk_text(&r->worker->scratch, &r->head, c->index, t->text,
                         with_logprobs ? &c->logprobs : NULL,
                         r->chat.continuous_usage ? &usage : NULL);
    reply_logprobs_clear(&c->logprobs);
    flush(r);
}

static bool is_own(const struct req *r)
{
    return r->dep->row->engine == ENGINE_INTEGRATED;
}

static void add_whole(struct req *r, struct buf *b)
{
    struct reply_usage usage = usage_of(r);
    if (!is_own(r)) { /* the server's own words */
        buf_str(b, buf_view(&r->choice[0].text));
        return;
    }
    reply_whole_begin(b, &r->head);
    for (int32_t i = 0; i < r->n_choices; i++) {
        struct choice *c = &r->choice[i];
        SCOPED_BUF text = {0};
        buf_init(&text, 2 * c->text.max);
        add_echo(r, c, &text);
        buf_str(&text, buf_view(&c->text));
        reply_whole_choice(b, &r->head, i, buf_view(&text),
                           r->chat.params.logprobs ? &c->logprobs : NULL,
                           reply_finish_text(c->finish));
    }
    reply_whole_end(b, &usage);
}

static void add_last_chunks(struct req *r, struct buf *b)
{
    struct reply_usage usage = usage_of(r);
    for (int32_t i = 0; is_own(r) && i < r->n_choices; i++) {
        open_choice(r, &r->choice[i]);
        reply_chunk_finish(b, &r->head, i, reply_finish_text(r->choice[i].finish),
                           r->chat.continuous_usage ? &usage : NULL);
    }
    if (is_own(r) && r->chat.include_usage)
        reply_chunk_usage(b, &r->head, &usage);
    reply_chunk_end(b);
}

void answer_end(struct req *r)
{
    struct buf *b = &r->worker->scratch;
    if (!r->chat.stream) {
        add_whole(r, b);
        add_headers(r);
        http_reply(r->http, 200, "application/json", buf_view(b));
        buf_clear(b);
        return;
    }
    answer_open(r);
    add_last_chunks(r, b);
    if (http_stream_write(r->http, buf_view(b)) == RC_OK)
        http_stream_end(r->http);
    else
        http_stream_cut(r->http);
    buf_clear(b);
}

void answer_fault(struct req *r, const struct fault *f)
{
    struct buf *b = &r->worker->scratch;
    if (r->gone || f->rc == RC_CLIENT_GONE) {
        if (r->streaming)
            http_stream_cut(r->http);
        else
            http_reply_close(r->http, 499, "application/json", STR("{}"));
        return;
    }
    if (r->streaming) {
        buf_z(b, "data: ");
        fault_body(f, b);
        buf_z(b, "\n\n");
        http_stream_write(r->http, buf_view(b));
        http_stream_end(r->http);
    } else {
        add_headers(r);
        fault_headers(f, r->http);
        fault_body(f, b);
        http_reply(r->http, f->status, "application/json", buf_view(b));
    }
    buf_clear(b);
}

/* ---- counting ---- */

/* The request's totals from its choices' running ones. A prompt is paid for once, however many
 * answers it gets. */
static void count_usage(struct req *r, struct choice *c, const struct frame_usage *u)
{
    struct token_count was = tokens_of_engine(&c->usage), is = tokens_of_engine(u);
    struct token_count total = r->used;
    total.output += is.output - was.output;
    if (c->leads) {
        total.input += is.input - was.input;
        total.cached += is.cached - was.cached;
    }
    if (!meter_count(r->worker->gate->meter, &r->hold, &total)) {
        log_warn("req.count", "req=%s in=%d cached=%d out=%d", r->id.z, u->input, u->cached,
                 u->output);
        return;
    }
    r->used = total;
    c->usage = *u;
}

static void note_time(struct req *r, int32_t new_tok)
{
    if (new_tok <= 0)
        return;
    int64_t now = clock_mono_ns(r->worker->gate->clock);
    if (!r->first_ns) {
        r->first_ns = now;
        histogram_add(&r->metrics->ttft, HISTOGRAM_SECONDS, (double)(now - r->began_ns) / 1e9);
    } else if (r->n_choices == 1) {
        for (int32_t i = 0; i < new_tok; i++)
            histogram_add(&r->metrics->itl, HISTOGRAM_SECONDS,
                          (double)(now - r->last_ns) / 1e9 / new_tok);
    }
    r->last_ns = now;
}

/* ---- what engines say ---- */

static void on_tokens(struct engine_call *call, const struct frame_tokens *t)
{
    struct choice *c = call->user;
    struct req *r = c->req;
    int32_t new_tok = t->usage.output - c->usage.output;
    count_usage(r, c, &t->usage);
    if (r->state == REQ_DRAINING)
        return;
    note_time(r, new_tok);
    if (r->state == REQ_SENT)
        req_move(r, REQ_STREAMING);
    req_deadline(r, r->worker->gate->conf.idle_ms);
    write_tokens(r, c, t);
}

static void end_well(struct req *r)
{
    struct req_end end = {.outcome = OUTCOME_STOP};
    for (int32_t i = 0; i < r->n_choices; i++) {
        if (r->choice[i].finish == FINISH_LENGTH)
            end.outcome = OUTCOME_LENGTH;
        if (r->choice[i].text.failed || r->choice[i].logprobs.part[0].failed)
            end.fault = fault_make(RC_INTERNAL, NULL, NULL, "The answer is too large.");
    }
    req_finish(r, &end);
}

static void end_badly(struct req *r, enum rc rc, struct str message)
{
    struct req_end end = {.outcome = r->used.output ? OUTCOME_BROKEN : OUTCOME_FAILED};
    if (rc == RC_BAD_INPUT || rc == RC_TOO_LARGE || rc == RC_INVALID)
        end.fault = fault_make(RC_BAD_INPUT, rc == RC_TOO_LARGE ? "context_length_exceeded" : NULL,
                               NULL, STR_FMT, (int)MIN_OF(message.len, (size_t)300), message.p);
    else if (rc == RC_LIMIT || rc == RC_UNAVAILABLE || rc == RC_NO_MEMORY || rc == RC_UPSTREAM)
        end.fault = fault_make(RC_UNAVAILABLE, rc == RC_UPSTREAM ? "upstream_error" : NULL, NULL,
                               STR_FMT, (int)MIN_OF(message.len, (size_t)300), message.p);
    else
        end.fault = fault_make(RC_UPSTREAM, NULL, NULL, "The model's server failed.");
    req_give_up(r, &end);
}

static void on_done(struct engine_call *call, const struct frame_done *d)
{
    struct choice *c = call->user;
    struct req *r = c->req;
    note_time(r, d->usage.output - c->usage.output);
    count_usage(r, c, &d->usage);
    c->finish = d->finish;
    c->live = false;
    r->n_live--;
    if (r->state == REQ_DRAINING) {
        if (r->n_live == 0)
            req_finish(r, &r->end);
    } else if (d->finish == FINISH_ABORT || d->finish == FINISH_ERROR) {
        end_badly(r, RC_UPSTREAM, STR("The model's server gave the request up."));
    } else if (r->n_live == 0) {
        end_well(r);
    }
}

/* Before the first token nobody has seen anything: another replica may answer. */
static bool try_again(struct req *r, enum rc rc)
{
    struct err err = {0};
    bool worth = rc == RC_UPSTREAM || rc == RC_UNAVAILABLE || rc == RC_LIMIT;
    if (!worth || r->state != REQ_SENT || r->used.output || r->attempts >= REQ_ATTEMPTS_MAX ||
        !pool_ready(r->pool))
        return false;
    for (int32_t i = 0; i < r->n_choices; i++) {
        engine_call_forget(&r->choice[i].call);
        r->choice[i].live = false;
    }
    r->n_live = 0;
    metrics_add(&r->worker->metrics->retries, 1);
    pool_leave(&r->item, 0);
    req_move(r, REQ_LINED);
    req_deadline(r, r->worker->gate->conf.queue_ms);
    enum rc entered = pool_enter(r->pool, &r->item, r->auth.org->id, &err);
    if (entered != RC_OK) {
        struct req_end end = {.outcome = OUTCOME_FAILED, .fault = fault_of(entered, &err, NULL)};
        req_finish(r, &end);
    }
    return true;
}

static void on_fail(struct engine_call *call, enum rc rc, const struct frame_usage *usage,
                    struct str message)
{
    struct choice *c = call->user;
    struct req *r = c->req;
    if (usage && usage->output >= c->usage.output && usage->input >= c->usage.input)
        count_usage(r, c, usage);
    c->live = false;
    r->n_live--;
    if (r->state == REQ_DRAINING) {
        if (r->n_live == 0)
            req_finish(r, &r->end);
        return;
    }
    if (!try_again(r, rc))
        end_badly(r, rc, message);
}

/* ---- to a replica ---- */

static enum rc submit_one(struct req *r, struct choice *c, struct engine_link *link,
                          struct err *err)
{
    const struct prompt *p = &r->prompt[c->prompt];
    struct frame_submit s = {.params = r->chat.params, .n_prompt = p->n, .prompt = p->id};
    s.params.max_tok = (int32_t)r->max_tok;
    s.params.seed +=
        (uint64_t)(c->index % r->chat.n); /* n answers to a seed are not all the same */
    hash_blake2b(s.org_salt, sizeof s.org_salt, r->auth.org->id.p, r->auth.org->id.len,
                 tables_hash_key(r->tables), HASH_KEY_BYTES);
    hash_blake2b(s.request_id, sizeof s.request_id, r->id.z, strlen(r->id.z), NULL, 0);
    c->call = (struct engine_call){
        .on_tokens = on_tokens, .on_done = on_done, .on_fail = on_fail, .user = c};
    c->usage = (struct frame_usage){0};
    enum rc rc = engine_call_submit(link, &c->call, &s, err);
    if (rc == RC_OK) {
        c->live = true;
        r->n_live++;
    }
    return rc;
}

void answer_send(struct req *r, struct engine_link *link)
{
    struct err err = {0};
    enum rc rc = RC_OK;
    r->attempts++;
    r->used = (struct token_count){0};
    req_move(r, REQ_SENT);
    req_deadline(r, r->worker->gate->conf.first_ms);
    for (int32_t i = 0; rc == RC_OK && i < r->n_choices; i++)
        rc = submit_one(r, &r->choice[i], link, &err);
    if (rc != RC_OK)
        end_badly(r, rc, str_of(err.msg));
}
