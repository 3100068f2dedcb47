#ifndef SLUICE_TESTS_UNIT_GGUF_MAKER_H
#define SLUICE_TESTS_UNIT_GGUF_MAKER_H
/* gguf_maker - writes small GGUF files into memory, right or wrong in any field, and opens them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "engine/model/gguf.h"

static inline void put(struct buf *b, const void *p, size_t n)
{
    buf_add(b, p, n);
}

static inline void put_u32(struct buf *b, uint32_t v)
{
    put(b, &v, 4);
}

static inline void put_u64(struct buf *b, uint64_t v)
{
    put(b, &v, 8);
}

static inline void put_text(struct buf *b, const char *z)
{
    put_u64(b, strlen(z));
    put(b, z, strlen(z));
}

static inline void put_head(struct buf *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, keys);
}

static inline void put_key_u32(struct buf *b, const char *name, uint32_t v)
{
    put_text(b, name);
    put_u32(b, GGUF_U32);
    put_u32(b, v);
}

static inline void put_key_f32(struct buf *b, const char *name, float v)
{
    put_text(b, name);
    put_u32(b, GGUF_F32);
    put(b, &v, 4);
}

static inline void put_key_str(struct buf *b, const char *name, const char *v)
{
    put_text(b, name);
    put_u32(b, GGUF_STRING);
    put_text(b, v);
}

static inline void put_tensor(struct buf *b, const char *name, uint32_t n_dims, const uint64_t *dim,
                              uint32_t type, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, dim[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_zeros(struct buf *b, size_t n)
{
    static const char zeros[4096];
    for (; n > 0; n -= n < sizeof(zeros) ? n : sizeof(zeros))
        put(b, zeros, n < sizeof(zeros) ? n : sizeof(zeros));
}

static inline void put_alignment(struct buf *b, size_t align)
{
    put_zeros(b, (align - b->len % align) % align);
}

/* A file in memory of these bytes; -1 when the system has none to give. */
static inline int fd_of(const void *bytes, size_t n)
{
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < n;) {
        ssize_t w = write(fd, (const char *)bytes + at, n - at);
        if (w <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)w;
    }
    return fd;
}

static inline enum rc open_bytes(const void *bytes, size_t n, struct gguf **ret, struct err *err)
{
    return gguf_open_fd(fd_of(bytes, n), "made.gguf", ret, err);
}

#endif
