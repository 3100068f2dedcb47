/* quant.c - see quant.h. Layouts are ggml's: a block is a few scales, then packed integers. */

#include "engine/model/quant.h"

#include <math.h>
#include <string.h>

#include "base/units.h"

#define K_BLOCK 256 /* elements in a block of the K family */

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (p[1] << 8));
}

static float load_f16(const uint8_t *p)
{
    return quant_f16_to_f32(load_u16(p));
}

static float bits_to_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

float quant_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exp = (h >> 10) & 0x1f, frac = h & 0x3ff;
    if (exp == 0) { /* zero and subnormals: frac * 2^-24 is exact */
        float f = (float)frac * 0x1p-24f;
        return sign ? -f : f;
    }
    if (exp == 31)
        return bits_to_f32(sign | 0x7f800000u | (frac << 13));
    return bits_to_f32(sign | ((exp + 112) << 23) | (frac << 13));
}

uint16_t quant_f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    uint32_t sign = (u >> 16) & 0x8000, mag = u & 0x7fffffff;
    if (mag > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x477ff000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000) { /* below 2^-14: count in units of 2^-24, rounded by the FPU */
        float scaled = bits_to_f32(mag) * 0x1p24f;
        return (uint16_t)(sign | (uint32_t)nearbyintf(scaled));
    }
    uint32_t odd = (mag >> 13) & 1;
    return (uint16_t)(sign | ((mag - 0x38000000 + 0xfff + odd) >> 13));
}

static void from_f32(const uint8_t *src, int64_t n, float *to)
{
    memcpy(to, src, (size_t)n * sizeof(float));
}

static void from_f16(const uint8_t *src, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = load_f16(src + 2 * i);
}

static void from_bf16(const uint8_t *src, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = bits_to_f32((uint32_t)load_u16(src + 2 * i) << 16);
}

static void from_q4_0(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 18, to += 32) {
        float d = load_f16(src);
        for (int i = 0; i < 16; i++) {
            to[i] = d * (float)((src[2 + i] & 15) - 8);
            to[i + 16] = d * (float)((src[2 + i] >> 4) - 8);
        }
    }
}

static void from_q4_1(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 20, to += 32) {
        float d = load_f16(src), m = load_f16(src + 2);
        for (int i = 0; i < 16; i++) {
            to[i] = d * (float)(src[4 + i] & 15) + m;
            to[i + 16] = d * (float)(src[4 + i] >> 4) + m;
        }
    }
}

/* The fifth bits of element i and i + 16, as 0 or 16. */
static int high_bit(const uint8_t *bits, int i)
{
    return ((bits[i / 8] >> (i % 8)) & 1) << 4;
}

static void from_q5_0(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 22, to += 32) {
        float d = load_f16(src);
        for (int i = 0; i < 16; i++) {
            to[i] = d * (float)(((src[6 + i] & 15) | high_bit(src + 2, i)) - 16);
            to[i + 16] = d * (float)(((src[6 + i] >> 4) | high_bit(src + 2, i + 16)) - 16);
        }
    }
}

static void from_q5_1(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 24, to += 32) {
        float d = load_f16(src), m = load_f16(src + 2);
        for (int i = 0; i < 16; i++) {
            to[i] = d * (float)((src[8 + i] & 15) | high_bit(src + 4, i)) + m;
            to[i + 16] = d * (float)((src[8 + i] >> 4) | high_bit(src + 4, i + 16)) + m;
        }
    }
}

static void from_q8_0(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 34, to += 32) {
        float d = load_f16(src);
        for (int i = 0; i < 32; i++)
            to[i] = d * (float)(int8_t)src[2 + i];
    }
}

/* Scale and minimum of group j (of 8) in the 12 packed bytes of Q4_K and Q5_K: 6 bits each. */
static void k_scale_min(const uint8_t *packed, int j, float *ret_scale, float *ret_min)
{
    int scale, min;
    if (j < 4) {
        scale = packed[j] & 63;
        min = packed[j + 4] & 63;
    } else {
        scale = (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
        min = (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
    }
    *ret_scale = (float)scale;
    *ret_min = (float)min;
}

static void from_q4_k(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 144, to += K_BLOCK) {
        float d = load_f16(src), dmin = load_f16(src + 2);
        for (int j = 0; j < 8; j++) {
            float scale, min;
            k_scale_min(src + 4, j, &scale, &min);
            const uint8_t *q = src + 16 + 32 * (j / 2);
            for (int i = 0; i < 32; i++) {
                int v = j % 2 ? q[i] >> 4 : q[i] & 15;
                to[32 * j + i] = d * scale * (float)v - dmin * min;
            }
        }
    }
}

static void from_q5_k(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 176, to += K_BLOCK) {
        float d = load_f16(src), dmin = load_f16(src + 2);
        for (int j = 0; j < 8; j++) {
            float scale, min;
            k_scale_min(src + 4, j, &scale, &min);
            const uint8_t *high = src + 16, *q = src + 48 + 32 * (j / 2);
            for (int i = 0; i < 32; i++) {
                int v = (j % 2 ? q[i] >> 4 : q[i] & 15) | (((high[i] >> j) & 1) << 4);
                to[32 * j + i] = d * scale * (float)v - dmin * min;
            }
        }
    }
}

static void from_q6_k(const uint8_t *src, int64_t n, float *to)
{
    for (; n > 0; n--, src += 210, to += K_BLOCK) {
        float d = load_f16(src + 208);
        for (int half = 0; half < 2; half++) {
            const uint8_t *low = src + 64 * half, *high = src + 128 + 32 * half;
            const uint8_t *scale = src + 192 + 8 * half;
            for (int i = 0; i < 128; i++) {
                int part = i / 32, at = i % 32; /* four runs of 32 share the high bits */
                int v = part < 2 ? low[at + 32 * part] & 15 : low[at + 32 * (part - 2)] >> 4;
                v |= ((high[at] >> (2 * part)) & 3) << 4;
                to[128 * half + i] = d * (float)(int8_t)scale[i / 16] * (float)(v - 32);
            }
        }
    }
}

/* Types that we cannot serve stand here too, so that a file holding one is refused by name. */
static const struct quant_type types[] = {
    {QUANT_F32, "F32", 1, 4, from_f32},
    {QUANT_F16, "F16", 1, 2, from_f16},
    {QUANT_Q4_0, "Q4_0", 32, 18, from_q4_0},
    {QUANT_Q4_1, "Q4_1", 32, 20, from_q4_1},
    {QUANT_Q5_0, "Q5_0", 32, 22, from_q5_0},
    {QUANT_Q5_1, "Q5_1", 32, 24, from_q5_1},
    {QUANT_Q8_0, "Q8_0", 32, 34, from_q8_0},
    {9, "Q8_1", 32, 36, NULL},
    {10, "Q2_K", K_BLOCK, 84, NULL},
    {11, "Q3_K", K_BLOCK, 110, NULL},
    {QUANT_Q4_K, "Q4_K", K_BLOCK, 144, from_q4_k},
    {QUANT_Q5_K, "Q5_K", K_BLOCK, 176, from_q5_k},
    {QUANT_Q6_K, "Q6_K", K_BLOCK, 210, from_q6_k},
    {15, "Q8_K", K_BLOCK, 292, NULL},
    {16, "IQ2_XXS", K_BLOCK, 66, NULL},
    {17, "IQ2_XS", K_BLOCK, 74, NULL},
    {18, "IQ3_XXS", K_BLOCK, 98, NULL},
    {19, "IQ1_S", K_BLOCK, 50, NULL},
    {20, "IQ4_NL", 32, 18, NULL},
    {21, "IQ3_S", K_BLOCK, 110, NULL},
    {22, "IQ2_S", K_BLOCK, 82, NULL},
    {23, "IQ4_XS", K_BLOCK, 136, NULL},
    {24, "I8", 1, 1, NULL},
    {25, "I16", 1, 2, NULL},
    {26, "I32", 1, 4, NULL},
    {27, "I64", 1, 8, NULL},
    {28, "F64", 1, 8, NULL},
    {29, "IQ1_M", K_BLOCK, 56, NULL},
    {QUANT_BF16, "BF16", 1, 2, from_bf16},
    {34, "TQ1_0", K_BLOCK, 54, NULL},
    {35, "TQ2_0", K_BLOCK, 66, NULL},
    {39, "MXFP4", 32, 17, NULL},
};

const struct quant_type *quant_find(uint32_t id)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].id == id)
            return &types[i];
    }
    return NULL;
}

static bool f16_is_finite(const uint8_t *p)
{
    return (load_u16(p) & 0x7c00) != 0x7c00;
}

static bool floats_are_finite(const struct quant_type *type, const uint8_t *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float f;
        type->dequantise(src + i * type->block_bytes, 1, &f);
        if (!isfinite(f))
            return false;
    }
    return true;
}

bool quant_is_finite(const struct quant_type *type, const uint8_t *src, int64_t n_blocks)
{
    if (type->block == 1)
        return floats_are_finite(type, src, n_blocks);
    bool has_min = type->id == QUANT_Q4_1 || type->id == QUANT_Q5_1 || type->id == QUANT_Q4_K ||
                   type->id == QUANT_Q5_K;
    size_t at = type->id == QUANT_Q6_K ? 208 : 0; /* Q6_K alone keeps its scale last */
    for (int64_t i = 0; i < n_blocks; i++) {
        const uint8_t *block = src + i * type->block_bytes;
        if (!f16_is_finite(block + at) || (has_min && !f16_is_finite(block + 2)))
            return false;
    }
    return true;
}
