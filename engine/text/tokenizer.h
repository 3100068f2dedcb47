#ifndef SLUICE_ENGINE_TEXT_TOKENIZER_H
#define SLUICE_ENGINE_TEXT_TOKENIZER_H
/* tokenizer - byte-level BPE, text to ids and back, exact with respect to Hugging Face tokenizers.
 *
 * Immutable after tokenizer_open(), so any number of threads may share one. Text is bytes: what is
 * not UTF-8 survives the round trip too. Text that spells a special token stays text; a special
 * token enters only by its id (the chat template, see template.h). */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct card;
struct tokenizer;

/* Builds from the model's card (vocabulary, merges, token types, pre-tokenizer name). RC_CORRUPT
 * when they contradict each other, RC_INVALID for a tokenizer family that we do not have, both with
 * the names. The card is not kept. */
enum rc tokenizer_open(const struct card *card, struct tokenizer **ret, struct err *err);
void tokenizer_close(struct tokenizer *t); /* accepts NULL */

int32_t tokenizer_vocab(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t); /* -1: none */
/* What goes before a plain prompt (POST /v1/completions), -1: nothing. A chat template writes its
 * own, so template_tokens() adds none. */
int32_t tokenizer_bos(const struct tokenizer *t);
bool tokenizer_is_end(const struct tokenizer *t, int32_t id); /* any end-of-generation token */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
int32_t tokenizer_find_special(const struct tokenizer *t, struct str text); /* -1: none */

/* Ids that grow; a capped vector. */
struct tokens {
    int32_t *id;
    size_t n, cap, max;
};
void tokens_init(struct tokens *v, size_t max);
void tokens_done(struct tokens *v);
enum rc tokens_push(struct tokens *v, int32_t id, struct err *err); /* RC_TOO_LARGE past max */

/* Appends the ids of text. Linear but for one heap per word, so 1 MB of one letter is fine.
 * Words that the model's makers added to the vocabulary (type USER_DEFINED: runs of blanks,
 * <tool_call>) are found in any text, as Hugging Face does; control tokens never.
 * A byte for which the vocabulary has no token is dropped, as the oracle does: the default model
 * lacks 21 (six control bytes and some that UTF-8 does not use); all else survives decoding.
 * RC_TOO_LARGE when ids would pass v->max; RC_NO_MEMORY. */
enum rc tokenizer_encode(const struct tokenizer *t, struct str text, struct tokens *v,
                         struct err *err);
/* Same, but text that spells a special token becomes that token: for the operator's own text
 * (POST /tokenize with add_special_tokens), never for a tenant's chat content. */
enum rc tokenizer_encode_special(const struct tokenizer *t, struct str text, struct tokens *v,
                                 struct err *err);

/* A stretch [from, to) of bytes. */
struct text_span {
    size_t from, to;
};
/* Same, but control tokens are recognised only where they lie wholly inside one of the spans
 * (sorted, not touching each other): what the chat template wrote, as opposed to its variables. */
enum rc tokenizer_encode_spans(const struct tokenizer *t, struct str text,
                               const struct text_span *span, size_t n_span, struct tokens *v,
                               struct err *err);

/* The bytes of one token, lent; empty for an unknown id. Special tokens give their text. */
struct str tokenizer_piece(const struct tokenizer *t, int32_t id);
enum rc tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, bool skip_special,
                         struct buf *to, struct err *err);

#endif
