/* Any bytes as JSON for a resource, or as a packed row: read or refused, never more. What was read
 * prints as JSON that reads back the same. The first byte picks the resource, the second the way.
 */
#include <stdlib.h>

#include "base/scoped.h"
#include "base/units.h"
#include "schema/resource.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROW_BYTES = 1024 };
#define TEXT_MAX (16 * MIB)

static void print(const struct resource *res, const void *row, struct buf *to)
{
    buf_clear(to);
    resource_to_json(res, row, VIEW_FEED, to);
}

/* Printed, read as the feed would, printed again: the same text. */
static void check_round_trip(const struct resource *res, const void *row, struct arena *arena)
{
    _Alignas(16) char again[ROW_BYTES] = {0};
    struct err err;
    SCOPED_BUF one, two;
    buf_init(&one, TEXT_MAX);
    buf_init(&two, TEXT_MAX);
    print(res, row, &one);
    if (one.failed)
        return;
    json_t *json = json_loadb(one.p, one.len, JSON_ALLOW_NUL, NULL);
    if (!json)
        abort();
    enum rc rc = resource_from_json(res, json, RESOURCE_FEED, 0, arena, again, NULL, &err);
    json_decref(json);
    if (rc == RC_NO_MEMORY)
        return;
    /* A packed number may be out of the field's range; then the feed refuses it by name. */
    if (rc != RC_OK) {
        if (rc != RC_BAD_INPUT || !err.field[0])
            abort();
        return;
    }
    print(res, again, &two);
    if (!two.failed && !str_eq(buf_view(&one), buf_view(&two)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
#define X(name) &resource_##name,
    static const struct resource *const all[] = {RESOURCES(X)};
#undef X
    static const uint32_t roles[] = {FIELD_W_OPERATOR, FIELD_W_ADMIN, FIELD_W_MEMBER};
    _Alignas(16) char row[ROW_BYTES] = {0};
    struct err err = {0};
    uint64_t set;
    if (size < 2)
        return 0;
    const struct resource *res = all[data[0] % ARRAY_LEN(all)];
    struct str rest = str_make((const char *)data + 2, size - 2);
    SCOPED_ARENA arena;
    arena_init(&arena, 8 * MIB);
    if (res->size > sizeof row)
        abort();
    enum rc rc;
    if (data[1] % 4 == 3) {
        rc = resource_unpack(res, rest, &arena, row, &err);
    } else {
        json_t *json = json_loadb(rest.p, rest.len, JSON_DECODE_ANY, NULL);
        if (!json)
            return 0;
        resource_defaults(res, row);
        rc = resource_from_json(res, json, data[1] % 4, roles[data[1] / 4 % 3], &arena, row, &set,
                                &err);
        json_decref(json);
    }
    if (rc == RC_OK)
        check_round_trip(res, row, &arena);
    else if (!err.msg[0])
        abort();
    return 0;
}
