/* avx2_matmul.c - panels of 16 rows times rows of quantised activations.
 *
 * 4-bit weights meet 8-bit activations in vpmaddubsw: 4 columns of 8 rows fill a register, and the
 * 16-bit sums of a block of 32 columns stay below 2^15 (8 x 2 x 15 x 127 = 30,480), so they
 * are widened once a block. Activations that do not fit 8 bits have the rest of theirs in a list:
 * after all blocks, those 4 columns are multiplied once more, for that row of activations alone.
 * 8-bit weights meet 16-bit activations in vpmaddwd, whose 32-bit sums stay below 2^28.
 *
 * Either way the integers are exact, and go into the float sums block by block:
 *     sum += min_weight * s_act;  sum += d_weight * (m_act * integers)
 * in units of the row, with m_act an integer too, so that vpmaddwd multiplies by it as it widens;
 * with words, d_act is a float. These lines, in ascending blocks, are all the float arithmetic
 * there is, so a call for 1 row and one for 96 give the same bits.
 *
 * Weights are unpacked in registers, for up to 4 rows of activations at once. All rows meet a
 * panel before the next one, which is fetched meanwhile: memory never waits for arithmetic. */

#include "engine/cpu/avx2.h"

#include <immintrin.h>
#include <string.h>

#include "engine/cpu/panel_walk.h"
#include "engine/cpu/unroll.h"

#define ROWS_ONCE   4    /* 8 sums, 2 packed, 2 weights, 1 activation, 1 product, 1 mask */
#define AHEAD_BYTES 2048 /* of a single turn, as measured; more turns fetch the next panel */

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

/* sum[h] += the products of some columns of 16 rows with one broadcast of activations. In
 * assembly, since gcc 12 reorders many of these until half of the sums live on the stack, at half
 * the speed. The broadcast is vpmaddubsw's signed operand. */
#define MULTIPLY_ADD(name, product_op, add_op)                                                     \
    ALWAYS void name(const void *q, __m256i w0, __m256i w1, __m256i sum[2])                        \
    {                                                                                              \
        __m256i acts, product;                                                                     \
        __asm__("vpbroadcastd %[q], %[acts]\n\t" product_op                                        \
                " %[acts], %[w0], %[product]\n\t" product_op " %[acts], %[w1], %[acts]\n\t" add_op \
                " %[product], %[sum0], %[sum0]\n\t" add_op " %[acts], %[sum1], %[sum1]"            \
                : [sum0] "+x"(sum[0]), [sum1] "+x"(sum[1]), [acts] "=&x"(acts),                    \
                  [product] "=&x"(product)                                                         \
                : [q] "m"(*(const int32_t *)q), [w0] "x"(w0), [w1] "x"(w1));                       \
    }
MULTIPLY_ADD(multiply_words, "vpmaddwd", "vpaddd")   /* 2 columns of 16 bits */
MULTIPLY_ADD(multiply_bytes, "vpmaddubsw", "vpaddw") /* 4 columns of 8 bits */

/* The first 4 columns: nothing to add to yet. */
ALWAYS void start_bytes(const void *q, __m256i w0, __m256i w1, __m256i sum[2])
{
    __m256i acts;
    __asm__("vpbroadcastd %[q], %[acts]\n\t"
            "vpmaddubsw %[acts], %[w0], %[sum0]\n\t"
            "vpmaddubsw %[acts], %[w1], %[sum1]"
            : [sum0] "=&x"(sum[0]), [sum1] "=&x"(sum[1]), [acts] "=&x"(acts)
            : [q] "m"(*(const int32_t *)q), [w0] "x"(w0), [w1] "x"(w1));
}

ALWAYS __m256 add_block(__m256 sum, __m256i ints, __m256 d)
{
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(ints), d, sum);
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

ALWAYS __m256i load_bytes(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* 4 columns of 16 rows, out of 8: the low halves (n = 0) or the high ones. */
ALWAYS __m256i half_of(__m256i packed, int n)
{
    return _mm256_and_si256(n ? _mm256_srli_epi16(packed, 4) : packed, _mm256_set1_epi8(15));
}

ALWAYS __m256i broadcast_m(const int32_t *m)
{
    return _mm256_castps_si256(_mm256_broadcast_ss((const float *)(const void *)m));
}

/* Block b of 4-bit weights against the bytes of T rows, in units. */
ALWAYS void multiply_block(int T, const uint8_t *body, const struct rows *r, size_t b,
                           __m256i ints[][2])
{
    UNROLL(4)
    for (int i = 0; i < CPU_BLOCK / 8; i++, body += 64) {
        const __m256i packed[2] = {load_bytes(body), load_bytes(body + 32)};
        UNROLL(2)
        for (int n = 0; n < 2; n++) {
            const __m256i w0 = half_of(packed[0], n), w1 = half_of(packed[1], n);
            const int8_t *q = r->b + b * CPU_BLOCK + 8 * i + 4 * n;
            UNROLL(4)
            for (int t = 0; t < T; t++) {
                if (i == 0 && n == 0)
                    start_bytes(q + (size_t)t * r->ld, w0, w1, ints[t]);
                else
                    multiply_bytes(q + (size_t)t * r->ld, w0, w1, ints[t]);
            }
        }
    }
    UNROLL(4)
    for (int t = 0; t < T; t++) {
        const __m256i m = broadcast_m(r->m + (size_t)t * r->blocks + b);
        for (int h = 0; h < 2; h++)
            ints[t][h] = _mm256_madd_epi16(ints[t][h], m);
    }
}

/* A scale group of 8-bit weights against T rows of words. */
ALWAYS void multiply_group(int columns, int T, const uint8_t *body, const struct rows *r,
                           size_t col, __m256i ints[][2])
{
    UNROLL(4)
    for (int i = 0; i < columns / 2; i++, body += 32) {
        __m256i w[2];
        for (int h = 0; h < 2; h++)
            w[h] = _mm256_cvtepi8_epi16(
                _mm_loadu_si128((const __m128i *)(const void *)(body + 16 * h)));
        UNROLL(4)
        for (int t = 0; t < T; t++)
            multiply_words(r->q + (size_t)t * r->ld + col + 2 * i, w[0], w[1], ints[t]);
    }
}

/* Adds group g of block b to the float sums of T rows, which stay in L1: the registers are the
 * integers'. Minima go first, since they do not wait for the integers. */
ALWAYS void add_group(const struct panel_traits *t, int T, const uint8_t *block, int g,
                      const struct rows *r, size_t b, __m256i ints[][2], float sum[][CPU_PANEL])
{
    const bool min = (t->has_min || t->offset != 0) && g == t->scales - 1;
    const struct scales s = load_scales(t, block, g);
    __asm__("" : "+m"(*(float(*)[ROWS_ONCE][CPU_PANEL])sum)); /* or gcc keeps copies of them */
    UNROLL(4)
    for (int i = 0; i < T; i++) {
        const __m256 d = _mm256_broadcast_ss(r->d + (size_t)i * r->blocks + b);
        const __m256 of = _mm256_broadcast_ss(r->s + (size_t)i * r->blocks + b);
        UNROLL(2)
        for (int h = 0; h < 2; h++) {
            __m256 v = _mm256_load_ps(sum[i] + 8 * h);
            if (min)
                v = _mm256_fmadd_ps(s.m[h], of, v);
            const __m256 dw = t->bits == 4 ? s.d[h] : _mm256_mul_ps(s.d[h], d);
            _mm256_store_ps(sum[i] + 8 * h, add_block(v, ints[i][h], dw));
        }
    }
}

/* A panel against T rows. The traits and T are constants where this is inlined. */
ALWAYS void multiply_blocks(const struct panel_traits *t, int T, const uint8_t *block,
                            int32_t n_blocks, const struct rows *r, struct ahead *ahead,
                            float sum[][CPU_PANEL])
{
    const int scale_bytes = panel_scale_bytes(t), columns = CPU_BLOCK / t->scales;
    const int group_bytes = CPU_PANEL * columns * t->bits / 8;
    for (int32_t b = 0; b < n_blocks; b++, block += t->block_bytes) {
        fetch_ahead(ahead);
        for (int g = 0; g < t->scales; g++) {
            __m256i ints[ROWS_ONCE][2] = {0};
            const uint8_t *body = block + scale_bytes + g * group_bytes;
            const size_t col = (size_t)(b * CPU_BLOCK + g * columns);
            if (t->bits == 4)
                multiply_block(T, body, r, (size_t)b, ints);
            else
                multiply_group(columns, T, body, r, col, ints);
            add_group(t, T, block, g, r, (size_t)b, ints, sum);
        }
    }
}

/* What the bytes of row i left out. */
ALWAYS void multiply_outliers(const struct panel_traits *t, const uint8_t *panel,
                              const struct rows *r, size_t i, float *sum)
{
    const struct outlier *o = r->out + i * r->outs, *end = o + r->n_out[i];
    for (; o < end; o++) {
        const uint8_t *block = panel + o->column / CPU_BLOCK * (size_t)t->block_bytes;
        const uint8_t *body = block + panel_scale_bytes(t) + o->column % CPU_BLOCK / 8 * 64;
        const __m128i shift = _mm_cvtsi32_si128((int)o->column % 8); /* 0 or 4 bits */
        const __m256i mask = _mm256_set1_epi8(15);
        int32_t four;
        memcpy(&four, o->high, sizeof(four));
        const __m256i acts = _mm256_set1_epi32(four);
        const __m256 m = _mm256_set1_ps(o->m);
        for (int h = 0; h < 2; h++) {
            __m256i w = _mm256_and_si256(_mm256_srl_epi16(load_bytes(body + 32 * h), shift), mask);
            __m256i ints = _mm256_madd_epi16(_mm256_maddubs_epi16(w, acts), _mm256_set1_epi16(1));
            const __m256 dw = load_scale(block + 8 * h * t->scale_bytes, t->scale_bytes);
            __m256 v = add_block(_mm256_load_ps(sum + 8 * h), ints, _mm256_mul_ps(dw, m));
            _mm256_store_ps(sum + 8 * h, v);
        }
    }
}

/* Panel p against T rows, from `row` of the task on. */
ALWAYS void multiply_rows(const struct panel_traits *t, int T, const struct task *k, int32_t p,
                          int32_t row, struct ahead *ahead)
{
    const uint8_t *panel = k->w->data + (size_t)p * k->w->panel_bytes;
    const struct rows r = rows_from(k->a, k->t0 + row, t->bits);
    float *to = k->to + (size_t)row * k->ld + (size_t)(p - k->p0) * CPU_PANEL;
    _Alignas(32) float sum[ROWS_ONCE][CPU_PANEL];
    for (int i = 0; i < T; i++) {
        _mm256_store_ps(sum[i], _mm256_setzero_ps());
        _mm256_store_ps(sum[i] + 8, _mm256_setzero_ps());
    }
    multiply_blocks(t, T, panel, k->w->n_cols / CPU_BLOCK, &r, ahead, sum);
    for (int i = 0; i < T; i++) {
        if (t->bits == 4)
            multiply_outliers(t, panel, &r, (size_t)i, sum[i]);
        __m256 both[2] = {_mm256_load_ps(sum[i]), _mm256_load_ps(sum[i] + 8)};
        for (int h = 0; h < 2 && t->bits == 4; h++)
            both[h] = _mm256_mul_ps(both[h], _mm256_broadcast_ss(r.unit + i));
        put_rows(both, k->w->n_rows - p * CPU_PANEL, k->add, to + (size_t)i * k->ld);
    }
}

/* All rows of the task, 4, 2 or 1 at a time, meet a panel while the next one is on its way. */
ALWAYS void multiply_panels(int form, const struct task *k)
{
    const struct panel_traits t = panel_traits_of(form);
    const int32_t turns = k->T / 4 + k->T % 4 / 2 + k->T % 2;
    struct ahead ahead = {.step = ((size_t)t.block_bytes + (size_t)turns - 1) / (size_t)turns};
    const size_t distance = turns == 1 ? AHEAD_BYTES : k->w->panel_bytes;
    for (int32_t p = k->p0; p < k->p1; p++) {
        int32_t row = 0;
        ahead.at = k->w->data + (size_t)p * k->w->panel_bytes + distance;
        for (; row + 4 <= k->T; row += 4)
            multiply_rows(&t, 4, k, p, row, &ahead);
        if (k->T & 2)
            multiply_rows(&t, 2, k, p, row, &ahead);
        row += k->T & 2;
        if (k->T & 1)
            multiply_rows(&t, 1, k, p, row, &ahead);
    }
}

MULTIPLY_FORMS(multiply_panels, multiply_form);

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
        UNROLL(4)
        for (int i = 0; i < NP; i++) {
            __m256 c[2];
            load_column(form, panel + (size_t)i * w->panel_bytes, c);
            UNROLL(4)
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
    const struct task k = {
        .w = w, .p0 = p0, .p1 = p1, .a = a, .t0 = t0, .T = T, .add = add, .to = to, .ld = ld};
    (void)scratch; /* weights are unpacked in registers */
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
        multiply_form[w->form](&k);
        break;
    }
}
