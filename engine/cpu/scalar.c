/* scalar.c - the truth: plain C, fp32, no intrinsics. Every other path is tested against it.
 *
 * Weights stay as stored and are dequantised row by row when they are used: a row serves all
 * tokens of a call. Sums run in 8 lanes, so that a compiler may use vectors without being allowed
 * to reorder anything. */

#include <math.h>
#include <string.h>

#include "engine/cpu/cpu_ops.h"
#include "engine/model/quant.h"

#define LANES 8

static size_t row_bytes(const struct weight *w)
{
    return (size_t)(w->n_cols / w->type->block * w->type->block_bytes);
}

static void plan(struct weight *w)
{
    w->panel_bytes = CPU_PANEL * row_bytes(w);
}

static void pack(const struct weight *w, const uint8_t *rows, int32_t n, uint8_t *panel)
{
    memcpy(panel, rows, (size_t)n * row_bytes(w));
    memset(panel + (size_t)n * row_bytes(w), 0, (size_t)(CPU_PANEL - n) * row_bytes(w));
}

static void unpack_row(const struct weight *w, int32_t row, float *to)
{
    quant_dequantise(w->type, w->data + (size_t)row * row_bytes(w), w->n_cols / w->type->block, to);
}

static int wants(const struct weight *w)
{
    (void)w;
    return 0;
}

static void fill(const struct act *a, int32_t t, int what)
{
    (void)a, (void)t, (void)what; /* x is used as it is */
}

static float fold(const float lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static float dot(const float *a, const float *b, int32_t n)
{
    float lane[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int32_t l = 0; l < LANES; l++)
            lane[l] += a[i + l] * b[i + l];
    }
    for (; i < n; i++)
        lane[i % LANES] += a[i] * b[i];
    return fold(lane);
}

static void matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                   int32_t T, bool add, float *to, size_t ld, void *scratch)
{
    int32_t end = p1 * CPU_PANEL < w->n_rows ? p1 * CPU_PANEL : w->n_rows;
    float *row = scratch;
    for (int32_t r = p0 * CPU_PANEL; r < end; r++) {
        unpack_row(w, r, row);
        for (int32_t t = 0; t < T; t++) {
            float v = dot(a->x + (size_t)(t0 + t) * (size_t)a->ld, row, w->n_cols);
            float *at = to + (size_t)t * ld + (r - p0 * CPU_PANEL);
            *at = add ? *at + v : v;
        }
    }
}

static void rmsnorm(float *to, const float *x, const float *weight, int32_t n, float eps)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float scale = (float)(1.0 / sqrt(sum / n + (double)eps));
    for (int32_t i = 0; i < n; i++)
        to[i] = x[i] * scale * weight[i];
}

static void rope(float *v, const float *cos_sin, int32_t rope_dim)
{
    for (int32_t i = 0; i < rope_dim; i += 2) {
        float c = cos_sin[i], s = cos_sin[i + 1], a = v[i], b = v[i + 1];
        v[i] = a * c - b * s;
        v[i + 1] = a * s + b * c;
    }
}

static void silu_mul(float *to, const float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        to[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

/* K and V of a page: [16][head_dim] floats each. */
static void store_row(const struct kv_head *h, int32_t page, int32_t slot, size_t at,
                      const float *from)
{
    size_t row = (size_t)h->head_dim * sizeof(float);
    memcpy(h->pool + (size_t)page * h->page_bytes + at + (size_t)slot * row, from, row);
}

static void k_store(const struct kv_head *h, int32_t page, int32_t slot, const float *k)
{
    store_row(h, page, slot, h->k_at, k);
}

static void v_store(const struct kv_head *h, int32_t page, int32_t slot, const float *v)
{
    store_row(h, page, slot, h->v_at, v);
}

static const float *kv_row(const struct kv_head *h, const int32_t *page_of, int32_t pos, size_t at)
{
    const uint8_t *base = h->pool + (size_t)page_of[pos / KV_PAGE_TOKENS] * h->page_bytes;
    size_t slot = (size_t)(pos % KV_PAGE_TOKENS);
    return (const float *)(const void *)(base + at) + slot * (size_t)h->head_dim;
}

static void attend(const struct kv_head *h, const int32_t *page_of, int32_t G, const float *q,
                   int32_t from, int32_t n, float *part)
{
    const int32_t D = h->head_dim;
    for (int32_t g = 0; g < G; g++, q += D, part += D + CPU_PART_EXTRA) {
        float score[CPU_SPLIT], max = -INFINITY, sum = 0;
        for (int32_t i = 0; i < n; i++) {
            score[i] = dot(q, kv_row(h, page_of, from + i, h->k_at), D);
            max = fmaxf(max, score[i]);
        }
        memset(part, 0, (size_t)(D + CPU_PART_EXTRA) * sizeof(float));
        for (int32_t i = 0; i < n; i++) {
            const float *v = kv_row(h, page_of, from + i, h->v_at);
            float p = expf(score[i] - max);
            sum += p;
            for (int32_t d = 0; d < D; d++)
                part[d] += p * v[d];
        }
        part[D] = max;
        part[D + 1] = sum;
    }
}

static void merge(float *run, const float *part, int32_t G, int32_t head_dim)
{
    const int32_t D = head_dim;
    for (int32_t g = 0; g < G; g++, run += D + CPU_PART_EXTRA, part += D + CPU_PART_EXTRA) {
        float max = fmaxf(run[D], part[D]);
        float a = expf(run[D] - max), b = expf(part[D] - max);
        for (int32_t d = 0; d < D; d++)
            run[d] = run[d] * a + part[d] * b;
        run[D] = max;
        run[D + 1] = run[D + 1] * a + part[D + 1] * b;
    }
}

static void finish(const float *run, int32_t G, int32_t head_dim, float *to)
{
    for (int32_t g = 0; g < G; g++, run += head_dim + CPU_PART_EXTRA, to += head_dim) {
        float inv = 1.0f / run[head_dim + 1];
        for (int32_t d = 0; d < head_dim; d++)
            to[d] = run[d] * inv;
    }
}

const struct cpu_ops cpu_scalar = {
    .name = "scalar",
    .kv_bytes = sizeof(float),
    .plan = plan,
    .pack = pack,
    .unpack_row = unpack_row,
    .wants = wants,
    .fill = fill,
    .matmul = matmul,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .k_store = k_store,
    .v_store = v_store,
    .attend = attend,
    .merge = merge,
    .finish = finish,
};
