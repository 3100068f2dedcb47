/* ledger.c - applies batches of usage rows. Runs in the writer's thread, but for ledger_parse. */
#include "control/ledger.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/row.h"
#include "control/txn.h"
#include "schema/feed.h"

enum { LINK_MAX_BYTES = 4096, GATEWAY_NAME_MAX = 40 };

/* ---- reading a batch ---- */

static enum rc parse_row(const json_t *json, struct arena *arena, struct usage *ret,
                         struct err *err)
{
    uint64_t set;
    struct id id;
    enum rc rc =
        resource_from_json(&resource_usage, json, RESOURCE_FEED, FIELD_WO, arena, ret, &set, err);
    if (rc == RC_OK && !id_parse(ret->id, "req_", &id))
        rc = err_field(err, RC_BAD_INPUT, "id", "a usage row's id begins with req_");
    return rc;
}

enum rc ledger_parse(const json_t *body, struct arena *arena, struct ledger_batch *ret,
                     struct err *err)
{
    const json_t *gateway = json_object_get(body, "gateway"), *rows = json_object_get(body, "rows");
    const json_t *segment = json_object_get(body, "segment"),
                 *offset = json_object_get(body, "offset");
    struct str name = str_make(json_string_value(gateway), json_string_length(gateway));
    if (name.len == 0 || name.len > GATEWAY_NAME_MAX || !json_is_integer(segment) ||
        !json_is_integer(offset) || json_integer_value(segment) < 0 ||
        json_integer_value(offset) < 0 || !json_is_array(rows))
        return err_set(err, RC_BAD_INPUT, "the batch needs gateway, segment, offset and rows");
    size_t n = json_array_size(rows);
    if (n > FEED_ROWS_MAX)
        return err_set(err, RC_TOO_LARGE, "the batch has %zu rows; at most %d are allowed", n,
                       FEED_ROWS_MAX);
    struct ledger_batch batch = {.gateway = arena_dup(arena, name),
                                 .segment = json_integer_value(segment),
                                 .offset = json_integer_value(offset),
                                 .rows = ARENA_ARRAY(arena, struct usage, n + 1),
                                 .n = n};
    if (!batch.rows || !batch.gateway.p)
        return err_set(err, RC_NO_MEMORY, "no memory for %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        enum rc rc = parse_row(json_array_get(rows, i), arena, &batch.rows[i], err);
        if (rc != RC_OK)
            return rc;
    }
    *ret = batch;
    return RC_OK;
}

/* ---- what a row should be ---- */

enum rc ledger_cost(const struct price *price, const struct usage *row, int64_t *ret_pico,
                    struct err *err)
{
    int64_t input = 0, cached = 0, output = 0, sum = 0;
    if (price) {
        int64_t cached_price =
            price->cached_input_per_1m < 0 ? price->input_per_1m : price->cached_input_per_1m;
        if (__builtin_mul_overflow(row->input_tokens, price->input_per_1m, &input) ||
            __builtin_mul_overflow(row->cached_tokens, cached_price, &cached) ||
            __builtin_mul_overflow(row->output_tokens, price->output_per_1m, &output) ||
            __builtin_add_overflow(input, cached, &sum) ||
            __builtin_add_overflow(sum, output, &sum))
            return err_set(err, RC_INVALID, "the cost of " STR_FMT " does not fit 63 bits",
                           STR_ARG(row->id));
    }
    *ret_pico = sum;
    return RC_OK;
}

const char *ledger_flag(const struct price *price, const struct usage *row)
{
    int64_t cost = 0;
    if (row->input_tokens < 0 || row->cached_tokens < 0 || row->output_tokens < 0 || row->cost < 0)
        return "negative";
    if (row->price_id.len > 0 && !price)
        return "unknown_price";
    if (price && !str_eq(price->deployment_id, row->deployment_id))
        return "price_of_another_deployment";
    if (price && !str_eq(price->currency, row->currency))
        return "currency";
    if (ledger_cost(price, row, &cost, NULL) != RC_OK || cost != row->cost)
        return "cost";
    return "";
}

/* ---- the chain ---- */

/* The fields of form 1, in order. A later field makes a new form; old links keep theirs. */
static const char *const link_fields[] = {
    "id",
    "time",
    "org_id",
    "user_id",
    "key_id",
    "deployment_id",
    "model",
    "route",
    "stream",
    "outcome",
    "http_status",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "price_id",
    "currency",
    "cost",
    "ttft_ms",
    "duration_ms",
    "source",
    "degraded",
    "gateway",
};

/* Text as length:bytes, null as "-", numbers in decimal: no two rows look the same. */
static void add_field(struct buf *to, const struct field *f, const void *row)
{
    const char *at = (const char *)row + f->offset;
    struct str text = STR_NONE;
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
    case FIELD_TEXT:
    case FIELD_JSON:
        text = *(const struct str *)at;
        break;
    case FIELD_ENUM:
        text.p = resource_enum_text(f, *(const int64_t *)at, &text.len);
        break;
    case FIELD_BOOL:
        buf_printf(to, "%d;", *(const bool *)at);
        return;
    case FIELD_INT:
    case FIELD_TIME:
    case FIELD_PRICE:
    case FIELD_COST:
        buf_printf(to, "%" PRId64 ";", *(const int64_t *)at);
        return;
    }
    if (text.p)
        buf_printf(to, "%zu:" STR_FMT ";", text.len, STR_ARG(text));
    else
        buf_z(to, "-;");
}

enum rc ledger_link(const uint8_t *prev, const uint8_t *price_hash, const struct usage *row,
                    uint8_t ret[HASH_BYTES], struct err *err)
{
    SCOPED_BUF text;
    buf_init(&text, LINK_MAX_BYTES);
    for (size_t i = 0; i < ARRAY_LEN(link_fields); i++) {
        const struct field *f = resource_field(&resource_usage, str_of(link_fields[i]));
        ASSERT(f);
        add_field(&text, f, row);
    }
    if (text.failed)
        return err_set(err, RC_TOO_LARGE, "usage row " STR_FMT " is too long", STR_ARG(row->id));
    struct hash_state h;
    hash_begin(&h, HASH_BYTES, NULL, 0);
    hash_add(&h, prev, HASH_BYTES);
    hash_add(&h, price_hash, HASH_BYTES);
    hash_add(&h, text.p, text.len);
    hash_end(&h, ret, HASH_BYTES);
    return RC_OK;
}

void ledger_price_hash(const struct price *price, uint8_t ret[HASH_BYTES])
{
    SCOPED_BUF text;
    buf_init(&text, LINK_MAX_BYTES);
    buf_printf(&text, STR_FMT ";" STR_FMT ";" STR_FMT ";%" PRId64 ";%" PRId64 ";%" PRId64,
               STR_ARG(price->id), STR_ARG(price->deployment_id), STR_ARG(price->currency),
               price->input_per_1m, price->cached_input_per_1m, price->output_per_1m);
    hash_blake2b(ret, HASH_BYTES, text.p, text.len, NULL, 0);
}

/* ---- applying ---- */

struct chain_head {
    int64_t seq;
    uint8_t hash[HASH_BYTES];
};

static enum rc read_head(struct txn *txn, struct chain_head *ret, struct err *err)
{
    *ret = (struct chain_head){0};
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc =
        stmt_get(txn, "SELECT seq, hash FROM usage_chain ORDER BY seq DESC LIMIT 1", &s, err);
    if (rc == RC_OK)
        rc = stmt_step(s, &row, err);
    if (rc == RC_OK && row) {
        ret->seq = stmt_i64(s, 0);
        memcpy(ret->hash, stmt_blob(s, 1).p, HASH_BYTES); /* its length is a CHECK */
    }
    return rc;
}

/* *ret_price is NULL when the row names none, or one that is not there. */
static enum rc find_price(struct txn *txn, const struct usage *row, struct arena *arena,
                          struct price **ret_price, struct err *err)
{
    *ret_price = NULL;
    if (row->price_id.len == 0)
        return RC_OK;
    struct price *price = ARENA_NEW(arena, struct price);
    if (!price)
        return err_set(err, RC_NO_MEMORY, "no memory for a price");
    enum rc rc = row_get(txn, access_system(), &resource_price, row->price_id, arena, price, err);
    if (rc == RC_NOT_FOUND)
        return RC_OK;
    *ret_price = rc == RC_OK ? price : NULL;
    return rc;
}

static enum rc note_price(struct txn *txn, const struct price *price, const uint8_t *hash,
                          struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(txn, "INSERT OR IGNORE INTO usage_price (price_id, hash) VALUES (?1, ?2)",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, price->id);
    stmt_bind_blob(s, 2, hash, HASH_BYTES);
    return stmt_run(s, NULL, err);
}

static enum rc add_link(struct txn *txn, struct chain_head *head, const struct usage *row,
                        const char *flag, struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(txn,
                          "INSERT INTO usage_chain (seq, usage_id, form, hash, flag, applied_at) "
                          "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_i64(s, 1, head->seq);
    stmt_bind_str(s, 2, row->id);
    stmt_bind_i64(s, 3, LEDGER_FORM);
    stmt_bind_blob(s, 4, head->hash, HASH_BYTES);
    stmt_bind_str(s, 5, str_of(flag));
    stmt_bind_i64(s, 6, txn->now_ms);
    return stmt_run(s, NULL, err);
}

static enum rc add_to_hour(struct txn *txn, const struct usage *row, struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(
        txn,
        "INSERT INTO usage_hour (hour, org_id, user_id, key_id, deployment_id, model, outcome, "
        "currency, requests, input_tokens, cached_tokens, output_tokens, cost_units, cost_pico) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10, ?11, ?12, ?13) "
        "ON CONFLICT DO UPDATE SET requests = requests + 1, "
        "input_tokens = input_tokens + excluded.input_tokens, "
        "cached_tokens = cached_tokens + excluded.cached_tokens, "
        "output_tokens = output_tokens + excluded.output_tokens, "
        "cost_units = cost_units + excluded.cost_units "
        "  + (cost_pico + excluded.cost_pico) / 1000000000000, "
        "cost_pico = (cost_pico + excluded.cost_pico) % 1000000000000",
        &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_i64(s, 1, row->time - row->time % LEDGER_HOUR_MS);
    stmt_bind_str(s, 2, row->org_id);
    stmt_bind_str(s, 3, row->user_id);
    stmt_bind_str(s, 4, row->key_id.p ? row->key_id : STR(""));
    stmt_bind_str(s, 5, row->deployment_id);
    stmt_bind_str(s, 6, row->model);
    stmt_bind_str(s, 7, resource_enum_str(&resource_usage, "outcome", row->outcome));
    stmt_bind_str(s, 8, row->currency);
    stmt_bind_i64(s, 9, row->input_tokens);
    stmt_bind_i64(s, 10, row->cached_tokens);
    stmt_bind_i64(s, 11, row->output_tokens);
    stmt_bind_i64(s, 12, row->cost / LEDGER_UNIT_PICO);
    stmt_bind_i64(s, 13, row->cost % LEDGER_UNIT_PICO);
    return stmt_run(s, NULL, err);
}

/* For people who look for forgotten keys: a minute's precision, no feed, no audit. */
static enum rc touch_key(struct txn *txn, const struct usage *row, struct err *err)
{
    if (row->key_id.len == 0)
        return RC_OK;
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(txn,
                          "UPDATE keys SET last_used_at = ?1 WHERE id = ?2 AND "
                          "(last_used_at IS NULL OR last_used_at < ?1 - 60000)",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_i64(s, 1, row->time);
    stmt_bind_str(s, 2, row->key_id);
    return stmt_run(s, NULL, err);
}

static enum rc apply_row(struct txn *txn, const struct usage *row, struct chain_head *head,
                         struct arena *arena, struct ledger_result *result, struct err *err)
{
    bool inserted = false;
    enum rc rc = row_put(txn, &resource_usage, row, &inserted, err);
    if (rc != RC_OK)
        return rc;
    if (!inserted) {
        result->skipped++;
        return RC_OK;
    }
    struct price *price = NULL;
    uint8_t price_hash[HASH_BYTES] = {0};
    rc = find_price(txn, row, arena, &price, err);
    if (rc == RC_OK && price) {
        ledger_price_hash(price, price_hash);
        rc = note_price(txn, price, price_hash, err);
    }
    if (rc != RC_OK)
        return rc;
    const char *flag = ledger_flag(price, row);
    if (flag[0]) {
        result->flagged++;
        log_error("ledger.flag", "req=%s flag=%s cost_pico=%" PRId64, LOG_STR(row->id), flag,
                  row->cost);
    }
    rc = ledger_link(head->hash, price_hash, row, head->hash, err);
    head->seq++;
    result->added++;
    if (rc == RC_OK)
        rc = add_link(txn, head, row, flag, err);
    if (rc == RC_OK)
        rc = add_to_hour(txn, row, err);
    if (rc == RC_OK)
        rc = touch_key(txn, row, err);
    return rc;
}

enum rc ledger_applied(struct txn *txn, struct str gateway, int64_t *ret_segment,
                       int64_t *ret_offset, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc =
        stmt_get(txn, "SELECT segment, \"offset\" FROM usage_applied WHERE gateway = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, gateway);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK) {
        *ret_segment = row ? stmt_i64(s, 0) : 0;
        *ret_offset = row ? stmt_i64(s, 1) : 0;
    }
    return rc;
}

/* Forward only: a batch that was delayed on its way changes nothing. */
static enum rc move_applied(struct txn *txn, const struct ledger_batch *batch, int64_t added,
                            struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(
        txn,
        "INSERT INTO usage_applied (gateway, segment, \"offset\", rows, applied_at) "
        "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, "
        "segment = CASE WHEN (excluded.segment, excluded.\"offset\") > (segment, \"offset\") "
        "  THEN excluded.segment ELSE segment END, "
        "\"offset\" = CASE WHEN (excluded.segment, excluded.\"offset\") > (segment, \"offset\") "
        "  THEN excluded.\"offset\" ELSE \"offset\" END, applied_at = excluded.applied_at",
        &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, batch->gateway);
    stmt_bind_i64(s, 2, batch->segment);
    stmt_bind_i64(s, 3, batch->offset);
    stmt_bind_i64(s, 4, added);
    stmt_bind_i64(s, 5, txn->now_ms);
    return stmt_run(s, NULL, err);
}

enum rc ledger_apply(struct txn *txn, const struct ledger_batch *batch, struct arena *arena,
                     struct ledger_result *ret, struct err *err)
{
    struct ledger_result result = {0};
    struct chain_head head;
    enum rc rc = read_head(txn, &head, err);
    for (size_t i = 0; rc == RC_OK && i < batch->n; i++)
        rc = apply_row(txn, &batch->rows[i], &head, arena, &result, err);
    if (rc == RC_OK)
        rc = move_applied(txn, batch, result.added, err);
    if (rc == RC_OK)
        rc = ledger_applied(txn, batch->gateway, &result.segment, &result.offset, err);
    if (rc == RC_OK)
        *ret = result;
    return rc;
}
