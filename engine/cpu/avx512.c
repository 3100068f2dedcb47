/* avx512.c - products with VNNI; everything else is avx2's.
 *
 * vpdpwssd multiplies the 16-bit pairs of 16 rows with one broadcast pair and adds them up in
 * one instruction, on the very panels that avx2 uses. Its 16-bit pairs do as many products a cycle
 * as vpdpbusd with activations in two 8-bit halves would, and need no second pass. The integer
 * sums are exact and the float line is avx2's, lane for lane, so both paths give the same bits. */

#ifdef SLUICE_SIMDE /* a test runs the logic on CPUs that lack the instructions */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#else
#include <immintrin.h>
#endif

#include <string.h>

#include "engine/cpu/avx2.h"
#include "engine/cpu/panel.h"
#include "engine/cpu/unroll.h"

void avx512_matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                   int32_t T, bool add, float *to, size_t ld, void *scratch);

#define ROWS_ONCE      8 /* of activations: 8 integer sums, 8 float sums, weights and scales */
#define PANELS_ONCE    8
#define PREFETCH_BYTES 4096
#define ALWAYS         static inline __attribute__((always_inline))

ALWAYS __m512 load_scale(const uint8_t *at, int bytes)
{
    return bytes == 4 ? _mm512_loadu_ps((const void *)at)
                      : _mm512_cvtph_ps(_mm256_loadu_si256((const void *)at));
}

/* n of 16 rows of results. */
ALWAYS void put_rows(__m512 sum, int32_t n, bool add, float *to)
{
    const __mmask16 rows = (__mmask16)(n >= CPU_PANEL ? 0xffffu : (1u << n) - 1);
    if (add)
        sum = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, to), sum);
    _mm512_mask_storeu_ps(to, rows, sum);
}

/* Rows of activations from row t of a on. */
struct rows {
    const int16_t *q;
    const float *d, *s;
    size_t ld, blocks; /* from one row to the next */
};

static struct rows rows_from(const struct act *a, int32_t t)
{
    const size_t ld = (size_t)a->ld, blocks = ld / CPU_BLOCK, row = (size_t)t;
    return (struct rows){a->q + row * ld, a->d + row * blocks, a->s + row * blocks, ld, blocks};
}

/* 2 columns of 16 rows against T rows of activations. */
ALWAYS void multiply_pairs(int T, __m512i w, const struct rows *r, size_t col, __m512i *ints)
{
    UNROLL(8)
    for (int t = 0; t < T; t++) {
        int32_t pair;
        memcpy(&pair, r->q + (size_t)t * r->ld + col, sizeof(pair));
        ints[t] = _mm512_dpwssd_epi32(ints[t], w, _mm512_set1_epi32(pair));
    }
}

/* The columns of one scale group of a block: exact integer sums. */
ALWAYS void multiply_group(int bits, int columns, int T, const uint8_t *body, const struct rows *r,
                           size_t col, __m512i *ints)
{
    const __m512i low = _mm512_set1_epi16(15);
    if (bits == 4) {
        UNROLL(4)
        for (int i = 0; i < columns / 8; i++, body += 64, col += 8) {
            const __m512i v = _mm512_loadu_si512((const void *)body);
            multiply_pairs(T, _mm512_and_si512(v, low), r, col, ints);
            multiply_pairs(T, _mm512_and_si512(_mm512_srli_epi16(v, 4), low), r, col + 2, ints);
            multiply_pairs(T, _mm512_and_si512(_mm512_srli_epi16(v, 8), low), r, col + 4, ints);
            multiply_pairs(T, _mm512_srli_epi16(v, 12), r, col + 6, ints);
        }
    } else {
        UNROLL(4)
        for (int i = 0; i < columns / 2; i++, body += 32, col += 2)
            multiply_pairs(T, _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)body)), r, col,
                           ints);
    }
}

ALWAYS void prefetch_ahead(const uint8_t *block, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        __builtin_prefetch(block + PREFETCH_BYTES + i);
}

/* Adds group g of block b to the float sums of T rows: avx2's line, 16 lanes of it. */
ALWAYS void add_group(const struct panel_traits *t, int scales, int T, const uint8_t *block, int g,
                      const struct rows *r, size_t b, const __m512i *ints, __m512 *sum)
{
    const int scale_row = CPU_PANEL * t->scale_bytes;
    const bool min = g == scales - 1 && (t->has_min || t->offset != 0);
    const __m512 d_weight = load_scale(block + g * scale_row, t->scale_bytes);
    const __m512 m_weight = t->has_min ? load_scale(block + scales * scale_row, t->scale_bytes)
                                       : _mm512_mul_ps(d_weight, _mm512_set1_ps((float)-t->offset));
    UNROLL(8)
    for (int i = 0; i < T; i++) {
        const size_t at = (size_t)i * r->blocks + b;
        const __m512 d = _mm512_mul_ps(d_weight, _mm512_set1_ps(r->d[at]));
        sum[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(ints[i]), d, sum[i]);
        if (min)
            sum[i] = _mm512_fmadd_ps(m_weight, _mm512_set1_ps(r->s[at]), sum[i]);
    }
}

/* A panel against T rows. bits, scales and T are constants where this is inlined. */
ALWAYS void multiply_panel(int bits, int scales, int T, const struct panel_traits *t,
                           const uint8_t *block, int32_t n_blocks, const struct rows *r,
                           __m512 *sum)
{
    const int scale_bytes = CPU_PANEL * t->scale_bytes * (scales + t->has_min);
    const int columns = CPU_BLOCK / scales, group_bytes = CPU_PANEL * columns * bits / 8;
    for (int32_t b = 0; b < n_blocks; b++, block += t->block_bytes) {
        prefetch_ahead(block, CPU_PANEL * CPU_BLOCK * bits / 8 + 64);
        for (int g = 0; g < scales; g++) {
            __m512i ints[ROWS_ONCE];
            UNROLL(8)
            for (int i = 0; i < T; i++)
                ints[i] = _mm512_setzero_si512();
            multiply_group(bits, columns, T, block + scale_bytes + g * group_bytes, r,
                           (size_t)(b * CPU_BLOCK + g * columns), ints);
            add_group(t, scales, T, block, g, r, (size_t)b, ints, sum);
        }
    }
}

/* What a call of some panels and some rows of activations is about. */
struct task {
    const struct weight *w;
    struct panel_traits traits;
    int32_t p0, p1;
    struct rows rows;
    bool add;
    float *to;
    size_t ld;
};

ALWAYS void multiply_panels(int bits, int scales, int T, const struct task *k)
{
    const struct weight *w = k->w;
    float *to = k->to;
    for (int32_t p = k->p0; p < k->p1; p++, to += CPU_PANEL) {
        __m512 sum[ROWS_ONCE];
        UNROLL(8)
        for (int i = 0; i < T; i++)
            sum[i] = _mm512_setzero_ps();
        multiply_panel(bits, scales, T, &k->traits, w->data + (size_t)p * w->panel_bytes,
                       w->n_cols / CPU_BLOCK, &k->rows, sum);
        for (int i = 0; i < T; i++)
            put_rows(sum[i], w->n_rows - p * CPU_PANEL, k->add, to + (size_t)i * k->ld);
    }
}

/* One function for each number of rows and each kind of integer. */
#define MULTIPLY_KIND(name, bits, scales)                                                          \
    static void name(const struct task *k, int32_t T)                                              \
    {                                                                                              \
        if (T == 1)                                                                                \
            multiply_panels(bits, scales, 1, k);                                                   \
        else if (T == 2)                                                                           \
            multiply_panels(bits, scales, 2, k);                                                   \
        else if (T == 4)                                                                           \
            multiply_panels(bits, scales, 4, k);                                                   \
        else                                                                                       \
            multiply_panels(bits, scales, 8, k);                                                   \
    }
MULTIPLY_KIND(multiply_4_bits, 4, 1)
MULTIPLY_KIND(multiply_8_bits, 8, 1)
MULTIPLY_KIND(multiply_8_bits_2_scales, 8, 2)

/* The most rows, of 1, 2, 4 and 8, that n still has. */
static int32_t turn_of(int32_t n)
{
    return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

/* Some panels at a time, so that the next turn of rows finds them in the cache. */
static void matmul_ints(const struct weight *w, int32_t p0, int32_t p1, const struct act *a,
                        int32_t t0, int32_t T, bool add, float *to, size_t ld)
{
    struct task k = {.w = w, .traits = panel_traits_of(w->form), .add = add, .ld = ld};
    for (k.p0 = p0; k.p0 < p1; k.p0 = k.p1, to += PANELS_ONCE * CPU_PANEL) {
        k.p1 = k.p0 + PANELS_ONCE < p1 ? k.p0 + PANELS_ONCE : p1;
        for (int32_t t = 0, n; t < T; t += n) {
            n = turn_of(T - t);
            k.rows = rows_from(a, t0 + t);
            k.to = to + (size_t)t * ld;
            if (k.traits.bits == 4)
                multiply_4_bits(&k, n);
            else if (k.traits.scales == 1)
                multiply_8_bits(&k, n);
            else
                multiply_8_bits_2_scales(&k, n);
        }
    }
}

void avx512_matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                   int32_t T, bool add, float *to, size_t ld, void *scratch)
{
    if (panel_traits_of(w->form).bits == 0) /* bound by memory: 256 bits are enough */
        avx2_matmul(w, p0, p1, a, t0, T, add, to, ld, scratch);
    else
        matmul_ints(w, p0, p1, a, t0, T, add, to, ld);
}

#ifndef SLUICE_SIMDE
const struct cpu_ops cpu_avx512 = {
    .name = "avx512",
    .kv_bytes = sizeof(uint16_t),
    .plan = panel_plan,
    .pack = panel_pack,
    .unpack_row = panel_unpack_row,
    .fill = avx2_fill,
    .matmul = avx512_matmul,
    .rmsnorm = avx2_rmsnorm,
    .rope = avx2_rope,
    .silu_mul = avx2_silu_mul,
    .k_store = avx2_k_store,
    .v_store = avx2_v_store,
    .attend = avx2_attend,
    .merge = avx2_merge,
    .finish = avx2_finish,
};
#endif
