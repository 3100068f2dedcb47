#include "engine/cpu/panel.h"

#include <string.h>

#include "engine/model/quant.h"

static int form_of(const struct quant_type *type)
{
    switch (type->id) {
    case QUANT_Q4_1:
        return PANEL_Q4_1;
    case QUANT_Q4_0:
        return PANEL_Q4_0;
    case QUANT_Q4_K:
        return PANEL_Q4_K;
    case QUANT_Q8_0:
        return PANEL_Q8_0;
    case QUANT_Q6_K:
        return PANEL_Q6_K;
    case QUANT_F32:
        return PANEL_F32;
    case QUANT_F16:
        return PANEL_F16;
    case QUANT_BF16:
        return PANEL_BF16;
    default:
        return PANEL_Q5;
    }
}

int panel_wants(const struct weight *w)
{
    const int bits = panel_traits_of(w->form).bits;
    return bits == 4 ? ACT_BYTES : bits == 8 ? ACT_WORDS : 0;
}

void panel_plan(struct weight *w)
{
    w->form = form_of(w->type);
    struct panel_traits t = panel_traits_of(w->form);
    w->panel_bytes = t.bits ? (size_t)(w->n_cols / CPU_BLOCK) * (size_t)t.block_bytes
                            : (size_t)w->n_cols * CPU_PANEL * (size_t)t.scale_bytes;
}

static void pack_floats(const struct weight *w, const uint8_t *rows, int32_t n, uint8_t *panel)
{
    const size_t size = (size_t)w->type->block_bytes, cols = (size_t)w->n_cols;
    memset(panel, 0, w->panel_bytes);
    for (size_t r = 0; r < (size_t)n; r++) {
        for (size_t k = 0; k < cols; k++)
            memcpy(panel + (k * CPU_PANEL + r) * size, rows + (r * cols + k) * size, size);
    }
}

static void put_scale(uint8_t *at, int row, int bytes, float v)
{
    uint16_t half = quant_f32_to_f16(v); /* exact: forms with 2 bytes come from types with f16 */
    if (bytes == 2)
        memcpy(at + 2 * row, &half, 2);
    else
        memcpy(at + 4 * row, &v, 4);
}

static float get_scale(const uint8_t *at, int row, int bytes)
{
    uint16_t half = 0;
    float v = 0;
    if (bytes == 4)
        memcpy(&v, at + 4 * row, 4);
    else
        memcpy(&half, at + 2 * row, 2);
    return bytes == 4 ? v : quant_f16_to_f32(half);
}

/* Where element k of a row lies behind the scales: its byte, and its shift inside it. */
static size_t place_of(int bits, int row, int k, int *ret_shift)
{
    if (bits == 8) {
        *ret_shift = 0;
        return (size_t)(k / 2 * 32 + row * 2 + k % 2);
    }
    *ret_shift = k % 8 / 4 * 4;
    return (size_t)(k / 8 * 64 + row * 4 + k % 4);
}

/* 32 columns of one row. */
static void pack_block(const struct panel_traits *t, int row, const int8_t *q, const float *d,
                       float m, uint8_t *block)
{
    const int scale_row = CPU_PANEL * t->scale_bytes;
    for (int g = 0; g < t->scales; g++)
        put_scale(block + g * scale_row, row, t->scale_bytes, d[g]);
    if (t->has_min)
        put_scale(block + t->scales * scale_row, row, t->scale_bytes, m);
    uint8_t *body = block + (t->scales + t->has_min) * scale_row;
    for (int k = 0; k < CPU_BLOCK; k++) {
        int shift;
        uint8_t *at = body + place_of(t->bits, row, k, &shift);
        *at = (uint8_t)(*at | (uint8_t)(q[k] + t->offset) << shift);
    }
}

void panel_pack(const struct weight *w, const uint8_t *rows, int32_t n, uint8_t *panel)
{
    const struct panel_traits t = panel_traits_of(w->form);
    if (t.bits == 0) {
        pack_floats(w, rows, n, panel);
        return;
    }
    const int32_t block = w->type->block;
    memset(panel, 0, w->panel_bytes);
    for (int32_t r = 0; r < n; r++) {
        for (int32_t k = 0; k < w->n_cols; k += block, rows += w->type->block_bytes) {
            int8_t q[QUANT_BLOCK_MAX];
            float d[QUANT_BLOCK_MAX / 16], m[QUANT_BLOCK_MAX / 16];
            w->type->split(rows, q, d, m);
            for (int32_t i = 0; i < block; i += CPU_BLOCK)
                pack_block(&t, r, q + i, d + i / w->type->group, m[i / w->type->group],
                           panel + (size_t)((k + i) / CPU_BLOCK) * (size_t)t.block_bytes);
        }
    }
}

static void unpack_block(const struct panel_traits *t, int row, const uint8_t *block, float *to)
{
    const int scale_row = CPU_PANEL * t->scale_bytes;
    const uint8_t *min = block + t->scales * scale_row, *body = min + t->has_min * scale_row;
    float m = t->has_min ? get_scale(min, row, t->scale_bytes) : 0;
    for (int k = 0; k < CPU_BLOCK; k++) {
        float d = get_scale(block + k / (CPU_BLOCK / t->scales) * scale_row, row, t->scale_bytes);
        int shift;
        uint8_t byte = body[place_of(t->bits, row, k, &shift)];
        int q = t->bits == 8 ? (int8_t)byte : ((byte >> shift) & 15) - t->offset;
        to[k] = d * (float)q + m;
    }
}

void panel_unpack_row(const struct weight *w, int32_t row, float *to)
{
    const struct panel_traits t = panel_traits_of(w->form);
    const uint8_t *panel = w->data + (size_t)(row / CPU_PANEL) * w->panel_bytes;
    const int r = row % CPU_PANEL;
    if (t.bits == 0) {
        const size_t size = (size_t)t.scale_bytes;
        for (size_t k = 0; k < (size_t)w->n_cols; k++)
            w->type->widen(panel + (k * CPU_PANEL + (size_t)r) * size, 1, to + k);
        return;
    }
    for (int32_t k = 0; k < w->n_cols; k += CPU_BLOCK, panel += t.block_bytes)
        unpack_block(&t, r, panel, to + k);
}
