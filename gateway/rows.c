#include "gateway/rows.h"

#include <inttypes.h>

#include "base/scoped.h"
#include "base/units.h"
#include "schema/segment.h"

static enum rc row_hand_over(const struct segment_record *rec, struct arena *arena,
                             struct rows_take *take, struct err *err)
{
    struct segment_close close;
    struct usage row = {0};
    if (!segment_close_get(rec->payload, &close))
        return err_set(err, RC_CORRUPT, "a CLOSE record is too short");
    enum rc rc = resource_unpack(&resource_usage, close.row, arena, &row, err);
    if (rc == RC_OK)
        take->on_row(take->user, &row);
    arena_reset(arena);
    return rc;
}

static bool is_full(const struct rows_take *take)
{
    return take->rows >= take->max_rows || (take->rows > 0 && take->bytes >= take->max_bytes);
}

static enum rc records_walk(struct str file, uint64_t segment, uint64_t *offset,
                            struct rows_take *take, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, 64 * KIB);
    while (*offset < file.len && !is_full(take)) {
        struct segment_record rec;
        uint64_t at = *offset;
        enum rc rc = RC_OK;
        if (segment_next(file, segment, &at, &rec) != SEGMENT_RECORD)
            rc = RC_CORRUPT;
        else if (rec.type == SEGMENT_CLOSE)
            rc = row_hand_over(&rec, &arena, take, err);
        if (rc != RC_OK)
            return err_set(err, RC_CORRUPT,
                           "journal segment %" PRIx64 " cannot be read at byte %" PRIu64, segment,
                           *offset);
        if (rec.type == SEGMENT_CLOSE) {
            take->rows++;
            take->bytes += rec.payload.len;
        }
        *offset = at;
    }
    return RC_OK;
}

enum rc rows_read(const struct shelf *shelf, uint64_t segment, uint64_t *offset, uint64_t end,
                  struct rows_take *take, bool *ret_all, struct err *err)
{
    struct str file = STR_NONE;
    *offset = MAX_OF(*offset, (uint64_t)SEGMENT_HEAD_BYTES);
    *ret_all = *offset >= end;
    if (*ret_all)
        return RC_OK;
    enum rc rc = shelf_load(shelf, segment, &file, err);
    if (rc != RC_OK)
        return rc;
    if (file.len < end)
        rc =
            err_set(err, RC_CORRUPT, "journal segment %" PRIx64 " is shorter than it was", segment);
    else
        rc = records_walk(str_sub(file, 0, end), segment, offset, take, err);
    *ret_all = *offset >= end;
    shelf_unload(file);
    return rc;
}
