/* gguf.c - see gguf.h. The header is read in growing pieces until it parses: its length stands
 * nowhere in the file. */

#include "engine/model/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "engine/model/gguf_file.h"

#define FIRST_READ        (4 * MIB)
#define ARENA_MAX         GIB
#define PIECE             MIB /* of the file, when all of it is hashed */
#define FINGERPRINT_BYTES 16

static enum rc read_at(const struct gguf *g, uint64_t from, void *to, size_t len, struct err *err)
{
    uint8_t *p = to;
    while (len > 0) {
        ssize_t n = pread(g->fd, p, len, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot read %s", g->label);
        if (n == 0)
            return err_set(err, RC_CORRUPT, "%s became shorter while it was read", g->label);
        p += n;
        from += (uint64_t)n;
        len -= (size_t)n;
    }
    return RC_OK;
}

static enum rc read_header(struct gguf *g, size_t want, struct err *err)
{
    if (want > g->file_bytes)
        want = (size_t)g->file_bytes;
    uint8_t *bigger = realloc(g->header, want + 1);
    if (!bigger)
        return err_set(err, RC_NO_MEMORY, "no memory for the header of %s", g->label);
    g->header = bigger;
    enum rc rc = read_at(g, g->header_cap, g->header + g->header_cap, want - g->header_cap, err);
    g->header_cap = want;
    return rc;
}

static enum rc load_header(struct gguf *g, struct err *err)
{
    enum rc rc = RC_AGAIN;
    for (size_t want = FIRST_READ; rc == RC_AGAIN; want *= 2) {
        rc = read_header(g, want, err);
        if (rc == RC_OK) {
            arena_done(g->arena);
            arena_init(g->arena, ARENA_MAX);
            rc = gguf_parse(g, err);
        }
    }
    return rc;
}

static enum rc inspect(struct gguf *g, struct err *err)
{
    struct stat st;
    if (fstat(g->fd, &st) != 0)
        return err_errno(err, errno, "cannot look at %s", g->label);
    if (!S_ISREG(st.st_mode))
        return err_set(err, RC_BAD_INPUT, "%s is not a file", g->label);
    g->file_bytes = (uint64_t)st.st_size;
    g->changed = st.st_mtim;
    return load_header(g, err);
}

enum rc gguf_open_fd(int fd, const char *label, struct gguf **ret, struct err *err)
{
    struct gguf *g = calloc(1, sizeof(*g));
    if (!g) {
        close(fd);
        return err_set(err, RC_NO_MEMORY, "no memory to open %s", label);
    }
    g->fd = fd;
    g->label = strdup(label);
    g->arena = calloc(1, sizeof(*g->arena));
    enum rc rc =
        g->label && g->arena ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory to open %s", label);
    if (rc == RC_OK)
        rc = inspect(g, err);
    if (rc == RC_OK)
        *ret = g;
    else
        gguf_close(g);
    return rc;
}

enum rc gguf_open(const char *path, struct gguf **ret, struct err *err)
{
    const char *slash = strrchr(path, '/');
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, RC_NOT_FOUND, "there is no file %s", path);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    return gguf_open_fd(fd, slash ? slash + 1 : path, ret, err);
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    if (g->arena)
        arena_done(g->arena);
    free(g->arena);
    free(g->header);
    free(g->label);
    close(g->fd);
    free(g);
}

const char *gguf_label(const struct gguf *g)
{
    return g->label;
}

void *gguf_alloc(const struct gguf *g, size_t n, size_t size)
{
    return arena_alloc(g->arena, n, size);
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    ASSERT(i < g->n_tensors);
    return &g->tensor[i];
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, struct str name)
{
    size_t lo = 0, hi = g->n_tensors;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = str_cmp(name, g->tensors[mid]->name);
        if (order == 0)
            return g->tensors[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

enum rc gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t from, void *to,
                  size_t len, struct err *err)
{
    ASSERT(from <= t->bytes && len <= t->bytes - from);
    return read_at(g, t->offset + from, to, len, err);
}

enum rc gguf_check_unchanged(const struct gguf *g, struct err *err)
{
    struct stat st;
    if (fstat(g->fd, &st) != 0)
        return err_errno(err, errno, "cannot look at %s", g->label);
    if ((uint64_t)st.st_size != g->file_bytes || st.st_mtim.tv_sec != g->changed.tv_sec ||
        st.st_mtim.tv_nsec != g->changed.tv_nsec)
        return err_set(err, RC_CORRUPT, "%s was changed while it was read", g->label);
    return RC_OK;
}

const struct gguf_key *gguf_find(const struct gguf *g, const char *name)
{
    struct str want = str_of(name);
    size_t lo = 0, hi = g->n_keys;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = str_cmp(want, g->keys[mid]->name);
        if (order == 0)
            return g->keys[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static const struct gguf_key *find_scalar(const struct gguf *g, const char *name)
{
    const struct gguf_key *key = gguf_find(g, name);
    return key && !key->is_array ? key : NULL;
}

static bool is_int(enum gguf_type type)
{
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

/* A fixed-size load at an address of any alignment; the host is little-endian, as the file is. */
#define LOAD_AT(type, p, i)                                                                        \
    __extension__({                                                                                \
        type load_v;                                                                               \
        memcpy(&load_v, (p) + (i) * sizeof(type), sizeof(type));                                   \
        load_v;                                                                                    \
    })

int64_t gguf_int_at(const struct gguf_key *key, uint64_t i)
{
    ASSERT(i < key->n);
    switch (key->type) {
    case GGUF_U8:
        return LOAD_AT(uint8_t, key->value, i);
    case GGUF_I8:
        return LOAD_AT(int8_t, key->value, i);
    case GGUF_U16:
        return LOAD_AT(uint16_t, key->value, i);
    case GGUF_I16:
        return LOAD_AT(int16_t, key->value, i);
    case GGUF_U32:
        return LOAD_AT(uint32_t, key->value, i);
    case GGUF_I32:
        return LOAD_AT(int32_t, key->value, i);
    case GGUF_U64:
    case GGUF_I64:
        return LOAD_AT(int64_t, key->value, i);
    default:
        return 0;
    }
}

bool gguf_get_i64(const struct gguf *g, const char *name, int64_t *ret)
{
    const struct gguf_key *key = find_scalar(g, name);
    if (!key || !is_int(key->type))
        return false;
    int64_t v = gguf_int_at(key, 0);
    if (key->type == GGUF_U64 && v < 0)
        return false;
    *ret = v;
    return true;
}

bool gguf_get_f64(const struct gguf *g, const char *name, double *ret)
{
    const struct gguf_key *key = find_scalar(g, name);
    if (!key || (key->type != GGUF_F32 && key->type != GGUF_F64))
        return false;
    *ret = key->type == GGUF_F32 ? (double)LOAD_AT(float, key->value, 0)
                                 : LOAD_AT(double, key->value, 0);
    return true;
}

bool gguf_get_bool(const struct gguf *g, const char *name, bool *ret)
{
    const struct gguf_key *key = find_scalar(g, name);
    if (!key || key->type != GGUF_BOOL)
        return false;
    *ret = key->value[0] != 0;
    return true;
}

bool gguf_get_str(const struct gguf *g, const char *name, struct str *ret)
{
    const struct gguf_key *key = find_scalar(g, name);
    if (!key || key->type != GGUF_STRING)
        return false;
    *ret = key->string[0];
    return true;
}

enum rc gguf_fingerprint(const struct gguf *g, uint8_t ret[FINGERPRINT_BYTES], struct err *err)
{
    SCOPED_PTR uint8_t *piece = malloc(PIECE);
    struct hash_state hash;
    if (!piece)
        return err_set(err, RC_NO_MEMORY, "no memory to read %s", g->label);
    hash_begin(&hash, FINGERPRINT_BYTES, NULL, 0);
    for (uint64_t at = 0; at < g->file_bytes;) {
        size_t n = (size_t)MIN_OF((uint64_t)PIECE, g->file_bytes - at);
        enum rc rc = read_at(g, at, piece, n, err);
        if (rc != RC_OK)
            return rc;
        hash_add(&hash, piece, n);
        at += n;
    }
    hash_end(&hash, ret, FINGERPRINT_BYTES);
    return RC_OK;
}
