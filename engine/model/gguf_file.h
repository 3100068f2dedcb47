#ifndef SLUICE_ENGINE_MODEL_GGUF_FILE_H
#define SLUICE_ENGINE_MODEL_GGUF_FILE_H
/* gguf_file - what an open GGUF holds; only gguf.c and gguf_parse.c look inside. */

#include <time.h>

#include "base/arena.h"
#include "engine/model/gguf.h"

struct gguf {
    int fd; /* owned */
    char *label;
    uint64_t file_bytes;
    struct timespec changed; /* modification time at opening */

    uint8_t *header; /* the file's first header_cap bytes, or more than we need of them */
    size_t header_cap;
    uint64_t data_start; /* where the tensor data begin */
    struct arena *arena; /* names, arrays; by pointer so that a const gguf can lend from it */

    struct gguf_key *key;         /* [n_keys], in file order */
    const struct gguf_key **keys; /* [n_keys], by name */
    size_t n_keys;
    struct gguf_tensor *tensor;         /* [n_tensors], in file order */
    const struct gguf_tensor **tensors; /* [n_tensors], by name */
    size_t n_tensors;
};

/* Fills everything from `keys` down out of header[0..header_cap). RC_AGAIN: the header is longer
 * than that; read more and come again with a fresh arena. */
enum rc gguf_parse(struct gguf *g, struct err *err);

#endif
