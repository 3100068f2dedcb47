/* api_usage.c - routes only: the work is in ledger.c and report.c. */
#include "control/api_usage.h"

#include <inttypes.h>

#include "base/http_server.h"
#include "base/log.h"
#include "base/units.h"
#include "control/ledger.h"
#include "control/report.h"
#include "control/row.h"
#include "schema/feed.h"

/* ---- gateways ---- */

static enum rc post_usage(struct api_call *c, struct txn *txn, struct err *err)
{
    struct ledger_batch batch;
    struct ledger_result result;
    enum rc rc = ledger_parse(c->body, c->arena, &batch, err);
    if (rc == RC_OK)
        rc = ledger_apply(txn, &batch, c->arena, &result, err);
    if (rc != RC_OK)
        return rc;
    log_debug("ledger.apply", "gateway=%s added=%" PRId64 " skipped=%" PRId64 " flagged=%" PRId64,
              LOG_STR(batch.gateway), result.added, result.skipped, result.flagged);
    buf_printf(&c->reply.body, "{\"segment\": %" PRId64 ", \"offset\": %" PRId64 "}",
               result.segment, result.offset);
    return RC_OK;
}

static enum rc get_applied(struct api_call *c, struct txn *txn, struct err *err)
{
    struct str gateway = http_query(c->http, "gateway");
    if (gateway.len == 0)
        return err_field(err, RC_BAD_INPUT, "gateway", "`gateway` must name one");
    int64_t segment = 0, offset = 0;
    enum rc rc = ledger_applied(txn, gateway, &segment, &offset, err);
    if (rc == RC_OK)
        buf_printf(&c->reply.body, "{\"segment\": %" PRId64 ", \"offset\": %" PRId64 "}", segment,
                   offset);
    return rc;
}

/* ---- people ---- */

static enum rc read_filter(const struct api_call *c, struct report_filter *ret, struct err *err)
{
    *ret = (struct report_filter){0};
    for (int d = 0; d < REPORT_DIMS; d++) {
        ret->value[d] = http_query(c->http, report_dim_column((enum report_dim)d));
        if (ret->value[d].len == 0)
            ret->value[d] = STR_NONE;
    }
    enum rc rc = api_query_time(c, "start", 0, &ret->start_ms, err);
    if (rc == RC_OK)
        rc = api_query_time(c, "end", 0, &ret->end_ms, err);
    if (rc == RC_OK && ret->end_ms > 0 && ret->end_ms <= ret->start_ms)
        rc = err_field(err, RC_BAD_INPUT, "end", "`end` must be after `start`");
    return rc;
}

static enum rc get_requests(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct scope *scope = NULL;
    struct report_filter filter;
    int64_t limit = 0;
    struct usage *rows = NULL;
    size_t n = 0;
    struct str next = STR_NONE, after = http_query(c->http, "after");
    enum rc rc = api_scope(c, &resource_usage, ACCESS_READ, &scope, err);
    if (rc == RC_OK)
        rc = read_filter(c, &filter, err);
    if (rc == RC_OK)
        rc = api_query_i64(c, "limit", 1, REPORT_ROWS_MAX, 50, &limit, err);
    if (rc == RC_OK)
        rc = report_requests(txn, scope, &filter, after, limit, c->arena, &rows, &n, &next, err);
    if (rc != RC_OK)
        return rc;
    struct buf *body = &c->reply.body;
    buf_z(body, "{\"data\": [");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_z(body, ", ");
        resource_to_json(&resource_usage, &rows[i], scope_view(scope), body);
    }
    buf_z(body, "], \"next\": ");
    if (next.p)
        buf_json(body, next);
    else
        buf_z(body, "null");
    buf_byte(body, '}');
    return RC_OK;
}

static enum rc get_request(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct scope *scope = NULL;
    struct usage row;
    enum rc rc = api_scope(c, &resource_usage, ACCESS_READ, &scope, err);
    if (rc == RC_OK)
        rc = row_get(txn, scope, &resource_usage, api_path(c, 0), c->arena, &row, err);
    if (rc == RC_OK)
        resource_to_json(&resource_usage, &row, scope_view(scope), &c->reply.body);
    return rc;
}

static enum rc read_grouping(const struct api_call *c, uint32_t *ret_by,
                             enum report_bucket *ret_bucket, struct err *err)
{
    uint32_t by = 0;
    struct str rest = http_query(c->http, "group_by");
    while (rest.len > 0) {
        enum report_dim dim;
        if (!report_dim_parse(str_cut(&rest, ','), &dim))
            return err_field(err, RC_BAD_INPUT, "group_by",
                             "`group_by` is a list of org, user, key, deployment, model, outcome");
        by |= 1u << dim;
    }
    if (report_bucket_parse(http_query(c->http, "bucket"), ret_bucket)) {
        *ret_by = by;
        return RC_OK;
    }
    return err_field(err, RC_BAD_INPUT, "bucket", "`bucket` is hour, day or month");
}

static enum rc get_summary(struct api_call *c, struct txn *txn, struct err *err)
{
    const struct scope *scope = NULL;
    struct report_filter filter;
    uint32_t by = 0;
    enum report_bucket bucket = REPORT_NO_BUCKET;
    struct report_group *groups = NULL;
    size_t n = 0;
    enum rc rc = api_scope(c, &resource_usage, ACCESS_READ, &scope, err);
    if (rc == RC_OK)
        rc = read_filter(c, &filter, err);
    if (rc == RC_OK)
        rc = read_grouping(c, &by, &bucket, err);
    if (rc == RC_OK)
        rc = report_summary(txn, scope, &filter, by, bucket, c->arena, &groups, &n, err);
    if (rc != RC_OK)
        return rc;
    struct buf *body = &c->reply.body;
    buf_z(body, "{\"data\": [");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_z(body, ", ");
        report_group_json(&groups[i], by, bucket, body);
    }
    buf_z(body, "], \"next\": null}");
    return RC_OK;
}

#define FILTER_DOC                                                                                 \
    "start:time:Admitted at or after|end:time:Admitted before|org_id:string:Only this org|"        \
    "user_id:string:Only this user|key_id:string:Only this key|"                                   \
    "deployment_id:string:Only this deployment|model:string:Only this model|"                      \
    "outcome:string:Only this outcome"

static const struct api_route usage_routes[] = {
    {"POST", FEED_PATH_USAGE, API_INTERNAL, API_WRITE, post_usage, NULL, NULL, {0}},
    {"GET", FEED_PATH_APPLIED, API_INTERNAL, API_READ, get_applied, NULL, NULL, {0}},
    {"GET",
     "/api/v1/usage/requests",
     API_USER,
     API_READ,
     get_requests,
     NULL,
     &resource_usage,
     {.summary = "Usage rows, newest first",
      .tag = "usage",
      .query = "limit:integer:Rows of a page, 1 to 200|after:string:`next` of the page "
               "before|" FILTER_DOC,
      .response = OPENAPI_REF("UsageList")}},
    {"GET",
     "/api/v1/usage/requests/{id}",
     API_USER,
     API_READ,
     get_request,
     NULL,
     &resource_usage,
     {.summary = "The usage row of one request", .tag = "usage", .response = OPENAPI_REF("Usage")}},
    {"GET",
     "/api/v1/usage/summary",
     API_USER,
     API_READ,
     get_summary,
     NULL,
     &resource_usage,
     {.summary = "Sums of usage and cost",
      .tag = "usage",
      .query = "group_by:string:Comma list of org, user, key, deployment, model, outcome|"
               "bucket:string:hour, day or month, in UTC|" FILTER_DOC,
      .response = OPENAPI_REF("UsageSummary")}},
};

static const struct openapi_schema usage_schemas[] = {
    {"UsageSummaryRow",
     "{\"type\":\"object\",\"required\":[\"requests\",\"input_tokens\",\"cached_tokens\","
     "\"output_tokens\",\"cost\",\"currency\"],\"properties\":{"
     "\"bucket\":{\"type\":\"string\",\"format\":\"date-time\"},"
     "\"group\":{\"type\":\"string\",\"description\":\"The value of the only dimension.\"},"
     "\"org_id\":{\"type\":\"string\"},\"org\":{\"type\":[\"string\",\"null\"]},"
     "\"user_id\":{\"type\":\"string\"},\"user\":{\"type\":[\"string\",\"null\"]},"
     "\"key_id\":{\"type\":\"string\"},\"key\":{\"type\":[\"string\",\"null\"]},"
     "\"deployment_id\":{\"type\":\"string\"},\"deployment\":{\"type\":[\"string\",\"null\"]},"
     "\"model\":{\"type\":\"string\"},\"outcome\":{\"type\":\"string\"},"
     "\"requests\":{\"type\":\"integer\"},\"input_tokens\":{\"type\":\"integer\"},"
     "\"cached_tokens\":{\"type\":\"integer\"},\"output_tokens\":{\"type\":\"integer\"},"
     "\"cost\":{\"type\":\"string\",\"description\":\"Exact, in whole units of the currency.\"},"
     "\"currency\":{\"type\":\"string\"}}}"},
    {"UsageSummary", "{\"type\":\"object\",\"required\":[\"data\",\"next\"],\"properties\":{"
                     "\"data\":{\"type\":\"array\",\"items\":" OPENAPI_REF(
                         "UsageSummaryRow") "},\"next\":{\"type\":\"null\"}}}"},
};

const struct api_table usage_table = {
    .routes = usage_routes,
    .n = ARRAY_LEN(usage_routes),
    .schemas = usage_schemas,
    .n_schemas = ARRAY_LEN(usage_schemas),
};
