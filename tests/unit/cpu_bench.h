#ifndef SLUICE_TESTS_UNIT_CPU_BENCH_H
#define SLUICE_TESTS_UNIT_CPU_BENCH_H
/* cpu_bench - seeded weights in the layout of a path, and activations for them. */

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/cpu/cpu_ops.h"
#include "engine/model/quant.h"

#define MAX_COLS 768
#define MAX_ROWS 80
#define MAX_ACTS 13

static uint64_t seed;

static uint32_t next_u32(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static float next_even(void) /* -1..1 */
{
    return (float)((double)next_u32() / 0x1p30 - 1.0);
}

static float next_float(void) /* the same, a few far out, as activations are */
{
    float v = next_even();
    return next_u32() % 50 == 0 ? 30 * v : v;
}

/* NULL when this CPU lacks the path; main says so. */
static const struct cpu_ops *fast_path(const char *name)
{
    const struct cpu_ops *ops = NULL;
    struct err err = {0};
    return cpu_ops_choose(name, &ops, &err) == RC_OK ? ops : NULL;
}

/* Random blocks whose scales are small finite numbers. */
static void random_rows(const struct quant_type *type, int64_t n_blocks, uint8_t *to)
{
    for (int64_t b = 0; b < n_blocks; b++, to += type->block_bytes) {
        uint16_t d = quant_f32_to_f16(0.01f + 0.0001f * (float)(next_u32() % 100));
        uint16_t m = quant_f32_to_f16(0.1f * next_float());
        for (int32_t i = 0; i < type->block_bytes; i++)
            to[i] = (uint8_t)next_u32();
        if (type->id == QUANT_F32) {
            float v = next_float();
            memcpy(to, &v, 4);
        } else if (type->id == QUANT_F16 || type->id == QUANT_BF16) {
            to[1] = (uint8_t)(0x3c | (to[1] & 0x83)); /* a modest exponent */
        } else {
            memcpy(to + (type->id == QUANT_Q6_K ? 208 : 0), &d, 2);
            if (type->id == QUANT_Q4_1 || type->id == QUANT_Q5_1 || type->id == QUANT_Q4_K ||
                type->id == QUANT_Q5_K)
                memcpy(to + 2, &m, 2);
        }
    }
}

/* A weight in the layout of a path, and activations for it. */
struct bench {
    struct weight w;
    struct act a;
    uint8_t *raw;
    float *to;
    void *scratch;
};

static void *zeroed(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    memset(p, 0, bytes);
    return p;
}

static struct bench bench_make(const struct cpu_ops *ops, const struct quant_type *type,
                               int32_t n_rows, int32_t n_cols, uint64_t from_seed)
{
    struct bench b = {.w = {.type = type, .n_rows = n_rows, .n_cols = n_cols}};
    const size_t row = (size_t)(n_cols / type->block * type->block_bytes);
    const int32_t ld = (n_cols + CPU_BLOCK - 1) / CPU_BLOCK * CPU_BLOCK;
    const size_t acts = (size_t)MAX_ACTS * (size_t)ld;
    seed = from_seed;
    b.raw = zeroed((size_t)n_rows * row);
    random_rows(type, (int64_t)n_rows * (n_cols / type->block), b.raw);
    ops->plan(&b.w);
    b.w.data = zeroed((size_t)cpu_panels(&b.w) * b.w.panel_bytes);
    for (int32_t r = 0; r < n_rows; r += CPU_PANEL)
        ops->pack(&b.w, b.raw + (size_t)r * row, MIN_OF(CPU_PANEL, n_rows - r),
                  b.w.data + (size_t)(r / CPU_PANEL) * b.w.panel_bytes);
    b.a = (struct act){.n_cols = n_cols, .ld = ld};
    b.a.x = zeroed(acts * sizeof(float));
    b.a.q = zeroed(acts * sizeof(int16_t));
    b.a.d = zeroed(acts / CPU_BLOCK * sizeof(float));
    b.a.s = zeroed(acts / CPU_BLOCK * sizeof(float));
    b.a.b = zeroed(acts);
    b.a.out = zeroed(MAX_ACTS * act_outliers(ld) * sizeof(struct outlier));
    b.a.n_out = zeroed(MAX_ACTS * sizeof(uint32_t));
    b.a.m = zeroed(acts / CPU_BLOCK * sizeof(int32_t));
    b.a.unit = zeroed(MAX_ACTS * sizeof(float));
    b.a.sb = zeroed(acts / CPU_BLOCK * sizeof(float));
    for (int32_t t = 0; t < MAX_ACTS; t++) {
        for (int32_t k = 0; k < n_cols; k++)
            b.a.x[t * ld + k] = next_float();
        ops->fill(&b.a, t, ops->wants(&b.w));
    }
    b.to = zeroed((size_t)MAX_ACTS * (size_t)n_rows * sizeof(float));
    b.scratch = zeroed(cpu_scratch_bytes(n_cols));
    return b;
}

static void bench_done(struct bench *b)
{
    free(b->w.data);
    free(b->raw);
    free(b->a.x);
    free(b->a.q);
    free(b->a.d);
    free(b->a.s);
    free(b->a.b);
    free(b->a.out);
    free(b->a.n_out);
    free(b->a.m);
    free(b->a.unit);
    free(b->a.sb);
    free(b->to);
    free(b->scratch);
}

static void multiply(const struct cpu_ops *ops, struct bench *b, int32_t t0, int32_t T)
{
    ops->matmul(&b->w, 0, cpu_panels(&b->w), &b->a, t0, T, false,
                b->to + (size_t)t0 * (size_t)b->w.n_rows, (size_t)b->w.n_rows, b->scratch);
}

#endif
