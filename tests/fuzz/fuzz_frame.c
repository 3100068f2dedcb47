/* Any bytes: read or refused, never more. What was read writes the same bytes again. The checksum
 * is put right first, so mutations reach the body. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/scoped.h"
#include "schema/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SCOPED_PTR char *copy = malloc(size + 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    struct err err;
    uint32_t len;
    if (size >= FRAME_HEADER_BYTES) {
        memcpy(&len, copy + 8, sizeof len);
        if (len <= size - FRAME_HEADER_BYTES) {
            uint32_t crc = crc32c(0, copy + FRAME_HEADER_BYTES, len);
            memcpy(copy + 12, &crc, sizeof crc);
        }
    }
    SCOPED_ARENA arena;
    arena_init(&arena, 8u << 20);
    SCOPED_BUF again;
    buf_init(&again, FRAME_BODY_MAX + FRAME_HEADER_BYTES);
    struct frame f;
    size_t used;
    if (frame_read(str_make(copy, size), &arena, &f, &used, &err) != RC_OK)
        return 0;
    if (used > size || frame_write(&again, &f, &err) != RC_OK ||
        !str_eq(buf_view(&again), str_make(copy, used)))
        abort();
    return 0;
}
