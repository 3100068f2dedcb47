#ifndef SLUICE_ENGINE_CPU_CPU_OPS_H
#define SLUICE_ENGINE_CPU_CPU_OPS_H
/* cpu_ops - what an instruction set must be able to do; one table for each path.
 *
 * scalar.c is the truth: weights as dequantised, activations and KV in fp32. avx2.c and avx512.c
 * trade some of it for speed: weights repacked into panels of 16 rows, activations as integers with
 * one scale for 32 of them, KV in f16. 8 bits alone cost a small model a median of 0.08 in its
 * log-probabilities, because a few numbers are far larger than the rest and spoil the scale of
 * their block: those have 15 bits, at more work for them alone (panel.h, avx2.c).
 *
 * The promise of engine/ops.h, bit-identical rows, is kept here by one rule: the arithmetic of a
 * (row, output) pair never depends on how many rows or panels a call has. Integer sums are exact;
 * float sums go over blocks, or over positions, in ascending order.
 *
 * AMX will be another table: tiles for many rows, and avx512's entries for the rest. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/ops.h"

#define CPU_PANEL      16 /* rows of a weight that are computed together */
#define CPU_BLOCK      32 /* columns that share one activation scale */
#define CPU_TILE_ROWS  96 /* most rows of activations in one matmul call: they stay in L2 */
#define CPU_SPLIT      64 /* positions of attention summed before a merge; a multiple of a page */
#define CPU_PART_EXTRA 8  /* floats behind the head_dim sums of a part: maximum, sum, padding */

struct quant_type;

/* A matrix as the path wants it. The layout of `data` is the path's own business. */
struct weight {
    const struct quant_type *type;
    int32_t n_rows, n_cols;
    int form;           /* of the path */
    size_t panel_bytes; /* from one panel of 16 rows to the next */
    uint8_t *data;      /* view of one panel after the other; the last is padded with zeros */
};

/* What a weight wants of the activations that it meets, besides x. */
enum act_want {
    ACT_WORDS = 1, /* 16-bit steps, for 8-bit weights */
    ACT_BYTES = 2, /* 8-bit steps, and outliers of 15 bits, for 4-bit weights */
};

/* 4 neighbouring columns of one row, where 8 bits did not hold all of them. */
struct outlier {
    uint32_t column; /* of the first; a multiple of 4 */
    int8_t high[4];  /* in units of 128 steps, besides the bytes */
    float m;         /* 128 times the block's m */
};

/* Rows of activations that are to be multiplied. x is always there; the rest is what
 * `fill` makes of it. ld, the distance of rows, is n_cols rounded up to whole blocks. */
struct act {
    int32_t n_cols, ld;
    float *x;            /* [rows][ld], zero from n_cols on */
    int16_t *q;          /* [rows][ld] words */
    float *d, *s;        /* [rows][ld / 32] the value of one step of q; d times the sum of q */
    int8_t *b;           /* [rows][ld] bytes; of an outlier the low part */
    int32_t *m;          /* [rows][ld / 32] a step of b is m units; m twice, as 16-bit halves */
    float *sb;           /* [rows][ld / 32] the sum of a block, outliers included, in units */
    float *unit;         /* [rows] */
    struct outlier *out; /* [rows][act_outliers(ld)] ascending */
    uint32_t *n_out;     /* [rows] how many */
};

/* Numbers above this many times the root mean square of their row are outliers. */
#define ACT_OUT_ABOVE 4

/* Room for those of a row of n. Fewer than n / 16 can be that far out; n / 15 leaves room for the
 * rounding of the mean square of a million, and a block is filled whole. */
static inline size_t act_outliers(int32_t ld)
{
    return (size_t)(ld / (ACT_OUT_ABOVE * ACT_OUT_ABOVE - 1) + CPU_BLOCK / 4);
}

/* Where one kv head of one layer keeps its K and V. */
struct kv_head {
    uint8_t *pool;
    size_t page_bytes, k_at, v_at; /* offsets inside each page */
    int32_t head_dim;
};

struct cpu_ops {
    const char *name;
    size_t kv_bytes; /* of one element in the cache */

    /* Chooses form and panel_bytes for w->type, n_rows and n_cols. */
    void (*plan)(struct weight *w);
    /* Packs n rows (<= 16) as stored in the file into one panel; zeroes the missing ones. */
    void (*pack)(const struct weight *w, const uint8_t *rows, int32_t n, uint8_t *panel);
    /* Row `row` of w as floats, for the embedding. */
    void (*unpack_row)(const struct weight *w, int32_t row, float *to);

    int (*wants)(const struct weight *w); /* enum act_want */
    /* Quantises row t of a->x. */
    void (*fill)(const struct act *a, int32_t t, int wants);

    /* to[t * ld + r] = (or += when add) the product of row t of a, for t in [t0, t0 + T), with
     * row 16 * p0 + r of w, for r up to the end of panel p1 - 1 or of w. T <= CPU_TILE_ROWS.
     * to[0] belongs to row t0. scratch: cpu_scratch_bytes(w->n_cols), aligned to 64. */
    void (*matmul)(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                   int32_t T, bool add, float *to, size_t ld, void *scratch);

    void (*rmsnorm)(float *to, const float *x, const float *weight, int32_t n, float eps);
    /* Turns pairs (2i, 2i + 1) of v[0..rope_dim) by cos/sin [rope_dim / 2 pairs]. */
    void (*rope)(float *v, const float *cos_sin, int32_t rope_dim);
    void (*silu_mul)(float *to, const float *gate, const float *up, int32_t n);

    void (*k_store)(const struct kv_head *h, int32_t page, int32_t slot, const float *k);
    void (*v_store)(const struct kv_head *h, int32_t page, int32_t slot, const float *v);
    /* Attention of G query heads q [G][head_dim], already scaled, over positions [from, from + n)
     * of the pages: part [G][head_dim + CPU_PART_EXTRA] = unnormalised sum, then the maximum and
     * the sum of the weights. from is a multiple of CPU_SPLIT and n <= CPU_SPLIT. */
    void (*attend)(const struct kv_head *h, const int32_t *page_of, int32_t G, const float *q,
                   int32_t from, int32_t n, float *part);
    void (*merge)(float *run, const float *part, int32_t G, int32_t head_dim);
    void (*finish)(const float *run, int32_t G, int32_t head_dim, float *to /* [G][head_dim] */);
};

extern const struct cpu_ops cpu_scalar;
extern const struct cpu_ops cpu_avx2;
extern const struct cpu_ops cpu_avx512;

/* By name, "auto" being the best this CPU has. RC_BAD_INPUT for an unknown name, RC_INVALID for a
 * path that this CPU lacks. */
enum rc cpu_ops_choose(const char *path, const struct cpu_ops **ret, struct err *err);

static inline size_t cpu_scratch_bytes(int32_t n_cols)
{
    return (size_t)n_cols * sizeof(float); /* one row of weights */
}

static inline int32_t cpu_panels(const struct weight *w)
{
    return (w->n_rows + CPU_PANEL - 1) / CPU_PANEL;
}

#endif
