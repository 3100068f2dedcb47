#ifndef SLUICE_GATEWAY_RECOVER_H
#define SLUICE_GATEWAY_RECOVER_H
/* recover - reads a journal that a process left behind and finds the requests that it left open.
 *
 * Only at start-up, before anything is appended. A torn tail (the last record of a killed process,
 * or pages that a power cut dropped) is cut off: it was never reported durable. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "gateway/cells.h"
#include "gateway/shelf.h"
#include "schema/segment.h"

struct recover_segment {
    uint64_t number, end; /* end: bytes that are good */
    bool untouched;       /* nothing was ever written behind its head */
    bool torn;            /* something that is no record lies behind end */
};

/* An OPEN without a CLOSE, in the order of the journal. */
struct recover_open {
    uint64_t segment, offset;
    struct segment_open open;   /* views of the mapped segment */
    struct token_count counted; /* zero when no count was found */
};

struct recover;

/* RC_CORRUPT: a segment's head is broken or belongs to another gateway. The zeros
 * behind the records are cut off and all is synced, but for untouched segments at the end. */
enum rc recover_new(const struct shelf *shelf, const struct cells *cells, struct recover **ret,
                    struct err *err);
void recover_free(struct recover *r);

size_t recover_segments(const struct recover *r, const struct recover_segment **ret);
size_t recover_opens(const struct recover *r, const struct recover_open **ret);

/* Names an OPEN in one number: for cells. */
static inline uint64_t recover_owner(uint64_t segment, uint64_t offset)
{
    return segment << 32 | offset >> 3;
}

#endif
