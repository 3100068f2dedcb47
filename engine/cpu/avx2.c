/* avx2.c - norms, activations and the table. Products are in avx2_matmul.c, attention in
 * avx2_attend.c. */

#include "engine/cpu/avx2.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/cpu/avx2_exp.h"
#include "engine/cpu/panel.h"

#define WORD_STEPS 32767.0f /* of an activation of 16 bits, each way */
#define BYTE_STEPS 127.0f
#define OUT_STEPS  16319.0f /* 128 x 127 + 63, of an outlier */
#define M_MAX      32000    /* units in a step: 16-bit sums times it, twice, stay below 2^31 */

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

static float block_max(const float *x)
{
    __m256 max = abs_ps(_mm256_loadu_ps(x));
    for (int i = 8; i < CPU_BLOCK; i += 8)
        max = _mm256_max_ps(max, abs_ps(_mm256_loadu_ps(x + i)));
    return max_avx2(max);
}

/* Below this 1 / d would overflow: such a block is zero. */
static float steps_per_unit(float steps, float most)
{
    return most > 1e-30f ? steps / most : 0.0f;
}

/* 16 floats to 16-bit steps; adds them to *sum. */
static __m256i to_steps(const float *x, __m256 scale, __m256i *sum)
{
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), scale));
    __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), scale));
    *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(a, b));
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

static void fill_words(const struct act *a, size_t block, const float *x, float most)
{
    const __m256 scale = _mm256_set1_ps(steps_per_unit(WORD_STEPS, most));
    int16_t *q = a->q + block * CPU_BLOCK;
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < CPU_BLOCK; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(q + i), to_steps(x + i, scale, &sum));
    a->d[block] = most / WORD_STEPS;
    a->s[block] = a->d[block] * (float)sum_epi32(sum);
}

static void put_sum(const struct act *a, size_t block, int32_t m, __m256i sum)
{
    a->m[block] = m | m << 16;
    a->sb[block] = (float)m * (float)sum_epi32(sum);
}

static void fill_bytes(const struct act *a, size_t block, const float *x, int32_t m, float scale)
{
    const __m256 scale8 = _mm256_set1_ps(scale);
    __m256i sum = _mm256_setzero_si256();
    __m256i v0 = to_steps(x, scale8, &sum), v1 = to_steps(x + 16, scale8, &sum);
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(v0, v1), 0xd8);
    _mm256_storeu_si256((__m256i *)(void *)(a->b + block * CPU_BLOCK), bytes);
    put_sum(a, block, m, sum);
}

/* The largest of a block that is not above limit. */
static float largest_within(const float *x, float limit)
{
    __m256 max = _mm256_setzero_ps();
    for (int i = 0; i < CPU_BLOCK; i += 8) {
        const __m256 v = abs_ps(_mm256_loadu_ps(x + i));
        const __m256 in = _mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_LE_OQ);
        max = _mm256_max_ps(max, _mm256_and_ps(v, in));
    }
    return max_avx2(max);
}

/* A block with numbers that do not fit its bytes. Adds at most 8 outliers to the n there are;
 * returns how many there are then. */
static uint32_t fill_outliers(const struct act *a, size_t block, const float *x, int32_t m,
                              float scale, uint32_t column, struct outlier *out, uint32_t n)
{
    const __m256 scale8 = _mm256_set1_ps(scale);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < CPU_BLOCK; i += 16, column += 16) {
        const __m256i v = to_steps(x + i, scale8, &sum), most8 = _mm256_set1_epi16(127);
        const __m256i above = _mm256_cmpgt_epi16(_mm256_abs_epi16(v), most8);
        __m256i high = _mm256_srai_epi16(_mm256_add_epi16(v, _mm256_set1_epi16(64)), 7);
        high = _mm256_and_si256(high, above);
        __m256i both = _mm256_packs_epi16(_mm256_sub_epi16(v, _mm256_slli_epi16(high, 7)), high);
        both = _mm256_permute4x64_epi64(both, 0xd8);
        _mm_storeu_si128((__m128i *)(void *)(a->b + block * CPU_BLOCK + i),
                         _mm256_castsi256_si128(both));
        int32_t four[4];
        _mm_storeu_si128((__m128i *)(void *)four, _mm256_extracti128_si256(both, 1));
        for (int j = 0; j < 4; j++) {
            if (four[j] == 0)
                continue;
            out[n] = (struct outlier){.column = column + 4 * (uint32_t)j, .m = 128 * (float)m};
            memcpy(out[n++].high, &four[j], sizeof(four[j]));
        }
    }
    put_sum(a, block, m, sum);
    return n;
}

static float root_mean_square(const float *x, int32_t n)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int32_t i = 0; i < n; i += 16) { /* whole blocks */
        for (int j = 0; j < 2; j++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * j);
            sum[j] = _mm256_fmadd_ps(v, v, sum[j]);
        }
    }
    return sqrtf(sum_avx2(_mm256_add_ps(sum[0], sum[1])) / (float)n);
}

/* The step that each block would have of its own, negative if it has outliers; returns the
 * largest. The error of a block is a part of its step and all blocks of a row add to the same sums:
 * so the few numbers that stand out of the row are what spoils 8 bits, and do not count. */
static float wanted_steps(const float *x, int32_t ld, float limit, float *step)
{
    float largest = 0;
    for (int32_t b = 0; b < ld / CPU_BLOCK; b++, x += CPU_BLOCK) {
        const float most = block_max(x), far = most * (1 / OUT_STEPS);
        float near = most * (1 / BYTE_STEPS);
        if (most > limit) {
            near = largest_within(x, limit) * (1 / BYTE_STEPS);
            near = near > far ? near : far;
        }
        largest = near > largest ? near : largest;
        step[b] = most > limit ? -near : near;
    }
    return largest;
}

/* A row with a NaN or an infinity, which must show in its logits: zeros in units of NaN. */
static void fill_row_broken(const struct act *a, int32_t t)
{
    const size_t blocks = (size_t)(a->ld / CPU_BLOCK), first = (size_t)t * blocks;
    memset(a->b + (size_t)t * (size_t)a->ld, 0, (size_t)a->ld);
    for (size_t b = first; b < first + blocks; b++)
        put_sum(a, b, 1, _mm256_setzero_si256());
    a->unit[t] = NAN;
    a->n_out[t] = 0;
}

/* The steps of all blocks are whole multiples of one unit, M_MAX of them at most. */
static void fill_row_bytes(const struct act *a, int32_t t, const float *x, float rms)
{
    const size_t first = (size_t)t * (size_t)a->ld / CPU_BLOCK, room = act_outliers(a->ld);
    const float limit =
        rms > 1e-15f ? ACT_OUT_ABOVE * rms : INFINITY; /* squares may have vanished */
    float *step = a->sb + first;
    struct outlier *out = a->out + (size_t)t * room;
    uint32_t n_out = 0;
    float unit = wanted_steps(x, a->ld, limit, step) / M_MAX;
    unit = unit > 1e-35f ? unit : 0; /* or 1 / unit would overflow: such a row is zero */
    const float per_unit = unit > 0 ? 1 / unit : 0;
    for (int32_t b = 0; b < a->ld / CPU_BLOCK; b++, x += CPU_BLOCK) {
        const size_t block = first + (size_t)b;
        const int32_t wanted = (int32_t)(fabsf(step[b]) * per_unit) + 1; /* rounded up */
        const int32_t m = wanted < M_MAX ? wanted : M_MAX;
        const float scale = per_unit / (float)m;
        ASSERT(n_out + (size_t)CPU_BLOCK / 4 <= room);
        if (step[b] < 0)
            n_out = fill_outliers(a, block, x, m, scale, (uint32_t)b * CPU_BLOCK, out, n_out);
        else
            fill_bytes(a, block, x, m, scale);
    }
    a->unit[t] = unit;
    a->n_out[t] = n_out;
}

void avx2_fill(const struct act *a, int32_t t, int wants)
{
    const size_t first = (size_t)t * (size_t)a->ld / CPU_BLOCK;
    const float *x = a->x + (size_t)t * (size_t)a->ld;
    /* vmaxps may lose a NaN, this sum does not. */
    const float rms = root_mean_square(x, a->ld);
    if (wants & ACT_BYTES && isfinite(rms))
        fill_row_bytes(a, t, x, rms);
    else if (wants & ACT_BYTES)
        fill_row_broken(a, t);
    for (int32_t b = 0; wants & ACT_WORDS && b < a->ld / CPU_BLOCK; b++, x += CPU_BLOCK)
        fill_words(a, first + (size_t)b, x, isfinite(rms) ? block_max(x) : NAN);
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
    .wants = panel_wants,
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
