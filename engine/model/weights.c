#include "engine/model/weights.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "base/units.h"
#include "engine/model/gguf.h"
#include "engine/model/quant.h"

/* Looks tensors up and counts them: at the end, one that nobody asked for is a stranger. */
struct binder {
    const struct gguf *g;
    bool *used; /* [n_tensors] */
    struct err *err;
};

static const struct gguf_tensor *find(struct binder *b, const char *name)
{
    const struct gguf_tensor *t = gguf_find_tensor(b->g, str_of(name));
    if (t)
        b->used[t - gguf_tensor_at(b->g, 0)] = true;
    return t;
}

/* rows 0: a vector. */
static enum rc bind(struct binder *b, const char *name, int64_t cols, int64_t rows,
                    const struct gguf_tensor **ret)
{
    const struct gguf_tensor *t = find(b, name);
    if (!t)
        return err_set(b->err, RC_CORRUPT, "%s: tensor %s is absent", gguf_label(b->g), name);
    if (t->n_dims != (rows ? 2 : 1) || t->dim[0] != cols || (rows && t->dim[1] != rows))
        return err_set(b->err, RC_CORRUPT,
                       "%s: tensor %s is %lld x %lld, but the configuration says %lld x %lld",
                       gguf_label(b->g), name, (long long)t->dim[0], (long long)t->dim[1],
                       (long long)cols, (long long)(rows ? rows : 1));
    if (!quant_is_served(t->type))
        return err_set(b->err, RC_INVALID, "%s: tensor %s has type %s, which is not supported",
                       gguf_label(b->g), name, t->type->name);
    *ret = t;
    return RC_OK;
}

static enum rc bind_layer(struct binder *b, const struct config *c, int32_t i,
                          struct model_layer *l)
{
    int64_t d = c->d_model, f = c->n_ff;
    int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct {
        const char *name;
        int64_t cols, rows;
        const struct gguf_tensor **to;
    } parts[] = {
        {"attn_norm", d, 0, &l->attn_norm}, {"attn_q", d, q, &l->q},
        {"attn_k", d, kv, &l->k},           {"attn_v", d, kv, &l->v},
        {"attn_output", q, d, &l->o},       {"ffn_norm", d, 0, &l->ffn_norm},
        {"ffn_gate", d, f, &l->gate},       {"ffn_up", d, f, &l->up},
        {"ffn_down", f, d, &l->down},
    };
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%d.%s.weight", i, parts[p].name);
        enum rc rc = bind(b, name, parts[p].cols, parts[p].rows, parts[p].to);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* The vocabulary's size is that of the embedding; the list of tokens must have as many. */
static enum rc bind_ends(struct binder *b, struct model *m)
{
    struct config *c = &m->config;
    const struct gguf_tensor *embed = find(b, "token_embd.weight");
    if (!embed)
        return err_set(b->err, RC_CORRUPT, "%s: tensor token_embd.weight is absent",
                       gguf_label(b->g));
    c->n_vocab = (int32_t)embed->dim[1];
    if (m->card.n_vocab != c->n_vocab)
        return err_set(b->err, RC_CORRUPT, "%s: %d tokens, but an embedding of %d rows",
                       gguf_label(b->g), m->card.n_vocab, c->n_vocab);
    enum rc rc = bind(b, "token_embd.weight", c->d_model, c->n_vocab, &m->embed);
    if (rc == RC_OK)
        rc = bind(b, "output_norm.weight", c->d_model, 0, &m->norm);
    m->head = m->embed;
    if (rc == RC_OK && find(b, "output.weight"))
        rc = bind(b, "output.weight", c->d_model, c->n_vocab, &m->head);
    if (rc == RC_OK && find(b, "rope_freqs.weight"))
        rc = bind(b, "rope_freqs.weight", c->rope_dim / 2, 0, &m->rope_freqs);
    return rc;
}

static enum rc refuse_strangers(const struct binder *b)
{
    for (size_t i = 0; i < gguf_n_tensors(b->g); i++) {
        if (!b->used[i])
            return err_set(b->err, RC_INVALID, "%s: tensor " STR_FMT " is not supported",
                           gguf_label(b->g), STR_ARG(gguf_tensor_at(b->g, i)->name));
    }
    return RC_OK;
}

static enum rc bind_all(struct model *m, struct err *err)
{
    SCOPED_PTR bool *used = calloc(gguf_n_tensors(m->gguf) + 1, sizeof(bool));
    m->layer = calloc((size_t)m->config.n_layers, sizeof(*m->layer));
    if (!used || !m->layer)
        return err_set(err, RC_NO_MEMORY, "no memory for the table of tensors");
    struct binder b = {.g = m->gguf, .used = used, .err = err};
    enum rc rc = bind_ends(&b, m);
    for (int32_t i = 0; rc == RC_OK && i < m->config.n_layers; i++)
        rc = bind_layer(&b, &m->config, i, &m->layer[i]);
    if (rc == RC_OK)
        rc = refuse_strangers(&b);
    return rc;
}

enum rc model_open(const char *path, struct model **ret, struct err *err)
{
    struct model *m = calloc(1, sizeof(*m));
    if (!m)
        return err_set(err, RC_NO_MEMORY, "no memory for a model");
    enum rc rc = gguf_open(path, &m->gguf, err);
    if (rc == RC_OK)
        rc = config_read(m->gguf, &m->config, err);
    if (rc == RC_OK)
        rc = gguf_card(m->gguf, &m->card, err);
    if (rc == RC_OK)
        rc = bind_all(m, err);
    if (rc == RC_OK)
        *ret = m;
    else
        model_close(m);
    return rc;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    free(m->layer);
    gguf_close(m->gguf);
    free(m);
}

const struct card *model_card(const struct model *m)
{
    return &m->card;
}

size_t model_row_bytes(const struct gguf_tensor *t)
{
    return (size_t)(t->dim[0] / t->type->block * t->type->block_bytes);
}

enum rc model_read_rows(const struct model *m, const struct gguf_tensor *t, int64_t from, int64_t n,
                        void *to, struct err *err)
{
    size_t row = model_row_bytes(t);
    enum rc rc = gguf_read(m->gguf, t, (uint64_t)from * row, to, (size_t)n * row, err);
    if (rc == RC_OK && !quant_is_finite(t->type, to, n * (t->dim[0] / t->type->block)))
        return err_set(err, RC_CORRUPT, "%s: tensor " STR_FMT " holds a scale that is not finite",
                       gguf_label(m->gguf), STR_ARG(t->name));
    return rc;
}

enum rc model_read_vector(const struct model *m, const struct gguf_tensor *t, float *to,
                          struct err *err)
{
    SCOPED_PTR uint8_t *raw = malloc((size_t)t->bytes);
    if (!raw)
        return err_set(err, RC_NO_MEMORY, "no memory to read " STR_FMT, STR_ARG(t->name));
    enum rc rc = model_read_rows(m, t, 0, 1, raw, err);
    if (rc == RC_OK)
        quant_dequantise(t->type, raw, t->dim[0] / t->type->block, to);
    return rc;
}
