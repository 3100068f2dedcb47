/* avx2_attend.c - attention over pages of f16 keys and values.
 *
 * A page keeps K as [head_dim][16 positions] and V as [16 positions][head_dim]: scores of 16
 * positions then grow in two registers from broadcasts of q, and no sum runs across a register.
 * All query heads of a kv head share each converted K and V. Every (head, position) pair is
 * computed alone and in one order, so neither the other rows nor the other heads matter. */

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/cpu/avx2.h"
#include "engine/cpu/avx2_exp.h"
#include "engine/cpu/unroll.h"

#define PAGE       KV_PAGE_TOKENS
#define HEADS_ONCE 4
#define LINE       32 /* halves in a cache line */
#define ALWAYS     static inline __attribute__((always_inline))

_Static_assert(PAGE == 16 && CPU_SPLIT % PAGE == 0, "two registers hold the scores of a page");

static uint16_t *cache_at(const struct kv_head *h, int32_t page, size_t at)
{
    return (uint16_t *)(void *)(h->pool + (size_t)page * h->page_bytes + at);
}

ALWAYS __m256 load_half(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

ALWAYS void store_half(uint16_t *p, __m256 v)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

void avx2_k_store(const struct kv_head *h, int32_t page, int32_t slot, const float *k)
{
    uint16_t *to = cache_at(h, page, h->k_at) + slot;
    for (int32_t d = 0; d < h->head_dim; d += 8) { /* head_dim is a multiple of 16 */
        uint16_t half[8];
        store_half(half, _mm256_loadu_ps(k + d));
        for (int j = 0; j < 8; j++)
            to[(d + j) * PAGE] = half[j];
    }
}

void avx2_v_store(const struct kv_head *h, int32_t page, int32_t slot, const float *v)
{
    uint16_t *to = cache_at(h, page, h->v_at) + (size_t)slot * (size_t)h->head_dim;
    for (int32_t d = 0; d < h->head_dim; d += 8)
        store_half(to + d, _mm256_loadu_ps(v + d));
}

/* Scores of the 16 positions of a page for G heads. Even and odd dimensions have sums of their
 * own: with one or two heads a single chain of additions would wait for itself. The keys of the
 * next page and the values of this one, as many lines, are fetched meanwhile. */
ALWAYS void score_page(int G, const uint16_t *k, const float *q, int32_t D,
                       float score[][CPU_SPLIT], int32_t at, const uint16_t *next,
                       const uint16_t *values)
{
    const int chains = G > 2 ? 1 : 2;
    __m256 sum[HEADS_ONCE][2][2];
    for (int g = 0; g < G; g++)
        sum[g][0][0] = sum[g][0][1] = sum[g][1][0] = sum[g][1][1] = _mm256_setzero_ps();
    UNROLL(2)
    for (int32_t d = 0; d < D; d++, k += PAGE) {
        _mm_prefetch((const char *)((d % 2 ? next : values) + d / 2 * LINE), _MM_HINT_T0);
        __m256 k0 = load_half(k), k1 = load_half(k + 8);
        UNROLL(4)
        for (int g = 0; g < G; g++) {
            __m256 v = _mm256_broadcast_ss(q + g * D + d);
            __m256 *to = sum[g][d % chains];
            to[0] = _mm256_fmadd_ps(k0, v, to[0]);
            to[1] = _mm256_fmadd_ps(k1, v, to[1]);
        }
    }
    for (int g = 0; g < G; g++) {
        for (int h = 0; h < 2; h++) {
            __m256 s = chains == 2 ? _mm256_add_ps(sum[g][0][h], sum[g][1][h]) : sum[g][0][h];
            _mm256_storeu_ps(score[g] + at + 8 * h, s);
        }
    }
}

/* Scores to weights in place; positions from n on become zero. Slots of a page that were never
 * written may hold anything, NaN too, so they are blended away and never multiplied. */
static void soften(float *score, int32_t n, float *ret_max, float *ret_sum)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const int32_t end = (n + 7) / 8 * 8;
    __m256 max = _mm256_set1_ps(-INFINITY), sum = _mm256_setzero_ps();
    for (int32_t i = 0; i < end; i += 8) {
        __m256 in = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n - i), lane));
        __m256 s = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), _mm256_loadu_ps(score + i), in);
        max = _mm256_max_ps(max, s);
    }
    *ret_max = max_avx2(max);
    const __m256 most = _mm256_set1_ps(*ret_max);
    for (int32_t i = 0; i < end; i += 8) {
        __m256 in = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n - i), lane));
        __m256 p = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(score + i), most));
        p = _mm256_and_ps(p, in);
        sum = _mm256_add_ps(sum, p);
        _mm256_storeu_ps(score + i, p);
    }
    *ret_sum = sum_avx2(sum);
}

/* to[g][d..d + 8 N) = sum over n positions of weight[g] * V. */
ALWAYS void mix_columns(int G, int N, const struct kv_head *h, const int32_t *page_of,
                        float weight[][CPU_SPLIT], int32_t from, int32_t n, int32_t d, float *to,
                        size_t ld)
{
    __m256 sum[HEADS_ONCE][4];
    for (int g = 0; g < G; g++) {
        for (int j = 0; j < N; j++)
            sum[g][j] = _mm256_setzero_ps();
    }
    for (int32_t i = 0; i < n; i += PAGE) {
        const uint16_t *v = cache_at(h, page_of[(from + i) / PAGE], h->v_at) + d;
        const int32_t end = n - i < PAGE ? n - i : PAGE;
        for (int32_t k = 0; k < end; k++, v += h->head_dim) {
            __m256 row[4];
            for (int j = 0; j < N; j++)
                row[j] = load_half(v + 8 * j);
            UNROLL(4)
            for (int g = 0; g < G; g++) {
                __m256 p = _mm256_broadcast_ss(weight[g] + i + k);
                UNROLL(4)
                for (int j = 0; j < N; j++)
                    sum[g][j] = _mm256_fmadd_ps(row[j], p, sum[g][j]);
            }
        }
    }
    for (int g = 0; g < G; g++) {
        for (int j = 0; j < N; j++)
            _mm256_storeu_ps(to + (size_t)g * ld + d + 8 * j, sum[g][j]);
    }
}

ALWAYS void attend_heads(int G, const struct kv_head *h, const int32_t *page_of, const float *q,
                         int32_t from, int32_t n, float *part)
{
    const int32_t D = h->head_dim;
    const size_t ld = (size_t)D + CPU_PART_EXTRA;
    float weight[HEADS_ONCE][CPU_SPLIT];
    for (int32_t i = 0; i < n; i += PAGE) {
        const int32_t *page = page_of + (from + i) / PAGE;
        score_page(G, cache_at(h, page[0], h->k_at), q, D, weight, i,
                   cache_at(h, page[i + PAGE < n], h->k_at), cache_at(h, page[0], h->v_at));
    }
    for (int g = 0; g < G; g++) {
        float *end = part + (size_t)g * ld + D;
        soften(weight[g], n, &end[0], &end[1]);
    }
    int32_t d = 0;
    for (; G <= 3 && d + 32 <= D; d += 32)
        mix_columns(G, 4, h, page_of, weight, from, n, d, part, ld);
    for (; d < D; d += 16)
        mix_columns(G, 2, h, page_of, weight, from, n, d, part, ld);
}

void avx2_attend(const struct kv_head *h, const int32_t *page_of, int32_t G, const float *q,
                 int32_t from, int32_t n, float *part)
{
    const size_t D = (size_t)h->head_dim;
    for (; G > 0; G -= HEADS_ONCE, q += HEADS_ONCE * D) {
        switch (G) {
        case 1:
            attend_heads(1, h, page_of, q, from, n, part);
            break;
        case 2:
            attend_heads(2, h, page_of, q, from, n, part);
            break;
        case 3:
            attend_heads(3, h, page_of, q, from, n, part);
            break;
        default:
            attend_heads(4, h, page_of, q, from, n, part);
            break;
        }
        part += HEADS_ONCE * (D + CPU_PART_EXTRA);
    }
}

void avx2_merge(float *run, const float *part, int32_t G, int32_t head_dim)
{
    const int32_t D = head_dim;
    for (int32_t g = 0; g < G; g++, run += D + CPU_PART_EXTRA, part += D + CPU_PART_EXTRA) {
        float max = run[D] > part[D] ? run[D] : part[D];
        const __m256 a = exp_avx2(_mm256_set1_ps(run[D] - max));
        const __m256 b = exp_avx2(_mm256_set1_ps(part[D] - max));
        float sum = run[D + 1] * _mm256_cvtss_f32(a) + part[D + 1] * _mm256_cvtss_f32(b);
        for (int32_t d = 0; d < D; d += 8) {
            __m256 v = _mm256_mul_ps(_mm256_loadu_ps(run + d), a);
            _mm256_storeu_ps(run + d, _mm256_fmadd_ps(_mm256_loadu_ps(part + d), b, v));
        }
        run[D] = max;
        run[D + 1] = sum;
    }
}

void avx2_finish(const float *run, int32_t G, int32_t head_dim, float *to)
{
    for (int32_t g = 0; g < G; g++, run += head_dim + CPU_PART_EXTRA, to += head_dim) {
        const __m256 inverse = _mm256_set1_ps(1.0f / run[head_dim + 1]);
        for (int32_t d = 0; d < head_dim; d += 8)
            _mm256_storeu_ps(to + d, _mm256_mul_ps(_mm256_loadu_ps(run + d), inverse));
    }
}
