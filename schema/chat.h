#ifndef SLUICE_SCHEMA_CHAT_H
#define SLUICE_SCHEMA_CHAT_H
/* chat - requests of the OpenAI protocol, read and checked: /v1/chat/completions and
 * /v1/completions.
 *
 * Every field that we know is checked for type and range; fields that only steer other vendors'
 * machinery are ignored; fields that would change the answer and that we cannot honour are refused
 * by name, because an answer that silently ignores them is worse. The replies are in chat_reply.h.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/frame.h"

#define CHAT_MESSAGES_MAX 4096
#define CHAT_PROMPTS_MAX  64
#define CHAT_STOP_MAX     4
#define CHAT_STOP_BYTES   256
#define CHAT_DEPTH_MAX    64           /* of nested JSON */
#define CHAT_VALUES_MAX   (256 * 1024) /* commas in a body: bounds what a parsed body takes */

enum chat_route { CHAT_CHAT, CHAT_TEXT };

/* What OpenAI clients switch on: the `code` of an error. Static text. */
#define CHAT_CODE_VALUE       "invalid_value"
#define CHAT_CODE_TYPE        "invalid_type"
#define CHAT_CODE_MISSING     "missing_required_parameter"
#define CHAT_CODE_UNSUPPORTED "unsupported_parameter"
#define CHAT_CODE_JSON        "invalid_json"

/* A prompt of /v1/completions: text, or ids when n_ids >= 0. */
struct chat_prompt {
    struct str text;
    const int32_t *id;
    int32_t n_ids; /* -1: text */
};

struct chat {
    enum chat_route route;
    struct str model;
    /* For the chat template: the request's own, checked, with role developer read as system and
     * text parts joined by a line feed. Owned; NULL for a text completion. */
    json_t *messages;
    const struct chat_prompt *prompt;
    int32_t n_prompts; /* 1 for a chat */
    int32_t n;         /* choices for each prompt */
    int64_t max_tok;   /* -1: not said; the effective value is the gateway's */
    bool stream, include_usage, continuous_usage;
    bool echo;
    bool add_generation_prompt;
    char unsupported[48];  /* the first field that the integrated engine cannot honour, or "" */
    json_t *template_args; /* chat_template_kwargs, owned: chat_done; NULL: none */
    struct frame_params params; /* max_tok in it is not filled in */
};

/* Reads a request. RC_BAD_INPUT with err.field and *reterr_code. Text and arrays live in `arena`;
 * the body is not kept. Call chat_done() afterwards, also after a failure. */
enum rc chat_parse(enum chat_route route, struct str body, struct arena *arena, struct chat *ret,
                   const char **reterr_code, struct err *err);
void chat_done(struct chat *c); /* accepts a zeroed struct */

/* A JSON object out of foreign bytes: depth and number of values are bounded before anything is
 * built; duplicate keys, bad UTF-8, lone surrogates and numbers that do not fit are refused. */
enum rc chat_load_json(struct str body, json_t **ret, struct err *err);

#endif
