#ifndef SLUICE_ENGINE_CPU_FORWARD_H
#define SLUICE_ENGINE_CPU_FORWARD_H
/* forward - one pass of a batch through the network, by all threads of the crew together. */

#include "engine/cpu/cpu_model.h"
#include "engine/cpu/cpu_ops.h"
#include "engine/cpu/threads.h"
#include "engine/model/config.h"
#include "engine/ops.h"

/* Buffers of one thread. */
struct lane {
    struct act few;    /* up to FORWARD_FEW rows of the widest input, made by each for itself */
    float *few_x;      /* the thread's own rows for few.x, which may point elsewhere */
    float *gate, *up;  /* [CPU_TILE_ROWS][2 panels] */
    float *run, *part; /* attention sums of the query heads of one kv head */
    void *scratch;     /* of matmul */
    uint8_t *memory;   /* owned: all of the above */
    size_t memory_bytes;
};

#define FORWARD_FEW 2 /* rows so few that all threads normalise them, rather than wait */

struct forward {
    const struct config *config; /* view of the model's */
    const struct cpu_ops *ops;
    struct cpu_model model;
    struct threads *crew;
    struct lane *lane; /* [threads] */

    uint8_t *pool; /* n_pages pages of [layer][K, V][kv_head][16][head_dim] */
    size_t page_bytes, pool_bytes;
    int32_t n_pages, max_batch, max_out;

    float *x, *picked;          /* [max_batch or max_out][d_model] the residual stream */
    float *qkv;                 /* [max_batch][q, k, v of all heads] */
    float *cos_sin;             /* [max_batch][rope_dim] */
    struct act in, mixed, wide; /* inputs of the blocks, of o, of down */
    float *parts;               /* attention in parts; parts_max of them */
    size_t parts_max;
    uint8_t *memory; /* owned: all of the above but the pool */
    size_t memory_bytes;
};

enum rc forward_init(struct forward *f, const struct config *config,
                     const struct backend_opts *opts, struct err *err);
void forward_done(struct forward *f); /* accepts the half-built */

/* The batch has been checked. */
void forward_run(struct forward *f, const struct batch *batch);

/* Floats in one part of attention. */
static inline size_t forward_part_floats(const struct config *c)
{
    return (size_t)(c->n_heads / c->n_kv_heads) * (size_t)(c->head_dim + CPU_PART_EXTRA);
}

#endif
