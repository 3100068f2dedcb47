/* report.c - queries over the ledger. A summary reads the sums by the hour for the whole hours of
 * its range and single rows for the cut hours at both ends, so that any start and end is exact. */
#include "control/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/ledger.h"
#include "control/row.h"
#include "control/txn.h"

enum { SQL_MAX = 8192 };

/* What is deleted keeps its name in `gone`. */
#define NAME_OF(column, table, id)                                                                 \
    "coalesce((SELECT " column " FROM " table " WHERE id = g." id                                  \
    "), (SELECT name FROM gone WHERE id = g." id "))"

/* named: what shows for people beside the id. */
static const struct dim {
    const char *name, *column, *param, *named;
} dims[REPORT_DIMS] = {
    [REPORT_ORG] = {"org", "org_id", ":f_org", NAME_OF("name", "orgs", "org_id")},
    [REPORT_USER] = {"user", "user_id", ":f_user", NAME_OF("email", "users", "user_id")},
    [REPORT_KEY] = {"key", "key_id", ":f_key", NAME_OF("name", "keys", "key_id")},
    [REPORT_DEPLOYMENT] = {"deployment", "deployment_id", ":f_deployment",
                           NAME_OF("name", "deployments", "deployment_id")},
    [REPORT_MODEL] = {"model", "model", ":f_model", "NULL"},
    [REPORT_OUTCOME] = {"outcome", "outcome", ":f_outcome", "NULL"},
};

const char *report_dim_name(enum report_dim d)
{
    return dims[d].name;
}

const char *report_dim_column(enum report_dim d)
{
    return dims[d].column;
}

bool report_dim_parse(struct str s, enum report_dim *ret)
{
    for (int d = 0; d < REPORT_DIMS; d++) {
        if (str_is(s, dims[d].name)) {
            *ret = (enum report_dim)d;
            return true;
        }
    }
    return false;
}

bool report_bucket_parse(struct str s, enum report_bucket *ret)
{
    static const char *const names[] = {"", "hour", "day", "month"}; /* as enum report_bucket */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_is(s, names[i])) {
            *ret = (enum report_bucket)i;
            return true;
        }
    }
    return false;
}

static void add_filter(struct buf *sql, const struct report_filter *f)
{
    for (int d = 0; d < REPORT_DIMS; d++)
        if (f->value[d].p)
            buf_printf(sql, " AND t.%s = %s", dims[d].column, dims[d].param);
}

static void bind_if(struct stmt *s, const char *name, int64_t v)
{
    int at = stmt_index(s, name);
    if (at > 0)
        stmt_bind_i64(s, at, v);
}

static void bind_filter(struct stmt *s, const struct scope *scope, const struct report_filter *f)
{
    scope_bind(scope, s);
    for (int d = 0; d < REPORT_DIMS; d++) {
        int at = f->value[d].p ? stmt_index(s, dims[d].param) : 0;
        if (at > 0)
            stmt_bind_str(s, at, f->value[d]);
    }
}

static int64_t end_of(const struct report_filter *f)
{
    return f->end_ms > 0 ? f->end_ms : INT64_MAX / 2;
}

/* ---- rows ---- */

/* "TIME.req_…": where the page before ended. */
static enum rc cursor_parse(struct str after, int64_t *ret_time, struct str *ret_id,
                            struct err *err)
{
    struct str rest = after;
    struct str time = str_cut(&rest, '.');
    if (!rest.p || !str_to_i64(time, 0, INT64_MAX, ret_time))
        return err_field(err, RC_BAD_INPUT, "after", "`after` is not a cursor of this list");
    *ret_id = rest;
    return RC_OK;
}

static enum rc requests_sql(const struct scope *scope, const struct report_filter *filter,
                            bool has_after, struct arena *arena, const char **ret, struct err *err)
{
    const char *columns = NULL;
    enum rc rc = row_columns(&resource_usage, arena, &columns, err);
    if (rc != RC_OK)
        return rc;
    struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_printf(&sql, "SELECT %s FROM usage t WHERE (%s) AND t.time >= :start AND t.time < :end",
               columns, scope_where(scope, &resource_usage));
    add_filter(&sql, filter);
    if (has_after)
        buf_z(&sql, " AND (t.time, t.id) < (:after_time, :after_id)");
    buf_z(&sql, " ORDER BY t.time DESC, t.id DESC LIMIT :limit");
    *ret = sql.failed ? NULL : arena_zdup(arena, buf_view(&sql));
    buf_done(&sql);
    return *ret ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for the query");
}

enum rc report_requests(struct txn *txn, const struct scope *scope,
                        const struct report_filter *filter, struct str after, int64_t limit,
                        struct arena *arena, struct usage **ret_rows, size_t *ret_n,
                        struct str *ret_next, struct err *err)
{
    int64_t after_time = 0;
    struct str after_id = STR_NONE;
    const char *sql = NULL;
    enum rc rc = after.p ? cursor_parse(after, &after_time, &after_id, err) : RC_OK;
    if (rc == RC_OK)
        rc = requests_sql(scope, filter, after.p != NULL, arena, &sql, err);
    SCOPED_STMT s = NULL;
    if (rc == RC_OK)
        rc = stmt_get(txn, sql, &s, err);
    if (rc != RC_OK)
        return rc;
    limit = MAX_OF(1, MIN_OF(limit, REPORT_ROWS_MAX));
    bind_filter(s, scope, filter);
    bind_if(s, ":start", filter->start_ms);
    bind_if(s, ":end", end_of(filter));
    bind_if(s, ":limit", limit + 1); /* one more tells whether there is a next page */
    bind_if(s, ":after_time", after_time);
    if (after.p)
        stmt_bind_str(s, stmt_index(s, ":after_id"), after_id);

    struct usage *rows = ARENA_ARRAY(arena, struct usage, (size_t)limit + 1);
    if (!rows)
        return err_set(err, RC_NO_MEMORY, "no memory for the page");
    size_t n = 0;
    bool more = true;
    while (rc == RC_OK && n <= (size_t)limit) {
        rc = stmt_step(s, &more, err);
        if (rc != RC_OK || !more)
            break;
        rc = row_read(s, 0, &resource_usage, arena, &rows[n++], err);
    }
    if (rc != RC_OK)
        return rc;
    *ret_next = STR_NONE;
    if (n > (size_t)limit) {
        n = (size_t)limit;
        *ret_next =
            arena_printf(arena, "%" PRId64 "." STR_FMT, rows[n - 1].time, STR_ARG(rows[n - 1].id));
    }
    *ret_rows = rows;
    *ret_n = n;
    return RC_OK;
}

/* ---- sums ---- */

static const char *bucket_sql(enum report_bucket b)
{
    switch (b) {
    case REPORT_HOUR:
        return "hour";
    case REPORT_DAY:
        return "hour - hour % 86400000";
    case REPORT_MONTH:
        return "CAST(strftime('%s', hour / 1000, 'unixepoch', 'start of month') AS INTEGER) * 1000";
    case REPORT_NO_BUCKET:
        break;
    }
    return "0";
}

/* Whole hours from usage_hour, the rest from usage; then grouped; then named. */
static enum rc summary_sql(const struct scope *scope, const struct report_filter *filter,
                           uint32_t by, enum report_bucket bucket, struct arena *arena,
                           const char **ret, struct err *err)
{
    const char *where = scope_where(scope, &resource_usage);
    struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_printf(&sql,
               "WITH s AS (SELECT hour, org_id, user_id, key_id, deployment_id, model, outcome, "
               "currency, requests, input_tokens, cached_tokens, output_tokens, cost_units, "
               "cost_pico FROM usage_hour t WHERE (%s) AND t.hour >= :first AND t.hour < :last",
               where);
    add_filter(&sql, filter);
    buf_printf(&sql,
               " UNION ALL SELECT time - time %% 3600000, org_id, user_id, coalesce(key_id, ''), "
               "deployment_id, model, outcome, currency, 1, input_tokens, cached_tokens, "
               "output_tokens, cost / 1000000000000, cost %% 1000000000000 FROM usage t "
               "WHERE (%s) AND ((t.time >= :start AND t.time < :head) OR "
               "(t.time >= :tail AND t.time < :end))",
               where);
    add_filter(&sql, filter);
    buf_printf(&sql, "), g AS (SELECT %s AS bucket", bucket_sql(bucket));
    for (int d = 0; d < REPORT_DIMS; d++)
        buf_printf(&sql, by >> d & 1 ? ", %s" : ", NULL AS %s", dims[d].column);
    /* Parts of 10^-12 are added in two halves: neither can overflow before 9 * 10^12 rows. */
    buf_z(&sql, ", currency, sum(requests) AS n, sum(input_tokens) AS i, sum(cached_tokens) AS c, "
                "sum(output_tokens) AS o, sum(cost_units) AS u, sum(cost_pico / 1000000) AS hi, "
                "sum(cost_pico % 1000000) AS lo FROM s GROUP BY 1, 2, 3, 4, 5, 6, 7, currency) "
                "SELECT bucket, currency, n, i, c, o, u, hi, lo");
    for (int d = 0; d < REPORT_DIMS; d++)
        buf_printf(&sql, ", %s, %s", dims[d].column, by >> d & 1 ? dims[d].named : "NULL");
    buf_printf(&sql, " FROM g ORDER BY 1, 10, 12, 14, 16, 18, 20, 2 LIMIT %d",
               REPORT_GROUPS_MAX + 1);
    *ret = sql.failed ? NULL : arena_zdup(arena, buf_view(&sql));
    buf_done(&sql);
    return *ret ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for the query");
}

static void bind_range(struct stmt *s, const struct report_filter *f)
{
    int64_t start = MAX_OF(f->start_ms, 0), end = end_of(f);
    int64_t first = (start + LEDGER_HOUR_MS - 1) / LEDGER_HOUR_MS * LEDGER_HOUR_MS;
    int64_t last = end / LEDGER_HOUR_MS * LEDGER_HOUR_MS;
    bool whole = first < last;
    bind_if(s, ":first", first);
    bind_if(s, ":last", whole ? last : first);
    bind_if(s, ":start", start);
    bind_if(s, ":head", whole ? first : end);
    bind_if(s, ":tail", whole ? last : end);
    bind_if(s, ":end", end);
}

static void read_group(struct stmt *s, struct arena *arena, struct report_group *ret)
{
    int64_t hi = stmt_i64(s, 7), lo = stmt_i64(s, 8);
    __int128 pico = (__int128)hi * 1000000 + lo;
    *ret = (struct report_group){
        .bucket_ms = stmt_i64(s, 0),
        .currency = stmt_keep(s, 1, arena),
        .sums = {.requests = stmt_i64(s, 2),
                 .input = stmt_i64(s, 3),
                 .cached = stmt_i64(s, 4),
                 .output = stmt_i64(s, 5),
                 .cost_units = stmt_i64(s, 6) + (int64_t)(pico / LEDGER_UNIT_PICO),
                 .cost_pico = (int64_t)(pico % LEDGER_UNIT_PICO)},
    };
    for (int d = 0; d < REPORT_DIMS; d++) {
        ret->value[d] = stmt_keep(s, 9 + 2 * d, arena);
        ret->name[d] = stmt_keep(s, 10 + 2 * d, arena);
    }
}

enum rc report_summary(struct txn *txn, const struct scope *scope,
                       const struct report_filter *filter, uint32_t by, enum report_bucket bucket,
                       struct arena *arena, struct report_group **ret_groups, size_t *ret_n,
                       struct err *err)
{
    const char *sql = NULL;
    SCOPED_STMT s = NULL;
    enum rc rc = summary_sql(scope, filter, by, bucket, arena, &sql, err);
    if (rc == RC_OK)
        rc = stmt_get(txn, sql, &s, err);
    if (rc != RC_OK)
        return rc;
    bind_filter(s, scope, filter);
    bind_range(s, filter);
    size_t n = 0, cap = 0;
    struct report_group *groups = NULL;
    for (bool row = true;;) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        if (n == REPORT_GROUPS_MAX)
            return err_set(err, RC_INVALID,
                           "more than %d groups; choose a shorter time or fewer dimensions",
                           REPORT_GROUPS_MAX);
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            struct report_group *wider = ARENA_ARRAY(arena, struct report_group, cap);
            if (!wider)
                return err_set(err, RC_NO_MEMORY, "no memory for the summary");
            if (n > 0)
                memcpy(wider, groups, n * sizeof *groups);
            groups = wider;
        }
        read_group(s, arena, &groups[n++]);
    }
    if (rc != RC_OK)
        return rc;
    *ret_groups = groups;
    *ret_n = n;
    return RC_OK;
}

void report_cost_text(const struct report_sums *sums, char ret[REPORT_COST_BYTES])
{
    int len = snprintf(ret, REPORT_COST_BYTES, "%" PRId64 ".%012" PRId64, sums->cost_units,
                       sums->cost_pico);
    char *point = strchr(ret, '.');
    while (ret + len > point + 3 && ret[len - 1] == '0')
        ret[--len] = '\0';
}

void report_group_json(const struct report_group *g, uint32_t by, enum report_bucket bucket,
                       struct buf *to)
{
    buf_byte(to, '{');
    if (bucket != REPORT_NO_BUCKET) {
        char text[CLOCK_TEXT_BYTES];
        clock_to_text(g->bucket_ms, text);
        buf_printf(to, "\"bucket\": \"%s\", ", text);
    }
    for (int d = 0; d < REPORT_DIMS; d++) {
        if (!(by >> d & 1))
            continue;
        if ((by & (by - 1)) == 0) { /* one dimension: a chart need not know which */
            buf_z(to, "\"group\": ");
            buf_json(to, g->value[d]);
            buf_z(to, ", ");
        }
        buf_printf(to, "\"%s\": ", dims[d].column);
        buf_json(to, g->value[d]);
        if (strcmp(dims[d].named, "NULL") != 0) {
            buf_printf(to, ", \"%s\": ", dims[d].name);
            g->name[d].p ? buf_json(to, g->name[d]) : buf_z(to, "null");
        }
        buf_z(to, ", ");
    }
    char cost[REPORT_COST_BYTES];
    report_cost_text(&g->sums, cost);
    buf_printf(to,
               "\"requests\": %" PRId64 ", \"input_tokens\": %" PRId64
               ", \"cached_tokens\": %" PRId64 ", \"output_tokens\": %" PRId64
               ", \"cost\": \"%s\", \"currency\": ",
               g->sums.requests, g->sums.input, g->sums.cached, g->sums.output, cost);
    buf_json(to, g->currency);
    buf_byte(to, '}');
}
