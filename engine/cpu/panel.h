#ifndef SLUICE_ENGINE_CPU_PANEL_H
#define SLUICE_ENGINE_CPU_PANEL_H
/* panel - the weight layout of the fast paths: 16 rows interleaved, so that one broadcast of two
 * activations meets 16 rows and no sum ever runs across a register.
 *
 * An integer panel is a row of blocks of 32 columns. A block is the 16 rows' scales, then their
 * minima if the type has them, then the integers:
 *   4 bits: for each 8 columns 64 bytes, 16 rows x 4; byte j of a row holds column j in its low
 *           half and column 4 + j in its high one. A mask, and a shift and a mask, make bytes of
 *           4 neighbouring columns, which is what vpmaddubsw and vpdpbusd multiply.
 *   8 bits: for each 2 columns 32 bytes, 16 rows x 2, for vpmaddwd and vpdpwssd.
 * A float panel is [column][16 rows]. Types with a scale in fp32 (products of two f16) keep it
 * in fp32: no weight is rounded, whatever the type. */

#include "engine/cpu/cpu_ops.h"

enum panel_form {
    PANEL_Q4_1, /* 4 bits, f16 scale and minimum */
    PANEL_Q4_0, /* 4 bits offset by 8, f16 scale */
    PANEL_Q4_K, /* 4 bits, f32 scale and minimum */
    PANEL_Q8_0, /* 8 bits, f16 scale */
    PANEL_Q5,   /* 8 bits, f32 scale and minimum: Q5_0, Q5_1, Q5_K */
    PANEL_Q6_K, /* 8 bits, two f32 scales: one for 16 columns */
    PANEL_F32,
    PANEL_F16,
    PANEL_BF16,
    PANEL_FORMS
};

struct panel_traits {
    int bits;        /* 4, 8; 0: floats */
    int scale_bytes; /* 2, 4; of floats: the bytes of one */
    int scales;      /* rows of 16 scales in a block: 2 when a group has 16 columns */
    bool has_min;
    int offset; /* what was added to make the stored integers >= 0: the minimum is -offset * scale
                 */
    int block_bytes;
};

/* A constant expression once `form` is one, so kernels specialise on it. */
static inline struct panel_traits panel_traits_of(int form)
{
    struct panel_traits t = {.scales = 1, .scale_bytes = 2};
    switch (form) {
    case PANEL_Q4_1:
        t.bits = 4, t.has_min = true;
        break;
    case PANEL_Q4_0:
        t.bits = 4, t.offset = 8;
        break;
    case PANEL_Q4_K:
        t.bits = 4, t.has_min = true, t.scale_bytes = 4;
        break;
    case PANEL_Q8_0:
        t.bits = 8;
        break;
    case PANEL_Q5:
        t.bits = 8, t.has_min = true, t.scale_bytes = 4;
        break;
    case PANEL_Q6_K:
        t.bits = 8, t.scales = 2, t.scale_bytes = 4;
        break;
    case PANEL_F32:
        t.scale_bytes = 4;
        break;
    default:
        break;
    }
    t.block_bytes = CPU_PANEL * (t.bits * CPU_BLOCK / 8 + t.scale_bytes * (t.scales + t.has_min));
    return t;
}

/* What lies before the integers of a block. */
static inline int panel_scale_bytes(const struct panel_traits *t)
{
    return CPU_PANEL * t->scale_bytes * (t->scales + t->has_min);
}

int panel_wants(const struct weight *w);
void panel_plan(struct weight *w);
void panel_pack(const struct weight *w, const uint8_t *rows, int32_t n, uint8_t *panel);
void panel_unpack_row(const struct weight *w, int32_t row, float *to);

#endif
