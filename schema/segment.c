#include "schema/segment.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the journal is little-endian");

enum { VERSION = 1, HEAD_CRC_AT = SEGMENT_HEAD_BYTES - 4 };
static const char magic[4] = {'S', 'L', 'J', '1'};

void segment_name(uint64_t segment, char ret[SEGMENT_NAME_BYTES])
{
    snprintf(ret, SEGMENT_NAME_BYTES, "%016" PRIx64 ".seg", segment);
}

bool segment_name_parse(struct str name, uint64_t *ret_segment)
{
    uint8_t be[8];
    if (name.len != 20 || !str_ends(name, STR(".seg")) ||
        !str_from_hex(str_sub(name, 0, 16), be, 8))
        return false;
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | be[i];
    *ret_segment = v;
    return v > 0;
}

void segment_head_put(const struct segment_head *head, uint8_t to[SEGMENT_HEAD_BYTES])
{
    uint32_t version = VERSION;
    memset(to, 0, SEGMENT_HEAD_BYTES);
    memcpy(to, magic, 4);
    memcpy(to + 4, &version, 4);
    memcpy(to + 8, &head->segment, 8);
    memcpy(to + 16, &head->created_ms, 8);
    memcpy(to + 24, head->gateway, SEGMENT_GATEWAY_BYTES);
    uint32_t crc = crc32c(0, to, HEAD_CRC_AT);
    memcpy(to + HEAD_CRC_AT, &crc, 4);
}

enum rc segment_head_get(struct str file, struct segment_head *ret, struct err *err)
{
    uint32_t crc, version;
    if (file.len < SEGMENT_HEAD_BYTES || memcmp(file.p, magic, 4) != 0)
        return err_set(err, RC_CORRUPT, "not a journal segment");
    memcpy(&crc, file.p + HEAD_CRC_AT, 4);
    memcpy(&version, file.p + 4, 4);
    if (crc != crc32c(0, file.p, HEAD_CRC_AT))
        return err_set(err, RC_CORRUPT, "the segment's head does not match its checksum");
    if (version != VERSION)
        return err_set(err, RC_CORRUPT,
                       "the segment has version %" PRIu32 ", this program reads %d", version,
                       VERSION);
    memcpy(&ret->segment, file.p + 8, 8);
    memcpy(&ret->created_ms, file.p + 16, 8);
    memcpy(ret->gateway, file.p + 24, SEGMENT_GATEWAY_BYTES);
    ret->gateway[SEGMENT_GATEWAY_BYTES - 1] = '\0';
    return RC_OK;
}

size_t segment_record_bytes(size_t payload_bytes)
{
    return (SEGMENT_RECORD_BYTES + payload_bytes + 7) & ~(size_t)7;
}

static uint32_t record_crc(uint32_t payload_crc, uint32_t len, uint32_t type, uint64_t segment,
                           uint64_t offset)
{
    uint8_t place[24];
    memcpy(place, &len, 4);
    memcpy(place + 4, &type, 4);
    memcpy(place + 8, &segment, 8);
    memcpy(place + 16, &offset, 8);
    return crc32c(payload_crc, place, sizeof place);
}

void segment_record_put(uint8_t *to, uint64_t segment, uint64_t offset, enum segment_type type,
                        struct str payload, uint32_t payload_crc)
{
    uint32_t head[4] = {(uint32_t)payload.len, (uint32_t)type, 0, 0};
    head[2] = record_crc(payload_crc, head[0], head[1], segment, offset);
    memcpy(to + SEGMENT_RECORD_BYTES, payload.p, payload.len);
    memcpy(to, head, sizeof head);
}

enum segment_step segment_next(struct str file, uint64_t segment, uint64_t *offset,
                               struct segment_record *ret)
{
    static const uint32_t zero[4];
    uint32_t head[4];
    uint64_t at = *offset;
    if (at > file.len || file.len - at < SEGMENT_RECORD_BYTES)
        return SEGMENT_END;
    memcpy(head, file.p + at, sizeof head);
    if (memcmp(head, zero, sizeof zero) == 0)
        return SEGMENT_END;
    if (head[0] > SEGMENT_PAYLOAD_MAX || head[3] != 0 ||
        file.len - at < segment_record_bytes(head[0]) ||
        (head[1] != SEGMENT_OPEN && head[1] != SEGMENT_CLOSE))
        return SEGMENT_TORN;
    struct str payload = str_sub(file, at + SEGMENT_RECORD_BYTES, head[0]);
    uint32_t crc = crc32c(0, payload.p, payload.len);
    if (head[2] != record_crc(crc, head[0], head[1], segment, at))
        return SEGMENT_TORN;
    *ret = (struct segment_record){(enum segment_type)head[1], at, payload};
    *offset = at + segment_record_bytes(head[0]);
    return SEGMENT_RECORD;
}

void segment_open_put(const struct segment_open *o, uint8_t to[SEGMENT_OPEN_BYTES])
{
    memcpy(to, &o->input_pico, 8);
    memcpy(to + 8, &o->cached_pico, 8);
    memcpy(to + 16, &o->output_pico, 8);
}

void segment_close_put(const struct segment_close *c, uint8_t to[SEGMENT_CLOSE_BYTES])
{
    memcpy(to, &c->segment, 8);
    memcpy(to + 8, &c->offset, 8);
}

bool segment_open_get(struct str payload, struct segment_open *ret)
{
    if (payload.len < SEGMENT_OPEN_BYTES)
        return false;
    memcpy(&ret->input_pico, payload.p, 8);
    memcpy(&ret->cached_pico, payload.p + 8, 8);
    memcpy(&ret->output_pico, payload.p + 16, 8);
    ret->row = str_sub(payload, SEGMENT_OPEN_BYTES, payload.len);
    return true;
}

bool segment_close_get(struct str payload, struct segment_close *ret)
{
    if (payload.len < SEGMENT_CLOSE_BYTES)
        return false;
    memcpy(&ret->segment, payload.p, 8);
    memcpy(&ret->offset, payload.p + 8, 8);
    ret->row = str_sub(payload, SEGMENT_CLOSE_BYTES, payload.len);
    return true;
}
