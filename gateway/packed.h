#ifndef SLUICE_GATEWAY_PACKED_H
#define SLUICE_GATEWAY_PACKED_H
/* packed - a journal record's payload, made on the stack before the journal's lock is taken. */

#include "base/buf.h"
#include "base/err.h"
#include "gateway/price.h"
#include "schema/segment.h"

#define PACKED_ROW_BYTES 2048 /* bound; the true one is worked out from the table of fields */

struct packed {
    enum segment_type type;
    struct str payload; /* view of bytes */
    uint32_t crc;       /* of the payload */
    char bytes[SEGMENT_OPEN_BYTES + PACKED_ROW_BYTES];
};

/* Whether a row can be written and read back: lengths and UTF-8. RC_BAD_INPUT names the field. */
enum rc packed_check(const struct usage *row, struct err *err);
/* The row must have passed packed_check. */
void packed_open(struct packed *p, const struct rate *rate, const struct usage *row);
void packed_close(struct packed *p, uint64_t segment, uint64_t offset, const struct usage *row);

size_t packed_close_bytes(void); /* most that a CLOSE record takes in a segment */

#endif
