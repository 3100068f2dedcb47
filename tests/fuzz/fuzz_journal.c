/* fuzz_journal - a journal segment, its records and a packed usage row, from any bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/units.h"
#include "schema/resource.h"
#include "schema/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WALK_MAX = 1 << 16 };

/* What can be read can be written and read again, and is the same. */
static void row_try(struct str packed, struct arena *arena)
{
    struct usage row = {0}, again = {0};
    struct buf buf, second;
    buf_init(&buf, 64 * KIB);
    buf_init(&second, 64 * KIB);
    if (resource_unpack(&resource_usage, packed, arena, &row, NULL) == RC_OK) {
        resource_pack(&resource_usage, &row, &buf);
        enum rc rc = resource_unpack(&resource_usage, buf_view(&buf), arena, &again, NULL);
        ASSERT(rc == RC_OK);
        resource_pack(&resource_usage, &again, &second);
        ASSERT(str_eq(buf_view(&buf), buf_view(&second)));
    }
    buf_done(&buf);
    buf_done(&second);
}

static void payload_try(struct str payload, struct arena *arena)
{
    struct segment_open open;
    struct segment_close close;
    if (segment_open_get(payload, &open))
        row_try(open.row, arena);
    if (segment_close_get(payload, &close))
        row_try(close.row, arena);
    arena_reset(arena);
}

static void segment_walk(struct str file, uint64_t segment, struct arena *arena)
{
    uint64_t at = SEGMENT_HEAD_BYTES, before = at;
    struct segment_record rec;
    for (int i = 0; i < WALK_MAX && segment_next(file, segment, &at, &rec) == SEGMENT_RECORD; i++) {
        ASSERT(at > before && at <= file.len && rec.offset == before);
        ASSERT(rec.payload.p >= file.p && rec.payload.p + rec.payload.len <= file.p + at);
        payload_try(rec.payload, arena);
        before = at;
    }
}

/* The bytes as a payload with the right checksum: what a checksum cannot keep out. */
static void wrapped(const uint8_t *data, size_t size, struct arena *arena)
{
    static uint8_t file[SEGMENT_HEAD_BYTES + SEGMENT_RECORD_BYTES + SEGMENT_PAYLOAD_MAX + 32];
    struct segment_head head = {.segment = 7, .created_ms = 1};
    struct segment_head got;
    struct str payload = {(const char *)data, MIN_OF(size, (size_t)SEGMENT_PAYLOAD_MAX)};
    memset(file, 0, sizeof file);
    segment_head_put(&head, file);
    segment_record_put(file + SEGMENT_HEAD_BYTES, 7, SEGMENT_HEAD_BYTES, SEGMENT_CLOSE, payload,
                       crc32c(0, payload.p, payload.len));
    struct str view = {(const char *)file, sizeof file};
    enum rc rc = segment_head_get(view, &got, NULL);
    ASSERT(rc == RC_OK && got.segment == 7);
    uint64_t at = SEGMENT_HEAD_BYTES;
    struct segment_record rec;
    ASSERT(segment_next(view, 7, &at, &rec) == SEGMENT_RECORD && str_eq(rec.payload, payload));
    ASSERT(segment_next(view, 7, &at, &rec) == SEGMENT_END);
    segment_walk(view, 7, arena);
    segment_walk(view, 8, arena); /* of another place: not one record */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str file = {(const char *)data, size};
    struct segment_head head = {.segment = 1};
    struct arena arena;
    uint64_t number;
    arena_init(&arena, 1 * MIB);
    (void)segment_name_parse(file, &number);
    if (segment_head_get(file, &head, NULL) != RC_OK)
        head.segment = 1;
    segment_walk(file, head.segment, &arena);
    payload_try(file, &arena);
    wrapped(data, size, &arena);
    arena_done(&arena);
    return 0;
}
