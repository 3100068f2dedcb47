/* avx2_matmul.c - panels of 16 rows times rows of 16-bit activations.
 *
 * Two 16-bit columns of 8 rows fill a register; vpmaddwd with a broadcast pair of activations
 * and vpaddd sum them exactly in 32 bits: 32 columns of 8-bit weights and 15-bit activations
 * stay below 2^27. Each block of 32 columns then goes into the float sums with its two scales:
 *     sum += (d_weight * d_act) * integers;  sum += m_weight * s_act
 * This line, in ascending blocks, is all the float arithmetic there is, so a call for 1 row and
 * one for 96 give the same bits.
 *
 * Up to DIRECT_ROWS rows of activations, weights are unpacked in registers as they stream by (a
 * decode step is bound by memory). For more, a panel is unpacked once into L1 or L2. */

#include "engine/cpu/avx2.h"

#include <immintrin.h>
#include <string.h>

#include "engine/cpu/panel.h"

#define DIRECT_ROWS 4
#define WIDE_ROWS   6 /* 12 sums, 2 weights, 1 activation, 1 product: all 16 registers */
#define PAIRS       (CPU_BLOCK / 2)
#define ALWAYS      static inline __attribute__((always_inline))

struct scales {
    __m256 d[2], m[2]; /* of rows 0..7 and 8..15 */
};

ALWAYS __m256 load_scale(const uint8_t *at, int bytes)
{
    return bytes == 4 ? _mm256_loadu_ps((const float *)(const void *)at)
                      : _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
}

/* The scales of group g of a block, and the minima. */
ALWAYS struct scales load_scales(const struct panel_traits *t, const uint8_t *block, int g)
{
    const int half = 8 * t->scale_bytes;
    struct scales s;
    const uint8_t *min = block + 2 * half * t->scales;
    for (int h = 0; h < 2; h++) {
        s.d[h] = load_scale(block + (2 * g + h) * half, t->scale_bytes);
        if (t->has_min)
            s.m[h] = load_scale(min + h * half, t->scale_bytes);
        else
            s.m[h] = _mm256_mul_ps(s.d[h], _mm256_set1_ps((float)-t->offset));
    }
    return s;
}

ALWAYS bool uses_min(const struct panel_traits *t)
{
    return t->has_min || t->offset != 0;
}

ALWAYS __m256i pair_of(const int16_t *q)
{
    int32_t pair;
    memcpy(&pair, q, sizeof(pair));
    return _mm256_set1_epi32(pair);
}

/* The one line of float arithmetic. */
ALWAYS __m256 add_block(__m256 sum, __m256i ints, __m256 d_weight, __m256 d_act)
{
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(ints), _mm256_mul_ps(d_weight, d_act), sum);
}

ALWAYS __m256 add_min(__m256 sum, __m256 m_weight, const float *s_act)
{
    return _mm256_fmadd_ps(m_weight, _mm256_broadcast_ss(s_act), sum);
}

/* n of 16 rows of results. */
ALWAYS void put_rows(const __m256 sum[2], int32_t n, bool add, float *to)
{
    float tail[CPU_PANEL];
    if (n < CPU_PANEL) {
        _mm256_storeu_ps(tail, sum[0]);
        _mm256_storeu_ps(tail + 8, sum[1]);
        for (int32_t i = 0; i < n; i++)
            to[i] = add ? to[i] + tail[i] : tail[i];
        return;
    }
    for (int h = 0; h < 2; h++) {
        __m256 v = add ? _mm256_add_ps(_mm256_loadu_ps(to + 8 * h), sum[h]) : sum[h];
        _mm256_storeu_ps(to + 8 * h, v);
    }
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

/* 8 columns of 4-bit weights against T rows. */
ALWAYS void multiply_q4(int T, const uint8_t *body, const struct rows *r, size_t col,
                        __m256i ints[][2])
{
    const __m256i low = _mm256_set1_epi16(15);
    __m256i packed[2] = {_mm256_loadu_si256((const __m256i *)(const void *)body),
                         _mm256_loadu_si256((const __m256i *)(const void *)(body + 32))};
#pragma GCC unroll 4
    for (int n = 0; n < 4; n++) {
        __m256i w[2];
        for (int h = 0; h < 2; h++) {
            w[h] = n ? _mm256_srli_epi16(packed[h], 4 * n) : packed[h];
            if (n < 3)
                w[h] = _mm256_and_si256(w[h], low);
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            __m256i pair = pair_of(r->q + (size_t)t * r->ld + col + 2 * (size_t)n);
            ints[t][0] = _mm256_add_epi32(ints[t][0], _mm256_madd_epi16(w[0], pair));
            ints[t][1] = _mm256_add_epi32(ints[t][1], _mm256_madd_epi16(w[1], pair));
        }
    }
}

/* 2 columns of 8-bit weights. */
ALWAYS void multiply_q8(int T, const uint8_t *body, const struct rows *r, size_t col,
                        __m256i ints[][2])
{
    __m256i w[2];
    for (int h = 0; h < 2; h++)
        w[h] =
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(body + 16 * h)));
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        __m256i pair = pair_of(r->q + (size_t)t * r->ld + col);
        ints[t][0] = _mm256_add_epi32(ints[t][0], _mm256_madd_epi16(w[0], pair));
        ints[t][1] = _mm256_add_epi32(ints[t][1], _mm256_madd_epi16(w[1], pair));
    }
}

/* One panel against T rows, unpacking on the way. T and form are constants where it is inlined. */
ALWAYS void multiply_direct(int form, int T, const uint8_t *panel, int32_t n_blocks, struct rows r,
                            __m256 sum[][2])
{
    const struct panel_traits t = panel_traits_of(form);
    const int body_at = CPU_PANEL * t.scale_bytes * (t.scales + t.has_min);
    for (int32_t b = 0; b < n_blocks; b++, panel += t.block_bytes) {
        __m256i ints[DIRECT_ROWS][2] = {0};
        const size_t col = (size_t)b * CPU_BLOCK;
        _mm_prefetch((const char *)panel + 2048, _MM_HINT_T0);
        _mm_prefetch((const char *)panel + 2112, _MM_HINT_T0);
        _mm_prefetch((const char *)panel + 2176, _MM_HINT_T0);
        _mm_prefetch((const char *)panel + 2240, _MM_HINT_T0);
        _mm_prefetch((const char *)panel + 2304, _MM_HINT_T0);
        if (t.bits == 4) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                multiply_q4(T, panel + body_at + 64 * i, &r, col + 8 * (size_t)i, ints);
        } else {
#pragma GCC unroll 4
            for (int i = 0; i < PAIRS; i++)
                multiply_q8(T, panel + body_at + 32 * i, &r, col + 2 * (size_t)i, ints);
        }
        struct scales s = load_scales(&t, panel, 0);
#pragma GCC unroll 8
        for (int i = 0; i < T; i++) {
            const size_t at = (size_t)i * r.blocks + (size_t)b;
            __m256 d = _mm256_broadcast_ss(r.d + at);
            for (int h = 0; h < 2; h++) {
                sum[i][h] = add_block(sum[i][h], ints[i][h], s.d[h], d);
                if (uses_min(&t))
                    sum[i][h] = add_min(sum[i][h], s.m[h], r.s + at);
            }
        }
    }
}

static bool has_direct(int form)
{
    return form == PANEL_Q4_1 || form == PANEL_Q4_0 || form == PANEL_Q4_K || form == PANEL_Q8_0;
}

ALWAYS void direct_panels(int form, int T, const struct weight *w, int32_t p0, int32_t p1,
                          struct rows r, bool add, float *to, size_t ld)
{
    for (int32_t p = p0; p < p1; p++) {
        __m256 sum[DIRECT_ROWS][2];
        for (int i = 0; i < T; i++)
            sum[i][0] = sum[i][1] = _mm256_setzero_ps();
        multiply_direct(form, T, w->data + (size_t)p * w->panel_bytes, w->n_cols / CPU_BLOCK, r,
                        sum);
        for (int i = 0; i < T; i++)
            put_rows(sum[i], w->n_rows - p * CPU_PANEL, add,
                     to + (size_t)i * ld + (size_t)(p - p0) * CPU_PANEL);
    }
}

#define DIRECT_CASES(T)                                                                            \
    switch (w->form) {                                                                             \
    case PANEL_Q4_1:                                                                               \
        direct_panels(PANEL_Q4_1, T, w, p0, p1, r, add, to, ld);                                   \
        break;                                                                                     \
    case PANEL_Q4_0:                                                                               \
        direct_panels(PANEL_Q4_0, T, w, p0, p1, r, add, to, ld);                                   \
        break;                                                                                     \
    case PANEL_Q4_K:                                                                               \
        direct_panels(PANEL_Q4_K, T, w, p0, p1, r, add, to, ld);                                   \
        break;                                                                                     \
    default:                                                                                       \
        direct_panels(PANEL_Q8_0, T, w, p0, p1, r, add, to, ld);                                   \
        break;                                                                                     \
    }

static void matmul_direct(const struct weight *w, int32_t p0, int32_t p1, struct rows r, int32_t T,
                          bool add, float *to, size_t ld)
{
    switch (T) {
    case 1:
        DIRECT_CASES(1)
        break;
    case 2:
        DIRECT_CASES(2)
        break;
    case 3:
        DIRECT_CASES(3)
        break;
    default:
        DIRECT_CASES(4)
        break;
    }
}

/* One block of a panel into 16-bit pairs. */
ALWAYS void widen_block(const struct panel_traits *t, const uint8_t *block, struct panel_wide to)
{
    const uint8_t *body = block + CPU_PANEL * t->scale_bytes * (t->scales + t->has_min);
    __m256i *w = (__m256i *)(void *)to.w;
    for (int g = 0; g < t->scales; g++) {
        struct scales s = load_scales(t, block, g);
        for (int h = 0; h < 2; h++) {
            _mm256_storeu_ps(to.d + g * CPU_PANEL + 8 * h, s.d[h]);
            _mm256_storeu_ps(to.m + 8 * h, s.m[h]);
        }
    }
    for (int i = 0; t->bits == 4 && i < CPU_BLOCK / 8 * 2; i++) { /* 8 columns of 8 rows */
        const __m256i low = _mm256_set1_epi16(15);
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(body + 32 * i));
        __m256i *at = w + i / 2 * 8 + i % 2;
        _mm256_storeu_si256(at, _mm256_and_si256(v, low));
        _mm256_storeu_si256(at + 2, _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
        _mm256_storeu_si256(at + 4, _mm256_and_si256(_mm256_srli_epi16(v, 8), low));
        _mm256_storeu_si256(at + 6, _mm256_srli_epi16(v, 12));
    }
    for (int i = 0; t->bits == 8 && i < CPU_BLOCK; i++) /* 2 columns of 8 rows */
        _mm256_storeu_si256(w + i, _mm256_cvtepi8_epi16(_mm_loadu_si128(
                                       (const __m128i *)(const void *)(body + 16 * i))));
}

static void widen_panel(const struct weight *w, int32_t p, struct panel_wide to)
{
    const struct panel_traits t = panel_traits_of(w->form);
    const uint8_t *block = w->data + (size_t)p * w->panel_bytes;
    for (int32_t b = 0; b < w->n_cols / CPU_BLOCK; b++, block += t.block_bytes) {
        widen_block(&t, block, to);
        to.w += CPU_PANEL * CPU_BLOCK;
        to.d += CPU_PANEL * t.scales;
        to.m += CPU_PANEL;
    }
}

/* One widened panel against T rows. `groups` is 2 when a block has two scales. */
ALWAYS void multiply_wide(int T, int groups, bool min, struct panel_wide p, int32_t n_blocks,
                          struct rows r, __m256 sum[][2])
{
    for (int32_t b = 0; b < n_blocks; b++) {
        for (int g = 0; g < groups; g++, p.d += CPU_PANEL) {
            __m256i ints[WIDE_ROWS][2] = {0};
            const int16_t *q = r.q + (size_t)b * CPU_BLOCK + (size_t)(g * CPU_BLOCK / groups);
#pragma GCC unroll 4
            for (int i = 0; i < PAIRS / groups; i++, p.w += 2 * CPU_PANEL) {
                __m256i w0 = _mm256_load_si256((const __m256i *)(const void *)p.w);
                __m256i w1 = _mm256_load_si256((const __m256i *)(const void *)(p.w + CPU_PANEL));
#pragma GCC unroll 8
                for (int t = 0; t < T; t++) {
                    __m256i pair = pair_of(q + (size_t)t * r.ld + 2 * i);
                    ints[t][0] = _mm256_add_epi32(ints[t][0], _mm256_madd_epi16(w0, pair));
                    ints[t][1] = _mm256_add_epi32(ints[t][1], _mm256_madd_epi16(w1, pair));
                }
            }
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                __m256 d = _mm256_broadcast_ss(r.d + (size_t)t * r.blocks + (size_t)b);
                for (int h = 0; h < 2; h++)
                    sum[t][h] = add_block(sum[t][h], ints[t][h], _mm256_load_ps(p.d + 8 * h), d);
            }
        }
#pragma GCC unroll 8
        for (int t = 0; min && t < T; t++) {
            for (int h = 0; h < 2; h++)
                sum[t][h] = add_min(sum[t][h], _mm256_load_ps(p.m + 8 * h),
                                    r.s + (size_t)t * r.blocks + (size_t)b);
        }
        p.m += CPU_PANEL;
    }
}

ALWAYS void wide_rows(int T, const struct panel_traits *t, struct panel_wide p, int32_t n_blocks,
                      struct rows r, int32_t n, bool add, float *to, size_t ld)
{
    __m256 sum[WIDE_ROWS][2];
    for (int i = 0; i < T; i++)
        sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    if (t->scales == 2)
        multiply_wide(T, 2, false, p, n_blocks, r, sum);
    else if (uses_min(t))
        multiply_wide(T, 1, true, p, n_blocks, r, sum);
    else
        multiply_wide(T, 1, false, p, n_blocks, r, sum);
    for (int i = 0; i < T; i++)
        put_rows(sum[i], n, add, to + (size_t)i * ld);
}

static void multiply_rows(int T, const struct panel_traits *t, struct panel_wide p,
                          int32_t n_blocks, struct rows r, int32_t n, bool add, float *to,
                          size_t ld)
{
    switch (T) {
    case 1:
        wide_rows(1, t, p, n_blocks, r, n, add, to, ld);
        break;
    case 2:
        wide_rows(2, t, p, n_blocks, r, n, add, to, ld);
        break;
    case 3:
        wide_rows(3, t, p, n_blocks, r, n, add, to, ld);
        break;
    case 4:
        wide_rows(4, t, p, n_blocks, r, n, add, to, ld);
        break;
    case 5:
        wide_rows(5, t, p, n_blocks, r, n, add, to, ld);
        break;
    default:
        wide_rows(6, t, p, n_blocks, r, n, add, to, ld);
        break;
    }
}

static void matmul_wide(const struct weight *w, int32_t p0, int32_t p1, const struct act *a,
                        int32_t t0, int32_t T, bool add, float *to, size_t ld, void *scratch)
{
    const struct panel_traits t = panel_traits_of(w->form);
    const int32_t n_blocks = w->n_cols / CPU_BLOCK;
    struct panel_wide wide = panel_wide_in(scratch, n_blocks);
    const int32_t turns = (T + WIDE_ROWS - 1) / WIDE_ROWS;
    for (int32_t p = p0; p < p1; p++, to += CPU_PANEL) {
        widen_panel(w, p, wide);
        for (int32_t i = 0; i < turns; i++) { /* turns of nearly equal size */
            int32_t from = T * i / turns, n = T * (i + 1) / turns - from;
            multiply_rows(n, &t, wide, n_blocks, rows_from(a, t0 + from), w->n_rows - p * CPU_PANEL,
                          add, to + (size_t)from * ld, ld);
        }
    }
}

/* 16 weights of one column as floats. */
ALWAYS void load_column(int form, const uint8_t *at, __m256 ret[2])
{
    for (int h = 0; h < 2; h++) {
        if (form == PANEL_F32) {
            ret[h] = _mm256_loadu_ps((const float *)(const void *)(at + 32 * h));
        } else {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * h));
            ret[h] = form == PANEL_F16
                         ? _mm256_cvtph_ps(v)
                         : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
        }
    }
}

/* Float weights: NP panels against T rows, one fused sum over ascending columns. */
ALWAYS void float_panels(int form, int NP, int T, const struct weight *w, int32_t p, const float *x,
                         size_t ldx, bool add, float *to, size_t ld)
{
    const size_t step = CPU_PANEL * (size_t)panel_traits_of(form).scale_bytes;
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    __m256 sum[4][2];
    for (int i = 0; i < NP * T; i++)
        sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (int32_t k = 0; k < w->n_cols; k++, panel += step) {
#pragma GCC unroll 4
        for (int i = 0; i < NP; i++) {
            __m256 c[2];
            load_column(form, panel + (size_t)i * w->panel_bytes, c);
#pragma GCC unroll 4
            for (int t = 0; t < T; t++) {
                __m256 v = _mm256_broadcast_ss(x + (size_t)t * ldx + k);
                sum[i * T + t][0] = _mm256_fmadd_ps(c[0], v, sum[i * T + t][0]);
                sum[i * T + t][1] = _mm256_fmadd_ps(c[1], v, sum[i * T + t][1]);
            }
        }
    }
    for (int i = 0; i < NP; i++) {
        for (int t = 0; t < T; t++)
            put_rows(sum[i * T + t], w->n_rows - (p + i) * CPU_PANEL, add,
                     to + (size_t)t * ld + (size_t)i * CPU_PANEL);
    }
}

ALWAYS void matmul_float(int form, const struct weight *w, int32_t p0, int32_t p1,
                         const struct act *a, int32_t t0, int32_t T, bool add, float *to, size_t ld)
{
    const size_t ldx = (size_t)a->ld;
    for (int32_t t = 0; t < T;) {
        const float *x = a->x + (size_t)(t0 + t) * ldx;
        float *at = to + (size_t)t * ld;
        int32_t n = T - t >= 4 ? 4 : 1, p = p0;
        for (; n == 4 && p < p1; p++, at += CPU_PANEL)
            float_panels(form, 1, 4, w, p, x, ldx, add, at, ld);
        for (; n == 1 && p + 4 <= p1; p += 4, at += 4 * CPU_PANEL)
            float_panels(form, 4, 1, w, p, x, ldx, add, at, ld);
        for (; p < p1; p++, at += CPU_PANEL)
            float_panels(form, 1, 1, w, p, x, ldx, add, at, ld);
        t += n;
    }
}

void avx2_matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                 int32_t T, bool add, float *to, size_t ld, void *scratch)
{
    switch (w->form) {
    case PANEL_F32:
        matmul_float(PANEL_F32, w, p0, p1, a, t0, T, add, to, ld);
        break;
    case PANEL_F16:
        matmul_float(PANEL_F16, w, p0, p1, a, t0, T, add, to, ld);
        break;
    case PANEL_BF16:
        matmul_float(PANEL_BF16, w, p0, p1, a, t0, T, add, to, ld);
        break;
    default:
        if (T <= DIRECT_ROWS && has_direct(w->form))
            matmul_direct(w, p0, p1, rows_from(a, t0), T, add, to, ld);
        else
            matmul_wide(w, p0, p1, a, t0, T, add, to, ld, scratch);
        break;
    }
}
