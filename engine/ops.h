#ifndef SLUICE_ENGINE_OPS_H
#define SLUICE_ENGINE_OPS_H
/* ops - what a backend (CPU now, CUDA later) must be able to do. The scheduler, the tests and the
 * benchmarks are its users; they know nothing of threads, instruction sets or devices.
 *
 * Promise of every backend: a row's logits depend only on the tokens of its own sequence. Batch
 * size, chunking, neighbours and cached prefixes change nothing, to the bit. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KV_PAGE_TOKENS 16

struct model; /* engine/model/weights.h */

struct backend_opts {
    int n_threads; /* 0: one per core this process may use */
    /* "auto" (or NULL), "scalar", "avx2", "avx512": what the CPU lacks is RC_INVALID. */
    const char *path;
    int32_t n_pages;   /* size of the KV pool, fixed for life */
    int32_t max_batch; /* most rows one forward may hold: the token budget of a step */
    int32_t max_out;   /* most rows of logits one forward may ask for */
};

/* One forward pass over B rows from S sequences. Rows of one sequence are consecutive and in
 * order of position; position p of a sequence lives in page page_of[p / 16], slot p % 16. Pages
 * that hold positions below a row's own must be filled by earlier rows or earlier calls. */
struct batch {
    int32_t n_rows;       /* B, 1..max_batch */
    const int32_t *token; /* [B] vocabulary ids */
    const int32_t *pos;   /* [B] */
    const int32_t *seq;   /* [B] index into page_of */
    int32_t n_seqs;       /* S */
    const int32_t *const
        *page_of;           /* [S] page numbers of each sequence, long enough for its last row */
    int32_t n_out;          /* 0..max_out */
    const int32_t *out_row; /* [n_out] rows whose logits are wanted, ascending */
    float *logits;          /* [n_out, vocab], written here, owned by the caller */
};

/* One caller at a time. */
struct backend {
    const struct backend_ops *ops;
};

struct backend_ops {
    const char *name; /* "cpu" */

    /* The model outlives the backend. */
    enum rc (*open)(const struct model *model, const struct backend_opts *opts,
                    struct backend **ret, struct err *err);
    void (*close)(struct backend *b); /* accepts NULL */

    /* RC_BAD_INPUT when the batch breaks the rules above; nothing is written then. */
    enum rc (*forward)(struct backend *b, const struct batch *batch, struct err *err);

    void (*page_copy)(struct backend *b, int32_t dst, int32_t src);
    size_t (*page_bytes)(const struct backend *b); /* of one page over all layers, K and V */
    const char *(*path)(const struct backend *b);  /* the path chosen: "avx2" */
    int (*n_threads)(const struct backend *b);
};

extern const struct backend_ops backend_cpu; /* engine/cpu/backend.c */

#endif
