/* avx2.c - norms, activations and the table. Products are in avx2_matmul.c, attention in
 * avx2_attend.c. */

#include "engine/cpu/avx2.h"

#include <immintrin.h>
#include <math.h>

#include "engine/cpu/avx2_exp.h"
#include "engine/cpu/panel.h"

#define STEPS 32767.0f /* of a 16-bit activation, each way */

static __m256 abs_ps(__m256 v)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}

static int32_t sum_epi32(__m256i v)
{
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1));
    return _mm_cvtsi128_si32(a);
}

/* 32 floats to 16-bit steps; returns the sum of the steps. */
static int32_t quantise_block(const float *x, float inverse, int16_t *q)
{
    const __m256 scale = _mm256_set1_ps(inverse);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < CPU_BLOCK; i += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), scale));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), scale));
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(q + i), packed);
    }
    return sum_epi32(sum);
}

void avx2_fill(const struct act *a, int32_t t, int32_t from, int32_t n)
{
    const size_t row = (size_t)t * (size_t)a->ld;
    for (int32_t k = from; k < from + n; k += CPU_BLOCK) {
        const float *x = a->x + row + k;
        size_t block = (row + (size_t)k) / CPU_BLOCK;
        __m256 max = abs_ps(_mm256_loadu_ps(x));
        for (int i = 8; i < CPU_BLOCK; i += 8)
            max = _mm256_max_ps(max, abs_ps(_mm256_loadu_ps(x + i)));
        float most = max_avx2(max), d = most / STEPS;
        /* Below the smallest normal numbers 1 / d would overflow: such a block is zero. */
        float inverse = most > 1e-30f ? STEPS / most : 0.0f;
        a->d[block] = d;
        a->s[block] = d * (float)quantise_block(x, inverse, a->q + row + k);
    }
}

void avx2_rmsnorm(float *to, const float *x, const float *weight, int32_t n, float eps)
{
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    int32_t i = 0;
    for (; i + 32 <= n; i += 32) {
        for (int j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * j);
            sum[j] = _mm256_fmadd_ps(v, v, sum[j]);
        }
    }
    float total =
        sum_avx2(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
    for (; i < n; i++)
        total += x[i] * x[i];
    float scale = 1.0f / sqrtf(total / (float)n + eps);
    const __m256 scale8 = _mm256_set1_ps(scale);
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale8);
        _mm256_storeu_ps(to + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
    }
    for (; i < n; i++)
        to[i] = x[i] * scale * weight[i];
}

void avx2_rope(float *v, const float *cos_sin, int32_t rope_dim)
{
    int32_t i = 0;
    for (; i + 8 <= rope_dim; i += 8) { /* a, b, … -> a cos - b sin, a sin + b cos, … */
        __m256 x = _mm256_loadu_ps(v + i), cs = _mm256_loadu_ps(cos_sin + i);
        __m256 swapped = _mm256_permute_ps(x, 0xb1);
        __m256 sines = _mm256_mul_ps(swapped, _mm256_movehdup_ps(cs));
        _mm256_storeu_ps(v + i, _mm256_addsub_ps(_mm256_mul_ps(x, _mm256_moveldup_ps(cs)), sines));
    }
    for (; i < rope_dim; i += 2) {
        float c = cos_sin[i], s = cos_sin[i + 1], a = v[i], b = v[i + 1];
        v[i] = a * c - b * s;
        v[i + 1] = b * c + a * s;
    }
}

static __m256 silu_mul8(__m256 gate, __m256 up)
{
    __m256 e = exp_avx2(_mm256_sub_ps(_mm256_setzero_ps(), gate));
    __m256 silu = _mm256_div_ps(gate, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
    return _mm256_mul_ps(silu, up);
}

void avx2_silu_mul(float *to, const float *gate, const float *up, int32_t n)
{
    int32_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(to + i, silu_mul8(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
    if (i < n) {
        float g[8] = {0}, u[8] = {0}, v[8];
        for (int32_t j = 0; i + j < n; j++)
            g[j] = gate[i + j], u[j] = up[i + j];
        _mm256_storeu_ps(v, silu_mul8(_mm256_loadu_ps(g), _mm256_loadu_ps(u)));
        for (int32_t j = 0; i + j < n; j++)
            to[i + j] = v[j];
    }
}

const struct cpu_ops cpu_avx2 = {
    .name = "avx2",
    .kv_bytes = sizeof(uint16_t),
    .plan = panel_plan,
    .pack = panel_pack,
    .unpack_row = panel_unpack_row,
    .fill = avx2_fill,
    .matmul = avx2_matmul,
    .rmsnorm = avx2_rmsnorm,
    .rope = avx2_rope,
    .silu_mul = avx2_silu_mul,
    .k_store = avx2_k_store,
    .v_store = avx2_v_store,
    .attend = avx2_attend,
    .merge = avx2_merge,
    .finish = avx2_finish,
};
