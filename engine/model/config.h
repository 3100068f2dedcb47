#ifndef SLUICE_ENGINE_MODEL_CONFIG_H
#define SLUICE_ENGINE_MODEL_CONFIG_H
/* config - the shape of a Llama-family network, as a GGUF's metadata tell it. */

#include <stdint.h>

#include "base/err.h"

struct gguf;

struct config {
    int32_t n_layers, d_model, n_ff, n_vocab, n_ctx;
    int32_t n_heads, n_kv_heads, head_dim; /* n_heads is a multiple of n_kv_heads */
    int32_t rope_dim;                      /* even, <= head_dim: the part of a head that turns */
    float rope_base, rope_scale;           /* scale divides positions; 1: none */
    float rms_eps;
};

/* RC_CORRUPT: absent or contradictory values. RC_INVALID: a network that we do not serve, with
 * the name of what is missing. Tensors are held against it in weights.c. */
enum rc config_read(const struct gguf *g, struct config *ret, struct err *err);

#endif
