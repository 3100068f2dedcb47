/* quant.c - see quant.h. Layouts are ggml's: a block is a few scales, then packed integers. */

#include "engine/model/quant.h"

#include <math.h>
#include <string.h>

#include "base/units.h"

#define K_BLOCK QUANT_BLOCK_MAX /* elements in a block of the K family */

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

/* The low halves of 16 bytes are elements 0..15, the high halves 16..31. */
static void split_nibbles(const uint8_t *src, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)(src[i] & 15);
        q[i + 16] = (int8_t)(src[i] >> 4);
    }
}

/* Bit i of `bits` is the fifth bit of element i. */
static void add_fifth_bits(const uint8_t *bits, int8_t *q)
{
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(q[i] | (((bits[i / 8] >> (i % 8)) & 1) << 4));
}

static void split_q4_0(const uint8_t *src, int8_t *q, float *d, float *m)
{
    *d = load_f16(src);
    *m = 0;
    split_nibbles(src + 2, q);
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(q[i] - 8);
}

static void split_q4_1(const uint8_t *src, int8_t *q, float *d, float *m)
{
    *d = load_f16(src);
    *m = load_f16(src + 2);
    split_nibbles(src + 4, q);
}

static void split_q5_0(const uint8_t *src, int8_t *q, float *d, float *m)
{
    *d = load_f16(src);
    *m = 0;
    split_nibbles(src + 6, q);
    add_fifth_bits(src + 2, q);
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(q[i] - 16);
}

static void split_q5_1(const uint8_t *src, int8_t *q, float *d, float *m)
{
    *d = load_f16(src);
    *m = load_f16(src + 2);
    split_nibbles(src + 8, q);
    add_fifth_bits(src + 4, q);
}

static void split_q8_0(const uint8_t *src, int8_t *q, float *d, float *m)
{
    *d = load_f16(src);
    *m = 0;
    memcpy(q, src + 2, 32);
}

/* Scale and minimum of group j (of 8) in the 12 packed bytes of Q4_K and Q5_K: 6 bits each. */
static void split_k_scales(const uint8_t *src, float *d, float *m)
{
    const uint8_t *packed = src + 4;
    for (int j = 0; j < 8; j++) {
        int scale = packed[j] & 63, min = packed[j + 4] & 63;
        if (j >= 4) {
            scale = (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
            min = (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
        }
        d[j] = load_f16(src) * (float)scale;
        m[j] = -(load_f16(src + 2) * (float)min);
    }
}

/* 32 bytes hold group 2i in their low halves and group 2i + 1 in their high ones. */
static void split_k_nibbles(const uint8_t *src, int8_t *q)
{
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < 32; i++) {
            uint8_t byte = src[32 * (j / 2) + i];
            q[32 * j + i] = (int8_t)(j % 2 ? byte >> 4 : byte & 15);
        }
    }
}

static void split_q4_k(const uint8_t *src, int8_t *q, float *d, float *m)
{
    split_k_scales(src, d, m);
    split_k_nibbles(src + 16, q);
}

static void split_q5_k(const uint8_t *src, int8_t *q, float *d, float *m)
{
    split_k_scales(src, d, m);
    split_k_nibbles(src + 48, q);
    for (int i = 0; i < K_BLOCK; i++)
        q[i] = (int8_t)(q[i] | (((src[16 + i % 32] >> (i / 32)) & 1) << 4));
}

static void split_q6_k(const uint8_t *src, int8_t *q, float *d, float *m)
{
    for (int g = 0; g < 16; g++) {
        d[g] = load_f16(src + 208) * (float)(int8_t)src[192 + g];
        m[g] = 0;
    }
    for (int i = 0; i < K_BLOCK; i++) {
        int half = i / 128, part = i % 128 / 32, at = i % 32; /* 4 parts share the high bits */
        int low = src[64 * half + 32 * (part % 2) + at];
        int high = (src[128 + 32 * half + at] >> (2 * part)) & 3;
        q[i] = (int8_t)(((part < 2 ? low & 15 : low >> 4) | (high << 4)) - 32);
    }
}

/* Types that we cannot serve stand here too, so that a file holding one is refused by name. */
static const struct quant_type types[] = {
    {QUANT_F32, "F32", 1, 4, 0, NULL, from_f32},
    {QUANT_F16, "F16", 1, 2, 0, NULL, from_f16},
    {QUANT_BF16, "BF16", 1, 2, 0, NULL, from_bf16},
    {QUANT_Q4_0, "Q4_0", 32, 18, 32, split_q4_0, NULL},
    {QUANT_Q4_1, "Q4_1", 32, 20, 32, split_q4_1, NULL},
    {QUANT_Q5_0, "Q5_0", 32, 22, 32, split_q5_0, NULL},
    {QUANT_Q5_1, "Q5_1", 32, 24, 32, split_q5_1, NULL},
    {QUANT_Q8_0, "Q8_0", 32, 34, 32, split_q8_0, NULL},
    {QUANT_Q4_K, "Q4_K", K_BLOCK, 144, 32, split_q4_k, NULL},
    {QUANT_Q5_K, "Q5_K", K_BLOCK, 176, 32, split_q5_k, NULL},
    {QUANT_Q6_K, "Q6_K", K_BLOCK, 210, 16, split_q6_k, NULL},
    {9, "Q8_1", 32, 36, 0, NULL, NULL},
    {10, "Q2_K", K_BLOCK, 84, 0, NULL, NULL},
    {11, "Q3_K", K_BLOCK, 110, 0, NULL, NULL},
    {15, "Q8_K", K_BLOCK, 292, 0, NULL, NULL},
    {16, "IQ2_XXS", K_BLOCK, 66, 0, NULL, NULL},
    {17, "IQ2_XS", K_BLOCK, 74, 0, NULL, NULL},
    {18, "IQ3_XXS", K_BLOCK, 98, 0, NULL, NULL},
    {19, "IQ1_S", K_BLOCK, 50, 0, NULL, NULL},
    {20, "IQ4_NL", 32, 18, 0, NULL, NULL},
    {21, "IQ3_S", K_BLOCK, 110, 0, NULL, NULL},
    {22, "IQ2_S", K_BLOCK, 82, 0, NULL, NULL},
    {23, "IQ4_XS", K_BLOCK, 136, 0, NULL, NULL},
    {24, "I8", 1, 1, 0, NULL, NULL},
    {25, "I16", 1, 2, 0, NULL, NULL},
    {26, "I32", 1, 4, 0, NULL, NULL},
    {27, "I64", 1, 8, 0, NULL, NULL},
    {28, "F64", 1, 8, 0, NULL, NULL},
    {29, "IQ1_M", K_BLOCK, 56, 0, NULL, NULL},
    {34, "TQ1_0", K_BLOCK, 54, 0, NULL, NULL},
    {35, "TQ2_0", K_BLOCK, 66, 0, NULL, NULL},
    {39, "MXFP4", 32, 17, 0, NULL, NULL},
};

bool quant_is_served(const struct quant_type *type)
{
    return type->split || type->widen;
}

void quant_dequantise(const struct quant_type *type, const uint8_t *src, int64_t n_blocks,
                      float *to)
{
    if (type->widen) {
        type->widen(src, n_blocks, to);
        return;
    }
    for (; n_blocks > 0; n_blocks--, src += type->block_bytes, to += type->block) {
        int8_t q[QUANT_BLOCK_MAX];
        float d[QUANT_BLOCK_MAX / 16], m[QUANT_BLOCK_MAX / 16];
        type->split(src, q, d, m);
        for (int32_t i = 0; i < type->block; i++)
            to[i] = d[i / type->group] * (float)q[i] + m[i / type->group];
    }
}

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
        type->widen(src + i * type->block_bytes, 1, &f);
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
