#include "engine/cpu/cpu_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/scoped.h"
#include "base/units.h"
#include "engine/model/gguf.h"
#include "engine/model/quant.h"
#include "engine/model/weights.h"

#define PANEL_ALIGN 64
#define PANELS_READ 64 /* panels' worth of rows taken from the file at once */

void *cpu_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes, MADV_HUGEPAGE); /* a wish; 4 KiB pages work as well */
    return p;
}

void cpu_unmap(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

static size_t weight_bytes(const struct weight *w)
{
    size_t bytes = (size_t)cpu_panels(w) * w->panel_bytes;
    return (bytes + PANEL_ALIGN - 1) / PANEL_ALIGN * PANEL_ALIGN;
}

static void plan_one(struct cpu_model *c, const struct cpu_ops *ops, const struct gguf_tensor *t,
                     struct weight *w)
{
    *w = (struct weight){
        .type = t->type, .n_cols = (int32_t)t->dim[0], .n_rows = (int32_t)t->dim[1]};
    ops->plan(w);
    c->block_bytes += weight_bytes(w);
    c->max_cols = MAX_OF(c->max_cols, w->n_cols);
}

static void plan_all(struct cpu_model *c, const struct model *m, const struct cpu_ops *ops)
{
    plan_one(c, ops, m->embed, &c->embed);
    for (int32_t i = 0; i < c->n_layers; i++) {
        const struct model_layer *from = &m->layer[i];
        struct cpu_layer *to = &c->layer[i];
        plan_one(c, ops, from->q, &to->q);
        plan_one(c, ops, from->k, &to->k);
        plan_one(c, ops, from->v, &to->v);
        plan_one(c, ops, from->o, &to->o);
        plan_one(c, ops, from->gate, &to->gate);
        plan_one(c, ops, from->up, &to->up);
        plan_one(c, ops, from->down, &to->down);
    }
    if (m->head != m->embed)
        plan_one(c, ops, m->head, &c->head);
}

static enum rc load_one(const struct model *m, const struct cpu_ops *ops,
                        const struct gguf_tensor *t, struct weight *w, uint8_t **at,
                        struct err *err)
{
    const size_t row = model_row_bytes(t);
    const int32_t step = PANELS_READ * CPU_PANEL;
    SCOPED_PTR uint8_t *rows = malloc((size_t)step * row);
    if (!rows)
        return err_set(err, RC_NO_MEMORY, "no memory to read " STR_FMT, STR_ARG(t->name));
    w->data = *at;
    *at += weight_bytes(w);
    for (int32_t r = 0; r < w->n_rows; r += step) {
        int32_t n = MIN_OF(step, w->n_rows - r);
        enum rc rc = model_read_rows(m, t, r, n, rows, err);
        if (rc != RC_OK)
            return rc;
        for (int32_t i = 0; i < n; i += CPU_PANEL)
            ops->pack(w, rows + (size_t)i * row, MIN_OF(CPU_PANEL, n - i),
                      w->data + (size_t)((r + i) / CPU_PANEL) * w->panel_bytes);
    }
    return RC_OK;
}

static enum rc load_layer(const struct model *m, const struct cpu_ops *ops,
                          const struct model_layer *from, struct cpu_layer *to, uint8_t **at,
                          struct err *err)
{
    const struct {
        const struct gguf_tensor *from;
        struct weight *to;
    } parts[] = {{from->q, &to->q},      {from->k, &to->k},       {from->v, &to->v},
                 {from->o, &to->o},      {from->gate, &to->gate}, {from->up, &to->up},
                 {from->down, &to->down}};
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        enum rc rc = load_one(m, ops, parts[p].from, parts[p].to, at, err);
        if (rc != RC_OK)
            return rc;
    }
    enum rc rc = model_read_vector(m, from->attn_norm, to->attn_norm, err);
    if (rc == RC_OK)
        rc = model_read_vector(m, from->ffn_norm, to->ffn_norm, err);
    return rc;
}

/* In fp32, step by step as transformers does it: its rounding is part of what a model was
 * trained with. */
static enum rc load_frequencies(const struct model *m, float *inv_freq, struct err *err)
{
    const int32_t n = m->config.rope_dim / 2;
    SCOPED_PTR float *divisor = malloc((size_t)n * sizeof(float));
    if (!divisor)
        return err_set(err, RC_NO_MEMORY, "no memory for RoPE");
    for (int32_t i = 0; i < n; i++)
        divisor[i] = 1.0f;
    if (m->rope_freqs) {
        enum rc rc = model_read_vector(m, m->rope_freqs, divisor, err);
        if (rc != RC_OK)
            return rc;
    }
    for (int32_t i = 0; i < n; i++) {
        float power = (float)(2 * i) / (float)m->config.rope_dim;
        inv_freq[i] = 1.0f / powf(m->config.rope_base, power) / divisor[i] / m->config.rope_scale;
        if (!isfinite(inv_freq[i]))
            return err_set(err, RC_CORRUPT, "%s: rope_freqs holds a zero", gguf_label(m->gguf));
    }
    return RC_OK;
}

static enum rc allocate(struct cpu_model *c, const struct model *m, struct err *err)
{
    const size_t d = (size_t)m->config.d_model, L = (size_t)c->n_layers;
    c->block = cpu_map(c->block_bytes);
    c->floats = calloc((2 * L + 1) * d + (size_t)m->config.rope_dim, sizeof(float));
    if (!c->block || !c->floats)
        return err_set(err, RC_NO_MEMORY, "no memory for %zu MB of weights",
                       c->block_bytes / 1000000);
    for (size_t i = 0; i < L; i++) {
        c->layer[i].attn_norm = c->floats + 2 * i * d;
        c->layer[i].ffn_norm = c->floats + (2 * i + 1) * d;
    }
    c->norm = c->floats + 2 * L * d;
    c->inv_freq = c->norm + d;
    return RC_OK;
}

static enum rc load_all(struct cpu_model *c, const struct model *m, const struct cpu_ops *ops,
                        struct err *err)
{
    uint8_t *at = c->block;
    enum rc rc = load_one(m, ops, m->embed, &c->embed, &at, err);
    for (int32_t i = 0; rc == RC_OK && i < c->n_layers; i++)
        rc = load_layer(m, ops, &m->layer[i], &c->layer[i], &at, err);
    if (rc == RC_OK && m->head != m->embed)
        rc = load_one(m, ops, m->head, &c->head, &at, err);
    else
        c->head = c->embed;
    if (rc == RC_OK)
        rc = model_read_vector(m, m->norm, c->norm, err);
    if (rc == RC_OK)
        rc = load_frequencies(m, c->inv_freq, err);
    if (rc == RC_OK)
        rc = gguf_check_unchanged(m->gguf, err);
    return rc;
}

enum rc cpu_model_load(const struct model *m, const struct cpu_ops *ops, struct cpu_model *ret,
                       struct err *err)
{
    struct cpu_model c = {.n_layers = m->config.n_layers};
    c.layer = calloc((size_t)c.n_layers, sizeof(*c.layer));
    if (!c.layer)
        return err_set(err, RC_NO_MEMORY, "no memory for %d layers", c.n_layers);
    plan_all(&c, m, ops);
    enum rc rc = allocate(&c, m, err);
    if (rc == RC_OK)
        rc = load_all(&c, m, ops, err);
    if (rc == RC_OK)
        *ret = c;
    else
        cpu_model_done(&c);
    return rc;
}

void cpu_model_done(struct cpu_model *c)
{
    cpu_unmap(c->block, c->block_bytes);
    free(c->floats);
    free(c->layer);
    *c = (struct cpu_model){0};
}
