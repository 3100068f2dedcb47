#ifndef SLUICE_GATEWAY_COUNT_H
#define SLUICE_GATEWAY_COUNT_H
/* count - prompts to token ids, with the engine's own tokenizer and chat template.
 *
 * An engine hands over its card at HELLO. A text model is made of it once and shared by all workers
 * and connections. */

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/chat.h"

#define TEXT_MODELS_MAX 64

struct text_cache; /* thread-safe */
struct text_model; /* immutable, reference-counted */

enum rc text_cache_new(struct text_cache **ret, struct err *err);
void text_cache_free(struct text_cache *c); /* accepts NULL */

/* The model of a packed card, made or found; a reference for the caller. Making one takes a tenth
 * of a second and happens on the caller's thread. */
enum rc text_model_get(struct text_cache *c, struct str card, struct text_model **ret,
                       struct err *err);
struct text_model *text_model_ref(struct text_model *m);
void text_model_unref(struct text_model *m); /* accepts NULL */
int32_t text_model_ctx(const struct text_model *m);
int32_t text_model_vocab(const struct text_model *m);

/* Token ids of one prompt, in the request's arena. */
struct prompt {
    const int32_t *id;
    int32_t n;
};

/* RC_TOO_LARGE: more than max_tok ids. RC_BAD_INPUT: the template refuses the conversation. */
enum rc count_chat(const struct text_model *m, const struct chat *c, int64_t wall_ms,
                   int32_t max_tok, struct arena *arena, struct prompt *ret, struct err *err);
/* A prompt of /v1/completions: text is the caller's whole prompt, so special tokens spelled in it
 * are special; ids must be in the vocabulary. */
enum rc count_prompt(const struct text_model *m, const struct chat_prompt *p, int32_t max_tok,
                     struct arena *arena, struct prompt *ret, struct err *err);
/* special: as count_prompt, with the opening token; else the bare text. */
enum rc count_text(const struct text_model *m, struct str text, bool special, int32_t max_tok,
                   struct arena *arena, struct prompt *ret, struct err *err);
enum rc count_decode(const struct text_model *m, const int32_t *id, int32_t n, struct buf *to,
                     struct err *err);

#endif
