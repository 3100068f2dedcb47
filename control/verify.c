/* verify.c - the ledger against itself. */
#include "control/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/ledger.h"
#include "control/row.h"
#include "control/txn.h"

enum { ROW_ARENA_BYTES = 1 << 20, SQL_MAX = 4096 };

void verify_differs(struct verify *v, bool passing, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    v->differences++;
    v->passing += passing;
    if (v->on_difference)
        v->on_difference(v->user, line);
}

/* ---- prices ---- */

static enum rc check_price(struct txn *txn, struct str id, const uint8_t *noted,
                           struct arena *arena, struct verify *v, struct err *err)
{
    struct price price = {0};
    uint8_t hash[HASH_BYTES];
    enum rc rc = row_get(txn, access_system(), &resource_price, id, arena, &price, err);
    if (rc == RC_NOT_FOUND) {
        verify_differs(v, false, "price " STR_FMT " was used and is gone", STR_ARG(id));
        return RC_OK;
    }
    if (rc != RC_OK)
        return rc;
    ledger_price_hash(&price, hash);
    if (memcmp(hash, noted, HASH_BYTES) != 0)
        verify_differs(v, false, "price " STR_FMT " was edited after it was used", STR_ARG(id));
    return RC_OK;
}

static enum rc check_prices(struct txn *txn, struct verify *v, struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(txn, "SELECT price_id, hash FROM usage_price", &s, err);
    for (bool row = true; rc == RC_OK;) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        SCOPED_ARENA arena;
        arena_init(&arena, ROW_ARENA_BYTES);
        v->prices++;
        struct str hash = stmt_blob(s, 1);
        uint8_t noted[HASH_BYTES];
        memcpy(noted, hash.p, HASH_BYTES); /* its length is a CHECK */
        rc = check_price(txn, stmt_keep(s, 0, &arena), noted, &arena, v, err);
    }
    return rc;
}

/* ---- the chain ---- */

struct walk {
    int64_t seq;
    uint8_t hash[HASH_BYTES]; /* of the link before, as stored: one bad row is one difference */
    struct price price;       /* of the row before: most rows share one */
    uint8_t noted[HASH_BYTES];
    bool has_price;
    struct arena arena; /* of `price` */
};

static enum rc walk_price(struct txn *txn, struct walk *w, struct str id, struct err *err)
{
    if (w->has_price && str_eq(id, w->price.id))
        return RC_OK;
    arena_reset(&w->arena);
    w->has_price = false;
    memset(w->noted, 0, sizeof w->noted);
    if (id.len == 0)
        return RC_OK;
    enum rc rc = row_get(txn, access_system(), &resource_price, id, &w->arena, &w->price, err);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    w->has_price = true;
    SCOPED_STMT s = NULL;
    bool row = false;
    rc = stmt_get(txn, "SELECT hash FROM usage_price WHERE price_id = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, id);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK && row)
        memcpy(w->noted, stmt_blob(s, 0).p, HASH_BYTES);
    return rc;
}

static enum rc check_link(struct txn *txn, struct walk *w, struct stmt *s, struct verify *v,
                          struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, ROW_ARENA_BYTES);
    struct usage row = {0};
    uint8_t hash[HASH_BYTES], stored[HASH_BYTES];
    int64_t seq = stmt_i64(s, 0);
    struct str id = stmt_keep(s, 1, &arena), flag = stmt_keep(s, 3, &arena);
    memcpy(stored, stmt_blob(s, 2).p, HASH_BYTES);
    v->links++;
    if (seq != w->seq + 1)
        verify_differs(v, false, "the chain lacks links %" PRId64 " to %" PRId64, w->seq + 1,
                       seq - 1);
    bool gap = seq != w->seq + 1;
    w->seq = seq;
    if (stmt_is_null(s, 4)) {
        verify_differs(v, false, "row " STR_FMT " is gone: link %" PRId64 " names it", STR_ARG(id),
                       seq);
        memcpy(w->hash, stored, HASH_BYTES);
        return RC_OK;
    }
    enum rc rc = row_read(s, 4, &resource_usage, &arena, &row, err);
    if (rc == RC_OK)
        rc = walk_price(txn, w, row.price_id, err);
    if (rc == RC_OK)
        rc = ledger_link(w->hash, w->noted, &row, hash, err);
    if (rc != RC_OK)
        return rc;
    v->rows++;
    if (memcmp(hash, stored, HASH_BYTES) != 0 && !gap)
        verify_differs(v, false, "row " STR_FMT " is not as it was written (link %" PRId64 ")",
                       STR_ARG(id), seq);
    memcpy(w->hash, stored, HASH_BYTES);
    const char *wrong = ledger_flag(w->has_price ? &w->price : NULL, &row);
    if (wrong[0] || flag.len > 0)
        verify_differs(v, false, "row " STR_FMT " has a fault: %s%s" STR_FMT, STR_ARG(id), wrong,
                       flag.len ? ", flagged at arrival " : "", STR_ARG(flag));
    return RC_OK;
}

static enum rc check_chain(struct txn *txn, struct verify *v, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, ROW_ARENA_BYTES);
    const char *columns = NULL;
    enum rc rc = row_columns(&resource_usage, &arena, &columns, err);
    if (rc != RC_OK)
        return rc;
    struct str sql = arena_printf(&arena,
                                  "SELECT c.seq, c.usage_id, c.hash, c.flag, %s FROM usage_chain c "
                                  "LEFT JOIN usage t ON t.id = c.usage_id ORDER BY c.seq",
                                  columns);
    SCOPED_STMT s = NULL;
    rc = sql.p ? stmt_get(txn, sql.p, &s, err) : err_set(err, RC_NO_MEMORY, "no memory");
    struct walk w = {0};
    arena_init(&w.arena, ROW_ARENA_BYTES);
    for (bool row = true; rc == RC_OK;) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        rc = check_link(txn, &w, s, v, err);
    }
    arena_done(&w.arena);
    return rc;
}

/* Each row of the statement becomes a difference: "<what> <text of column 0>". */
static enum rc none_of(struct txn *txn, const char *sql, const char *what, struct verify *v,
                       struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(txn, sql, &s, err);
    for (bool row = true; rc == RC_OK;) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        struct str text = stmt_str(s, 0);
        verify_differs(v, false, "%s " STR_FMT, what, STR_ARG(text));
    }
    return rc;
}

/* ---- sums ---- */

#define HOUR_KEYS "hour, org_id, user_id, key_id, deployment_id, model, outcome, currency"

static enum rc check_hours(struct txn *txn, struct verify *v, struct err *err)
{
    static const char sql[] =
        "WITH r AS (SELECT time - time % 3600000 AS hour, org_id, user_id, "
        "coalesce(key_id, '') AS key_id, deployment_id, model, outcome, currency, "
        "count(*) AS n, sum(input_tokens) AS i, sum(cached_tokens) AS c, sum(output_tokens) AS o, "
        "sum(cost / 1000000000000) AS u, sum(cost % 1000000000000) AS p "
        "FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) "
        "SELECT 'hour ' || hour || ' org ' || org_id || ' user ' || user_id || ' key ' || key_id "
        "|| "
        "' deployment ' || deployment_id || ' model ' || model || ' outcome ' || outcome || ': ' "
        "|| "
        "coalesce(n, 0) || ' rows with ' || coalesce(i + c + o, 0) || ' tokens, summed as ' || "
        "coalesce(requests, 0) || ' with ' || "
        "coalesce(input_tokens + cached_tokens + output_tokens, 0) "
        "FROM usage_hour FULL JOIN r USING (" HOUR_KEYS ") "
        "WHERE requests IS NOT n OR input_tokens IS NOT i OR cached_tokens IS NOT c OR "
        "output_tokens IS NOT o OR cost_units IS NOT u + p / 1000000000000 OR "
        "cost_pico IS NOT p % 1000000000000";
    enum rc rc = db_i64(txn, "SELECT count(*) FROM usage_hour", &v->hours, err);
    return rc == RC_OK ? none_of(txn, sql, "the sums are off:", v, err) : rc;
}

enum rc verify_ledger(struct txn *txn, struct verify *v, struct err *err)
{
    enum rc rc = check_prices(txn, v, err);
    if (rc == RC_OK)
        rc = check_chain(txn, v, err);
    if (rc == RC_OK)
        rc = none_of(txn, "SELECT id FROM usage WHERE id NOT IN (SELECT usage_id FROM usage_chain)",
                     "the chain has no link for row", v, err);
    if (rc == RC_OK)
        rc = check_hours(txn, v, err);
    if (rc == RC_OK)
        rc = none_of(txn,
                     "SELECT a.gateway || ' brought ' || a.rows || ' rows, the ledger has ' || "
                     "count(u.id) FROM usage_applied a LEFT JOIN usage u ON u.gateway = a.gateway "
                     "GROUP BY a.gateway HAVING count(u.id) <> a.rows",
                     "gateway", v, err);
    return rc;
}
