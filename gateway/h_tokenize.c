/* h_tokenize.c - POST /tokenize {model, prompt, add_special_tokens} → {tokens, count}.
 *
 * With add_special_tokens (the default) it is just what /v1/completions counts for this prompt;
 * without, special tokens spelled in the text stay text. `messages` instead of `prompt` counts a
 * chat. Nothing is computed, so nothing is metered. */
#include <jansson.h>

#include "base/units.h"
#include "gateway/caller.h"
#include "gateway/route.h"
#include "schema/chat.h"

static enum rc read_fields(const json_t *root, struct str *ret_model, struct str *ret_prompt,
                           bool *ret_special, struct err *err)
{
    const json_t *model = json_object_get(root, "model"), *prompt = json_object_get(root, "prompt");
    const json_t *special = json_object_get(root, "add_special_tokens");
    if (!json_is_string(model))
        return err_field(err, RC_BAD_INPUT, "model", "'model' must be a string.");
    if (!json_is_string(prompt))
        return err_field(err, RC_BAD_INPUT, "prompt", "'prompt' must be a string.");
    if (special && !json_is_boolean(special) && !json_is_null(special))
        return err_field(err, RC_BAD_INPUT, "add_special_tokens",
                         "'add_special_tokens' must be a boolean.");
    *ret_model = str_make(json_string_value(model), json_string_length(model));
    *ret_prompt = str_make(json_string_value(prompt), json_string_length(prompt));
    *ret_special = !json_is_false(special);
    return RC_OK;
}

static enum rc text_of(struct caller *c, struct str model, struct text_model **ret,
                       struct fault *ret_fault)
{
    const struct tables_dep *d =
        tables_route(c->tables, route_host(http_header(c->http, "Host")), model, c->auth.org->id);
    struct pool *pool = d ? pools_find(c->worker->pools, d->row->id) : NULL;
    if (!d) {
        *ret_fault =
            fault_make(RC_NOT_FOUND, "model_not_found", "model",
                       "The model `" STR_FMT "` does not exist or you do not have access to it.",
                       (int)MIN_OF(model.len, (size_t)63), model.p);
        return RC_NOT_FOUND;
    }
    *ret = pool ? pool_text(pool) : NULL;
    if (*ret)
        return RC_OK;
    *ret_fault = d->row->engine == ENGINE_INTEGRATED
                     ? fault_make(RC_UNAVAILABLE, "model_not_ready", NULL,
                                  "The model is not ready: no replica is running.")
                     : fault_make(RC_BAD_INPUT, CHAT_CODE_UNSUPPORTED, "model",
                                  "This deployment's tokenizer is not here.");
    return ret_fault->rc;
}

static enum rc tokenize(struct caller *c, const json_t *root, struct prompt *ret,
                        struct fault *ret_fault)
{
    enum { MOST_TOK = 1 << 20 };
    struct str model, prompt;
    bool special = false;
    struct err err = {0};
    struct text_model *text = NULL;
    enum rc rc = read_fields(root, &model, &prompt, &special, &err);
    if (rc == RC_OK) {
        rc = text_of(c, model, &text, ret_fault);
        if (rc != RC_OK)
            return rc;
        rc = count_text(text, prompt, special, MOST_TOK, http_arena(c->http), ret, &err);
    }
    if (rc != RC_OK)
        *ret_fault = fault_of(rc, &err, NULL);
    return rc;
}

static enum rc tokenize_chat(struct caller *c, struct prompt *ret, struct fault *ret_fault)
{
    enum { MOST_TOK = 1 << 20 };
    struct chat chat = {0};
    struct err err = {0};
    const char *code = NULL;
    struct text_model *text = NULL;
    struct arena *arena = http_arena(c->http);
    enum rc rc = chat_parse(CHAT_CHAT, http_body(c->http), arena, &chat, &code, &err);
    if (rc == RC_OK)
        rc = text_of(c, chat.model, &text, ret_fault);
    if (rc == RC_OK && text)
        rc = count_chat(text, &chat, clock_wall_ms(c->worker->gate->clock), MOST_TOK, arena, ret,
                        &err);
    if (rc != RC_OK && err.rc != RC_OK)
        *ret_fault = fault_of(rc, &err, code);
    chat_done(&chat);
    return rc;
}

void h_tokenize(struct caller *c)
{
    struct err err = {0};
    struct fault f = {0};
    json_t *root = NULL;
    struct prompt p = {0};
    enum rc rc = chat_load_json(http_body(c->http), &root, &err);
    if (rc != RC_OK)
        f = fault_of(rc, &err, CHAT_CODE_JSON);
    else if (json_object_get(root, "messages"))
        rc = tokenize_chat(c, &p, &f);
    else
        rc = tokenize(c, root, &p, &f);
    json_decref(root);
    if (rc != RC_OK) {
        caller_fail(c, &f);
        return;
    }
    struct buf *b = &c->worker->scratch;
    buf_z(b, "{\"tokens\":[");
    for (int32_t i = 0; i < p.n; i++) {
        if (i)
            buf_byte(b, ',');
        buf_i64(b, p.id[i]);
    }
    buf_printf(b, "],\"count\":%d}", p.n);
    caller_reply(c, buf_view(b));
    buf_clear(b);
}
