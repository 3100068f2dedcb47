/* forward_init.c - the memory of a forward pass, all of it taken before the first token. */

#include <stdlib.h>

#include "base/units.h"
#include "engine/cpu/forward.h"

#define ALIGN     64
#define PARTS_MAX (8 * MIB) /* bytes of attention parts; longer contexts go row by row */

/* Cuts aligned pieces from one block. With base NULL it only counts, so the same code says how
 * much is needed and then hands it out. */
struct cutter {
    uint8_t *base;
    size_t used;
};

static void *cut(struct cutter *c, size_t n, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static void cut_act(struct cutter *c, struct act *a, int32_t n_rows, int32_t n_cols)
{
    size_t ld = ((size_t)n_cols + CPU_BLOCK - 1) / CPU_BLOCK * CPU_BLOCK, n = (size_t)n_rows;
    a->n_cols = n_cols;
    a->ld = (int32_t)ld;
    a->x = cut(c, n * ld, sizeof(float));
    a->q = cut(c, n * ld, sizeof(int16_t));
    a->d = cut(c, n * ld / CPU_BLOCK, sizeof(float));
    a->s = cut(c, n * ld / CPU_BLOCK, sizeof(float));
    a->b = cut(c, n * ld, 1);
    a->m = cut(c, n * ld / CPU_BLOCK, sizeof(int32_t));
    a->sb = cut(c, n * ld / CPU_BLOCK, sizeof(float));
    a->unit = cut(c, n, sizeof(float));
    a->out = cut(c, n * act_outliers((int32_t)ld), sizeof(struct outlier));
    a->n_out = cut(c, n, sizeof(uint32_t));
}

static void cut_lane(struct cutter *c, const struct forward *f, struct lane *l)
{
    const size_t tile = (size_t)CPU_TILE_ROWS * CPU_BLOCK, part = forward_part_floats(f->config);
    cut_act(c, &l->few, FORWARD_FEW,
            MAX_OF(MAX_OF(f->config->d_model, f->config->n_ff),
                   f->config->n_heads * f->config->head_dim));
    l->few_x = l->few.x;
    l->gate = cut(c, tile, sizeof(float));
    l->up = cut(c, tile, sizeof(float));
    l->run = cut(c, part, sizeof(float));
    l->part = cut(c, part, sizeof(float));
    l->scratch = cut(c, cpu_scratch_bytes(f->model.max_cols), 1);
}

static void cut_shared(struct cutter *c, struct forward *f)
{
    const struct config *m = f->config;
    const size_t B = (size_t)f->max_batch, d = (size_t)m->d_model;
    const int32_t heads = m->n_heads * m->head_dim;
    f->x = cut(c, B * d, sizeof(float));
    f->picked = cut(c, (size_t)f->max_out * d, sizeof(float));
    f->qkv = cut(c, B * (size_t)(heads + 2 * m->n_kv_heads * m->head_dim), sizeof(float));
    f->cos_sin = cut(c, B * (size_t)m->rope_dim, sizeof(float));
    cut_act(c, &f->in, f->max_batch, m->d_model);
    cut_act(c, &f->mixed, f->max_batch, heads);
    cut_act(c, &f->wide, f->max_batch, m->n_ff);
    f->parts = cut(c, f->parts_max * forward_part_floats(m), sizeof(float));
}

/* Parts for the few rows that are split, at the longest context the pool can hold. */
static size_t parts_wanted(const struct forward *f)
{
    size_t ctx = MIN_OF((size_t)f->config->n_ctx, (size_t)f->n_pages * KV_PAGE_TOKENS);
    size_t tasks = 4 * (size_t)threads_count(f->crew) * (ctx / CPU_SPLIT + 1);
    return MIN_OF(tasks, PARTS_MAX / (forward_part_floats(f->config) * sizeof(float)));
}

static enum rc allocate_lanes(struct forward *f, struct err *err)
{
    const int n = threads_count(f->crew);
    f->lane = calloc((size_t)n, sizeof(*f->lane));
    if (!f->lane)
        return err_set(err, RC_NO_MEMORY, "no memory for %d threads", n);
    for (int i = 0; i < n; i++) {
        struct lane *l = &f->lane[i];
        struct cutter count = {0};
        cut_lane(&count, f, l);
        l->memory_bytes = count.used;
        l->memory = cpu_map(count.used);
        if (!l->memory)
            return err_set(err, RC_NO_MEMORY, "no memory for %d threads", n);
        cut_lane(&(struct cutter){.base = l->memory}, f, l);
    }
    return RC_OK;
}

static enum rc allocate_shared(struct forward *f, struct err *err)
{
    struct cutter count = {0};
    f->parts_max = parts_wanted(f);
    cut_shared(&count, f);
    f->memory_bytes = count.used;
    f->memory = cpu_map(count.used);
    if (!f->memory)
        return err_set(err, RC_NO_MEMORY, "no memory for steps of %d rows", f->max_batch);
    cut_shared(&(struct cutter){.base = f->memory}, f);
    return RC_OK;
}

static enum rc allocate_pool(struct forward *f, struct err *err)
{
    const struct config *c = f->config;
    f->page_bytes = (size_t)c->n_layers * 2 * (size_t)c->n_kv_heads * KV_PAGE_TOKENS *
                    (size_t)c->head_dim * f->ops->kv_bytes;
    if (__builtin_mul_overflow(f->page_bytes, (size_t)f->n_pages, &f->pool_bytes) ||
        !(f->pool = cpu_map(f->pool_bytes)))
        return err_set(err, RC_NO_MEMORY, "no memory for %d KV pages of %zu bytes", f->n_pages,
                       f->page_bytes);
    return RC_OK;
}

enum rc forward_init(struct forward *f, const struct config *config,
                     const struct backend_opts *opts, struct err *err)
{
    f->config = config;
    f->n_pages = opts->n_pages;
    f->max_batch = opts->max_batch;
    f->max_out = opts->max_out;
    enum rc rc = allocate_pool(f, err);
    if (rc == RC_OK)
        rc = allocate_shared(f, err);
    if (rc == RC_OK)
        rc = allocate_lanes(f, err);
    return rc;
}

void forward_done(struct forward *f)
{
    for (int i = 0; f->lane && i < threads_count(f->crew); i++)
        cpu_unmap(f->lane[i].memory, f->lane[i].memory_bytes);
    free(f->lane);
    cpu_unmap(f->memory, f->memory_bytes);
    cpu_unmap(f->pool, f->pool_bytes);
    cpu_model_done(&f->model);
    threads_free(f->crew);
}
