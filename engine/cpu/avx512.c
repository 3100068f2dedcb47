/* avx512.c - products with VNNI; everything else is avx2's.
 *
 * vpdpbusd multiplies 4 columns of 16 rows with one broadcast of 4 bytes of activations and adds
 * them up in one instruction, vpdpwssd does so for 2 columns of words, on the very panels that
 * avx2 uses. The integer sums are exact and the float line is avx2's, lane for lane, so both paths
 * give the same bits. */

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

/* Rows of activations from row t of a on, as the weights at hand want them. */
struct rows {
    const int16_t *q;
    const int8_t *hi;
    const uint8_t *lo;
    const uint16_t *fine, *n_fine;
    const float *d, *s;
    size_t ld, blocks; /* from one row to the next */
};

static struct rows rows_from(const struct act *a, int32_t t, int bits)
{
    const size_t ld = (size_t)a->ld, at = (size_t)t * ld, block = at / CPU_BLOCK;
    struct rows r = {.ld = ld, .blocks = ld / CPU_BLOCK};
    r.q = a->q + at;
    r.hi = a->hi + at;
    r.lo = a->lo + at;
    r.fine = a->fine + block;
    r.n_fine = a->n_fine + t;
    r.d = (bits == 4 ? a->db : a->d) + block;
    r.s = (bits == 4 ? a->sb : a->s) + block;
    return r;
}

ALWAYS __m512i broadcast(const void *four_bytes)
{
    int32_t v;
    memcpy(&v, four_bytes, sizeof(v));
    return _mm512_set1_epi32(v);
}

/* 4 columns of 16 rows, out of 8: the low halves (n = 0) or the high ones. */
ALWAYS __m512i half_of(__m512i packed, int n)
{
    return _mm512_and_si512(n ? _mm512_srli_epi16(packed, 4) : packed, _mm512_set1_epi8(15));
}

/* A block of 4-bit weights against the high parts of T rows, times 128. */
ALWAYS void multiply_high(int T, const uint8_t *body, const struct rows *r, size_t col,
                          __m512i *ints)
{
    UNROLL(4)
    for (int i = 0; i < CPU_BLOCK / 8; i++, body += 64) {
        const __m512i packed = _mm512_loadu_si512((const void *)body);
        UNROLL(2)
        for (int n = 0; n < 2; n++) {
            const __m512i w = half_of(packed, n);
            const int8_t *hi = r->hi + col + 8 * i + 4 * n;
            UNROLL(8)
            for (int t = 0; t < T; t++)
                ints[t] = _mm512_dpbusd_epi32(ints[t], w, broadcast(hi + (size_t)t * r->ld));
        }
    }
    UNROLL(8)
    for (int t = 0; t < T; t++)
        ints[t] = _mm512_slli_epi32(ints[t], 7);
}

/* A scale group of 8-bit weights against T rows of words. */
ALWAYS void multiply_group(int columns, int T, const uint8_t *body, const struct rows *r,
                           size_t col, __m512i *ints)
{
    UNROLL(4)
    for (int i = 0; i < columns / 2; i++, body += 32) {
        const __m512i w = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)body));
        UNROLL(8)
        for (int t = 0; t < T; t++)
            ints[t] =
                _mm512_dpwssd_epi32(ints[t], w, broadcast(r->q + (size_t)t * r->ld + col + 2 * i));
    }
}

ALWAYS void prefetch_ahead(const uint8_t *block, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        __builtin_prefetch(block + PREFETCH_BYTES + i);
}

/* The one line of float arithmetic, 16 lanes of avx2's. */
ALWAYS __m512 add_block(__m512 sum, __m512i ints, __m512 d_weight, float d_act)
{
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(ints), _mm512_mul_ps(d_weight, _mm512_set1_ps(d_act)),
                           sum);
}

/* Adds group g of block b to the float sums of T rows. */
ALWAYS void add_group(const struct panel_traits *t, int scales, bool min, int T,
                      const uint8_t *block, int g, const struct rows *r, size_t b,
                      const __m512i *ints, __m512 *sum)
{
    const int scale_row = CPU_PANEL * t->scale_bytes;
    const __m512 d = load_scale(block + g * scale_row, t->scale_bytes);
    const __m512 m = t->has_min ? load_scale(block + scales * scale_row, t->scale_bytes)
                                : _mm512_mul_ps(d, _mm512_set1_ps((float)-t->offset));
    UNROLL(8)
    for (int i = 0; i < T; i++) {
        const size_t at = (size_t)i * r->blocks + b;
        sum[i] = add_block(sum[i], ints[i], d, r->d[at]);
        if (min && g == scales - 1)
            sum[i] = _mm512_fmadd_ps(m, _mm512_set1_ps(r->s[at]), sum[i]);
    }
}

/* A panel against T rows. bits, scales, min and T are constants where this is inlined. */
ALWAYS void multiply_panel(int bits, int scales, bool min, int T, const struct panel_traits *t,
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
            const uint8_t *body = block + scale_bytes + g * group_bytes;
            const size_t col = (size_t)(b * CPU_BLOCK + g * columns);
            if (bits == 4)
                multiply_high(T, body, r, col, ints);
            else
                multiply_group(columns, T, body, r, col, ints);
            add_group(t, scales, min, T, block, g, r, (size_t)b, ints, sum);
        }
    }
}

/* The low parts of the fine blocks of row i. */
ALWAYS __m512 multiply_low(const struct panel_traits *t, const uint8_t *panel, const struct rows *r,
                           size_t i, __m512 sum)
{
    const int scale_bytes = CPU_PANEL * t->scale_bytes * (1 + t->has_min);
    for (int32_t f = 0; f < r->n_fine[i]; f++) {
        const size_t b = r->fine[i * r->blocks + (size_t)f];
        const uint8_t *block = panel + b * (size_t)t->block_bytes, *body = block + scale_bytes;
        const uint8_t *lo = r->lo + i * r->ld + b * CPU_BLOCK;
        __m512i ints = _mm512_setzero_si512();
        UNROLL(4)
        for (int k = 0; k < CPU_BLOCK / 8; k++, body += 64, lo += 8) {
            const __m512i packed = _mm512_loadu_si512((const void *)body);
            ints = _mm512_dpbusd_epi32(ints, half_of(packed, 0), broadcast(lo));
            ints = _mm512_dpbusd_epi32(ints, half_of(packed, 1), broadcast(lo + 4));
        }
        sum = add_block(sum, ints, load_scale(block, t->scale_bytes), r->d[i * r->blocks + b]);
    }
    return sum;
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

ALWAYS void multiply_panels(int bits, int scales, bool min, int T, const struct task *k)
{
    const struct weight *w = k->w;
    const struct rows r = k->rows; /* copies, which no store can change */
    const struct panel_traits t = k->traits;
    float *to = k->to;
    for (int32_t p = k->p0; p < k->p1; p++, to += CPU_PANEL) {
        const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
        __m512 sum[ROWS_ONCE];
        UNROLL(8)
        for (int i = 0; i < T; i++)
            sum[i] = _mm512_setzero_ps();
        multiply_panel(bits, scales, min, T, &t, panel, w->n_cols / CPU_BLOCK, &r, sum);
        UNROLL(8)
        for (int i = 0; i < T; i++) {
            if (bits == 4)
                sum[i] = multiply_low(&t, panel, &r, (size_t)i, sum[i]);
            put_rows(sum[i], w->n_rows - p * CPU_PANEL, k->add, to + (size_t)i * k->ld);
        }
    }
}

/* One function for each number of rows and each kind of integer. */
#define MULTIPLY_KIND(name, bits, scales, min)                                                     \
    static void name(const struct task *k, int32_t T)                                              \
    {                                                                                              \
        if (T == 1)                                                                                \
            multiply_panels(bits, scales, min, 1, k);                                              \
        else if (T == 2)                                                                           \
            multiply_panels(bits, scales, min, 2, k);                                              \
        else if (T == 4)                                                                           \
            multiply_panels(bits, scales, min, 4, k);                                              \
        else                                                                                       \
            multiply_panels(bits, scales, min, 8, k);                                              \
    }
MULTIPLY_KIND(multiply_4_bits, 4, 1, true)
MULTIPLY_KIND(multiply_8_bits, 8, 1, false)
MULTIPLY_KIND(multiply_8_bits_min, 8, 1, true)
MULTIPLY_KIND(multiply_8_bits_2_scales, 8, 2, false)

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
            k.rows = rows_from(a, t0 + t, k.traits.bits);
            k.to = to + (size_t)t * ld;
            if (k.traits.bits == 4)
                multiply_4_bits(&k, n);
            else if (k.traits.scales == 2)
                multiply_8_bits_2_scales(&k, n);
            else if (k.traits.has_min)
                multiply_8_bits_min(&k, n);
            else
                multiply_8_bits(&k, n);
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
    .wants = panel_wants,
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
