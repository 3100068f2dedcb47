/* be_http.c - one call to an OpenAI-compatible server.
 *
 * The call outlives the request when the client hangs up in the middle of a callback; so it is on
 * the heap, and an orphan (req == NULL) is freed by its last callback. */
#include "gateway/be_http.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/units.h"
#include "gateway/req.h"
#include "gateway/sse.h"

enum { ERROR_BODY_MAX = 64 * 1024, WHOLE_BODY_MAX = 16 * 1024 * 1024, USAGE_MAX = 100000000 };

struct upstream {
    struct req *req;
    struct http_call *call;
    struct sse sse;
    struct buf body; /* of an error */
    int status;
    bool in_data, ended /* [DONE] was seen */, said_usage, said_error, length;
    int64_t chunks; /* with content: at least one token each */
    struct reply_usage usage;
};

/* ---- how much, before ---- */

static int64_t text_bytes(const json_t *v)
{
    if (json_is_string(v))
        return (int64_t)json_string_length(v);
    int64_t n = 0;
    size_t i;
    json_t *part;
    json_array_foreach(v, i, part) n +=
        json_is_string(json_object_get(part, "text"))
            ? (int64_t)json_string_length(json_object_get(part, "text"))
            : 4096; /* an image or the like */
    return n;
}

/* No token is shorter than a byte; each message adds some of the template's own. */
static int64_t bound_tok(const struct chat *c)
{
    enum { MESSAGE_TOK = 16 };
    int64_t n = MESSAGE_TOK;
    size_t i;
    json_t *m;
    json_array_foreach(c->messages, i, m) n +=
        text_bytes(json_object_get(m, "content")) + MESSAGE_TOK;
    for (int32_t k = 0; c->prompt && k < c->n_prompts; k++)
        n += c->prompt[k].n_ids >= 0 ? c->prompt[k].n_ids : (int64_t)c->prompt[k].text.len;
    return n;
}

enum rc upstream_count(struct req *r, struct fault *ret)
{
    const struct chat *c = &r->chat;
    int64_t most = r->dep->row->max_output, n_ctx = r->dep->row->context_length;
    if (r->dep->n_addresses == 0) {
        *ret = fault_make(RC_UNAVAILABLE, "model_not_ready", NULL,
                          "The model is not ready: no server is known for it.");
        return RC_UNAVAILABLE;
    }
    if ((int64_t)c->n * c->n_prompts > REQ_CHOICES_MAX) {
        *ret = fault_make(RC_BAD_INPUT, CHAT_CODE_VALUE, "n",
                          "This deployment gives at most %d choices for one request.",
                          REQ_CHOICES_MAX);
        return RC_BAD_INPUT;
    }
    r->input_tok = bound_tok(c);
    if (n_ctx > 0)
        r->input_tok = MIN_OF(r->input_tok, n_ctx);
    r->max_tok = c->max_tok >= 0 ? MIN_OF(c->max_tok, most) : most;
    r->degraded = "input-bound"; /* the hold is an upper bound, not a count */
    return RC_OK;
}

/* ---- what the server says ---- */

static bool take_number(const json_t *usage, const char *name, int64_t *ret)
{
    const json_t *v = json_object_get(usage, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > USAGE_MAX)
        return false; /* negative, fractional, text, absurd: never counted (T18) */
    *ret = json_integer_value(v);
    return true;
}

/* Cumulative numbers: the last ones hold, and none goes down (T13). */
static void take_usage(struct upstream *u, const json_t *usage)
{
    struct reply_usage is = {0};
    if (!json_is_object(usage))
        return;
    if (!take_number(usage, "prompt_tokens", &is.prompt) ||
        !take_number(usage, "completion_tokens", &is.completion)) {
        log_warn("upstream.usage", "req=%s its usage numbers are not usable", u->req->id.z);
        return;
    }
    const json_t *details = json_object_get(usage, "prompt_tokens_details");
    if (!take_number(details, "cached_tokens", &is.cached) || is.cached > is.prompt)
        is.cached = 0;
    if (u->said_usage && (is.prompt < u->usage.prompt || is.completion < u->usage.completion))
        return;
    u->usage = is;
    u->said_usage = true;
}

static void count_so_far(struct upstream *u)
{
    struct req *r = u->req;
    struct token_count total = r->used;
    if (u->said_usage) {
        total.cached = u->usage.cached;
        total.input = u->usage.prompt - u->usage.cached;
    }
    total.output = MAX_OF(u->said_usage ? u->usage.completion : 0, u->chunks);
    if (meter_count(r->worker->gate->meter, &r->hold, &total))
        r->used = total;
}

/* Without the server's numbers: what was seen, and a guess at the input that no one can call an
 * exact count. Never the full hold, never nothing (T09). */
static void estimate(struct upstream *u)
{
    struct req *r = u->req;
    if (u->said_usage || r->hold.state != METER_HELD)
        return;
    struct token_count total = r->used;
    total.input = MAX_OF(bound_tok(&r->chat) / 4, 1);
    if (meter_count(r->worker->gate->meter, &r->hold, &total))
        r->used = total;
    r->degraded = "usage-estimated";
    r->hold.row.source = SOURCE_ESTIMATED;
}

static void end(struct upstream *u, enum usage_outcome outcome, const struct fault *f)
{
    struct req_end e = {.outcome = outcome};
    if (f)
        e.fault = *f;
    req_finish(u->req, &e);
}

/* ---- events ---- */

static void note_token(struct upstream *u)
{
    struct req *r = u->req;
    int64_t now = clock_mono_ns(r->worker->gate->clock);
    u->chunks++;
    if (!r->first_ns) {
        r->first_ns = now;
        histogram_add(&r->metrics->ttft, HISTOGRAM_SECONDS, (double)(now - r->began_ns) / 1e9);
    } else {
        histogram_add(&r->metrics->itl, HISTOGRAM_SECONDS, (double)(now - r->last_ns) / 1e9);
    }
    r->last_ns = now;
    if (r->state == REQ_SENT)
        req_move(r, REQ_STREAMING);
}

/* The value begins right behind "name": and is a string with something in it. Chunks are not
 * parsed for this: a look is enough, and exact numbers come from usage. */
static bool has_text(struct str data, struct str name)
{
    ptrdiff_t at = str_find(data, name);
    if (at < 0)
        return false;
    struct str rest = str_trim(str_sub(data, (size_t)at + name.len, SIZE_MAX));
    return rest.len > 2 && rest.p[0] == '"' && rest.p[1] != '"';
}

static bool has_content(struct str data)
{
    return has_text(data, STR("\"content\":")) || has_text(data, STR("\"text\":")) ||
           has_text(data, STR("\"reasoning_content\":")) || has_text(data, STR("\"arguments\":"));
}

/* Reads an event that may carry usage or an error. Returns false when the client is not to see it:
 * the usage chunk that only we asked for (T15). */
static bool look_into(struct upstream *u, struct str data)
{
    json_t *root = json_loadb(data.p, data.len, 0, NULL);
    const json_t *usage = json_object_get(root, "usage");
    const json_t *choices = json_object_get(root, "choices");
    bool show = true;
    if (json_object_get(root, "error") && !json_is_null(json_object_get(root, "error")))
        u->said_error = true;
    take_usage(u, usage);
    if (json_is_object(usage) && json_is_array(choices) && json_array_size(choices) == 0)
        show = u->req->chat.include_usage;
    json_decref(root);
    return show;
}

static void forward(struct upstream *u, struct str data)
{
    struct req *r = u->req;
    struct buf *b = &r->worker->scratch;
    answer_open(r);
    while (data.p) {
        buf_z(b, "data: ");
        buf_str(b, str_cut(&data, '\n'));
        buf_byte(b, '\n');
    }
    buf_byte(b, '\n');
    enum rc rc = b->failed ? RC_LIMIT : http_stream_write(r->http, buf_view(b));
    buf_clear(b);
    if (rc != RC_LIMIT)
        return;
    struct fault f = fault_make(RC_CLIENT_GONE, NULL, NULL, "the client reads too slowly");
    metrics_add(&r->worker->metrics->slow_clients, 1);
    estimate(u);
    end(u, OUTCOME_ABORTED, &f);
}

static enum rc on_event(void *user, struct str data)
{
    struct upstream *u = user;
    if (u->ended)
        return RC_OK;
    if (str_starts(data, STR("[DONE]"))) {
        u->ended = true;
        return RC_OK;
    }
    bool show = true;
    if (str_find(data, STR("\"usage\"")) >= 0 || str_find(data, STR("\"error\"")) >= 0)
        show = look_into(u, data);
    if (u->said_error) { /* told by our own error, after the row is settled */
        u->ended = true;
        return RC_OK;
    }
    if (has_content(data))
        note_token(u);
    if (has_text(data, STR("\"finish_reason\":")))
        u->length = str_find(data, STR("\"length\"")) >= 0;
    count_so_far(u);
    req_deadline(u->req, u->req->worker->gate->conf.idle_ms);
    if (show)
        forward(u, data);
    return u->req ? RC_OK : RC_CLIENT_GONE;
}

static enum http_flow on_data(void *user, struct str bytes)
{
    struct upstream *u = user;
    struct err err = {0};
    if (!u->req)
        return HTTP_STOP;
    if (u->status != 200 || !u->req->chat.stream)
        return buf_str(&u->body, bytes) ? HTTP_GO_ON : HTTP_STOP;
    u->in_data = true;
    enum rc rc = sse_read(&u->sse, bytes, on_event, u, &err);
    u->in_data = false;
    return rc == RC_OK && u->req ? HTTP_GO_ON : HTTP_STOP;
}

static void on_head(void *user, int status)
{
    struct upstream *u = user;
    u->status = status;
}

/* ---- the end of a call ---- */

static void free_upstream(struct upstream *u)
{
    sse_done(&u->sse);
    buf_done(&u->body);
    free(u);
}

/* An error of the client's own is passed on in the server's words; one of ours with the server is
 * not the client's business. */
static struct fault fault_of_status(const struct upstream *u)
{
    struct fault f;
    if (u->status == 429 || u->status == 503)
        return fault_make(RC_UNAVAILABLE, NULL, NULL,
                          "The model's server is overloaded. Please try again later.");
    if (u->status != 400 && u->status != 413 && u->status != 422)
        return fault_make(RC_UPSTREAM, NULL, NULL, "The model's server answered %d.", u->status);
    json_t *root = json_loadb(u->body.p ? u->body.p : "", u->body.len, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    const char *text = json_string_value(json_object_get(error, "message"));
    if (!text)
        text = json_string_value(json_object_get(root, "message"));
    f = fault_make(RC_BAD_INPUT, NULL, NULL, "%.280s", text ? text : "The request was refused.");
    json_decref(root);
    return f;
}

static bool take_whole(struct upstream *u)
{
    struct req *r = u->req;
    json_t *root = json_loadb(u->body.p ? u->body.p : "", u->body.len, 0, NULL);
    bool ok = json_is_array(json_object_get(root, "choices"));
    if (ok) {
        const json_t *first = json_array_get(json_object_get(root, "choices"), 0);
        const char *finish = json_string_value(json_object_get(first, "finish_reason"));
        u->length = finish && strcmp(finish, "length") == 0;
        take_usage(u, json_object_get(root, "usage"));
        r->first_ns = clock_mono_ns(r->worker->gate->clock);
        ok = buf_str(&r->choice[0].text, buf_view(&u->body));
    }
    json_decref(root);
    return ok;
}

static void end_call(struct upstream *u, enum rc rc)
{
    struct req *r = u->req;
    struct fault f = {0};
    bool broke = r->first_ns != 0;
    if (rc == RC_OK && u->status == 200 && !r->chat.stream && !take_whole(u))
        rc = RC_CORRUPT;
    if (rc == RC_OK && u->status == 200 && !u->said_error && (u->ended || !r->chat.stream)) {
        count_so_far(u);
        estimate(u);
        end(u, u->length ? OUTCOME_LENGTH : OUTCOME_STOP, NULL);
        return;
    }
    if (rc == RC_OK && u->status != 200)
        f = fault_of_status(u);
    else if (rc == RC_TIMEOUT)
        f = fault_make(RC_TIMEOUT, NULL, NULL, "The model took too long.");
    else if (rc == RC_UNAVAILABLE)
        f = fault_make(RC_UNAVAILABLE, "upstream_error", NULL,
                       "The model's server cannot be reached.");
    else
        f = fault_make(RC_UPSTREAM, NULL, NULL, "The model's server failed.");
    if (broke)
        estimate(u);
    end(u, rc == RC_TIMEOUT ? OUTCOME_TIMEOUT : broke ? OUTCOME_BROKEN : OUTCOME_FAILED, &f);
}

static void on_done(void *user, enum rc rc, int status, struct str body, const struct err *err)
{
    struct upstream *u = user;
    (void)body;
    (void)err;
    u->call = NULL;
    u->status = status;
    struct req *r = u->req;
    if (!r) {
        free_upstream(u);
        return;
    }
    end_call(u, rc); /* upstream_drop frees it */
}

void upstream_drop(struct req *r)
{
    struct upstream *u = r->upstream;
    if (!u)
        return;
    r->upstream = NULL;
    u->req = NULL;
    if (u->in_data)
        return; /* on_data stops the call, on_done frees */
    if (u->call)
        http_call_cancel(u->call);
    free_upstream(u);
}

/* The client left or a deadline passed: what was seen is what is billed. */
void upstream_give_up(struct req *r)
{
    if (r->upstream)
        estimate(r->upstream);
}

/* ---- sending ---- */

static char *make_body(struct req *r)
{
    struct err err = {0};
    json_t *root = NULL;
    if (chat_load_json(http_body(r->http), &root, &err) != RC_OK)
        return NULL;
    struct str model = r->dep->row->upstream_model;
    if (model.len)
        json_object_set_new(root, "model", json_stringn(model.p, model.len));
    const char *max =
        json_object_get(root, "max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
    json_object_set_new(root, max, json_integer(r->max_tok));
    json_object_del(root, "cache_salt"); /* ours to choose, not the client's */
    if (r->chat.stream) {
        json_t *options = json_object_get(root, "stream_options");
        if (!json_is_object(options)) {
            options = json_object();
            json_object_set_new(root, "stream_options", options);
        }
        json_object_set_new(options, "include_usage", json_true());
    }
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static enum rc start(struct req *r, struct upstream *u, struct err *err)
{
    struct str base = r->dep->address[0];
    while (base.len && base.p[base.len - 1] == '/')
        base.len--;
    char *url = arena_zdup(
        r->arena, arena_printf(r->arena, STR_FMT "%s", STR_ARG(base),
                               r->chat.route == CHAT_CHAT ? "/chat/completions" : "/completions"));
    char *id = arena_zdup(r->arena, arena_printf(r->arena, "X-Request-ID: %s", r->id.z));
    char *body = make_body(r);
    if (!url || !id || !body) {
        free(body);
        return err_set(err, RC_NO_MEMORY, "The request is too large.");
    }
    const char *const headers[] = {"Content-Type: application/json", id, NULL};
    const struct gate_conf *conf = &r->worker->gate->conf;
    struct http_call_opts call = {.method = "POST",
                                  .url = url,
                                  .headers = headers,
                                  .body = str_of(body),
                                  .total_ms = conf->total_ms,
                                  .idle_ms = conf->first_ms,
                                  .on_head = on_head,
                                  .on_data = on_data,
                                  .on_done = on_done,
                                  .user = u};
    enum rc rc = http_call_start(r->worker->http, &call, &u->call, err);
    free(body);
    return rc;
}

void upstream_send(struct req *r)
{
    struct err err = {0};
    struct upstream *u = calloc(1, sizeof *u);
    enum rc rc = u ? RC_OK : err_set(&err, RC_NO_MEMORY, "The gateway is out of memory.");
    if (rc == RC_OK) {
        u->req = r;
        sse_init(&u->sse);
        buf_init(&u->body, r->chat.stream ? ERROR_BODY_MAX : WHOLE_BODY_MAX);
        rc = start(r, u, &err);
    }
    if (rc != RC_OK) {
        struct req_end e = {.outcome = OUTCOME_REFUSED, .fault = fault_of(rc, &err, NULL)};
        if (u)
            free_upstream(u);
        req_finish(r, &e);
        return;
    }
    r->upstream = u;
    req_move(r, REQ_SENT);
    req_deadline(r, r->worker->gate->conf.first_ms);
}
