/* resource_pack - a row as few bytes, for the usage journal.
 *
 * count of fields u8, then each field in the table's order: numbers as zigzag varints, text as
 * varint length + 1 (0: null) and bytes. A journal written by an older program has fewer fields:
 * the rest take their defaults. So fields of a packed resource are only ever added at the end. */
#include "schema/resource.h"

static bool is_text(enum field_type t)
{
    return t == FIELD_ID || t == FIELD_REF || t == FIELD_TEXT || t == FIELD_JSON;
}

static void add_varint(struct buf *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_byte(to, (char)(uint8_t)(v | 0x80));
    buf_byte(to, (char)(uint8_t)v);
}

static bool take_varint(struct str *in, uint64_t *ret)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (in->len == 0)
            return false;
        uint8_t c = (uint8_t)in->p[0];
        *in = str_sub(*in, 1, in->len);
        if (shift == 63 && c > 1)
            return false;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

void resource_pack(const struct resource *res, const void *row, struct buf *to)
{
    buf_byte(to, (char)(uint8_t)res->n_fields);
    for (size_t i = 0; i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        const void *at = (const char *)row + f->offset;
        if (f->flags & FIELD_SECRET) {
            add_varint(to, 0);
        } else if (is_text(f->type)) {
            struct str s = *(const struct str *)at;
            add_varint(to, s.p ? (uint64_t)s.len + 1 : 0);
            buf_str(to, s);
        } else {
            add_varint(to,
                       zigzag(f->type == FIELD_BOOL ? *(const bool *)at : *(const int64_t *)at));
        }
    }
}

static bool take_text(struct str *in, struct arena *arena, struct str *ret, bool *ret_no_memory)
{
    uint64_t n;
    if (!take_varint(in, &n) || (n > 0 && n - 1 > in->len))
        return false;
    *ret = STR_NONE;
    if (n == 0)
        return true;
    struct str s = str_sub(*in, 0, (size_t)n - 1);
    *in = str_sub(*in, s.len, in->len);
    if (!str_is_utf8(s))
        return false;
    *ret = arena_dup(arena, s);
    *ret_no_memory = !ret->p;
    return ret->p != NULL;
}

static bool take_number(struct str *in, const struct field *f, void *at)
{
    uint64_t raw;
    size_t len;
    if (!take_varint(in, &raw))
        return false;
    int64_t v = unzigzag(raw);
    if (f->type == FIELD_BOOL) {
        *(bool *)at = v != 0;
        return v == 0 || v == 1;
    }
    *(int64_t *)at = v;
    return f->type != FIELD_ENUM || resource_enum_text(f, v, &len) != NULL;
}

enum rc resource_unpack(const struct resource *res, struct str bytes, struct arena *arena,
                        void *row, struct err *err)
{
    size_t n = bytes.len ? (uint8_t)bytes.p[0] : 0;
    if (n == 0 || n > res->n_fields)
        return err_set(err, RC_CORRUPT, "a packed %s has %zu fields, this program knows %zu",
                       res->name, n, res->n_fields);
    struct str in = str_sub(bytes, 1, bytes.len);
    resource_defaults(res, row);
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &res->fields[i];
        void *at = (char *)row + f->offset;
        bool no_memory = false;
        bool ok =
            is_text(f->type) ? take_text(&in, arena, at, &no_memory) : take_number(&in, f, at);
        if (no_memory)
            return err_set(err, RC_NO_MEMORY, "no memory for a packed %s", res->name);
        if (!ok)
            return err_field(err, RC_CORRUPT, f->name, "a packed %s breaks at %s", res->name,
                             f->name);
    }
    if (in.len)
        return err_set(err, RC_CORRUPT, "a packed %s has %zu bytes too many", res->name, in.len);
    return RC_OK;
}
