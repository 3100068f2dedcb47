#ifndef SLUICE_ENGINE_TEXT_VOCAB_H
#define SLUICE_ENGINE_TEXT_VOCAB_H
/* vocab - the bytes of each token, and the token of given bytes.
 *
 * A byte-level vocabulary stores bytes as printable characters (GPT-2's alphabet: a blank is
 * U+0120); here they are turned back once, at load. Control tokens keep their text as it is. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "engine/text/card.h"

struct vocab {
    int32_t n;
    char *bytes;          /* all tokens' bytes, one after the other */
    uint32_t *start;      /* [n + 1] into bytes */
    uint8_t *type;        /* [n] enum card_token_type */
    int32_t *slot;        /* open addressing: bytes -> id of ordinary tokens, -1 when empty */
    uint32_t mask;        /* slots - 1 */
    uint32_t longest;     /* bytes of the longest ordinary token */
    int32_t byte_id[256]; /* the token of one byte, -1 when the vocabulary has none */
};

enum rc vocab_init(struct vocab *v, const struct card *card, struct err *err);
void vocab_done(struct vocab *v);

static inline struct str vocab_piece(const struct vocab *v, int32_t id)
{
    return str_make(v->bytes + v->start[id], v->start[id + 1] - v->start[id]);
}

/* An ordinary (not control) token with just these bytes, or -1. */
int32_t vocab_find(const struct vocab *v, struct str bytes);

/* Takes a token out of vocab_find's reach. */
void vocab_hide(struct vocab *v, int32_t id);

/* Text in the byte-level alphabet to bytes; `to` has room for s.len bytes. Text with a character
 * outside the alphabet stands for itself. Returns the bytes written. */
size_t vocab_from_alphabet(struct str s, char *to);

#endif
