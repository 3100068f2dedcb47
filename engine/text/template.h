#ifndef SLUICE_ENGINE_TEXT_TEMPLATE_H
#define SLUICE_ENGINE_TEXT_TEMPLATE_H
/* template - a model's chat template: messages in, prompt out, as text or as token ids.
 *
 * The template is Jinja from the model's file, interpreted under a budget of steps, depth and
 * bytes, with the settings of Hugging Face (trim_blocks, lstrip_blocks, loop controls). Every byte
 * of the prompt knows whether the template wrote it or a variable: control tokens are recognised
 * only in the former, so a message that spells <|im_end|> cannot end its turn.
 *
 * RC_BAD_INPUT: the conversation does not suit the template (raise_exception, or an expression
 * that Python would refuse). RC_INVALID: the budget is spent, something is not supported, or the
 * model has no template. RC_CORRUPT: not Jinja; the message has the line. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "engine/text/tokenizer.h"

struct card;
struct template; /* immutable after opening, shared by threads */

#define TEMPLATE_STEPS_MAX  (1000 * 1000) /* nodes evaluated, items walked, 64-byte copies */
#define TEMPLATE_DEPTH_MAX  400           /* nested nodes at work, macro calls included */
#define TEMPLATE_MEMORY_MAX ((size_t)128 << 20)
#define TEMPLATE_SOURCE_MAX ((size_t)1 << 20)

/* Reads card->chat_template; the card is not kept. RC_INVALID when it is empty. */
enum rc template_open(const struct card *card, struct template **ret, struct err *err);
void template_close(struct template *t); /* accepts NULL */

struct template_input {
    json_t *messages;           /* array: the request's, as it came */
    json_t *tools;              /* array, or NULL for none */
    json_t *extra;              /* object of more variables (chat_template_kwargs), or NULL */
    bool add_generation_prompt; /* end with the opening of the assistant's turn */
    int64_t wall_ms;            /* now, for strftime_now (UTC) */
};

/* A prompt and the stretches of it that the template itself wrote. */
struct template_text {
    struct str text;
    struct text_span *span; /* [n_span] sorted, not touching each other */
    size_t n_span;
};
void template_text_done(struct template_text *t);

/* A NULL template answers RC_INVALID "model has no chat template". */
enum rc template_render(const struct template *t, const struct template_input *in,
                        struct template_text *ret, struct err *err);

/* Renders and appends the ids: the control tokens that the template wrote, and the stretches
 * between them encoded as plain text. Equal to Hugging Face's apply_chat_template for contents
 * that spell no control token. RC_TOO_LARGE past out->max. */
enum rc template_tokens(const struct template *t, const struct tokenizer *tok,
                        const struct template_input *in, struct tokens *out, struct err *err);

#endif
