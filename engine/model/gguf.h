#ifndef SLUICE_ENGINE_MODEL_GGUF_H
#define SLUICE_ENGINE_MODEL_GGUF_H
/* gguf - a model file, distrusted until every byte of its header has been checked.
 *
 * Opening reads the header into our own memory and proves it: counts, lengths, types, names,
 * shapes and offsets, with 128-bit arithmetic where a product could wrap. After that a tensor is
 * a range known to lie inside the file. Tensor bytes are read with pread() through the handle
 * held since opening, so a file that is cut or replaced while we use it is an error, not a SIGBUS.
 * Versions 2 and 3, little-endian. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct card;
struct quant_type;

#define GGUF_MAX_DIMS       4
#define GGUF_MAX_TENSORS    65536
#define GGUF_MAX_KEYS       65536
#define GGUF_MAX_HEADER     (256u << 20) /* bytes before the tensor data */
#define GGUF_MAX_NAME_BYTES 63           /* of a tensor, as in ggml */

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_key {
    struct str name;
    enum gguf_type type; /* of the value, or of an array's elements */
    bool is_array;
    uint64_t n;               /* elements; 1 for a scalar */
    const uint8_t *value;     /* view of the header; numbers are packed and unaligned */
    const struct str *string; /* [n], when type is GGUF_STRING */
};

struct gguf_tensor {
    struct str name;
    const struct quant_type *type;
    int32_t n_dims;
    int64_t dim[GGUF_MAX_DIMS]; /* dim[0] is contiguous; unused ones are 1 */
    uint64_t offset, bytes;     /* in the file; offset + bytes <= its size */
};

struct gguf;

/* RC_CORRUPT with a sentence naming the fault; RC_IO, RC_NOT_FOUND, RC_NO_MEMORY. */
enum rc gguf_open(const char *path, struct gguf **ret, struct err *err);
/* Takes fd, on failure too. `label` names the file in messages. */
enum rc gguf_open_fd(int fd, const char *label, struct gguf **ret, struct err *err);
void gguf_close(struct gguf *g); /* accepts NULL */

size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, struct str name); /* or NULL */

/* RC_CORRUPT when the file has become shorter since it was opened. */
enum rc gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t from, void *to,
                  size_t len, struct err *err);
/* RC_CORRUPT when size or time of the file changed since it was opened. */
enum rc gguf_check_unchanged(const struct gguf *g, struct err *err);

/* Values of the wrong type count as absent; each returns false and leaves *ret alone then. */
const struct gguf_key *gguf_find(const struct gguf *g, const char *name);
bool gguf_get_i64(const struct gguf *g, const char *name, int64_t *ret); /* any integer type */
bool gguf_get_f64(const struct gguf *g, const char *name, double *ret);  /* F32 or F64 */
bool gguf_get_bool(const struct gguf *g, const char *name, bool *ret);
bool gguf_get_str(const struct gguf *g, const char *name, struct str *ret);
/* Element i of an array (or scalar) of an integer type; 0 for another type. */
int64_t gguf_int_at(const struct gguf_key *key, uint64_t i);

/* BLAKE2b-128 of the header and all tensor bytes: reads the whole file. */
enum rc gguf_fingerprint(const struct gguf *g, uint8_t ret[16], struct err *err);

/* Card (engine/text/card.h) of this file: views of g, valid until gguf_close. RC_CORRUPT when the
 * vocabulary contradicts itself. Reads the whole file, for the fingerprint. In card_gguf.c. */
enum rc gguf_card(const struct gguf *g, struct card *ret, struct err *err);

/* Memory that lives as long as g, for views derived from it. NULL when out of memory. */
void *gguf_alloc(const struct gguf *g, size_t n, size_t size);
const char *gguf_label(const struct gguf *g);

#endif
