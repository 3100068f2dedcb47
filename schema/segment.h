#ifndef SLUICE_SCHEMA_SEGMENT_H
#define SLUICE_SCHEMA_SEGMENT_H
/* segment - what the gateway's usage journal looks like on disk. The gateway writes it; `sluice
 * verify` reads the same files.
 *
 * A journal is a folder of files named by segment number, 16 hex digits and ".seg". Each starts
 * with a head; records follow, aligned to 8 bytes, and zeros up to the end of the file.
 * Little-endian.
 *
 *   head    magic "SLJ1" | version u32 | segment u64 | created wall ms i64 | gateway 40 bytes |
 *           zeros up to byte 124 | crc32c of the 124 bytes before
 *   record  payload length u32 | type u32 | crc u32 | zero u32 | payload | zeros up to 8
 *   OPEN    prices per token in pico-units, i64: input, cached, output | packed usage row
 *   CLOSE   place of its OPEN: segment u64, offset u64 | packed usage row
 *
 * The crc covers payload, length, type and the record's place, so that bytes of another place are
 * never taken for a record. The first header that is all zero ends the records; anything else that
 * does not check is a torn tail and ends them too. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define SEGMENT_HEAD_BYTES    128
#define SEGMENT_RECORD_BYTES  16 /* of a record's own header */
#define SEGMENT_PAYLOAD_MAX   4096
#define SEGMENT_NAME_BYTES    24
#define SEGMENT_GATEWAY_BYTES 40

enum segment_type { SEGMENT_OPEN = 1, SEGMENT_CLOSE = 2 };

struct segment_head {
    uint64_t segment;
    int64_t created_ms;
    char gateway[SEGMENT_GATEWAY_BYTES]; /* NUL-terminated */
};

void segment_name(uint64_t segment, char ret[SEGMENT_NAME_BYTES]);
bool segment_name_parse(struct str name, uint64_t *ret_segment);

void segment_head_put(const struct segment_head *head, uint8_t to[SEGMENT_HEAD_BYTES]);
enum rc segment_head_get(struct str file, struct segment_head *ret, struct err *err);

/* Bytes that a record with this payload takes in the file. */
size_t segment_record_bytes(size_t payload_bytes);
/* Writes it at `to`, which is the place (segment, offset): payload first, header last. The
 * payload's own crc32c was made before, outside of any lock. */
void segment_record_put(uint8_t *to, uint64_t segment, uint64_t offset, enum segment_type type,
                        struct str payload, uint32_t payload_crc);

struct segment_record {
    enum segment_type type;
    uint64_t offset;    /* of its header */
    struct str payload; /* view of the file */
};
enum segment_step { SEGMENT_RECORD, SEGMENT_END, SEGMENT_TORN };
/* The record at *offset (at first SEGMENT_HEAD_BYTES), and moves *offset past it. At END and TORN
 * *offset stays: the length of what is good. */
enum segment_step segment_next(struct str file, uint64_t segment, uint64_t *offset,
                               struct segment_record *ret);

/* The fixed part of the payloads, and the packed row behind it. */
struct segment_open {
    int64_t input_pico, cached_pico, output_pico;
    struct str row;
};
struct segment_close {
    uint64_t segment, offset; /* of its OPEN */
    struct str row;
};
#define SEGMENT_OPEN_BYTES  24
#define SEGMENT_CLOSE_BYTES 16
void segment_open_put(const struct segment_open *o, uint8_t to[SEGMENT_OPEN_BYTES]);
void segment_close_put(const struct segment_close *c, uint8_t to[SEGMENT_CLOSE_BYTES]);
bool segment_open_get(struct str payload, struct segment_open *ret);
bool segment_close_get(struct str payload, struct segment_close *ret);

#endif
