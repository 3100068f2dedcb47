#ifndef SLUICE_ENGINE_CPU_CPU_MODEL_H
#define SLUICE_ENGINE_CPU_CPU_MODEL_H
/* cpu_model - the weights of a model in the layout of one path, in one block of memory. */

#include "engine/cpu/cpu_ops.h"

struct model;

struct cpu_layer {
    struct weight q, k, v, o, gate, up, down;
    float *attn_norm, *ffn_norm; /* [d_model], views of cpu_model.floats */
};

struct cpu_model {
    struct cpu_layer *layer;    /* [n_layers] */
    struct weight embed, head;  /* the same data when they are tied */
    float *norm;                /* [d_model], view of floats */
    float *inv_freq;            /* [rope_dim / 2] radians for each position, view of floats */
    int32_t n_layers, max_cols; /* the widest matrix has max_cols columns */

    uint8_t *block; /* owned; all panels, mapped with huge pages where there are any */
    size_t block_bytes;
    float *floats; /* owned */
};

/* Reads and packs every tensor. The model must stay what it was while this runs. */
enum rc cpu_model_load(const struct model *m, const struct cpu_ops *ops, struct cpu_model *ret,
                       struct err *err);
void cpu_model_done(struct cpu_model *c); /* accepts a zeroed struct */

/* Zeroed memory straight from the system, with huge pages asked for; NULL when there is none. */
void *cpu_map(size_t bytes);
void cpu_unmap(void *p, size_t bytes); /* accepts NULL */

#endif
