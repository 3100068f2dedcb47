#include "control/cli_usage.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/cli.h"
#include "control/cli_data.h"
#include "control/db.h"
#include "control/report.h"
#include "control/txn.h"
#include "schema/money.h"

enum { ARENA_BYTES = 64 << 20, JSON_MAX = 64 << 20 };

struct asked {
    struct report_filter filter;
    uint32_t by;
    enum report_bucket bucket;
};

static enum rc read_time(const char *option, const char *text, int64_t *ret, struct err *err)
{
    if (text[0] && !clock_from_text(str_of(text), ret))
        return err_set(err, RC_BAD_INPUT, "%s wants a time such as 2026-01-31T00:00:00Z", option);
    return RC_OK;
}

static enum rc read_asked(const struct cli *cli, struct asked *a, struct err *err)
{
    *a = (struct asked){0};
    struct str rest = str_of(cli->group_by);
    while (rest.len > 0) {
        enum report_dim dim;
        if (!report_dim_parse(str_cut(&rest, ','), &dim))
            return err_set(err, RC_BAD_INPUT,
                           "--group-by takes a list of org, user, key, deployment, model, outcome");
        a->by |= 1u << dim;
    }
    if (!report_bucket_parse(str_of(cli->bucket), &a->bucket))
        return err_set(err, RC_BAD_INPUT, "--bucket is hour, day or month");
    if (cli->org[0])
        a->filter.value[REPORT_ORG] = str_of(cli->org);
    enum rc rc = read_time("--start", cli->start, &a->filter.start_ms, err);
    return rc == RC_OK ? read_time("--end", cli->end, &a->filter.end_ms, err) : rc;
}

static void print_json(const struct buf *json)
{
    fwrite(json->p, 1, json->len, stdout);
    putchar('\n');
}

/* ---- sums ---- */

static void print_group(const struct report_group *g, const struct asked *a)
{
    char cost[REPORT_COST_BYTES], time[CLOCK_TEXT_BYTES];
    report_cost_text(&g->sums, cost);
    if (a->bucket != REPORT_NO_BUCKET) {
        clock_to_text(g->bucket_ms, time);
        printf("%.16s  ", time);
    }
    for (int d = 0; d < REPORT_DIMS; d++) {
        struct str shown = g->name[d].len ? g->name[d] : g->value[d];
        if (a->by >> d & 1)
            printf("%-24.*s  ", (int)MIN_OF(shown.len, 40), shown.p ? shown.p : "");
    }
    printf("%10" PRId64 " %12" PRId64 " %12" PRId64 " %12" PRId64 "  %s " STR_FMT "\n",
           g->sums.requests, g->sums.input, g->sums.cached, g->sums.output, cost,
           STR_ARG(g->currency));
}

static void print_groups(const struct report_group *groups, size_t n, const struct asked *a)
{
    if (a->bucket != REPORT_NO_BUCKET)
        printf("%-16s  ", "time (UTC)");
    for (int d = 0; d < REPORT_DIMS; d++)
        if (a->by >> d & 1)
            printf("%-24s  ", report_dim_name((enum report_dim)d));
    printf("%10s %12s %12s %12s  %s\n", "requests", "input", "cached", "output", "cost");
    for (size_t i = 0; i < n; i++)
        print_group(&groups[i], a);
}

static enum rc sums(const struct cli *cli, struct txn *txn, const struct asked *a,
                    struct arena *arena, struct err *err)
{
    struct report_group *groups = NULL;
    size_t n = 0;
    enum rc rc =
        report_summary(txn, access_system(), &a->filter, a->by, a->bucket, arena, &groups, &n, err);
    if (rc != RC_OK)
        return rc;
    if (!cli->json) {
        print_groups(groups, n, a);
        return RC_OK;
    }
    SCOPED_BUF json;
    buf_init(&json, JSON_MAX);
    buf_z(&json, "{\"data\": [");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_z(&json, ", ");
        report_group_json(&groups[i], a->by, a->bucket, &json);
    }
    buf_z(&json, "], \"next\": null}");
    print_json(&json);
    return RC_OK;
}

/* ---- single requests ---- */

static void print_row(const struct usage *row)
{
    char time[CLOCK_TEXT_BYTES], cost[MONEY_TEXT_BYTES];
    clock_to_text(row->time, time);
    money_cost_text(row->cost, cost);
    struct str outcome = resource_enum_str(&resource_usage, "outcome", row->outcome);
    printf("%s  " STR_FMT "  %-9.*s %8" PRId64 " %8" PRId64 " %8" PRId64 "  %-16s " STR_FMT
           "  " STR_FMT "\n",
           time, STR_ARG(row->id), STR_ARG(outcome), row->input_tokens, row->cached_tokens,
           row->output_tokens, cost, STR_ARG(row->currency), STR_ARG(row->model));
}

static enum rc requests(const struct cli *cli, struct txn *txn, const struct asked *a,
                        struct arena *arena, struct err *err)
{
    struct usage *rows = NULL;
    size_t n = 0;
    struct str next = STR_NONE;
    enum rc rc = report_requests(txn, access_system(), &a->filter, STR_NONE, cli->limit, arena,
                                 &rows, &n, &next, err);
    if (rc != RC_OK)
        return rc;
    if (!cli->json) {
        printf("%-24s  %-30s  %-9s %8s %8s %8s  %-20s  %s\n", "time", "request", "outcome", "input",
               "cached", "output", "cost", "model");
        for (size_t i = 0; i < n; i++)
            print_row(&rows[i]);
        return RC_OK;
    }
    SCOPED_BUF json;
    buf_init(&json, JSON_MAX);
    buf_z(&json, "{\"data\": [");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_z(&json, ", ");
        resource_to_json(&resource_usage, &rows[i], VIEW_OPERATOR, &json);
    }
    buf_z(&json, "], \"next\": ");
    if (next.p)
        buf_json(&json, next);
    else
        buf_z(&json, "null");
    buf_byte(&json, '}');
    print_json(&json);
    return RC_OK;
}

int usage_run(const struct cli *cli)
{
    struct err err;
    struct asked asked;
    struct db *db = NULL;
    SCOPED_ARENA arena;
    arena_init(&arena, ARENA_BYTES);
    enum rc rc = read_asked(cli, &asked, &err);
    if (rc == RC_OK)
        rc = cli_data_open(cli->data, &db, &err);
    struct txn txn = {0};
    if (rc == RC_OK)
        rc = txn_begin_read(db, &txn, &err);
    if (rc == RC_OK)
        rc = cli->requests ? requests(cli, &txn, &asked, &arena, &err)
                           : sums(cli, &txn, &asked, &arena, &err);
    txn_end(&txn);
    db_close(db);
    if (rc != RC_OK)
        fprintf(stderr, "sluice usage: %s\n", err.msg);
    return rc == RC_OK ? 0 : 2;
}
