/* backend.c - the CPU backend of engine/ops.h: opens, checks batches, and hands them on. */

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/cpu/forward.h"
#include "engine/model/weights.h"
#include "engine/ops.h"

#define MAX_BATCH (1 << 16)

struct cpu_backend {
    struct backend base;
    const struct model *model; /* view of the caller's */
    struct forward forward;
    uint8_t *seen; /* [max_batch] sequences met in the batch under check; all zero between checks */
};

static struct cpu_backend *self(struct backend *b)
{
    return (struct cpu_backend *)(void *)b;
}

static const struct cpu_backend *self_const(const struct backend *b)
{
    return (const struct cpu_backend *)(const void *)b;
}

static void backend_close(struct backend *b)
{
    if (!b)
        return;
    struct cpu_backend *c = self(b);
    forward_done(&c->forward);
    free(c->seen);
    free(c);
}

static enum rc check_opts(const struct backend_opts *o, struct err *err)
{
    if (o->n_threads < 0 || o->n_threads > THREADS_MAX)
        return err_set(err, RC_BAD_INPUT, "%d threads; 0 to %d are possible", o->n_threads,
                       THREADS_MAX);
    if (o->n_pages < 1)
        return err_set(err, RC_BAD_INPUT, "a KV pool of %d pages", o->n_pages);
    if (o->max_batch < 1 || o->max_batch > MAX_BATCH)
        return err_set(err, RC_BAD_INPUT, "batches of %d rows; 1 to %d are possible", o->max_batch,
                       MAX_BATCH);
    if (o->max_out < 0 || o->max_out > o->max_batch)
        return err_set(err, RC_BAD_INPUT, "%d rows of logits from %d rows", o->max_out,
                       o->max_batch);
    return RC_OK;
}

static enum rc backend_open(const struct model *model, const struct backend_opts *opts,
                            struct backend **ret, struct err *err)
{
    enum rc rc = check_opts(opts, err);
    struct cpu_backend *c = rc == RC_OK ? calloc(1, sizeof(*c)) : NULL;
    if (rc == RC_OK && !c)
        return err_set(err, RC_NO_MEMORY, "no memory for a backend");
    if (rc != RC_OK)
        return rc;
    c->base.ops = &backend_cpu;
    c->model = model;
    c->seen = calloc((size_t)opts->max_batch, 1);
    if (!c->seen)
        rc = err_set(err, RC_NO_MEMORY, "no memory for a backend");
    if (rc == RC_OK)
        rc = cpu_ops_choose(opts->path, &c->forward.ops, err);
    if (rc == RC_OK)
        rc = threads_new(opts->n_threads ? opts->n_threads : threads_usable_cores(),
                         &c->forward.crew, err);
    if (rc == RC_OK)
        rc = cpu_model_load(model, c->forward.ops, &c->forward.model, err);
    if (rc == RC_OK)
        rc = forward_init(&c->forward, &model->config, opts, err);
    if (rc == RC_OK)
        *ret = &c->base;
    else
        backend_close(&c->base);
    return rc;
}

static enum rc check_row(const struct cpu_backend *c, const struct batch *b, int32_t i,
                         struct err *err)
{
    const struct config *m = &c->model->config;
    int32_t seq = b->seq[i], pos = b->pos[i];
    if (b->token[i] < 0 || b->token[i] >= m->n_vocab)
        return err_set(err, RC_BAD_INPUT, "row %d: token %d is not in the vocabulary", i,
                       b->token[i]);
    if (seq < 0 || seq >= b->n_seqs)
        return err_set(err, RC_BAD_INPUT, "row %d: sequence %d of %d", i, seq, b->n_seqs);
    if (pos < 0 || pos >= m->n_ctx)
        return err_set(err, RC_BAD_INPUT, "row %d: position %d; the context has %d", i, pos,
                       m->n_ctx);
    bool follows = i > 0 && b->seq[i - 1] == seq;
    if (follows && pos != b->pos[i - 1] + 1)
        return err_set(err, RC_BAD_INPUT, "row %d: position %d after %d", i, pos, b->pos[i - 1]);
    if (!follows && c->seen[seq])
        return err_set(err, RC_BAD_INPUT, "row %d: sequence %d comes a second time", i, seq);
    c->seen[seq] = 1;
    /* The first row of a sequence looks at all pages below it, the others at their own. */
    for (int32_t p = follows ? pos / KV_PAGE_TOKENS : 0; p <= pos / KV_PAGE_TOKENS; p++) {
        int32_t page = b->page_of[seq][p];
        if (page < 0 || page >= c->forward.n_pages)
            return err_set(err, RC_BAD_INPUT, "sequence %d: page %d of %d", seq, page,
                           c->forward.n_pages);
    }
    return RC_OK;
}

static enum rc check_batch(const struct cpu_backend *c, const struct batch *b, struct err *err)
{
    const struct forward *f = &c->forward;
    if (b->n_rows < 1 || b->n_rows > f->max_batch || b->n_seqs < 1 || b->n_seqs > b->n_rows)
        return err_set(err, RC_BAD_INPUT, "%d rows of %d sequences; at most %d rows", b->n_rows,
                       b->n_seqs, f->max_batch);
    if (b->n_out < 0 || b->n_out > f->max_out || b->n_out > b->n_rows)
        return err_set(err, RC_BAD_INPUT, "%d rows of logits; at most %d", b->n_out, f->max_out);
    for (int32_t i = 0; i < b->n_out; i++) {
        int32_t row = b->out_row[i];
        if (row < 0 || row >= b->n_rows || (i > 0 && row <= b->out_row[i - 1]))
            return err_set(err, RC_BAD_INPUT, "logits of row %d are asked out of order", row);
    }
    enum rc rc = RC_OK;
    for (int32_t i = 0; rc == RC_OK && i < b->n_rows; i++)
        rc = check_row(c, b, i, err);
    memset(c->seen, 0, (size_t)b->n_seqs);
    return rc;
}

static enum rc backend_forward(struct backend *b, const struct batch *batch, struct err *err)
{
    struct cpu_backend *c = self(b);
    enum rc rc = check_batch(c, batch, err);
    if (rc == RC_OK)
        forward_run(&c->forward, batch);
    return rc;
}

static void backend_page_copy(struct backend *b, int32_t dst, int32_t src)
{
    struct forward *f = &self(b)->forward;
    ASSERT(dst >= 0 && dst < f->n_pages && src >= 0 && src < f->n_pages);
    if (dst != src)
        memcpy(f->pool + (size_t)dst * f->page_bytes, f->pool + (size_t)src * f->page_bytes,
               f->page_bytes);
}

static size_t backend_page_bytes(const struct backend *b)
{
    return self_const(b)->forward.page_bytes;
}

static const char *backend_path(const struct backend *b)
{
    return self_const(b)->forward.ops->name;
}

static int backend_n_threads(const struct backend *b)
{
    return threads_count(self_const(b)->forward.crew);
}

const struct backend_ops backend_cpu = {
    .name = "cpu",
    .open = backend_open,
    .close = backend_close,
    .forward = backend_forward,
    .page_copy = backend_page_copy,
    .page_bytes = backend_page_bytes,
    .path = backend_path,
    .n_threads = backend_n_threads,
};
