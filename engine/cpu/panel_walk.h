#ifndef SLUICE_ENGINE_CPU_PANEL_WALK_H
#define SLUICE_ENGINE_CPU_PANEL_WALK_H
/* panel_walk - what the products of avx2 and avx512 have in common: a task of panels and rows, its
 * rows as the weights want them, and the memory that is fetched meanwhile. */

#include "engine/cpu/panel.h"

#define ALWAYS static inline __attribute__((always_inline))

/* What a call of some panels and some rows of activations is about. */
struct task {
    const struct weight *w;
    int32_t p0, p1;
    const struct act *a;
    int32_t t0, T;
    bool add;
    float *to;
    size_t ld;
};

/* Rows of activations from row t of a on, as the weights at hand want them. */
struct rows {
    const int16_t *q;
    const int8_t *b;
    const struct outlier *out;
    const uint32_t *n_out;
    const float *d, *s;
    const int32_t *m;
    const float *unit;
    size_t ld, blocks, outs; /* from one row to the next */
};

ALWAYS struct rows rows_from(const struct act *a, int32_t t, int bits)
{
    const size_t ld = (size_t)a->ld, at = (size_t)t * ld, block = at / CPU_BLOCK;
    struct rows r = {.ld = ld, .blocks = ld / CPU_BLOCK, .outs = act_outliers(a->ld)};
    r.q = a->q + at;
    r.b = a->b + at;
    r.out = a->out + (size_t)t * r.outs;
    r.n_out = a->n_out + t;
    r.d = a->d + block;
    r.m = a->m + block;
    r.unit = a->unit + t;
    r.s = (bits == 4 ? a->sb : a->s) + block;
    return r;
}

/* What is wanted next of the memory: at each block `step` bytes from `at` on. */
struct ahead {
    const uint8_t *at;
    size_t step;
};

ALWAYS void fetch_ahead(struct ahead *ahead)
{
    for (size_t i = 0; i < ahead->step; i += 64)
        __builtin_prefetch(ahead->at + i);
    ahead->at += ahead->step;
}

/* One function for each form of integers, and a table of them by form. */
#define MULTIPLY_FORMS(multiply, table)                                                            \
    static void multiply##_q4_1(const struct task *k)                                              \
    {                                                                                              \
        multiply(PANEL_Q4_1, k);                                                                   \
    }                                                                                              \
    static void multiply##_q4_0(const struct task *k)                                              \
    {                                                                                              \
        multiply(PANEL_Q4_0, k);                                                                   \
    }                                                                                              \
    static void multiply##_q4_k(const struct task *k)                                              \
    {                                                                                              \
        multiply(PANEL_Q4_K, k);                                                                   \
    }                                                                                              \
    static void multiply##_q8_0(const struct task *k)                                              \
    {                                                                                              \
        multiply(PANEL_Q8_0, k);                                                                   \
    }                                                                                              \
    static void multiply##_q5(const struct task *k)                                                \
    {                                                                                              \
        multiply(PANEL_Q5, k);                                                                     \
    }                                                                                              \
    static void multiply##_q6_k(const struct task *k)                                              \
    {                                                                                              \
        multiply(PANEL_Q6_K, k);                                                                   \
    }                                                                                              \
    static void (*const table[PANEL_FORMS])(const struct task *) = {                               \
        [PANEL_Q4_1] = multiply##_q4_1, [PANEL_Q4_0] = multiply##_q4_0,                            \
        [PANEL_Q4_K] = multiply##_q4_k, [PANEL_Q8_0] = multiply##_q8_0,                            \
        [PANEL_Q5] = multiply##_q5,     [PANEL_Q6_K] = multiply##_q6_k,                            \
    }

#endif
