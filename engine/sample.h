#ifndef SLUICE_ENGINE_SAMPLE_H
#define SLUICE_ENGINE_SAMPLE_H
/* sample - one row of logits to one token.
 *
 * The order is fixed, as in vLLM: logit_bias, then repetition, presence and frequency penalties,
 * temperature, top_k, top_p, min_p, draw. Each of the three filters keeps a head of the same
 * ranking (higher first, lower id first among equals), so the outcome is one cut in that ranking
 * and nothing is ever sorted. Temperatures below SAMPLE_GREEDY_BELOW are greedy: best of the
 * ranking.
 *
 * The draw is a pure function of (logits, parameters, seed, position): Philox counts positions, so
 * batching, preemption and neighbours never change a seeded answer. All arithmetic is our own, no
 * libm in the draw, so the answer does not depend on the C library either.
 *
 * Log-probabilities are those of the unmodified logits. */

#include <stdint.h>

#include "base/err.h"
#include "schema/frame.h"

#define SAMPLE_GREEDY_BELOW 1e-6f

struct sample_cand;

/* Scratch for one row at a time; one owner thread. */
struct sampler {
    int32_t n_vocab;
    float *x;                 /* [n_vocab] logits on their way through the steps */
    float *e;                 /* [n_vocab] exp of them */
    struct sample_cand *cand; /* [n_vocab] */
    int32_t *count;           /* [n_vocab] occurrences in the output; zero between calls */
    uint8_t *seen;            /* [n_vocab] in prompt or output; zero between calls */
};

struct sample_in {
    const float *logits; /* [n_vocab] */
    const struct frame_params *params;
    uint64_t seed;
    const int32_t *token; /* [n_total] prompt, then output; position n_total is drawn now */
    int32_t n_prompt, n_total;
    const int32_t *end_id; /* [n_end] tokens that would end the answer, barred before min_tok */
    int32_t n_end;
};

struct sample_out {
    struct frame_logprob chosen; /* logprob only when asked for */
    int32_t n_top;
    struct frame_logprob top[FRAME_TOP_LOGPROBS_MAX]; /* best first */
};

enum rc sampler_open(struct sampler *s, int32_t n_vocab, struct err *err);
void sampler_close(struct sampler *s); /* accepts a zeroed struct */

/* RC_INTERNAL when a logit is not a finite number: the request must fail, its neighbours need not.
 */
enum rc sample_next(struct sampler *s, const struct sample_in *in, struct sample_out *ret,
                    struct err *err);

/* Philox 4x32-10 (Salmon et al., 2011). */
void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4]);

#endif
