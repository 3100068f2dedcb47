/* test_cpu_ops - each instruction-set path against the scalar truth, piece by piece, on seeded
 * inputs; and avx512 against avx2, bit for bit. On a CPU without AVX-512 the same source runs
 * through SIMDe, which spells out each intrinsic in plain C. */

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/cpu/cpu_ops.h"
#include "engine/model/quant.h"

#if defined(__x86_64__) && __has_include(<simde/x86/avx512.h>)
#define HAVE_SIMDE 1
#define SLUICE_SIMDE
#define avx512_matmul simde_matmul
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wpsabi"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

/* What Debian's SIMDe (0.7.4) does not have yet. */
typedef simde__mmask16 __mmask16;

static inline simde__m512 simde_rest_cvtph_ps(simde__m256i h)
{
    uint16_t half[16];
    float to[16];
    memcpy(half, &h, sizeof(half));
    for (int i = 0; i < 16; i++)
        to[i] = quant_f16_to_f32(half[i]);
    return simde_mm512_loadu_ps(to);
}

static inline simde__m512 simde_rest_cvtepi32_ps(simde__m512i v)
{
    int32_t from[16];
    float to[16];
    memcpy(from, &v, sizeof(from));
    for (int i = 0; i < 16; i++)
        to[i] = (float)from[i];
    return simde_mm512_loadu_ps(to);
}

static inline simde__m512 simde_rest_maskz_loadu_ps(__mmask16 rows, const float *p)
{
    float to[16] = {0};
    for (int i = 0; i < 16; i++)
        to[i] = (rows >> i) & 1 ? p[i] : 0;
    return simde_mm512_loadu_ps(to);
}

static inline void simde_rest_mask_storeu_ps(float *p, __mmask16 rows, simde__m512 v)
{
    float from[16];
    memcpy(from, &v, sizeof(from));
    for (int i = 0; i < 16; i++)
        p[i] = (rows >> i) & 1 ? from[i] : p[i];
}

/* Without -mfma SIMDe rounds twice. */
static inline simde__m512 simde_rest_fmadd_ps(simde__m512 a, simde__m512 b, simde__m512 c)
{
    float x[16], y[16], z[16];
    memcpy(x, &a, sizeof(x));
    memcpy(y, &b, sizeof(y));
    memcpy(z, &c, sizeof(z));
    for (int i = 0; i < 16; i++)
        z[i] = fmaf(x[i], y[i], z[i]);
    return simde_mm512_loadu_ps(z);
}

#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps       simde_rest_fmadd_ps
#define _mm512_cvtph_ps       simde_rest_cvtph_ps
#define _mm512_cvtepi32_ps    simde_rest_cvtepi32_ps
#define _mm512_maskz_loadu_ps simde_rest_maskz_loadu_ps
#define _mm512_mask_storeu_ps simde_rest_mask_storeu_ps
#include "engine/cpu/avx512.c"
#pragma GCC diagnostic pop
#undef avx512_matmul
#else
#define HAVE_SIMDE 0
#endif

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

static const uint32_t types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0,
                                 QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0,
                                 QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K};

/* The largest error of all products, over their mean size. */
static double error_of(struct bench *truth, struct bench *fast)
{
    const int32_t n = MAX_ACTS * truth->w.n_rows;
    double size = 0, worst = 0;
    for (int32_t i = 0; i < n; i++) {
        size += fabs((double)truth->to[i]) / n;
        worst = fmax(worst, fabs((double)truth->to[i] - (double)fast->to[i]));
    }
    return worst / size;
}

/* 16-bit activations, for 8-bit weights: half a step of 2^-15 of a block's largest, over 768
 * random signs, is below 1e-3 of the result even where a minimum cancels most of it. 4-bit weights
 * meet 8 bits, of the largest of a block: 256 times that, less since outliers do not count. */
START_TEST(products_of_every_type_agree_with_the_scalar_path)
{
    const struct quant_type *type = quant_find(types[_i]);
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    for (int32_t n_rows = MAX_ROWS; n_rows >= MAX_ROWS - 13; n_rows -= 13) { /* whole, and not */
        struct bench truth = bench_make(&cpu_scalar, type, n_rows, MAX_COLS, 7);
        struct bench fast = bench_make(ops, type, n_rows, MAX_COLS, 7);
        multiply(&cpu_scalar, &truth, 0, MAX_ACTS);
        multiply(ops, &fast, 0, MAX_ACTS);
        double error = error_of(&truth, &fast);
        ck_assert_msg(error <= (ops->wants(&fast.w) & ACT_BYTES ? 0.1 : 2e-3), "%s: error %g",
                      type->name, error);
        bench_done(&truth);
        bench_done(&fast);
    }
}
END_TEST

/* The largest error of products whose rows have one number `far` times as large as the rest may
 * be, and how many of those rows have just that outlier. */
static double error_with(const struct cpu_ops *ops, const struct quant_type *type, float far,
                         int *ret_found)
{
    struct bench truth = bench_make(&cpu_scalar, type, MAX_ROWS, MAX_COLS, 5);
    struct bench fast = bench_make(ops, type, MAX_ROWS, MAX_COLS, 5);
    double worst = 0;
    *ret_found = 0;
    for (int32_t t = 0; t < MAX_ACTS; t++) {
        const int32_t at = 37 * t + 5;
        for (int32_t k = 0; k < MAX_COLS; k++) {
            float v = next_even() * (k == at ? far : 1);
            truth.a.x[t * MAX_COLS + k] = fast.a.x[t * MAX_COLS + k] = v;
        }
        ops->fill(&fast.a, t, ACT_BYTES);
        const struct outlier *out = fast.a.out + (size_t)t * act_outliers(fast.a.ld);
        *ret_found +=
            fast.a.n_out[t] == 1 && out->column == (uint32_t)at / 4 * 4 && out->high[at % 4] != 0;
    }
    multiply(&cpu_scalar, &truth, 0, MAX_ACTS);
    multiply(ops, &fast, 0, MAX_ACTS);
    for (int32_t i = 0; i < MAX_ACTS * MAX_ROWS; i++)
        worst = fmax(worst, fabs((double)truth.to[i] - (double)fast.to[i]));
    bench_done(&truth);
    bench_done(&fast);
    return worst;
}

/* It has 15 bits of its own and leaves the others of its block theirs: the error is what it is
 * without it. With one scale for all of them it was 17 times as large. */
START_TEST(an_outlier_does_not_spoil_its_block)
{
    static const uint32_t four_bits[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q4_K};
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    for (size_t i = 0; i < ARRAY_LEN(four_bits); i++) {
        const struct quant_type *type = quant_find(four_bits[i]);
        int none, all;
        double without = error_with(ops, type, 1, &none), with = error_with(ops, type, 100, &all);
        ck_assert_int_eq(none, 0);
        ck_assert_int_ge(all, MAX_ACTS - 2); /* some of them are small by chance */
        ck_assert_msg(with <= 1.5 * without, "%s: %g, and %g", type->name, with, without);
    }
}
END_TEST

/* Whatever a row is, it has no more outliers than there is room for; squares that vanish or
 * overflow make no number look far out. */
START_TEST(outliers_never_outgrow_their_room)
{
    static const int32_t cols[] = {32, 64, 96, MAX_COLS};
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    for (size_t c = 0; c < ARRAY_LEN(cols); c++) {
        struct bench b = bench_make(ops, quant_find(QUANT_Q4_1), CPU_PANEL, cols[c], 5);
        for (int i = 0; i < 83 * 32; i++) { /* the first i % 32 numbers are far out, by 10 to 1e6 */
            const float scale = powf(10, (float)(i / 32 - 44));
            for (int32_t k = 0; k < cols[c]; k++)
                b.a.x[k] = next_even() * scale * (k < i % 32 ? powf(10, (float)(i % 6 + 1)) : 1);
            ops->fill(&b.a, 0, ACT_BYTES);
            ck_assert_uint_le(b.a.n_out[0], act_outliers(b.a.ld));
            for (uint32_t o = 0; o < b.a.n_out[0]; o++) {
                ck_assert(b.a.out[o].column % 4 == 0);
                ck_assert_uint_lt(b.a.out[o].column, (uint32_t)cols[c]);
                ck_assert(o == 0 || b.a.out[o].column > b.a.out[o - 1].column);
            }
        }
        bench_done(&b);
    }
}
END_TEST

/* The widest row a model may have: its mean square is rounded a 65,536th time, always down. */
START_TEST(rounding_makes_no_more_outliers_than_there_is_room)
{
    enum { WIDE = 1 << 20, EXTRA = 20 };
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    struct act a = {.n_cols = WIDE, .ld = WIDE};
    a.x = zeroed(WIDE * sizeof(float));
    a.b = zeroed(WIDE);
    a.m = zeroed(WIDE / CPU_BLOCK * sizeof(int32_t));
    a.sb = zeroed(WIDE / CPU_BLOCK * sizeof(float));
    a.unit = zeroed(sizeof(float));
    a.out = zeroed(act_outliers(WIDE) * sizeof(struct outlier));
    a.n_out = zeroed(sizeof(uint32_t));
    uint32_t most = 0;
    for (int step = 0; step < 30; step++) {
        memset(a.x, 0, WIDE * sizeof(float));
        for (int32_t i = 0; i < WIDE; i += 16)
            a.x[i] = 1.04f + 0.007f * (float)step;
        for (int32_t i = 0; i < EXTRA; i++)
            a.x[16 * i + 4] = a.x[0];
        ops->fill(&a, 0, ACT_BYTES);
        ck_assert_uint_le(a.n_out[0], act_outliers(WIDE));
        for (uint32_t o = 1; o < a.n_out[0]; o++)
            ck_assert_uint_gt(a.out[o].column, a.out[o - 1].column);
        most = MAX_OF(most, a.n_out[0]);
    }
    ck_assert_uint_gt(most, WIDE / 16); /* or the rounding that this is about did not happen */
    free(a.x);
    free(a.b);
    free(a.m);
    free(a.sb);
    free(a.unit);
    free(a.out);
    free(a.n_out);
}
END_TEST

START_TEST(a_product_does_not_depend_on_how_many_rows_a_call_has)
{
    const struct quant_type *type = quant_find(types[_i]);
    for (int p = 0; p < 3; p++) {
        const struct cpu_ops *ops = fast_path((const char *[]){"scalar", "avx2", "avx512"}[p]);
        if (!ops)
            continue;
        struct bench whole = bench_make(ops, type, MAX_ROWS, MAX_COLS, 11);
        struct bench parts = bench_make(ops, type, MAX_ROWS, MAX_COLS, 11);
        multiply(ops, &whole, 0, MAX_ACTS);
        for (int32_t t = 0, n = 1; t < MAX_ACTS; t += n, n = MIN_OF(n + 1, MAX_ACTS - t))
            multiply(ops, &parts, t, n); /* 1, 2, 3, 4, 3 rows */
        ck_assert_mem_eq(whole.to, parts.to, sizeof(float) * MAX_ACTS * MAX_ROWS);
        bench_done(&whole);
        bench_done(&parts);
    }
}
END_TEST

START_TEST(an_embedding_row_is_what_was_stored)
{
    const struct quant_type *type = quant_find(types[_i]);
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    struct bench truth = bench_make(&cpu_scalar, type, MAX_ROWS, MAX_COLS, 3);
    struct bench fast = bench_make(ops, type, MAX_ROWS, MAX_COLS, 3);
    for (int32_t r = 0; r < MAX_ROWS; r++) {
        float a[MAX_COLS], b[MAX_COLS];
        cpu_scalar.unpack_row(&truth.w, r, a);
        ops->unpack_row(&fast.w, r, b);
        ck_assert_mem_eq(a, b, sizeof(a));
    }
    bench_done(&truth);
    bench_done(&fast);
}
END_TEST

START_TEST(avx512_gives_the_bits_of_avx2)
{
    const struct quant_type *type = quant_find(types[_i]);
    const struct cpu_ops *avx2 = fast_path("avx2"), *native = fast_path("avx512");
    if (!avx2)
        return;
    struct bench want = bench_make(avx2, type, MAX_ROWS - 5, MAX_COLS, 19);
    struct bench have = bench_make(avx2, type, MAX_ROWS - 5, MAX_COLS, 19);
    const size_t bytes = sizeof(float) * MAX_ACTS * (MAX_ROWS - 5);
    multiply(avx2, &want, 0, MAX_ACTS);
    if (native) {
        multiply(native, &have, 0, MAX_ACTS);
        ck_assert_mem_eq(want.to, have.to, bytes);
        memset(have.to, 0, bytes);
    }
#if HAVE_SIMDE
    const struct cpu_ops emulated = {.matmul = simde_matmul};
    multiply(&emulated, &have, 0, MAX_ACTS);
    ck_assert_mem_eq(want.to, have.to, bytes);
#endif
    bench_done(&want);
    bench_done(&have);
}
END_TEST

/* A cache of three pages, one layer, one kv head. */
struct cache {
    struct kv_head head;
    uint8_t *pool;
};

static struct cache cache_make(const struct cpu_ops *ops, int32_t D, int32_t n)
{
    const size_t half = (size_t)(KV_PAGE_TOKENS * D) * ops->kv_bytes;
    const int32_t pages = n / KV_PAGE_TOKENS + 1;
    struct cache c = {.pool = zeroed(2 * half * (size_t)pages)};
    memset(c.pool, 0xff, 2 * half * (size_t)pages); /* NaN in every slot that is not written */
    c.head = (struct kv_head){
        .pool = c.pool, .page_bytes = 2 * half, .k_at = 0, .v_at = half, .head_dim = D};
    for (int32_t i = 0; i < n; i++) {
        float k[256], v[256];
        for (int32_t d = 0; d < D; d++)
            k[d] = next_even(), v[d] = next_float();
        ops->k_store(&c.head, pages - 1 - i / KV_PAGE_TOKENS, i % KV_PAGE_TOKENS, k);
        ops->v_store(&c.head, pages - 1 - i / KV_PAGE_TOKENS, i % KV_PAGE_TOKENS, v);
    }
    return c;
}

static void attend_all(const struct cpu_ops *ops, const struct cache *c, int32_t G, int32_t n,
                       const float *q, float *to)
{
    float run[8 * (256 + CPU_PART_EXTRA)], part[8 * (256 + CPU_PART_EXTRA)];
    int32_t page_of[64];
    for (int32_t i = 0; i <= n / KV_PAGE_TOKENS; i++)
        page_of[i] = n / KV_PAGE_TOKENS - i;
    for (int32_t from = 0; from < n; from += CPU_SPLIT) {
        ops->attend(&c->head, page_of, G, q, from, MIN_OF(CPU_SPLIT, n - from), from ? part : run);
        if (from)
            ops->merge(run, part, G, c->head.head_dim);
    }
    ops->finish(run, G, c->head.head_dim, to);
}

/* f16 keys and values: 2^-11 of each, averaged away; 4e-3 of values up to 30 has room. */
START_TEST(attention_agrees_with_the_scalar_path)
{
    static const int32_t heads[] = {1, 2, 3, 4, 5, 7}, dims[] = {16, 64, 80, 128};
    static const int32_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 200};
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    for (size_t i = 0; i < ARRAY_LEN(heads) * ARRAY_LEN(dims) * ARRAY_LEN(lengths); i++) {
        int32_t G = heads[i % 6], D = dims[i / 6 % 4], n = lengths[i / 24];
        float q[8 * 256], want[8 * 256], have[8 * 256];
        seed = i;
        for (int32_t d = 0; d < G * D; d++)
            q[d] = next_even();
        uint64_t mark = seed;
        struct cache truth = cache_make(&cpu_scalar, D, n);
        seed = mark;
        struct cache fast = cache_make(ops, D, n);
        attend_all(&cpu_scalar, &truth, G, n, q, want);
        attend_all(ops, &fast, G, n, q, have);
        for (int32_t d = 0; d < G * D; d++)
            ck_assert_msg(fabsf(want[d] - have[d]) <= 4e-3f * (1 + fabsf(want[d])),
                          "G %d D %d n %d: %g, not %g", G, D, n, (double)have[d], (double)want[d]);
        free(truth.pool);
        free(fast.pool);
    }
}
END_TEST

START_TEST(norm_rope_and_silu_agree_with_the_scalar_path)
{
    const struct cpu_ops *ops = fast_path("avx2");
    float x[600], w[600], u[600], a[600], b[600];
    if (!ops)
        return;
    seed = 5;
    for (int i = 0; i < 600; i++)
        x[i] = 4 * next_float(), w[i] = next_float(), u[i] = next_float();
    for (int32_t n = 1; n <= 600; n += 37) {
        cpu_scalar.rmsnorm(a, x, w, n, 1e-5f);
        ops->rmsnorm(b, x, w, n, 1e-5f);
        for (int32_t i = 0; i < n; i++)
            ck_assert_float_eq_tol(a[i], b[i], 2e-6f * (1 + fabsf(a[i])));
        cpu_scalar.silu_mul(a, x, u, n);
        ops->silu_mul(b, x, u, n);
        for (int32_t i = 0; i < n; i++)
            ck_assert_float_eq_tol(a[i], b[i], 2e-6f * (1 + fabsf(a[i])));
    }
    for (int32_t n = 2; n <= 128; n += 2) {
        memcpy(a, x, sizeof(a));
        memcpy(b, x, sizeof(b));
        cpu_scalar.rope(a, w, n);
        ops->rope(b, w, n);
        for (int32_t i = 0; i < 600; i++)
            ck_assert_float_eq_tol(a[i], b[i], 1e-6f * (1 + fabsf(a[i])));
    }
}
END_TEST

START_TEST(extreme_gates_stay_finite)
{
    const struct cpu_ops *ops = fast_path("avx2");
    float gate[8] = {-1e30f, -200, -88, 0, 88, 200, 1e30f, -0.0f}, up[8], to[8];
    for (int i = 0; i < 8; i++)
        up[i] = 1;
    if (!ops)
        return;
    ops->silu_mul(to, gate, up, 8);
    for (int i = 0; i < 8; i++)
        ck_assert(isfinite(to[i]));
    ck_assert_float_eq_tol(to[0], 0, 1e-6f);
    ck_assert_float_eq_tol(to[5], 200, 1e-3f);
}
END_TEST

START_TEST(zeros_tiny_numbers_and_nan_are_quantised)
{
    const struct cpu_ops *ops = fast_path("avx2");
    float x[64] = {0}, d[2], s[2], sb[2], unit[1];
    int32_t m[2];
    int16_t q[64];
    int8_t bytes[64];
    struct outlier out[8];
    uint32_t n_out[1];
    struct act a = {.n_cols = 64,
                    .ld = 64,
                    .x = x,
                    .q = q,
                    .d = d,
                    .s = s,
                    .b = bytes,
                    .out = out,
                    .n_out = n_out,
                    .m = m,
                    .sb = sb,
                    .unit = unit};
    if (!ops)
        return;
    for (int i = 32; i < 64; i++)
        x[i] = 1e-42f;
    ops->fill(&a, 0, ACT_WORDS | ACT_BYTES);
    for (int i = 0; i < 64; i++)
        ck_assert(q[i] == 0 && bytes[i] == 0);
    ck_assert(d[0] == 0 && isfinite(d[1]) && s[0] == 0 && s[1] == 0);
    ck_assert(isfinite(unit[0]) && sb[0] == 0 && sb[1] == 0);
    x[3] = NAN;
    ops->fill(&a, 0, ACT_WORDS | ACT_BYTES);
    ck_assert(isnan(d[0]) && isnan(unit[0]));
}
END_TEST

START_TEST(a_path_that_the_cpu_lacks_or_nobody_knows_is_an_error)
{
    const struct cpu_ops *ops = NULL;
    struct err err = {0};
    ck_assert_int_eq(cpu_ops_choose("auto", &ops, &err), RC_OK);
    ck_assert_int_eq(cpu_ops_choose("scalar", &ops, &err), RC_OK);
    ck_assert_str_eq(ops->name, "scalar");
    ck_assert_int_eq(cpu_ops_choose("sse9", &ops, &err), RC_BAD_INPUT);
    enum rc rc = cpu_ops_choose("avx512", &ops, &err);
    ck_assert(rc == RC_OK || rc == RC_INVALID);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu_ops");
    TCase *t = tcase_create("cpu_ops");
    const int n = ARRAY_LEN(types);
    printf("avx2: %s; avx512: %s, %s\n", fast_path("avx2") ? "runs" : "skipped, this CPU lacks it",
           fast_path("avx512") ? "runs natively" : "not natively, this CPU lacks it",
           HAVE_SIMDE ? "through SIMDe" : "not through SIMDe, which is absent");
    fflush(stdout);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, products_of_every_type_agree_with_the_scalar_path, 0, n);
    tcase_add_loop_test(t, a_product_does_not_depend_on_how_many_rows_a_call_has, 0, n);
    tcase_add_loop_test(t, an_embedding_row_is_what_was_stored, 0, n);
    tcase_add_loop_test(t, avx512_gives_the_bits_of_avx2, 0, n);
    tcase_add_test(t, attention_agrees_with_the_scalar_path);
    tcase_add_test(t, norm_rope_and_silu_agree_with_the_scalar_path);
    tcase_add_test(t, extreme_gates_stay_finite);
    tcase_add_test(t, zeros_tiny_numbers_and_nan_are_quantised);
    tcase_add_test(t, an_outlier_does_not_spoil_its_block);
    tcase_add_test(t, outliers_never_outgrow_their_room);
    tcase_add_test(t, rounding_makes_no_more_outliers_than_there_is_room);
    tcase_add_test(t, a_path_that_the_cpu_lacks_or_nobody_knows_is_an_error);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
