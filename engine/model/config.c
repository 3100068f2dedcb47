#include "engine/model/config.h"

#include <math.h>

#include "base/str.h"
#include "engine/model/gguf.h"

#define MAX_LAYERS   1024
#define MAX_WIDTH    (1 << 20)
#define MAX_HEAD_DIM 256
#define MAX_HEADS    1024
#define MAX_CTX      (1 << 24)

/* A number of the metadata, its bounds, and the value it has when absent (0: it must be there). */
struct int_key {
    const char *name;
    int32_t *to;
    int32_t lo, hi, otherwise;
};

static enum rc read_int(const struct gguf *g, const struct int_key *k, struct err *err)
{
    int64_t v = k->otherwise;
    const struct gguf_key *key = gguf_find(g, k->name);
    if (key && !gguf_get_i64(g, k->name, &v))
        return err_set(err, RC_INVALID, "%s: %s is not one integer, which is not supported",
                       gguf_label(g), k->name);
    if (v < k->lo || v > k->hi)
        return err_set(err, RC_CORRUPT, "%s: %s is %s%lld; %d to %d is possible", gguf_label(g),
                       k->name, key ? "" : "absent or ", (long long)v, k->lo, k->hi);
    *k->to = (int32_t)v;
    return RC_OK;
}

static enum rc read_float(const struct gguf *g, const char *name, double otherwise, float *ret,
                          struct err *err)
{
    double v = otherwise;
    gguf_get_f64(g, name, &v);
    if (!isfinite(v) || v <= 0 || v > 1e12)
        return err_set(err, RC_CORRUPT, "%s: %s is absent or not a positive number", gguf_label(g),
                       name);
    *ret = (float)v;
    return RC_OK;
}

static enum rc refuse_strangers(const struct gguf *g, struct err *err)
{
    struct str arch = STR_NONE, scaling = STR_NONE;
    int64_t experts = 0;
    if (!gguf_get_str(g, "general.architecture", &arch))
        return err_set(err, RC_CORRUPT, "%s: general.architecture is absent", gguf_label(g));
    if (!str_is(arch, "llama"))
        return err_set(err, RC_INVALID, "%s: architecture " STR_FMT " is not supported; llama is",
                       gguf_label(g), STR_ARG(str_sub(arch, 0, 40)));
    if (gguf_get_i64(g, "llama.expert_count", &experts) && experts > 0)
        return err_set(err, RC_INVALID, "%s: mixtures of experts are not supported", gguf_label(g));
    if (gguf_get_str(g, "llama.rope.scaling.type", &scaling) && !str_is(scaling, "none") &&
        !str_is(scaling, "linear"))
        return err_set(err, RC_INVALID, "%s: RoPE scaling " STR_FMT " is not supported",
                       gguf_label(g), STR_ARG(str_sub(scaling, 0, 40)));
    if (gguf_find(g, "llama.attention.sliding_window"))
        return err_set(err, RC_INVALID, "%s: sliding-window attention is not supported",
                       gguf_label(g));
    return RC_OK;
}

static enum rc read_heads(const struct gguf *g, struct config *c, struct err *err)
{
    const struct int_key heads = {"llama.attention.head_count", &c->n_heads, 1, MAX_HEADS, 0};
    enum rc rc = read_int(g, &heads, err);
    if (rc != RC_OK)
        return rc;
    const struct int_key kv = {"llama.attention.head_count_kv", &c->n_kv_heads, 1, MAX_HEADS,
                               c->n_heads};
    int32_t even = c->d_model % c->n_heads == 0 ? c->d_model / c->n_heads : 0;
    const struct int_key dim = {"llama.attention.key_length", &c->head_dim, 2, MAX_HEAD_DIM, even};
    rc = read_int(g, &kv, err);
    if (rc == RC_OK)
        rc = read_int(g, &dim, err);
    if (rc != RC_OK)
        return rc;
    int32_t value_dim = 0;
    const struct int_key value = {"llama.attention.value_length", &value_dim, 2, MAX_HEAD_DIM,
                                  c->head_dim};
    const struct int_key rope = {"llama.rope.dimension_count", &c->rope_dim, 2, MAX_HEAD_DIM,
                                 c->head_dim};
    rc = read_int(g, &value, err);
    if (rc == RC_OK)
        rc = read_int(g, &rope, err);
    if (rc != RC_OK)
        return rc;
    if (c->n_heads % c->n_kv_heads != 0)
        return err_set(err, RC_CORRUPT, "%s: %d heads cannot share %d key heads", gguf_label(g),
                       c->n_heads, c->n_kv_heads);
    if (c->rope_dim > c->head_dim || c->rope_dim % 2 != 0)
        return err_set(err, RC_CORRUPT, "%s: RoPE turns %d of %d dimensions", gguf_label(g),
                       c->rope_dim, c->head_dim);
    if (value_dim != c->head_dim || c->head_dim % 16 != 0)
        return err_set(err, RC_INVALID,
                       "%s: heads of %d and %d are not supported; equal multiples of 16 are",
                       gguf_label(g), c->head_dim, value_dim);
    return RC_OK;
}

enum rc config_read(const struct gguf *g, struct config *ret, struct err *err)
{
    struct config c = {0};
    const struct int_key keys[] = {
        {"llama.block_count", &c.n_layers, 1, MAX_LAYERS, 0},
        {"llama.embedding_length", &c.d_model, 1, MAX_WIDTH, 0},
        {"llama.feed_forward_length", &c.n_ff, 1, MAX_WIDTH, 0},
        {"llama.context_length", &c.n_ctx, 1, MAX_CTX, 0},
    };
    enum rc rc = refuse_strangers(g, err);
    for (size_t i = 0; rc == RC_OK && i < sizeof(keys) / sizeof(keys[0]); i++)
        rc = read_int(g, &keys[i], err);
    if (rc == RC_OK)
        rc = read_heads(g, &c, err);
    if (rc == RC_OK)
        rc = read_float(g, "llama.attention.layer_norm_rms_epsilon", 0, &c.rms_eps, err);
    if (rc == RC_OK)
        rc = read_float(g, "llama.rope.freq_base", 10000, &c.rope_base, err);
    if (rc == RC_OK)
        rc = read_float(g, "llama.rope.scaling.factor", 1, &c.rope_scale, err);
    if (rc == RC_OK)
        *ret = c;
    return rc;
}
