/* test_cpu_ops - each instruction-set path against the scalar truth, piece by piece, on seeded
 * inputs; and avx512 against avx2, bit for bit. On a CPU without AVX-512 the same source runs
 * through SIMDe, which spells out each intrinsic in plain C. */

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cpu_bench.h"

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
    tcase_add_test(t, a_path_that_the_cpu_lacks_or_nobody_knows_is_an_error);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
