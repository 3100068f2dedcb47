/* forward.c - the network, layer by layer, run by every thread of the crew at once.
 *
 * A layer in stages; "|" is a barrier:
 *   norm | q k v, RoPE, cache | attention | o | norm | gate up SiLU | down |
 * With few rows each thread quantises its input for itself, which is cheaper than meeting; with
 * many, rows are shared out and there is one more barrier before each product. Work is shared by
 * heads, panels and rows, never by parts of a sum, so the number of threads changes no bit.
 *
 * The last layer needs attention and the rest only for rows whose logits are wanted. */

#include "engine/cpu/forward.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/units.h"

#define ATTEND_ROWS 4 /* rows of one kv head dealt at once: they share its pages in the cache */

/* Tasks of a stage that are handed out one by one, in even and in odd layers. */
struct deal {
    atomic_int next[2];
};

struct pass {
    struct forward *f;
    const struct batch *batch;
    struct deal heads, attention;
};

/* The rows that a stage works on: all of the batch, or those that were picked. */
struct rows {
    int32_t n;
    const int32_t *of; /* batch row of each; NULL: the same number */
    float *x;          /* [n][d_model] */
};

static int32_t batch_row(const struct rows *r, int32_t i)
{
    return r->of ? r->of[i] : i;
}

struct range {
    int32_t from, to;
};

static struct range share(const struct pass *p, int32_t n, int id)
{
    int64_t crew = threads_count(p->f->crew);
    return (struct range){(int32_t)(n * (int64_t)id / crew),
                          (int32_t)(n * ((int64_t)id + 1) / crew)};
}

/* A stage begins: between its two barriers nobody deals from the next layer's counter. */
static void deal_start(struct deal *d, int id, int32_t layer)
{
    if (id == 0)
        atomic_store_explicit(&d->next[(layer + 1) % 2], 0, memory_order_relaxed);
}

static int32_t deal_next(struct deal *d, int32_t layer)
{
    return atomic_fetch_add_explicit(&d->next[layer % 2], 1, memory_order_relaxed);
}

static struct kv_head kv_head_of(const struct forward *f, int32_t layer, int32_t head)
{
    const struct config *c = f->config;
    size_t one = (size_t)KV_PAGE_TOKENS * (size_t)c->head_dim * f->ops->kv_bytes;
    size_t at = ((size_t)layer * 2 * (size_t)c->n_kv_heads + (size_t)head) * one;
    return (struct kv_head){.pool = f->pool,
                            .page_bytes = f->page_bytes,
                            .k_at = at,
                            .v_at = at + (size_t)c->n_kv_heads * one,
                            .head_dim = c->head_dim};
}

static void embed_rows(struct pass *p, int id)
{
    struct forward *f = p->f;
    const int32_t d = f->config->d_model, turn = f->config->rope_dim;
    struct range r = share(p, p->batch->n_rows, id);
    for (int32_t i = r.from; i < r.to; i++) {
        f->ops->unpack_row(&f->model.embed, p->batch->token[i], f->x + (size_t)i * (size_t)d);
        float *cs = f->cos_sin + (size_t)i * (size_t)turn;
        for (int32_t k = 0; k < turn / 2; k++) {
            float angle = (float)p->batch->pos[i] * f->model.inv_freq[k];
            cs[2 * k] = (float)cos((double)angle);
            cs[2 * k + 1] = (float)sin((double)angle);
        }
    }
    threads_barrier(f->crew);
}

/* This thread's own activations, in the shape of `like`. */
static struct act *few_like(struct lane *lane, const struct act *like, int32_t n_rows)
{
    struct act *a = &lane->few;
    a->x = lane->few_x;
    a->n_cols = like->n_cols;
    a->ld = like->ld;
    for (int32_t i = 0; i < n_rows; i++) {
        for (int32_t k = a->n_cols; k < a->ld; k++)
            a->x[(size_t)i * (size_t)a->ld + (size_t)k] = 0;
    }
    return a;
}

/* The normalised input of a block, quantised as its weights want it. */
static const struct act *normalise(struct pass *p, int id, const struct rows *rows,
                                   const float *weight, int wants)
{
    struct forward *f = p->f;
    const int32_t d = f->config->d_model;
    bool few = rows->n <= FORWARD_FEW;
    struct act *a = few ? few_like(&f->lane[id], &f->in, rows->n) : &f->in;
    struct range r = few ? (struct range){0, rows->n} : share(p, rows->n, id);
    for (int32_t i = r.from; i < r.to; i++) {
        f->ops->rmsnorm(a->x + (size_t)i * (size_t)a->ld, rows->x + (size_t)i * (size_t)d, weight,
                        d, f->config->rms_eps);
        f->ops->fill(a, i, wants);
    }
    if (!few)
        threads_barrier(f->crew);
    return a;
}

/* RoPE and the cache, for one head of q, k or v whose rows were just computed. */
static void place_head(struct pass *p, int32_t layer, int32_t unit)
{
    struct forward *f = p->f;
    const struct config *c = f->config;
    const int32_t D = c->head_dim, H = c->n_heads, KV = c->n_kv_heads;
    const size_t width = (size_t)(H + 2 * KV) * (size_t)D;
    const float scale = 1.0f / sqrtf((float)D);
    struct kv_head head = kv_head_of(f, layer, unit < H ? 0 : (unit - H) % KV);
    for (int32_t i = 0; i < p->batch->n_rows; i++) {
        float *v = f->qkv + (size_t)i * width + (size_t)unit * (size_t)D;
        int32_t pos = p->batch->pos[i];
        int32_t page = p->batch->page_of[p->batch->seq[i]][pos / KV_PAGE_TOKENS];
        if (unit < H + KV)
            f->ops->rope(v, f->cos_sin + (size_t)i * (size_t)c->rope_dim, c->rope_dim);
        if (unit < H) {
            for (int32_t k = 0; k < D; k++)
                v[k] *= scale;
        } else if (unit < H + KV) {
            f->ops->k_store(&head, page, pos % KV_PAGE_TOKENS, v);
        } else {
            f->ops->v_store(&head, page, pos % KV_PAGE_TOKENS, v);
        }
    }
}

/* Dealt out by heads, whose work differs: who computed one also turns and stores it. */
static void project_qkv(struct pass *p, int id, int32_t layer, const struct act *in)
{
    struct forward *f = p->f;
    const struct cpu_layer *l = &f->model.layer[layer];
    const int32_t D = f->config->head_dim, H = f->config->n_heads, KV = f->config->n_kv_heads;
    const int32_t panels = D / CPU_PANEL, B = p->batch->n_rows;
    const size_t width = (size_t)(H + 2 * KV) * (size_t)D;
    deal_start(&p->heads, id, layer);
    for (int32_t u; (u = deal_next(&p->heads, layer)) < H + 2 * KV;) {
        const struct weight *w = u < H ? &l->q : u < H + KV ? &l->k : &l->v;
        int32_t first = (u < H ? u : (u - H) % KV) * panels;
        float *to = f->qkv + (size_t)u * (size_t)D;
        for (int32_t t = 0; t < B; t += CPU_TILE_ROWS)
            f->ops->matmul(w, first, first + panels, in, t, MIN_OF(CPU_TILE_ROWS, B - t), false,
                           to + (size_t)t * width, width, f->lane[id].scratch);
        place_head(p, layer, u);
    }
    threads_barrier(f->crew);
}

static const float *queries(const struct forward *f, int32_t row, int32_t kv)
{
    const struct config *c = f->config;
    const size_t D = (size_t)c->head_dim;
    const size_t width = (size_t)(c->n_heads + 2 * c->n_kv_heads) * D;
    return f->qkv + (size_t)row * width + (size_t)(kv * (c->n_heads / c->n_kv_heads)) * D;
}

/* One row, the query heads of one kv head, all positions: parts are merged as they come. */
static void attend_whole(struct pass *p, struct lane *lane, int32_t layer, int32_t row, int32_t kv,
                         float *to)
{
    struct forward *f = p->f;
    const int32_t G = f->config->n_heads / f->config->n_kv_heads, D = f->config->head_dim;
    const int32_t end = p->batch->pos[row] + 1;
    const int32_t *page_of = p->batch->page_of[p->batch->seq[row]];
    struct kv_head head = kv_head_of(f, layer, kv);
    for (int32_t from = 0; from < end; from += CPU_SPLIT) {
        f->ops->attend(&head, page_of, G, queries(f, row, kv), from, MIN_OF(CPU_SPLIT, end - from),
                       from ? lane->part : lane->run);
        if (from)
            f->ops->merge(lane->run, lane->part, G, D);
    }
    f->ops->finish(lane->run, G, D, to);
}

/* Quantises rows of x that all threads see: by each for itself when there are few. */
static const struct act *quantise(struct pass *p, int id, struct act *a, int32_t n_rows, int wants)
{
    struct forward *f = p->f;
    if (n_rows <= FORWARD_FEW) {
        struct act *own = &f->lane[id].few;
        own->x = a->x;
        own->n_cols = a->n_cols;
        own->ld = a->ld;
        for (int32_t i = 0; i < n_rows; i++)
            f->ops->fill(own, i, wants);
        return own;
    }
    struct range r = share(p, n_rows, id);
    for (int32_t i = r.from; i < r.to; i++)
        f->ops->fill(a, i, wants);
    threads_barrier(f->crew);
    return a;
}

/* Many rows: each task is some rows of one kv head, from first position to last. */
static const struct act *attend_many(struct pass *p, int id, int32_t layer, const struct rows *rows,
                                     int wants)
{
    struct forward *f = p->f;
    const int32_t KV = f->config->n_kv_heads;
    const int32_t width = f->config->n_heads / KV * f->config->head_dim;
    const int32_t blocks = (rows->n + ATTEND_ROWS - 1) / ATTEND_ROWS;
    deal_start(&p->attention, id, layer);
    for (int32_t task; (task = deal_next(&p->attention, layer)) < blocks * KV;) {
        int32_t kv = task / blocks, first = task % blocks * ATTEND_ROWS;
        for (int32_t i = first; i < MIN_OF(first + ATTEND_ROWS, rows->n); i++)
            attend_whole(p, &f->lane[id], layer, batch_row(rows, i), kv,
                         f->mixed.x + (size_t)i * (size_t)f->mixed.ld + (size_t)(kv * width));
    }
    threads_barrier(f->crew);
    return quantise(p, id, &f->mixed, rows->n, wants);
}

static int32_t splits_of(const struct pass *p, int32_t row)
{
    return p->batch->pos[row] / CPU_SPLIT + 1;
}

/* Merges the parts of one row, in the order of attend_whole. */
static void merge_row(struct pass *p, struct lane *lane, int32_t row, const float *part, float *to)
{
    struct forward *f = p->f;
    const int32_t KV = f->config->n_kv_heads, G = f->config->n_heads / KV;
    const int32_t D = f->config->head_dim, n = splits_of(p, row);
    const size_t floats = forward_part_floats(f->config);
    for (int32_t kv = 0; kv < KV; kv++, to += G * D) {
        memcpy(lane->run, part, floats * sizeof(float));
        part += floats;
        for (int32_t s = 1; s < n; s++, part += floats)
            f->ops->merge(lane->run, part, G, D);
        f->ops->finish(lane->run, G, D, to);
    }
}

/* Few rows: each (row, kv head, split) is a task of its own; merged after the barrier. */
static const struct act *attend_few(struct pass *p, int id, int32_t layer, const struct rows *rows,
                                    int wants)
{
    struct forward *f = p->f;
    const int32_t KV = f->config->n_kv_heads, G = f->config->n_heads / KV;
    const size_t floats = forward_part_floats(f->config);
    int32_t task = 0, crew = threads_count(f->crew);
    for (int32_t i = 0; i < rows->n; i++) {
        int32_t row = batch_row(rows, i), end = p->batch->pos[row] + 1;
        for (int32_t kv = 0; kv < KV; kv++) {
            struct kv_head head = kv_head_of(f, layer, kv);
            for (int32_t from = 0; from < end; from += CPU_SPLIT, task++) {
                if (task % crew == id)
                    f->ops->attend(&head, p->batch->page_of[p->batch->seq[row]], G,
                                   queries(f, row, kv), from, MIN_OF(CPU_SPLIT, end - from),
                                   f->parts + (size_t)task * floats);
            }
        }
    }
    threads_barrier(f->crew);
    bool few = rows->n <= FORWARD_FEW;
    struct act *a = few ? few_like(&f->lane[id], &f->mixed, rows->n) : &f->mixed;
    struct range mine = few ? (struct range){0, rows->n} : share(p, rows->n, id);
    const float *part = f->parts;
    for (int32_t i = 0; i < rows->n; i++) {
        int32_t row = batch_row(rows, i);
        if (i >= mine.from && i < mine.to) {
            merge_row(p, &f->lane[id], row, part, a->x + (size_t)i * (size_t)a->ld);
            f->ops->fill(a, i, wants);
        }
        part += (size_t)(KV * splits_of(p, row)) * floats;
    }
    if (!few)
        threads_barrier(f->crew);
    return a;
}

static const struct act *attend(struct pass *p, int id, int32_t layer, const struct rows *rows)
{
    const int wants = p->f->ops->wants(&p->f->model.layer[layer].o);
    const int32_t KV = p->f->config->n_kv_heads;
    size_t parts = 0;
    for (int32_t i = 0; i < rows->n; i++)
        parts += (size_t)(KV * splits_of(p, batch_row(rows, i)));
    if (rows->n * KV < 4 * threads_count(p->f->crew) && parts <= p->f->parts_max)
        return attend_few(p, id, layer, rows, wants);
    return attend_many(p, id, layer, rows, wants);
}

/* rows->x += w * in, shared out by panels. */
static void project_back(struct pass *p, int id, const struct weight *w, const struct act *in,
                         const struct rows *rows)
{
    struct forward *f = p->f;
    const size_t d = (size_t)f->config->d_model;
    struct range r = share(p, cpu_panels(w), id);
    for (int32_t t = 0; t < rows->n && r.from < r.to; t += CPU_TILE_ROWS)
        f->ops->matmul(w, r.from, r.to, in, t, MIN_OF(CPU_TILE_ROWS, rows->n - t), true,
                       rows->x + (size_t)t * d + (size_t)(r.from * CPU_PANEL), d,
                       f->lane[id].scratch);
    threads_barrier(f->crew);
}

/* Two panels of gate and of up make one block of the input of down. */
static const struct act *project_wide(struct pass *p, int id, const struct cpu_layer *l,
                                      const struct act *in, int32_t n_rows)
{
    struct forward *f = p->f;
    struct lane *lane = &f->lane[id];
    const int32_t panels = cpu_panels(&l->gate);
    struct range r = share(p, f->wide.ld / CPU_BLOCK, id);
    for (int32_t t = 0; t < n_rows; t += CPU_TILE_ROWS) {
        int32_t T = MIN_OF(CPU_TILE_ROWS, n_rows - t);
        for (int32_t u = r.from; u < r.to; u++) {
            int32_t p0 = 2 * u, p1 = MIN_OF(p0 + 2, panels);
            f->ops->matmul(&l->gate, p0, p1, in, t, T, false, lane->gate, CPU_BLOCK, lane->scratch);
            f->ops->matmul(&l->up, p0, p1, in, t, T, false, lane->up, CPU_BLOCK, lane->scratch);
            int32_t n = MIN_OF(CPU_BLOCK, f->wide.n_cols - CPU_BLOCK * u);
            for (int32_t i = 0; i < T; i++) {
                float *to = f->wide.x + (size_t)(t + i) * (size_t)f->wide.ld + CPU_BLOCK * u;
                f->ops->silu_mul(to, lane->gate + i * CPU_BLOCK, lane->up + i * CPU_BLOCK, n);
            }
        }
    }
    threads_barrier(f->crew);
    return quantise(p, id, &f->wide, n_rows, f->ops->wants(&l->down));
}

static void pick_rows(struct pass *p, int id, struct rows *rows)
{
    struct forward *f = p->f;
    const size_t d = (size_t)f->config->d_model;
    if (p->batch->n_out == p->batch->n_rows)
        return;
    rows->n = p->batch->n_out;
    rows->of = p->batch->out_row;
    rows->x = f->picked;
    struct range r = share(p, rows->n, id); /* seen by all after the barriers of attention */
    for (int32_t i = r.from; i < r.to; i++)
        memcpy(f->picked + (size_t)i * d, f->x + (size_t)rows->of[i] * d, d * sizeof(float));
}

static void write_logits(struct pass *p, int id, const struct rows *rows)
{
    struct forward *f = p->f;
    const struct weight *w = &f->model.head;
    const size_t vocab = (size_t)f->config->n_vocab;
    const struct act *in = normalise(p, id, rows, f->model.norm, f->ops->wants(w));
    struct range r = share(p, cpu_panels(w), id);
    for (int32_t t = 0; t < rows->n && r.from < r.to; t += CPU_TILE_ROWS)
        f->ops->matmul(w, r.from, r.to, in, t, MIN_OF(CPU_TILE_ROWS, rows->n - t), false,
                       p->batch->logits + (size_t)t * vocab + (size_t)(r.from * CPU_PANEL), vocab,
                       f->lane[id].scratch);
}

static void run_pass(void *arg, int id)
{
    struct pass *p = arg;
    struct forward *f = p->f;
    struct rows rows = {.n = p->batch->n_rows, .x = f->x};
    embed_rows(p, id);
    for (int32_t i = 0; i < f->model.n_layers; i++) {
        const struct cpu_layer *l = &f->model.layer[i];
        int wants = f->ops->wants(&l->q) | f->ops->wants(&l->k) | f->ops->wants(&l->v);
        const struct act *in = normalise(p, id, &rows, l->attn_norm, wants);
        project_qkv(p, id, i, in);
        if (i == f->model.n_layers - 1) {
            if (p->batch->n_out == 0)
                return;
            pick_rows(p, id, &rows);
        }
        in = attend(p, id, i, &rows);
        project_back(p, id, &l->o, in, &rows);
        wants = f->ops->wants(&l->gate) | f->ops->wants(&l->up);
        in = normalise(p, id, &rows, l->ffn_norm, wants);
        in = project_wide(p, id, l, in, rows.n);
        project_back(p, id, &l->down, in, &rows);
    }
    write_logits(p, id, &rows);
}

void forward_run(struct forward *f, const struct batch *batch)
{
    struct pass p = {.f = f, .batch = batch};
    threads_run(f->crew, run_pass, &p);
}
