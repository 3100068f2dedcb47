#include "gateway/packed.h"

#include "base/hash.h"

enum { ID_TEXT_MAX = 40 }; /* of fields whose table names no maximum */

static bool is_text(const struct field *f)
{
    return f->type == FIELD_ID || f->type == FIELD_REF || f->type == FIELD_TEXT ||
           f->type == FIELD_JSON;
}

static size_t text_max(const struct field *f)
{
    return f->hi > 0 ? (size_t)f->hi : ID_TEXT_MAX;
}

static size_t row_bytes_max(void)
{
    size_t n = 1;
    for (size_t i = 0; i < resource_usage.n_fields; i++)
        n += is_text(&resource_usage.fields[i]) ? text_max(&resource_usage.fields[i]) + 2 : 10;
    ASSERT(n <= PACKED_ROW_BYTES);
    return n;
}

size_t packed_close_bytes(void)
{
    return segment_record_bytes(SEGMENT_CLOSE_BYTES + row_bytes_max());
}

enum rc packed_check(const struct usage *row, struct err *err)
{
    for (size_t i = 0; i < resource_usage.n_fields; i++) {
        const struct field *f = &resource_usage.fields[i];
        const struct str *s = (const void *)((const char *)row + f->offset);
        if (is_text(f) && (s->len > text_max(f) || !str_is_utf8(*s)))
            return err_field(err, RC_BAD_INPUT, f->name,
                             "a usage row cannot hold this %s: at most %zu bytes of UTF-8", f->name,
                             text_max(f));
    }
    return RC_OK;
}

static void pack(struct packed *p, size_t front_len, const struct usage *row)
{
    struct buf b = {
        .p = p->bytes, .len = front_len, .cap = sizeof p->bytes, .max = sizeof p->bytes};
    resource_pack(&resource_usage, row, &b);
    ASSERT(!b.failed && b.p == p->bytes);
    p->payload = buf_view(&b);
    p->crc = crc32c(0, p->payload.p, p->payload.len);
}

void packed_open(struct packed *p, const struct rate *rate, const struct usage *row)
{
    const struct segment_open open = {rate->input_pico, rate->cached_pico, rate->output_pico,
                                      STR_NONE};
    p->type = SEGMENT_OPEN;
    segment_open_put(&open, (uint8_t *)p->bytes);
    pack(p, SEGMENT_OPEN_BYTES, row);
}

void packed_close(struct packed *p, uint64_t segment, uint64_t offset, const struct usage *row)
{
    const struct segment_close close = {segment, offset, STR_NONE};
    p->type = SEGMENT_CLOSE;
    segment_close_put(&close, (uint8_t *)p->bytes);
    pack(p, SEGMENT_CLOSE_BYTES, row);
}
