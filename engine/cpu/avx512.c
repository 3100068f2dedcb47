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
#include "engine/cpu/panel_walk.h"
#include "engine/cpu/unroll.h"

void avx512_matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                   int32_t T, bool add, float *to, size_t ld, void *scratch);

#define ROWS_ONCE   8    /* of activations: 8 integer sums, 8 float sums, weights and scales */
#define AHEAD_BYTES 4096 /* for one turn of rows */

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

/* A block of 4-bit weights against the bytes of T rows. */
ALWAYS void multiply_block(int T, const uint8_t *body, const struct rows *r, size_t col,
                           __m512i *ints)
{
    UNROLL(4)
    for (int i = 0; i < CPU_BLOCK / 8; i++, body += 64) {
        const __m512i packed = _mm512_loadu_si512((const void *)body);
        UNROLL(2)
        for (int n = 0; n < 2; n++) {
            const __m512i w = half_of(packed, n);
            const int8_t *b = r->b + col + 8 * i + 4 * n;
            UNROLL(8)
            for (int t = 0; t < T; t++)
                ints[t] = _mm512_dpbusd_epi32(ints[t], w, broadcast(b + (size_t)t * r->ld));
        }
    }
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

/* Integers times m, as floats: avx2 multiplies first and rounds once, and so does this, since
 * both factors fit in a float. */
ALWAYS __m512 in_units(__m512i ints, int32_t m)
{
    return _mm512_mul_ps(_mm512_cvtepi32_ps(ints), _mm512_set1_ps((float)(m & 0xffff)));
}

/* Adds group g of block b to the float sums of T rows. */
ALWAYS void add_group(const struct panel_traits *t, int T, const uint8_t *block, int g,
                      const struct rows *r, size_t b, const __m512i *ints, __m512 *sum)
{
    const bool min = (t->has_min || t->offset != 0) && g == t->scales - 1;
    const int scale_row = CPU_PANEL * t->scale_bytes;
    const __m512 d = load_scale(block + g * scale_row, t->scale_bytes);
    const __m512 m = t->has_min ? load_scale(block + t->scales * scale_row, t->scale_bytes)
                                : _mm512_mul_ps(d, _mm512_set1_ps((float)-t->offset));
    UNROLL(8)
    for (int i = 0; i < T; i++) {
        const size_t at = (size_t)i * r->blocks + b;
        if (min)
            sum[i] = _mm512_fmadd_ps(m, _mm512_set1_ps(r->s[at]), sum[i]);
        if (t->bits == 4)
            sum[i] = _mm512_fmadd_ps(in_units(ints[i], r->m[at]), d, sum[i]);
        else
            sum[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(ints[i]),
                                     _mm512_mul_ps(d, _mm512_set1_ps(r->d[at])), sum[i]);
    }
}

/* A panel against T rows. The traits and T are constants where this is inlined. */
ALWAYS void multiply_blocks(const struct panel_traits *t, int T, const uint8_t *block,
                            int32_t n_blocks, const struct rows *r, struct ahead *ahead,
                            __m512 *sum)
{
    const int scale_bytes = panel_scale_bytes(t), columns = CPU_BLOCK / t->scales;
    const int group_bytes = CPU_PANEL * columns * t->bits / 8;
    for (int32_t b = 0; b < n_blocks; b++, block += t->block_bytes) {
        fetch_ahead(ahead);
        for (int g = 0; g < t->scales; g++) {
            __m512i ints[ROWS_ONCE];
            UNROLL(8)
            for (int i = 0; i < T; i++)
                ints[i] = _mm512_setzero_si512();
            const uint8_t *body = block + scale_bytes + g * group_bytes;
            const size_t col = (size_t)(b * CPU_BLOCK + g * columns);
            if (t->bits == 4)
                multiply_block(T, body, r, col, ints);
            else
                multiply_group(columns, T, body, r, col, ints);
            add_group(t, T, block, g, r, (size_t)b, ints, sum);
        }
    }
}

/* What the bytes of row i left out. */
ALWAYS __m512 multiply_outliers(const struct panel_traits *t, const uint8_t *panel,
                                const struct rows *r, size_t i, __m512 sum)
{
    const struct outlier *o = r->out + i * r->outs, *end = o + r->n_out[i];
    for (; o < end; o++) {
        const uint8_t *block = panel + o->column / CPU_BLOCK * (size_t)t->block_bytes;
        const uint8_t *body = block + panel_scale_bytes(t) + o->column % CPU_BLOCK / 8 * 64;
        const __m512i w = half_of(_mm512_loadu_si512((const void *)body), o->column % 8 != 0);
        const __m512i ints = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, broadcast(o->high));
        sum = _mm512_fmadd_ps(
            _mm512_cvtepi32_ps(ints),
            _mm512_mul_ps(load_scale(block, t->scale_bytes), _mm512_set1_ps(o->m)), sum);
    }
    return sum;
}

/* Panel p against T rows, from `row` of the task on. */
ALWAYS void multiply_rows(const struct panel_traits *t, int T, const struct task *k, int32_t p,
                          int32_t row, struct ahead *ahead)
{
    const uint8_t *panel = k->w->data + (size_t)p * k->w->panel_bytes;
    const struct rows r = rows_from(k->a, k->t0 + row, t->bits);
    float *to = k->to + (size_t)row * k->ld + (size_t)(p - k->p0) * CPU_PANEL;
    __m512 sum[ROWS_ONCE];
    UNROLL(8)
    for (int i = 0; i < T; i++)
        sum[i] = _mm512_setzero_ps();
    multiply_blocks(t, T, panel, k->w->n_cols / CPU_BLOCK, &r, ahead, sum);
    UNROLL(8)
    for (int i = 0; i < T; i++) {
        if (t->bits == 4)
            sum[i] = _mm512_mul_ps(multiply_outliers(t, panel, &r, (size_t)i, sum[i]),
                                   _mm512_set1_ps(r.unit[i]));
        put_rows(sum[i], k->w->n_rows - p * CPU_PANEL, k->add, to + (size_t)i * k->ld);
    }
}

/* All rows of the task, 8, 4, 2 or 1 at a time, meet a panel while the next one is on its way. */
ALWAYS void multiply_panels(int form, const struct task *k)
{
    const struct panel_traits t = panel_traits_of(form);
    const int32_t turns = k->T / 8 + k->T % 8 / 4 + k->T % 4 / 2 + k->T % 2;
    struct ahead ahead = {.step = ((size_t)t.block_bytes + (size_t)turns - 1) / (size_t)turns};
    const size_t distance = turns == 1 ? AHEAD_BYTES : k->w->panel_bytes;
    for (int32_t p = k->p0; p < k->p1; p++) {
        int32_t row = 0;
        ahead.at = k->w->data + (size_t)p * k->w->panel_bytes + distance;
        for (; row + 8 <= k->T; row += 8)
            multiply_rows(&t, 8, k, p, row, &ahead);
        if (k->T & 4)
            multiply_rows(&t, 4, k, p, row, &ahead);
        row += k->T & 4;
        if (k->T & 2)
            multiply_rows(&t, 2, k, p, row, &ahead);
        row += k->T & 2;
        if (k->T & 1)
            multiply_rows(&t, 1, k, p, row, &ahead);
    }
}

MULTIPLY_FORMS(multiply_panels, multiply_form);

void avx512_matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                   int32_t T, bool add, float *to, size_t ld, void *scratch)
{
    const struct task k = {
        .w = w, .p0 = p0, .p1 = p1, .a = a, .t0 = t0, .T = T, .add = add, .to = to, .ld = ld};
    if (panel_traits_of(w->form).bits == 0) /* bound by memory: 256 bits are enough */
        avx2_matmul(w, p0, p1, a, t0, T, add, to, ld, scratch);
    else
        multiply_form[w->form](&k);
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
