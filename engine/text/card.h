#ifndef SLUICE_ENGINE_TEXT_CARD_H
#define SLUICE_ENGINE_TEXT_CARD_H
/* card - all that a gateway must know of a model to count, render and route: names, sizes, the
 * vocabulary and the chat template, in one blob that an engine hands over at HELLO. The gateway so
 * counts with the engine's own tokenizer, on another machine too. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define CARD_VOCAB_MAX       (1 << 20)
#define CARD_MERGES_MAX      (1 << 21)
#define CARD_TOKEN_MAX_BYTES 1024
#define CARD_MERGE_MAX_BYTES 2048
#define CARD_TEXT_MAX_BYTES  (1 << 20) /* names and the chat template */

enum card_token_type {
    CARD_NORMAL = 1,
    CARD_UNKNOWN,
    CARD_CONTROL,
    CARD_USER_DEFINED,
    CARD_UNUSED,
    CARD_BYTE
};

struct card {
    struct str name, arch;   /* "SmolLM2 135M Instruct", "llama" */
    uint8_t fingerprint[16]; /* of the weights file: header and tensor bytes */
    int32_t n_ctx, n_vocab;
    struct str tok_model, tok_pre;   /* "gpt2", "smollm" */
    struct str chat_template;        /* Jinja text, or empty */
    int32_t bos, eos, eot, pad, unk; /* ids, -1 when absent */
    bool add_bos, add_eos;
    const struct str *token; /* [n_vocab] as stored (byte-level alphabet) */
    const uint8_t *type;     /* [n_vocab] enum card_token_type */
    const struct str *merge; /* [n_merges] "left right" */
    int32_t n_merges;
    void *owned; /* what card_unpack allocated; card_done frees it */
};

/* Bounded, versioned, little-endian. */
enum rc card_pack(const struct card *c, struct buf *to, struct err *err);
/* Copies out of `blob`. Validates everything: lengths, counts, ids < n_vocab. RC_CORRUPT names the
 * field. */
enum rc card_unpack(struct str blob, struct card *ret, struct err *err);
void card_done(struct card *c);

#endif
