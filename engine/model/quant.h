#ifndef SLUICE_ENGINE_MODEL_QUANT_H
#define SLUICE_ENGINE_MODEL_QUANT_H
/* quant - the number formats of a GGUF file, and the plain meaning of each.
 *
 * The dequantisers here are the definition that every fast path is compared with. Tensor types
 * are ggml's numbers; they come from a foreign file, so look them up, never index with them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quant_id {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_BF16 = 30,
};

struct quant_type {
    uint32_t id;
    const char *name;
    int32_t block; /* elements in a block */
    int32_t block_bytes;
    int32_t group; /* elements that share a scale; 0: plain numbers */
    /* One block as integers: element i is d[i / group] * q[i] + m[i / group]. NULL for plain
     * numbers, and for types that we know but do not serve. */
    void (*split)(const uint8_t *block, int8_t *q, float *d, float *m);
    void (*widen)(const uint8_t *src, int64_t n, float *to); /* plain numbers to floats, or NULL */
};

#define QUANT_BLOCK_MAX 256

const struct quant_type *quant_find(uint32_t id); /* NULL: no such type */
bool quant_is_served(const struct quant_type *type);

/* n_blocks blocks at src to n_blocks * type->block floats, of a type that is served. */
void quant_dequantise(const struct quant_type *type, const uint8_t *src, int64_t n_blocks,
                      float *to);

/* Are all the scales finite? One Inf in a scale would turn a row of logits into NaN. */
bool quant_is_finite(const struct quant_type *type, const uint8_t *src, int64_t n_blocks);

float quant_f16_to_f32(uint16_t h);
uint16_t quant_f32_to_f16(float f); /* nearest, ties to even */

#endif
