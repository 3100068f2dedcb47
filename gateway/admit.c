/* admit.c - from a whole HTTP request to a place in line: key, body, route, count, reserve. Each
 * step either goes on or says why not; nothing is held before the last one. */
#include <stdio.h>

#include "base/hash.h"
#include "base/units.h"
#include "gateway/be_http.h"
#include "gateway/req.h"
#include "gateway/route.h"

/* What a request that names no maximum is granted at least, when its org is near its limit. */
enum { ANSWER_MIN_TOK = 64 };

/* ---- who ---- */

static enum rc find_key(struct req *r, struct fault *ret)
{
    struct err err = {0};
    enum rc rc = RC_OK;
    if (!r->key_text.p)
        rc = auth_key_text(http_header(r->http, "Authorization"), http_header(r->http, "x-api-key"),
                           &r->key_text, &r->key_public, &err);
    if (rc == RC_OK && !r->tables)
        rc = err_set(&err, RC_UNAVAILABLE, "The gateway is starting. Please try again shortly.");
    if (rc == RC_OK)
        rc = auth_check(r->tables, r->key_text, r->key_public,
                        clock_wall_ms(r->worker->gate->clock), &r->auth, &err);
    if (rc == RC_AGAIN && r->asked)
        rc = auth_refuse(&err);
    if (rc == RC_AGAIN) {
        r->asked = true;
        memcpy(r->ask.public_id, r->key_public.p,
               MIN_OF(r->key_public.len, sizeof r->ask.public_id - 1));
        return RC_AGAIN;
    }
    if (rc != RC_OK)
        *ret = fault_of(rc, &err, NULL);
    return rc;
}

/* ---- what ---- */

static enum rc read_body(struct req *r, struct fault *ret)
{
    struct str type = http_header(r->http, "Content-Type");
    if (type.len && str_find(type, STR("json")) < 0 && str_find(type, STR("JSON")) < 0) {
        *ret = fault_make(RC_BAD_INPUT, "unsupported_media_type", NULL,
                          "Unsupported Content-Type; send application/json.");
        ret->status = 415;
        return RC_BAD_INPUT;
    }
    struct err err = {0};
    const char *code = NULL;
    enum rc rc = chat_parse(r->chat.route, http_body(r->http), r->arena, &r->chat, &code, &err);
    if (rc != RC_OK)
        *ret = fault_of(rc, &err, code);
    return rc;
}

static enum rc find_route(struct req *r, struct fault *ret)
{
    struct worker *w = r->worker;
    r->dep = tables_route(r->tables, route_host(http_header(r->http, "Host")), r->chat.model,
                          r->auth.org->id);
    if (!r->dep) {
        char name[64];
        snprintf(name, sizeof name, STR_FMT, (int)MIN_OF(r->chat.model.len, sizeof name - 1),
                 r->chat.model.p);
        *ret = fault_make(RC_NOT_FOUND, "model_not_found", "model",
                          "The model `%s` does not exist or you do not have access to it.", name);
        return RC_NOT_FOUND;
    }
    r->metrics = metrics_model_of(w->metrics, r->dep->name);
    metrics_add(&r->metrics->active, 1);
    r->pool = pools_find(w->pools, r->dep->row->id);
    if (r->dep->row->engine != ENGINE_INTEGRATED)
        return RC_OK;
    if (*r->chat.unsupported) {
        *ret = fault_make(RC_BAD_INPUT, CHAT_CODE_UNSUPPORTED, r->chat.unsupported,
                          "'%s' is not supported by this deployment.", r->chat.unsupported);
        return RC_BAD_INPUT;
    }
    if (!r->pool || !pool_ready(r->pool)) {
        *ret = fault_make(RC_UNAVAILABLE, "model_not_ready", NULL,
                          "The model is not ready: no replica is running. Please try again later.");
        return RC_UNAVAILABLE;
    }
    r->text = text_model_ref(pool_text(r->pool));
    return RC_OK;
}

/* ---- how much ---- */

static int32_t context_of(const struct req *r)
{
    int64_t own = r->dep->row->context_length;
    int32_t engine = r->pool ? pool_ctx(r->pool) : INT32_MAX;
    return own > 0 && own < engine ? (int32_t)own : engine;
}

static struct fault too_long(int32_t n_ctx, int64_t tok)
{
    const char *more = tok ? "" : "more than ";
    struct fault f = fault_make(
        RC_BAD_INPUT, "context_length_exceeded", NULL,
        "This model's maximum context length is %d tokens. However, your request has %s%lld tokens "
        "of input, and needs room for at least one of output. Please reduce the input.",
        n_ctx, more, (long long)(tok ? tok : n_ctx));
    return f;
}

static enum rc count_one(struct req *r, int32_t i, int32_t n_ctx, struct fault *ret)
{
    struct err err = {0};
    /* Counting past the limit lets the message say by how much. */
    int32_t most = (int32_t)MIN_OF((int64_t)n_ctx * 4 + 1024, INT32_MAX / 8);
    enum rc rc =
        r->chat.route == CHAT_CHAT
            ? count_chat(r->text, &r->chat, clock_wall_ms(r->worker->gate->clock), most, r->arena,
                         &r->prompt[i], &err)
            : count_prompt(r->text, &r->chat.prompt[i], most, r->arena, &r->prompt[i], &err);
    if (rc == RC_TOO_LARGE || (rc == RC_OK && r->prompt[i].n >= n_ctx)) {
        *ret = too_long(n_ctx, rc == RC_OK ? r->prompt[i].n : 0);
        return RC_BAD_INPUT;
    }
    if (rc == RC_OK && r->prompt[i].n == 0)
        rc = err_field(&err, RC_BAD_INPUT, "prompt", "The prompt has no tokens.");
    if (rc != RC_OK)
        *ret = fault_of(rc, &err, NULL);
    return rc;
}

static enum rc check_ids(const struct req *r, struct fault *ret)
{
    const struct frame_params *p = &r->chat.params;
    int32_t vocab = text_model_vocab(r->text);
    const char *field = NULL;
    for (int32_t i = 0; i < p->n_bias; i++)
        field = p->bias[i].id >= vocab ? "logit_bias" : field;
    for (int32_t i = 0; i < p->n_stop_ids; i++)
        field = p->stop_id[i] >= vocab ? "stop_token_ids" : field;
    if (!field)
        return RC_OK;
    *ret =
        fault_make(RC_BAD_INPUT, CHAT_CODE_VALUE, field,
                   "'%s' names a token that is not in the model's vocabulary of %d.", field, vocab);
    return RC_BAD_INPUT;
}

/* The prompts' ids, and the most that each answer may have. */
static enum rc count(struct req *r, struct fault *ret)
{
    struct chat *c = &r->chat;
    int32_t n_ctx = context_of(r), longest = 0;
    if ((int64_t)c->n * c->n_prompts > REQ_CHOICES_MAX) {
        *ret = fault_make(RC_BAD_INPUT, CHAT_CODE_VALUE, "n",
                          "This deployment gives at most %d choices for one request.",
                          REQ_CHOICES_MAX);
        return RC_BAD_INPUT;
    }
    r->prompt = ARENA_ARRAY(r->arena, struct prompt, (size_t)c->n_prompts);
    enum rc rc = r->prompt ? check_ids(r, ret) : RC_NO_MEMORY;
    if (!r->prompt)
        *ret = fault_make(rc, NULL, NULL, "The request is too large.");
    for (int32_t i = 0; rc == RC_OK && i < c->n_prompts; i++) {
        rc = count_one(r, i, n_ctx, ret);
        r->input_tok += r->prompt[i].n;
        longest = MAX_OF(longest, r->prompt[i].n);
    }
    if (rc != RC_OK)
        return rc;
    int64_t most = MIN_OF(r->dep->row->max_output, (int64_t)n_ctx - longest);
    r->max_tok = c->max_tok >= 0 ? MIN_OF(c->max_tok, most) : most;
    if (c->params.min_tok > r->max_tok) {
        *ret = fault_make(RC_BAD_INPUT, CHAT_CODE_VALUE, "min_tokens",
                          "'min_tokens' is more than the %lld tokens that the answer may have.",
                          (long long)r->max_tok);
        return RC_BAD_INPUT;
    }
    return RC_OK;
}

/* ---- the hold ---- */

static enum rc reserve(struct req *r, struct fault *ret)
{
    struct limit_claim claims[LIMIT_CLAIMS_MAX];
    struct gateway *g = r->worker->gate;
    const struct auth *a = &r->auth;
    int64_t choices = (int64_t)r->chat.n * r->chat.n_prompts;
    int64_t least = r->chat.max_tok >= 0 ? r->max_tok : MIN_OF(r->max_tok, ANSWER_MIN_TOK);
    bool own = r->dep->row->engine == ENGINE_INTEGRATED;
    struct meter_ask ask = {
        .who = {.id = id_str(&r->id),
                .org_id = a->org->id,
                .user_id = a->user->id,
                .key_id = a->key->id,
                .deployment_id = r->dep->row->id,
                .model = r->chat.model,
                .route = r->chat.route == CHAT_CHAT ? STR("chat.completions") : STR("completions"),
                .stream = r->chat.stream,
                .source = own ? SOURCE_ENGINE : SOURCE_UPSTREAM,
                .degraded = str_of(r->degraded)},
        .price = tables_price(r->dep, clock_wall_ms(g->clock)),
        .limits = {.claims = claims,
                   .n_claims = tables_claims(r->tables, r->dep, a->key, claims),
                   .tok_min = r->input_tok + choices * least,
                   .tok_max = r->input_tok + choices * r->max_tok}};
    struct limit_refusal why = {0};
    struct err err = {0};
    enum rc rc = meter_reserve(g->meter, &ask, &r->hold, &why, &err);
    if (rc == RC_OK) {
        r->max_tok = MIN_OF(r->max_tok, (r->hold.limit.granted_tok - r->input_tok) / choices);
        return RC_OK;
    }
    *ret = rc == RC_LIMIT ? fault_of_limit(&err, &why) : fault_of(rc, &err, NULL);
    if (rc == RC_UNAVAILABLE && why.retry_ms > 0)
        ret->retry_ms = why.retry_ms;
    return rc;
}

/* ---- into the line ---- */

static enum rc make_choices(struct req *r, struct fault *ret)
{
    struct chat *c = &r->chat;
    int32_t n = c->n * c->n_prompts;
    r->choice = ARENA_ARRAY(r->arena, struct choice, (size_t)n);
    struct str name =
        arena_printf(r->arena, "%s-%s", c->route == CHAT_CHAT ? "chatcmpl" : "cmpl", r->id.z + 4);
    if (!r->choice || !name.p) {
        *ret = fault_make(RC_NO_MEMORY, NULL, NULL, "The request is too large.");
        return RC_NO_MEMORY;
    }
    r->n_choices = n;
    for (int32_t i = 0; i < n; i++) {
        struct choice *ch = &r->choice[i];
        ch->req = r;
        ch->index = i;
        ch->prompt = i / c->n;
        ch->leads = i % c->n == 0;
        buf_init(&ch->text, r->worker->gate->conf.stream_max * 16);
        reply_logprobs_init(&ch->logprobs, r->worker->gate->conf.stream_max * 64);
    }
    r->head = (struct reply_head){.route = c->route,
                                  .id = name,
                                  .model = r->chat.model,
                                  .created_s = clock_wall_ms(r->worker->gate->clock) / MS_PER_SEC,
                                  .null_usage = c->stream && c->include_usage};
    return RC_OK;
}

static uint64_t affinity_of(const struct req *r)
{
    enum { FIRST_TOK = 256 };
    size_t n = (size_t)MIN_OF(r->prompt[0].n, FIRST_TOK);
    uint32_t crc = crc32c(0, r->auth.org->id.p, r->auth.org->id.len);
    return (uint64_t)crc32c(crc, r->prompt[0].id, n * sizeof *r->prompt[0].id) + 1;
}

static void line_up(struct req *r)
{
    const struct gate_conf *conf = &r->worker->gate->conf;
    struct err err = {0};
    req_move(r, REQ_LINED);
    r->ping_at_ms = r->chat.stream ? loop_now_ms(r->worker->loop) + conf->ping_ms : 0;
    if (r->dep->row->engine != ENGINE_INTEGRATED) {
        upstream_send(r);
        return;
    }
    r->item.seqs = r->n_choices;
    r->item.cost_tok = r->input_tok + r->max_tok * r->n_choices;
    r->item.affinity = affinity_of(r);
    r->item.user = r;
    req_deadline(r, conf->queue_ms);
    enum rc rc = pool_enter(r->pool, &r->item, r->auth.org->id, &err);
    if (rc == RC_OK)
        return; /* it may be over already */
    struct req_end end = {.outcome = OUTCOME_REFUSED, .fault = fault_of(rc, &err, NULL)};
    req_finish(r, &end);
}

void req_admit(struct req *r)
{
    struct fault f = {0};
    enum rc rc = find_key(r, &f);
    if (rc == RC_AGAIN) {
        req_move(r, REQ_ASKING);
        replica_ask(&r->ask);
        return;
    }
    if (rc == RC_OK)
        rc = read_body(r, &f);
    if (rc == RC_OK)
        rc = find_route(r, &f);
    if (rc == RC_OK)
        rc = r->dep->row->engine == ENGINE_INTEGRATED ? count(r, &f) : upstream_count(r, &f);
    if (rc == RC_OK)
        rc = make_choices(r, &f);
    if (rc == RC_OK)
        rc = reserve(r, &f);
    if (rc == RC_OK)
        line_up(r);
    else
        req_fail(r, &f);
}
