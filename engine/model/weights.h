#ifndef SLUICE_ENGINE_MODEL_WEIGHTS_H
#define SLUICE_ENGINE_MODEL_WEIGHTS_H
/* weights - a model: its shape, its card, and where each tensor of it lies in the file.
 *
 * Every tensor the network needs is there exactly once with the shape that the configuration
 * demands, and there is no other: an unknown tensor (a bias, a norm of q) would change the
 * result, so it is refused by name. Backends copy tensors into the layout they like. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model/config.h"
#include "engine/text/card.h"

struct gguf;
struct gguf_tensor;

struct model_layer {
    const struct gguf_tensor *attn_norm, *ffn_norm; /* [d_model] */
    const struct gguf_tensor *q, *k, *v, *o;        /* rows of q and k come in RoPE pairs */
    const struct gguf_tensor *gate, *up, *down;
};

struct model {
    struct gguf *gguf; /* owned; the card's views point into it */
    struct config config;
    struct card card;
    struct model_layer *layer; /* [n_layers], owned */
    const struct gguf_tensor *embed, *norm;
    const struct gguf_tensor *head;       /* == embed when the output head is tied to it */
    const struct gguf_tensor *rope_freqs; /* [rope_dim / 2] divisors of the frequencies, or NULL */
};

/* RC_NOT_FOUND, RC_CORRUPT, RC_INVALID (not supported), RC_IO, RC_NO_MEMORY. */
enum rc model_open(const char *path, struct model **ret, struct err *err);
void model_close(struct model *m); /* accepts NULL and the half-built */
const struct card *model_card(const struct model *m);

/* Dequantises a vector (n_dims 1) to t->dim[0] floats. */
enum rc model_read_vector(const struct model *m, const struct gguf_tensor *t, float *to,
                          struct err *err);
/* The bytes of rows [from, from + n) of a matrix, as stored; refuses scales that are not finite. */
enum rc model_read_rows(const struct model *m, const struct gguf_tensor *t, int64_t from, int64_t n,
                        void *to, struct err *err);
size_t model_row_bytes(const struct gguf_tensor *t);

#endif
