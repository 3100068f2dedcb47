#ifndef SLUICE_TESTS_FAKE_BACKEND_H
#define SLUICE_TESTS_FAKE_BACKEND_H
/* fake_backend - a model whose KV cell is a hash of the cell before and the token, and whose logits
 * are a hash of the cell. A row that reads a wrong page, or a page that was written by somebody
 * else, gives another answer at once; fake_answer() says what the right one is. */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "engine/ops.h"

struct fake_backend {
    struct backend base;
    int32_t n_vocab, n_pages, max_batch, max_out;
    int32_t end_id;    /* gets a bonus every now and then, so that answers end */
    int32_t end_every; /* 0: never */
    uint64_t *cell;    /* [n_pages, 16] */
    int32_t poison;    /* token that makes the logits of its row NaN; -1: none */
    int fail_at;       /* the n-th forward from now fails; 0: none */
    int n_forwards;
    int32_t step_us; /* how long a forward takes */
    int32_t widest;  /* rows of the largest batch seen */
};

static inline uint64_t fake_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9E3779B97F4A7C15u ^ (b + 0x7F4A7C15u) * 0xBF58476D1CE4E5B9u;
    x ^= x >> 29;
    x *= 0x94D049BB133111EBu;
    return x ^ x >> 32;
}

static inline void fake_logits(const struct fake_backend *f, uint64_t cell, float *to)
{
    for (int32_t i = 0; i < f->n_vocab; i++)
        to[i] = (float)(fake_mix(cell, (uint64_t)i) >> 40) / (float)(1 << 22); /* 0..4 */
    bool ends = f->end_every && fake_mix(cell, 77) % (uint64_t)f->end_every == 0;
    to[f->end_id] = ends ? 5 : -1;
}

static inline enum rc fake_forward(struct backend *b, const struct batch *batch, struct err *err)
{
    struct fake_backend *f = (struct fake_backend *)b;
    ASSERT(batch->n_rows >= 1 && batch->n_rows <= f->max_batch);
    ASSERT(batch->n_out >= 0 && batch->n_out <= f->max_out);
    f->n_forwards++;
    if (f->step_us)
        nanosleep(&(struct timespec){0, f->step_us * 1000L}, NULL);
    if (batch->n_rows > f->widest)
        f->widest = batch->n_rows;
    if (f->fail_at && f->n_forwards == f->fail_at)
        return err_set(err, RC_INTERNAL, "the fake device failed");
    for (int32_t r = 0; r < batch->n_rows; r++) {
        int32_t pos = batch->pos[r], token = batch->token[r];
        const int32_t *page = batch->page_of[batch->seq[r]];
        ASSERT(batch->seq[r] >= 0 && batch->seq[r] < batch->n_seqs);
        ASSERT(token >= 0 && token < f->n_vocab);
        ASSERT(r == 0 || batch->seq[r] != batch->seq[r - 1] || pos == batch->pos[r - 1] + 1);
        uint64_t before = pos ? f->cell[page[(pos - 1) / 16] * 16 + (pos - 1) % 16] : 1;
        ASSERT(page[pos / 16] >= 0 && page[pos / 16] < f->n_pages);
        f->cell[page[pos / 16] * 16 + pos % 16] = fake_mix(before, (uint64_t)token);
    }
    for (int32_t o = 0; o < batch->n_out; o++) {
        int32_t r = batch->out_row[o], pos = batch->pos[r];
        ASSERT(r >= 0 && r < batch->n_rows && (o == 0 || r > batch->out_row[o - 1]));
        float *to = batch->logits + (size_t)o * (size_t)f->n_vocab;
        fake_logits(f, f->cell[batch->page_of[batch->seq[r]][pos / 16] * 16 + pos % 16], to);
        if (f->poison >= 0 && batch->token[r] == f->poison)
            to[f->n_vocab / 2] = __builtin_nanf("");
    }
    return RC_OK;
}

static inline void fake_init(struct fake_backend *f, int32_t n_vocab, int32_t n_pages,
                             int32_t max_batch, int32_t max_out, int32_t end_id)
{
    *f = (struct fake_backend){.n_vocab = n_vocab,
                               .n_pages = n_pages,
                               .max_batch = max_batch,
                               .max_out = max_out,
                               .end_id = end_id,
                               .poison = -1};
    f->cell = calloc((size_t)n_pages * 16, sizeof *f->cell);
    ASSERT(f->cell);
}

static inline void fake_done(struct fake_backend *f)
{
    free(f->cell);
}

static const struct backend_ops fake_ops
    __attribute__((unused)) = {.name = "fake", .forward = fake_forward};

/* The greedy answer to a prompt: up to max tokens, the end token included. Returns how many. */
static inline int32_t fake_answer(const struct fake_backend *f, const int32_t *prompt, int32_t n,
                                  int32_t max, int32_t *to)
{
    float *logits = malloc((size_t)f->n_vocab * sizeof *logits);
    ASSERT(logits);
    uint64_t cell = 1;
    for (int32_t i = 0; i < n; i++)
        cell = fake_mix(cell, (uint64_t)prompt[i]);
    int32_t made = 0;
    while (made < max) {
        fake_logits(f, cell, logits);
        int32_t best = 0;
        for (int32_t i = 1; i < f->n_vocab; i++)
            if (logits[i] > logits[best])
                best = i;
        to[made++] = best;
        if (best == f->end_id)
            break;
        cell = fake_mix(cell, (uint64_t)best);
    }
    free(logits);
    return made;
}

#endif
