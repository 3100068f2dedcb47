/* gguf_parse.c - the header of a GGUF file, byte by byte.
 *
 * Every read asks first whether the bytes are there. Two answers differ: past the end of the
 * file is a fault; past the part that was read so far is RC_AGAIN. Counts are held against the
 * bytes that remain before anything is allocated for them, so a lie about a count costs nothing. */

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/model/gguf_file.h"
#include "engine/model/quant.h"

#define MAX_ALIGNMENT 65536

struct reader {
    struct gguf *g;
    uint64_t at;
    struct err *err;
};

static const uint8_t value_bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* Lends the next n bytes and steps over them. `what` is for the message. */
static enum rc take(struct reader *r, uint64_t n, const char *what, const uint8_t **ret)
{
    if (n > r->g->file_bytes - r->at)
        return err_set(r->err, RC_CORRUPT, "%s: the file ends inside %s", r->g->label, what);
    if (n > r->g->header_cap - r->at) {
        if (r->at + n > GGUF_MAX_HEADER)
            return err_set(r->err, RC_CORRUPT, "%s: the header has more than %u MiB", r->g->label,
                           GGUF_MAX_HEADER >> 20);
        return RC_AGAIN;
    }
    *ret = r->g->header + r->at;
    r->at += n;
    return RC_OK;
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static enum rc take_int(struct reader *r, int n, const char *what, uint64_t *ret)
{
    const uint8_t *p;
    enum rc rc = take(r, (uint64_t)n, what, &p);
    if (rc == RC_OK)
        *ret = little(p, n);
    return rc;
}

static enum rc take_str(struct reader *r, const char *what, struct str *ret)
{
    uint64_t len = 0;
    const uint8_t *p;
    enum rc rc = take_int(r, 8, what, &len);
    if (rc == RC_OK)
        rc = take(r, len, what, &p);
    if (rc == RC_OK)
        *ret = str_make((const char *)p, (size_t)len);
    return rc;
}

static enum rc no_memory(struct reader *r)
{
    return err_set(r->err, RC_NO_MEMORY, "%s: no memory for its header", r->g->label);
}

static enum rc parse_start(struct reader *r)
{
    const uint8_t *magic;
    uint64_t version = 0, tensors = 0, keys = 0;
    enum rc rc = take(r, 4, "its first four bytes", &magic);
    if (rc != RC_OK)
        return rc;
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(r->err, RC_CORRUPT, "%s is not a GGUF file (its first bytes are not GGUF)",
                       r->g->label);
    rc = take_int(r, 4, "the version", &version);
    if (rc != RC_OK)
        return rc;
    if (version != 2 && version != 3)
        return err_set(r->err, RC_CORRUPT, "%s: GGUF version %u%s; 2 and 3 are read", r->g->label,
                       (unsigned)version, (version & 0xffff) == 0 ? " (a big-endian file?)" : "");
    rc = take_int(r, 8, "the tensor count", &tensors);
    if (rc == RC_OK)
        rc = take_int(r, 8, "the key count", &keys);
    if (rc != RC_OK)
        return rc;
    if (tensors > GGUF_MAX_TENSORS)
        return err_set(r->err, RC_CORRUPT, "%s: %llu tensors; at most %u are read", r->g->label,
                       (unsigned long long)tensors, GGUF_MAX_TENSORS);
    if (keys > GGUF_MAX_KEYS)
        return err_set(r->err, RC_CORRUPT, "%s: %llu keys; at most %u are read", r->g->label,
                       (unsigned long long)keys, GGUF_MAX_KEYS);
    r->g->n_tensors = (size_t)tensors;
    r->g->n_keys = (size_t)keys;
    return RC_OK;
}

/* The strings of an array, or the one string of a scalar. A string has at least its 8 bytes of
 * length, so n is bounded by what remains. */
static enum rc parse_strings(struct reader *r, struct gguf_key *key)
{
    if (key->n > (r->g->file_bytes - r->at) / 8)
        return err_set(r->err, RC_CORRUPT, "%s: key " STR_FMT " claims %llu strings", r->g->label,
                       STR_ARG(key->name), (unsigned long long)key->n);
    if (key->n > (r->g->header_cap - r->at) / 8) /* do not allocate for what is not here yet */
        return r->at + 8 * key->n > GGUF_MAX_HEADER
                   ? err_set(r->err, RC_CORRUPT, "%s: the header has more than %u MiB", r->g->label,
                             GGUF_MAX_HEADER >> 20)
                   : RC_AGAIN;
    struct str *list = ARENA_ARRAY(r->g->arena, struct str, (size_t)key->n + 1);
    if (!list)
        return no_memory(r);
    for (uint64_t i = 0; i < key->n; i++) {
        enum rc rc = take_str(r, "a string value", &list[i]);
        if (rc != RC_OK)
            return rc;
    }
    key->string = list;
    return RC_OK;
}

static enum rc parse_type(struct reader *r, struct gguf_key *key)
{
    uint64_t type = 0;
    enum rc rc = take_int(r, 4, "a value's type", &type);
    if (rc == RC_OK && type == GGUF_ARRAY) {
        key->is_array = true;
        rc = take_int(r, 4, "an array's type", &type);
        if (rc == RC_OK)
            rc = take_int(r, 8, "an array's length", &key->n);
        if (rc == RC_OK && type == GGUF_ARRAY)
            return err_set(r->err, RC_CORRUPT, "%s: key " STR_FMT " is an array of arrays",
                           r->g->label, STR_ARG(key->name));
    }
    if (rc != RC_OK)
        return rc;
    if (type >= GGUF_TYPE_COUNT)
        return err_set(r->err, RC_CORRUPT, "%s: key " STR_FMT " has the unknown type %llu",
                       r->g->label, STR_ARG(key->name), (unsigned long long)type);
    key->type = (enum gguf_type)type;
    return RC_OK;
}

static enum rc parse_key(struct reader *r, struct gguf_key *key)
{
    enum rc rc = take_str(r, "a key's name", &key->name);
    if (rc != RC_OK)
        return rc;
    if (key->name.len == 0 || key->name.len > 65535 || !str_is_utf8(key->name))
        return err_set(r->err, RC_CORRUPT, "%s: a key has an empty, overlong or non-UTF-8 name",
                       r->g->label);
    key->n = 1;
    rc = parse_type(r, key);
    if (rc != RC_OK)
        return rc;
    if (key->type == GGUF_STRING)
        return parse_strings(r, key);
    if (key->n > UINT64_MAX / 8)
        return err_set(r->err, RC_CORRUPT, "%s: key " STR_FMT " claims %llu values", r->g->label,
                       STR_ARG(key->name), (unsigned long long)key->n);
    return take(r, key->n * value_bytes[key->type], "a value", &key->value);
}

static int by_key_name(const void *a, const void *b)
{
    const struct gguf_key *const *x = a, *const *y = b;
    return str_cmp((*x)->name, (*y)->name);
}

static enum rc parse_keys(struct reader *r)
{
    struct gguf *g = r->g;
    if (g->n_keys > (g->file_bytes - r->at) / 13) /* 8 of length, 4 of type, 1 of value */
        return err_set(r->err, RC_CORRUPT, "%s: %zu keys do not fit in the file", g->label,
                       g->n_keys);
    g->key = ARENA_ARRAY(g->arena, struct gguf_key, g->n_keys + 1);
    g->keys = ARENA_ARRAY(g->arena, const struct gguf_key *, g->n_keys + 1);
    if (!g->key || !g->keys)
        return no_memory(r);
    for (size_t i = 0; i < g->n_keys; i++) {
        enum rc rc = parse_key(r, &g->key[i]);
        if (rc != RC_OK)
            return rc;
        g->keys[i] = &g->key[i];
    }
    qsort(g->keys, g->n_keys, sizeof(g->keys[0]), by_key_name);
    for (size_t i = 1; i < g->n_keys; i++) {
        if (str_eq(g->keys[i]->name, g->keys[i - 1]->name))
            return err_set(r->err, RC_CORRUPT, "%s: key " STR_FMT " appears twice", g->label,
                           STR_ARG(g->keys[i]->name));
    }
    return RC_OK;
}

static enum rc parse_alignment(struct reader *r, uint64_t *ret)
{
    const struct gguf_key *key = gguf_find(r->g, "general.alignment");
    *ret = 32;
    if (!key)
        return RC_OK;
    if (key->type != GGUF_U32 || key->is_array)
        return err_set(r->err, RC_CORRUPT, "%s: general.alignment is not a U32", r->g->label);
    *ret = little(key->value, 4);
    if (*ret == 0 || (*ret & (*ret - 1)) != 0 || *ret > MAX_ALIGNMENT)
        return err_set(r->err, RC_CORRUPT, "%s: general.alignment %llu is not a power of two <= %d",
                       r->g->label, (unsigned long long)*ret, MAX_ALIGNMENT);
    return RC_OK;
}

static enum rc parse_shape(struct reader *r, struct gguf_tensor *t, unsigned __int128 *ret_count)
{
    uint64_t n_dims = 0;
    enum rc rc = take_int(r, 4, "a tensor's dimensions", &n_dims);
    if (rc != RC_OK)
        return rc;
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
        return err_set(r->err, RC_CORRUPT, "%s: tensor " STR_FMT " has %llu dimensions",
                       r->g->label, STR_ARG(t->name), (unsigned long long)n_dims);
    t->n_dims = (int32_t)n_dims;
    *ret_count = 1;
    for (int32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        uint64_t dim = 1;
        if (i < t->n_dims)
            rc = take_int(r, 8, "a tensor's dimensions", &dim);
        if (rc != RC_OK)
            return rc;
        /* Four factors below 2^31 wrap 64 bits but not 128. */
        if (dim == 0 || dim > INT32_MAX)
            return err_set(r->err, RC_CORRUPT, "%s: tensor " STR_FMT " has a dimension of %llu",
                           r->g->label, STR_ARG(t->name), (unsigned long long)dim);
        t->dim[i] = (int64_t)dim;
        *ret_count *= dim;
    }
    return RC_OK;
}

/* The offset is relative to the data for now; `next` is where it has to be. */
static enum rc parse_tensor(struct reader *r, struct gguf_tensor *t, uint64_t align,
                            unsigned __int128 *next)
{
    const char *label = r->g->label;
    unsigned __int128 count = 0;
    uint64_t type = 0;
    enum rc rc = take_str(r, "a tensor's name", &t->name);
    if (rc != RC_OK)
        return rc;
    if (t->name.len == 0 || t->name.len > GGUF_MAX_NAME_BYTES || !str_is_utf8(t->name))
        return err_set(r->err, RC_CORRUPT, "%s: a tensor's name has %zu bytes, or is not UTF-8",
                       label, t->name.len);
    rc = parse_shape(r, t, &count);
    if (rc == RC_OK)
        rc = take_int(r, 4, "a tensor's type", &type);
    if (rc == RC_OK)
        rc = take_int(r, 8, "a tensor's offset", &t->offset);
    if (rc != RC_OK)
        return rc;
    t->type = quant_find((uint32_t)type);
    if (!t->type)
        return err_set(r->err, RC_CORRUPT, "%s: tensor " STR_FMT " has the unknown type %llu",
                       label, STR_ARG(t->name), (unsigned long long)type);
    if (t->dim[0] % t->type->block != 0)
        return err_set(r->err, RC_CORRUPT,
                       "%s: rows of tensor " STR_FMT " have %lld elements, not blocks of %d (%s)",
                       label, STR_ARG(t->name), (long long)t->dim[0], t->type->block,
                       t->type->name);
    unsigned __int128 bytes = count / (unsigned)t->type->block * (unsigned)t->type->block_bytes;
    if (bytes > r->g->file_bytes)
        return err_set(r->err, RC_CORRUPT, "%s: tensor " STR_FMT " is larger than the file", label,
                       STR_ARG(t->name));
    if (t->offset != *next)
        return err_set(r->err, RC_CORRUPT,
                       "%s: tensor " STR_FMT " lies at offset %llu, not where the one before ends",
                       label, STR_ARG(t->name), (unsigned long long)t->offset);
    t->bytes = (uint64_t)bytes;
    *next = (*next + bytes + align - 1) / align * align;
    return RC_OK;
}

static int by_tensor_name(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return str_cmp((*x)->name, (*y)->name);
}

static enum rc index_tensors(struct reader *r)
{
    struct gguf *g = r->g;
    for (size_t i = 0; i < g->n_tensors; i++)
        g->tensors[i] = &g->tensor[i];
    qsort(g->tensors, g->n_tensors, sizeof(g->tensors[0]), by_tensor_name);
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (str_eq(g->tensors[i]->name, g->tensors[i - 1]->name))
            return err_set(r->err, RC_CORRUPT, "%s: tensor " STR_FMT " appears twice", g->label,
                           STR_ARG(g->tensors[i]->name));
    }
    return RC_OK;
}

static enum rc parse_tensors(struct reader *r)
{
    struct gguf *g = r->g;
    uint64_t align = 0;
    enum rc rc = parse_alignment(r, &align);
    if (rc != RC_OK)
        return rc;
    if (g->n_tensors > (g->file_bytes - r->at) / 33) /* the least a tensor's entry takes */
        return err_set(r->err, RC_CORRUPT, "%s: %zu tensors do not fit in the file", g->label,
                       g->n_tensors);
    g->tensor = ARENA_ARRAY(g->arena, struct gguf_tensor, g->n_tensors + 1);
    g->tensors = ARENA_ARRAY(g->arena, const struct gguf_tensor *, g->n_tensors + 1);
    if (!g->tensor || !g->tensors)
        return no_memory(r);
    unsigned __int128 next = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        rc = parse_tensor(r, &g->tensor[i], align, &next);
        if (rc != RC_OK)
            return rc;
    }
    g->data_start = (r->at + align - 1) / align * align;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensor[i];
        if ((unsigned __int128)g->data_start + t->offset + t->bytes > g->file_bytes)
            return err_set(r->err, RC_CORRUPT, "%s: the file ends inside tensor " STR_FMT, g->label,
                           STR_ARG(t->name));
        t->offset += g->data_start;
    }
    return index_tensors(r);
}

enum rc gguf_parse(struct gguf *g, struct err *err)
{
    struct reader r = {.g = g, .err = err};
    enum rc rc = parse_start(&r);
    if (rc == RC_OK)
        rc = parse_keys(&r);
    if (rc == RC_OK)
        rc = parse_tensors(&r);
    return rc;
}
