#include "control/demo_chat.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/scoped.h"
#include "base/str.h"
#include "base/units.h"
#include "control/cli_say.h"
#include "control/demo.h"
#include "control/ledger.h"
#include "control/rest.h"
#include "schema/money.h"
#include "schema/resource.h"

enum {
    MODEL_WAIT_MS = 60000,
    ANSWER_WAIT_MS = 120000,
    BUSY_WAIT_MS = 30000, /* 503 until the gateway has found the engine */
    ROW_WAIT_MS = 20000,
    LINE_MAX_BYTES = 1 << 20,
};
static const char question[] = "In one sentence: what is the capital of France, and why is it "
                               "famous?";

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

enum rc demo_await_model(const struct demo_opts *opts, const struct demo *d, struct err *err)
{
    struct rest gateway = {.url = opts->gateway_url, .token = d->api_key};
    int64_t until = now_ms() + MODEL_WAIT_MS;
    for (;;) {
        json_t *list = NULL;
        bool there = false;
        enum rc rc = rest_call(&gateway, "GET", "/v1/models", NULL, &list, err);
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(list, "data"), i, item)
        {
            there = there || strcmp(rest_text(item, "id"), d->model) == 0;
        }
        json_decref(list);
        if (there)
            return RC_OK;
        if (rc == RC_OK)
            rc = err_set(err, RC_UNAVAILABLE, "the gateway does not list %.100s", d->model);
        if (now_ms() > until)
            return rc;
        if (!demo_pause(opts, 100))
            return err_set(err, RC_CLIENT_GONE, "stopped");
    }
}

/* ---- the answer's stream ---- */

struct answer {
    const struct demo_opts *opts;
    struct buf line, text;
    char id[DEMO_TEXT_BYTES]; /* "chatcmpl-…" */
    int64_t prompt, cached, completion, sent_ms, first_ms;
    bool has_usage, done, stopped;
    int status;
    enum rc rc;
    struct err err;
};

static void show(struct answer *a, struct str delta)
{
    if (delta.len == 0)
        return;
    if (a->first_ms == 0) {
        a->first_ms = now_ms();
        fputs("\n    ", a->opts->say->out);
    }
    buf_str(&a->text, delta);
    fwrite(delta.p, 1, delta.len, a->opts->say->out);
    fflush(a->opts->say->out);
}

static void on_chunk(struct answer *a, struct str data)
{
    if (str_is(data, "[DONE]")) {
        a->done = true;
        return;
    }
    json_error_t why;
    json_t *chunk = json_loadb(data.p, data.len, 0, &why);
    snprintf(a->id, sizeof a->id, "%s", rest_text(chunk, "id"));
    const json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
    const json_t *content = json_object_get(json_object_get(choice, "delta"), "content");
    show(a, str_make(json_string_value(content), json_string_length(content)));
    const json_t *usage = json_object_get(chunk, "usage");
    if (json_is_object(usage)) {
        a->has_usage = true;
        a->prompt = json_integer_value(json_object_get(usage, "prompt_tokens"));
        a->completion = json_integer_value(json_object_get(usage, "completion_tokens"));
        a->cached = json_integer_value(
            json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens"));
    }
    json_decref(chunk);
}

static void on_head(void *user, int status)
{
    ((struct answer *)user)->status = status;
}

static enum http_flow on_data(void *user, struct str bytes)
{
    struct answer *a = user;
    if (!demo_pause(a->opts, 0)) {
        a->stopped = true;
        return HTTP_STOP;
    }
    buf_str(&a->line, bytes);
    for (;;) {
        struct str all = buf_view(&a->line);
        ptrdiff_t end = str_find_byte(all, '\n');
        if (end < 0)
            return a->line.failed ? HTTP_STOP : HTTP_GO_ON;
        struct str line = str_trim(str_sub(all, 0, (size_t)end));
        if (a->status == 200 && str_starts(line, STR("data:")))
            on_chunk(a, str_trim(str_sub(line, 5, line.len)));
        buf_drop(&a->line, (size_t)end + 1);
    }
}

static void on_done(void *user, enum rc rc, int status, struct str body, const struct err *err)
{
    struct answer *a = user;
    (void)body;
    a->rc = rc;
    a->status = status;
    if (rc != RC_OK && err)
        a->err = *err;
}

static enum rc ask_once(const struct demo_opts *opts, const struct demo *d, struct answer *a,
                        struct err *err)
{
    char url[200], bearer[200];
    snprintf(url, sizeof url, "%s/v1/chat/completions", opts->gateway_url);
    snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", d->api_key);
    const char *headers[] = {bearer, "Content-Type: application/json", NULL};
    json_t *body =
        json_pack("{s:s, s:[{s:s, s:s}], s:b, s:{s:b}, s:i, s:f}", "model", d->model, "messages",
                  "role", "user", "content", question, "stream", 1, "stream_options",
                  "include_usage", 1, "max_tokens", 80, "temperature", 0.0);
    SCOPED_PTR char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    struct http_call_opts call = {.method = "POST",
                                  .url = url,
                                  .headers = headers,
                                  .body = str_of(text),
                                  .total_ms = ANSWER_WAIT_MS,
                                  .on_head = on_head,
                                  .on_data = on_data,
                                  .on_done = on_done,
                                  .user = a};
    a->sent_ms = now_ms();
    enum rc rc = http_call_wait(&call, NULL, NULL, err);
    if (a->stopped)
        return err_set(err, RC_CLIENT_GONE, "stopped");
    if (rc != RC_OK || a->rc != RC_OK)
        return err_set(err, rc != RC_OK ? rc : a->rc, "the gateway broke the answer off: %.150s",
                       a->err.msg);
    if (a->status == 503)
        return err_set(err, RC_UNAVAILABLE, "the gateway says 503");
    if (a->status != 200)
        return err_set(err, RC_UPSTREAM, "the gateway answered %d: %.150s", a->status,
                       a->line.len ? a->line.p : "");
    if (!a->done || !a->has_usage)
        return err_set(err, RC_UPSTREAM, "the answer ended without %s",
                       a->done ? "its usage" : "[DONE]");
    return RC_OK;
}

static void answer_init(struct answer *a, const struct demo_opts *opts)
{
    *a = (struct answer){.opts = opts};
    buf_init(&a->line, LINE_MAX_BYTES);
    buf_init(&a->text, LINE_MAX_BYTES);
}

static void answer_done(struct answer *a)
{
    buf_done(&a->line);
    buf_done(&a->text);
}

/* ---- its row ---- */

/* The request's id is in the answer's: "chatcmpl-X" and "req_X". */
static enum rc await_row(const struct demo_opts *opts, const struct demo *d, const struct answer *a,
                         json_t **ret, struct err *err)
{
    struct rest api = {.url = opts->api_url, .token = d->operator.token };
    const char *tail = strrchr(a->id, '-');
    char path[200];
    snprintf(path, sizeof path, "/api/v1/usage/requests/req_%s", tail ? tail + 1 : a->id);
    int64_t until = now_ms() + ROW_WAIT_MS;
    for (;;) {
        enum rc rc = rest_call(&api, "GET", path, NULL, ret, err);
        if (rc != RC_NOT_FOUND || now_ms() > until)
            return rc;
        if (!demo_pause(opts, 20))
            return err_set(err, RC_CLIENT_GONE, "stopped");
    }
}

static int64_t number(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}

static enum rc read_price(const struct demo_opts *opts, const struct demo *d, const char *id,
                          struct price *ret, struct err *err)
{
    struct rest api = {.url = opts->api_url, .token = d->operator.token };
    char path[100];
    snprintf(path, sizeof path, "/api/v1/prices/%.60s", id);
    json_t *json = NULL;
    enum rc rc = rest_call(&api, "GET", path, NULL, &json, err);
    *ret = (struct price){.cached_input_per_1m = -1};
    if (rc == RC_OK &&
        (!money_price_parse(str_of(rest_text(json, "input_per_1m")), &ret->input_per_1m) ||
         !money_price_parse(str_of(rest_text(json, "output_per_1m")), &ret->output_per_1m)))
        rc = err_set(err, RC_CORRUPT, "price %.60s is not readable", id);
    const char *cached = rest_text(json, "cached_input_per_1m");
    if (rc == RC_OK && cached[0] && !money_price_parse(str_of(cached), &ret->cached_input_per_1m))
        rc = err_set(err, RC_CORRUPT, "price %.60s is not readable", id);
    json_decref(json);
    return rc;
}

static enum rc check_row(const struct demo_opts *opts, const struct demo *d, const struct answer *a,
                         const json_t *row, struct err *err)
{
    struct usage used = {.id = str_of(rest_text(row, "id")),
                         .input_tokens = number(row, "input_tokens"),
                         .cached_tokens = number(row, "cached_tokens"),
                         .output_tokens = number(row, "output_tokens")};
    if (used.input_tokens + used.cached_tokens != a->prompt || used.cached_tokens != a->cached ||
        used.output_tokens != a->completion)
        return err_set(err, RC_CORRUPT,
                       "the row bills %" PRId64 " + %" PRId64 " cached + %" PRId64
                       " tokens, the answer said %" PRId64 " (%" PRId64 " cached) + %" PRId64,
                       used.input_tokens, used.cached_tokens, used.output_tokens, a->prompt,
                       a->cached, a->completion);
    struct price price;
    int64_t pico = 0;
    enum rc rc = read_price(opts, d, rest_text(row, "price_id"), &price, err);
    if (rc == RC_OK)
        rc = ledger_cost(&price, &used, &pico, err);
    char exact[MONEY_TEXT_BYTES];
    money_cost_text(pico, exact);
    if (rc == RC_OK && strcmp(exact, rest_text(row, "cost")) != 0)
        rc = err_set(err, RC_CORRUPT, "the row costs %.30s, tokens times price are %.30s",
                     rest_text(row, "cost"), exact);
    if (rc != RC_OK)
        return rc;

    char in[MONEY_TEXT_BYTES], out[MONEY_TEXT_BYTES], cached[MONEY_TEXT_BYTES];
    money_price_text(price.input_per_1m, in);
    money_price_text(price.cached_input_per_1m < 0 ? price.input_per_1m : price.cached_input_per_1m,
                     cached);
    money_price_text(price.output_per_1m, out);
    struct say *say = opts->say;
    say_line(say, "    id        %s", rest_text(row, "id"));
    say_line(say, "    outcome   %s, %" PRId64 " ms, first token after %" PRId64 " ms",
             rest_text(row, "outcome"), number(row, "duration_ms"), number(row, "ttft_ms"));
    say_line(say, "    tokens    %" PRId64 " input, %" PRId64 " cached, %" PRId64 " output",
             used.input_tokens, used.cached_tokens, used.output_tokens);
    say_line(say,
             "    cost      %s %s = (%" PRId64 " × %s + %" PRId64 " × %s + %" PRId64
             " × %s) / 1,000,000",
             exact, rest_text(row, "currency"), used.input_tokens, in, used.cached_tokens, cached,
             used.output_tokens, out);
    return RC_OK;
}

enum rc demo_chat(const struct demo_opts *opts, const struct demo *d, struct err *err)
{
    struct say *say = opts->say;
    struct answer a;
    enum rc rc;
    say_step(say, "one metered request");
    say_line(say, "    %s", question);
    for (int64_t until = now_ms() + BUSY_WAIT_MS;;) {
        answer_init(&a, opts);
        rc = ask_once(opts, d, &a, err);
        if (rc != RC_UNAVAILABLE || now_ms() > until)
            break;
        answer_done(&a);
        if (!demo_pause(opts, 200))
            return err_set(err, RC_CLIENT_GONE, "stopped");
    }
    if (a.first_ms)
        fputs("\n\n", say->out);
    if (rc == RC_OK) {
        double seconds = (double)(now_ms() - a.first_ms) / MS_PER_SEC;
        say_done(say, "answered; %" PRId64 " ms to the first token, %.0f tokens/s",
                 a.first_ms - a.sent_ms,
                 seconds > 0 ? (double)(a.completion - 1) / seconds : (double)a.completion);
        say_step(say, "its usage row");
        json_t *row = NULL;
        rc = await_row(opts, d, &a, &row, err);
        if (rc == RC_OK)
            rc = check_row(opts, d, &a, row, err);
        if (rc == RC_OK)
            say_done(say, "tokens and cost are exact");
        json_decref(row);
    }
    answer_done(&a);
    return rc;
}
