#ifndef SLUICE_ENGINE_TEXT_BPE_H
#define SLUICE_ENGINE_TEXT_BPE_H
/* bpe - byte pair merges inside one piece: always the pair of lowest rank, leftmost first. */

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "engine/text/vocab.h"

struct bpe_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX when empty */
    uint32_t rank;
    int32_t id; /* what the pair becomes */
};

struct bpe {
    const int32_t *byte_id;  /* view of the vocabulary's */
    struct bpe_merge *merge; /* open addressing */
    uint32_t shift;          /* 64 - log2(slots) */
};

/* RC_CORRUPT names the merge that does not fit the vocabulary. */
enum rc bpe_init(struct bpe *b, const struct vocab *v, const struct card *card, struct err *err);
void bpe_done(struct bpe *b);

struct bpe_symbol;
struct bpe_entry;

/* Memory of one caller, reused from piece to piece. Zero it, then bpe_work_done(). */
struct bpe_work {
    struct bpe_symbol *sym;
    struct bpe_entry *heap;
    size_t sym_cap, heap_cap, heap_n;
    int32_t *id; /* [n] the result of the last bpe_run */
    size_t id_cap, n;
    uint64_t steps; /* look-ups and heap moves so far: what the tests bound */
};

void bpe_work_done(struct bpe_work *w);

/* Fills w->id[w->n]. Bytes that have no token are left out before merging, as the oracle does. */
enum rc bpe_run(const struct bpe *b, struct str piece, struct bpe_work *w, struct err *err);

#endif
