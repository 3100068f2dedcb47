#include "schema/chat.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/units.h"
#include "schema/chat_reader.h"

/* ---- sampling ---- */

static enum rc take_numbers(struct reader *r, struct frame_params *p)
{
    int64_t seed = 0;
    enum rc rc = reader_float(r, "temperature", 0, 2, &p->temperature);
    if (rc == RC_OK)
        rc = reader_float(r, "top_p", 0, 1, &p->top_p);
    if (rc == RC_OK)
        rc = reader_float(r, "min_p", 0, 1, &p->min_p);
    if (rc == RC_OK)
        rc = reader_float(r, "frequency_penalty", -2, 2, &p->frequency);
    if (rc == RC_OK)
        rc = reader_float(r, "presence_penalty", -2, 2, &p->presence);
    if (rc == RC_OK)
        rc = reader_float(r, "repetition_penalty", 0.01, 100, &p->repetition);
    if (rc == RC_OK)
        rc = reader_i32(r, "top_k", -1, INT32_MAX, &p->top_k);
    if (rc == RC_OK)
        rc = reader_i32(r, "min_tokens", 0, INT32_MAX, &p->min_tok);
    if (rc == RC_OK)
        rc = reader_bool(r, "ignore_eos", &p->ignore_eos);
    if (rc == RC_OK)
        rc = reader_int(r, "seed", INT64_MIN, INT64_MAX, &seed);
    if (rc != RC_OK)
        return rc;
    p->has_seed = reader_field(r, "seed") != NULL;
    p->seed = (uint64_t)seed;
    p->top_k = MAX_OF(p->top_k, 0); /* -1 and 0 both say "off" */
    /* The protocol allows 0, which can only mean the most probable token. */
    p->top_p = p->top_p > 0 ? p->top_p : FLT_EPSILON;
    return RC_OK;
}

static enum rc add_stop(struct reader *r, const json_t *v, struct frame_params *p)
{
    if (!json_is_string(v))
        return reader_bad_type(r, "stop", "a string or an array of strings");
    struct str s = reader_text(v);
    if (s.len == 0 || s.len > CHAT_STOP_BYTES)
        return reader_bad(r, CHAT_CODE_VALUE, "stop",
                          "Invalid 'stop': each sequence must have 1 to 256 bytes.");
    return reader_copy(r, s, &p->stop[p->n_stop++]);
}

static enum rc take_stop(struct reader *r, struct frame_params *p)
{
    const json_t *v = reader_field(r, "stop");
    if (!v)
        return RC_OK;
    if (!json_is_array(v))
        return add_stop(r, v, p);
    if (json_array_size(v) > CHAT_STOP_MAX)
        return reader_bad(r, CHAT_CODE_VALUE, "stop",
                          "Invalid 'stop': at most 4 sequences are allowed.");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < json_array_size(v); i++)
        rc = add_stop(r, json_array_get(v, i), p);
    return rc;
}

static enum rc take_stop_ids(struct reader *r, struct frame_params *p)
{
    const json_t *v = reader_field(r, "stop_token_ids");
    if (!v)
        return RC_OK;
    if (!json_is_array(v))
        return reader_bad_type(r, "stop_token_ids", "an array of integers");
    if (json_array_size(v) > FRAME_STOP_IDS_MAX)
        return reader_bad(r, CHAT_CODE_VALUE, "stop_token_ids",
                          "At most 16 stop token ids are allowed.");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id))
            return reader_bad_type(r, "stop_token_ids", "an array of integers");
        if (json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return reader_bad(r, CHAT_CODE_VALUE, "stop_token_ids", "A token id is out of range.");
        p->stop_id[p->n_stop_ids++] = (int32_t)json_integer_value(id);
    }
    return RC_OK;
}

static enum rc take_bias(struct reader *r, struct frame_params *p)
{
    const json_t *v = reader_field(r, "logit_bias");
    if (!v)
        return RC_OK;
    if (!json_is_object(v))
        return reader_bad_type(r, "logit_bias", "an object of token ids and numbers");
    size_t n = json_object_size(v);
    if (n > FRAME_BIAS_MAX)
        return reader_bad(r, CHAT_CODE_VALUE, "logit_bias", "At most 1024 biases are allowed.");
    struct frame_bias *bias = ARENA_ARRAY(r->arena, struct frame_bias, n);
    if (!bias)
        return reader_no_memory(r);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)v, key, value)
    {
        int64_t id = 0;
        if (!str_to_i64(str_of(key), 0, INT32_MAX, &id))
            return reader_bad(r, CHAT_CODE_VALUE, "logit_bias",
                              "A key of 'logit_bias' is no token id.");
        double d = json_number_value(value);
        if (!json_is_number(value))
            return reader_bad_type(r, "logit_bias", "an object of token ids and numbers");
        if (!(d >= -100 && d <= 100))
            return reader_bad(r, CHAT_CODE_VALUE, "logit_bias",
                              "Invalid 'logit_bias': a bias must be between -100 and 100.");
        bias[p->n_bias++] = (struct frame_bias){(int32_t)id, (float)d};
    }
    p->bias = bias;
    return RC_OK;
}

/* A chat says logprobs: true and top_logprobs: 5; a completion says logprobs: 5. */
static enum rc take_logprobs(struct reader *r, enum chat_route route, struct frame_params *p)
{
    if (route == CHAT_TEXT) {
        if (!reader_field(r, "logprobs") || json_is_false(reader_field(r, "logprobs")))
            return RC_OK;
        p->logprobs = true;
        return reader_i32(r, "logprobs", 0, 5, &p->top_logprobs);
    }
    enum rc rc = reader_bool(r, "logprobs", &p->logprobs);
    if (rc == RC_OK)
        rc = reader_i32(r, "top_logprobs", 0, FRAME_TOP_LOGPROBS_MAX, &p->top_logprobs);
    if (rc == RC_OK && p->top_logprobs > 0 && !p->logprobs)
        rc = reader_bad(r, CHAT_CODE_VALUE, "top_logprobs",
                        "'top_logprobs' is only allowed when 'logprobs' is true.");
    return rc;
}

/* ---- what we cannot do, said by name ---- */

static bool asks_for_something(const json_t *v)
{
    return v && !json_is_false(v) && !(json_is_array(v) && json_array_size(v) == 0) &&
           !(json_is_string(v) && json_string_length(v) == 0) &&
           !(json_is_integer(v) && json_integer_value(v) == 0);
}

static enum rc note_unsupported(struct reader *r, enum chat_route route)
{
    static const char *const both[] = {"guided_json",     "guided_regex",    "guided_choice",
                                       "guided_grammar",  "grammar",         "structured_outputs",
                                       "prompt_logprobs", "use_beam_search", "audio"};
    static const char *const chat[] = {"tools",
                                       "functions",
                                       "chat_template",
                                       "documents",
                                       "continue_final_message",
                                       "web_search_options"};
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        if (asks_for_something(reader_field(r, both[i])))
            reader_unsupported(r, both[i]);
    if (route == CHAT_TEXT)
        return asks_for_something(reader_field(r, "suffix")) ? reader_unsupported(r, "suffix")
                                                             : RC_OK;
    for (size_t i = 0; i < ARRAY_LEN(chat); i++)
        if (asks_for_something(reader_field(r, chat[i])))
            reader_unsupported(r, chat[i]);

    const json_t *choice = reader_field(r, "tool_choice");
    if (choice && !(json_is_string(choice) &&
                    (str_is(reader_text(choice), "none") || str_is(reader_text(choice), "auto"))))
        return reader_unsupported(r, "tool_choice");
    const json_t *modes = reader_field(r, "modalities");
    for (size_t i = 0; modes && i < json_array_size(modes); i++)
        if (!str_is(reader_text(json_array_get(modes, i)), "text"))
            return reader_unsupported(r, "modalities");
    return RC_OK;
}

static enum rc take_response_format(struct reader *r)
{
    const json_t *v = reader_field(r, "response_format");
    if (!v)
        return RC_OK;
    if (!json_is_object(v))
        return reader_bad_type(r, "response_format", "an object");
    const json_t *type = json_object_get(v, "type");
    if (!json_is_string(type))
        return reader_bad(r, CHAT_CODE_MISSING, "response_format.type",
                          "Missing required parameter: 'response_format.type'.");
    if (str_is(reader_text(type), "text"))
        return RC_OK;
    if (str_is(reader_text(type), "json_object") || str_is(reader_text(type), "json_schema"))
        return reader_unsupported(r, "response_format");
    return reader_bad(
        r, CHAT_CODE_VALUE, "response_format.type",
        "Invalid 'response_format.type': expected 'text', 'json_object' or 'json_schema'.");
}

/* ---- messages ---- */

#define AT(what)                                                                                   \
    char at[48];                                                                                   \
    snprintf(at, sizeof at, "messages[%zu]." what, i)

static enum rc check_parts(struct reader *r, size_t i, const json_t *parts)
{
    AT("content");
    size_t k;
    json_t *part;
    json_array_foreach(parts, k, part)
    {
        const json_t *type = json_object_get(part, "type");
        if (!json_is_string(type))
            return reader_bad_type(r, at, "a string or an array of parts with a 'type'");
        if (!str_is(reader_text(type), "text"))
            reader_unsupported(r, at);
        else if (!json_is_string(json_object_get(part, "text")))
            return reader_bad_type(r, at, "text parts whose 'text' is a string");
    }
    return RC_OK;
}

static enum rc join_parts(struct reader *r, json_t *msg, const json_t *parts)
{
    size_t k;
    json_t *part;
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    json_array_foreach(parts, k, part)
    {
        if (k > 0)
            buf_byte(&text, '\n');
        buf_str(&text, reader_text(json_object_get(part, "text")));
    }
    json_t *joined = text.failed ? NULL : json_stringn(text.p ? text.p : "", text.len);
    buf_done(&text);
    return json_object_set_new(msg, "content", joined) == 0 ? RC_OK : reader_no_memory(r);
}

static enum rc take_content(struct reader *r, size_t i, json_t *msg)
{
    AT("content");
    const json_t *v = json_object_get(msg, "content");
    if (json_is_string(v))
        return RC_OK;
    if (json_is_array(v)) {
        enum rc rc = check_parts(r, i, v);
        return rc == RC_OK && !*r->unsupported ? join_parts(r, msg, v) : rc;
    }
    if (v && !json_is_null(v))
        return reader_bad_type(r, at, "a string or an array of parts");
    if (asks_for_something(json_object_get(msg, "tool_calls")))
        return RC_OK; /* said instead of content */
    return reader_bad(r, CHAT_CODE_MISSING, at, "A message needs 'content'.");
}

static enum rc take_role(struct reader *r, size_t i, json_t *msg)
{
    AT("role");
    static const char *const roles[] = {"system", "user", "assistant"};
    const json_t *v = json_object_get(msg, "role");
    if (!v)
        return reader_bad(r, CHAT_CODE_MISSING, at, "A message needs a 'role'.");
    if (!json_is_string(v))
        return reader_bad_type(r, at, "a string");
    struct str role = reader_text(v);
    for (size_t k = 0; k < ARRAY_LEN(roles); k++)
        if (str_is(role, roles[k]))
            return RC_OK;
    if (str_is(role, "developer"))
        return json_object_set_new(msg, "role", json_string("system")) == 0 ? RC_OK
                                                                            : reader_no_memory(r);
    if (str_is(role, "tool") || str_is(role, "function"))
        return reader_unsupported(r, at);
    return reader_bad(
        r, CHAT_CODE_VALUE, at,
        "Invalid role: expected 'system', 'developer', 'user', 'assistant' or 'tool'.");
}

static enum rc take_message(struct reader *r, size_t i, json_t *msg)
{
    AT("name");
    if (!json_is_object(msg)) {
        snprintf(at, sizeof at, "messages[%zu]", i);
        return reader_bad_type(r, at, "an object");
    }
    enum rc rc = take_role(r, i, msg);
    if (rc != RC_OK)
        return rc;
    const json_t *name = json_object_get(msg, "name"), *calls = json_object_get(msg, "tool_calls");
    if (name && !json_is_null(name) && !json_is_string(name))
        return reader_bad_type(r, at, "a string");
    if (!json_is_null(calls) && asks_for_something(calls)) {
        snprintf(at, sizeof at, "messages[%zu].tool_calls", i);
        reader_unsupported(r, at);
    }
    return take_content(r, i, msg);
}

static enum rc take_messages(struct reader *r, struct chat *c)
{
    const json_t *v = reader_field(r, "messages");
    if (!v)
        return reader_bad(r, CHAT_CODE_MISSING, "messages",
                          "Missing required parameter: 'messages'.");
    if (!json_is_array(v))
        return reader_bad_type(r, "messages", "an array of objects");
    size_t n = json_array_size(v);
    if (n == 0 || n > CHAT_MESSAGES_MAX)
        return reader_bad(r, CHAT_CODE_VALUE, "messages",
                          "'messages' must have 1 to 4096 entries.");
    c->messages = json_incref((json_t *)(uintptr_t)v);
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = take_message(r, i, json_array_get(v, i));
    return rc;
}

/* ---- prompts ---- */

static enum rc take_ids(struct reader *r, const json_t *v, struct chat_prompt *p)
{
    size_t n = json_array_size(v);
    int32_t *id = ARENA_ARRAY(r->arena, int32_t, n);
    if (!id)
        return reader_no_memory(r);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_integer(x))
            return reader_bad_type(r, "prompt",
                                   "a string, strings, token ids, or arrays of token ids");
        if (json_integer_value(x) < 0 || json_integer_value(x) > INT32_MAX)
            return reader_bad(r, CHAT_CODE_VALUE, "prompt",
                              "A token id of 'prompt' is out of range.");
        id[i] = (int32_t)json_integer_value(x);
    }
    *p = (struct chat_prompt){.id = id, .n_ids = (int32_t)n};
    return RC_OK;
}

static enum rc take_prompt(struct reader *r, const json_t *v, struct chat_prompt *p)
{
    p->n_ids = -1;
    if (json_is_string(v))
        return reader_copy(r, reader_text(v), &p->text);
    if (json_is_array(v) && json_array_size(v) > 0)
        return take_ids(r, v, p);
    return reader_bad_type(r, "prompt", "a string, strings, token ids, or arrays of token ids");
}

static enum rc take_prompts(struct reader *r, struct chat *c)
{
    const json_t *v = reader_field(r, "prompt");
    if (!v)
        return reader_bad(r, CHAT_CODE_MISSING, "prompt", "Missing required parameter: 'prompt'.");
    bool many = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    size_t n = many ? json_array_size(v) : 1;
    if (n == 0 || n > CHAT_PROMPTS_MAX)
        return reader_bad(r, CHAT_CODE_VALUE, "prompt", "'prompt' must hold 1 to 64 prompts.");
    struct chat_prompt *p = ARENA_ARRAY(r->arena, struct chat_prompt, n);
    if (!p)
        return reader_no_memory(r);
    c->prompt = p;
    c->n_prompts = (int32_t)n;
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = take_prompt(r, many ? json_array_get(v, i) : v, &p[i]);
    return rc;
}

/* ---- the whole ---- */

static enum rc take_stream(struct reader *r, struct chat *c)
{
    enum rc rc = reader_bool(r, "stream", &c->stream);
    const json_t *v = reader_field(r, "stream_options");
    if (rc != RC_OK || !v)
        return rc;
    if (!json_is_object(v))
        return reader_bad_type(r, "stream_options", "an object");
    if (!c->stream)
        return reader_bad(r, CHAT_CODE_VALUE, "stream_options",
                          "'stream_options' is only allowed when 'stream' is true.");
    struct reader opts = *r;
    opts.obj = v;
    bool obfuscation = false; /* padding against traffic analysis: accepted, never sent */
    rc = reader_bool(&opts, "include_usage", &c->include_usage);
    if (rc == RC_OK)
        rc = reader_bool(&opts, "continuous_usage_stats", &c->continuous_usage);
    if (rc == RC_OK)
        rc = reader_bool(&opts, "include_obfuscation", &obfuscation);
    r->code = opts.code;
    return rc;
}

static enum rc take_counts(struct reader *r, struct chat *c)
{
    enum rc rc = reader_i32(r, "n", 1, 128, &c->n);
    int64_t legacy = c->route == CHAT_TEXT ? 16 : -1, current = -1, best_of = c->n;
    if (rc == RC_OK)
        rc = reader_int(r, "max_tokens", c->route == CHAT_TEXT ? 0 : 1, INT64_MAX, &legacy);
    if (rc == RC_OK && c->route == CHAT_CHAT)
        rc = reader_int(r, "max_completion_tokens", 1, INT64_MAX, &current);
    c->max_tok = current >= 0 ? current : legacy;
    if (rc != RC_OK || c->route == CHAT_CHAT)
        return rc;
    rc = reader_int(r, "best_of", 1, 128, &best_of);
    if (rc == RC_OK && best_of != c->n)
        rc = reader_unsupported(r, "best_of");
    if (rc == RC_OK)
        rc = reader_bool(r, "echo", &c->echo);
    if (rc == RC_OK && c->echo && c->params.logprobs)
        rc = reader_unsupported(r, "echo");
    return rc;
}

static enum rc take_model(struct reader *r, struct chat *c)
{
    const json_t *v = reader_field(r, "model");
    if (!v)
        return reader_bad(r, CHAT_CODE_MISSING, "model", "Missing required parameter: 'model'.");
    if (!json_is_string(v))
        return reader_bad_type(r, "model", "a string");
    return reader_copy(r, reader_text(v), &c->model);
}

static enum rc take_template_args(struct reader *r, struct chat *c)
{
    const json_t *v = reader_field(r, "chat_template_kwargs");
    if (v && !json_is_object(v))
        return reader_bad_type(r, "chat_template_kwargs", "an object");
    c->template_args = json_incref((json_t *)v);
    return reader_bool(r, "add_generation_prompt", &c->add_generation_prompt);
}

static enum rc take_all(struct reader *r, struct chat *c)
{
    enum rc rc = take_model(r, c);
    if (rc == RC_OK)
        rc = c->route == CHAT_CHAT ? take_messages(r, c) : take_prompts(r, c);
    if (rc == RC_OK)
        rc = note_unsupported(r, c->route);
    if (rc == RC_OK)
        rc = take_numbers(r, &c->params);
    if (rc == RC_OK)
        rc = take_stop(r, &c->params);
    if (rc == RC_OK)
        rc = take_stop_ids(r, &c->params);
    if (rc == RC_OK)
        rc = take_bias(r, &c->params);
    if (rc == RC_OK)
        rc = take_logprobs(r, c->route, &c->params);
    if (rc == RC_OK)
        rc = take_stream(r, c);
    if (rc == RC_OK)
        rc = take_counts(r, c);
    if (rc == RC_OK)
        rc = take_response_format(r);
    if (rc == RC_OK && c->route == CHAT_CHAT)
        rc = take_template_args(r, c);
    return rc;
}

enum rc chat_parse(enum chat_route route, struct str body, struct arena *arena, struct chat *ret,
                   const char **reterr_code, struct err *err)
{
    *ret = (struct chat){.route = route, .n = 1, .n_prompts = 1, .add_generation_prompt = true};
    ret->params = (struct frame_params){.temperature = 1, .top_p = 1, .repetition = 1};
    json_t *root = NULL;
    enum rc rc = chat_load_json(body, &root, err);
    if (rc != RC_OK) {
        *reterr_code = CHAT_CODE_JSON;
        return rc;
    }
    struct reader r = {.obj = root, .arena = arena, .unsupported = ret->unsupported, .err = err};
    rc = take_all(&r, ret);
    if (rc != RC_OK)
        *reterr_code = r.code;
    json_decref(root);
    return rc;
}

void chat_done(struct chat *c)
{
    json_decref(c->messages);
    json_decref(c->template_args);
    c->messages = NULL;
    c->template_args = NULL;
}
