#include "gateway/fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/http_server.h"
#include "base/units.h"
#include "gateway/sse.h"
#include "schema/chat_reply.h"

/* PRODUCT 3, "Error JSON": what SDKs switch on. */
static const struct {
    int status;
    const char *type, *code;
    int32_t retry_ms;
} faults[RC_COUNT] = {
    [RC_BAD_INPUT] = {400, "invalid_request_error", "invalid_value", 0},
    [RC_UNAUTHENTICATED] = {401, "invalid_request_error", "invalid_api_key", 0},
    [RC_PAYMENT] = {402, "insufficient_quota", "billing_hard_limit_reached", 0},
    [RC_FORBIDDEN] = {403, "permission_error", "forbidden", 0},
    [RC_NOT_FOUND] = {404, "invalid_request_error", "unknown_url", 0},
    [RC_BAD_METHOD] = {405, "invalid_request_error", "method_not_allowed", 0},
    [RC_CONFLICT] = {409, "invalid_request_error", "conflict", 0},
    [RC_PRECONDITION] = {412, "invalid_request_error", "precondition_failed", 0},
    [RC_TOO_LARGE] = {413, "invalid_request_error", "request_too_large", 0},
    [RC_INVALID] = {422, "invalid_request_error", "invalid_value", 0},
    [RC_LIMIT] = {429, "requests", "rate_limit_exceeded", 1000},
    [RC_CLIENT_GONE] = {499, "invalid_request_error", "client_gone", 0},
    [RC_INTERNAL] = {500, "server_error", "internal_error", 0},
    [RC_UPSTREAM] = {502, "server_error", "upstream_error", 0},
    [RC_UNAVAILABLE] = {503, "service_unavailable", "overloaded", 1000},
    [RC_TIMEOUT] = {504, "server_error", "timeout", 0},
    [RC_NO_MEMORY] = {503, "service_unavailable", "overloaded", 1000},
    [RC_IO] = {500, "server_error", "internal_error", 0},
    [RC_CORRUPT] = {502, "server_error", "upstream_error", 0},
};

static struct fault fault_base(enum rc rc, const char *code)
{
    rc = faults[rc].status ? rc : RC_INTERNAL;
    return (struct fault){.rc = rc,
                          .status = faults[rc].status,
                          .type = faults[rc].type,
                          .code = code ? code : faults[rc].code,
                          .retry_ms = faults[rc].retry_ms,
                          .never_retry = rc == RC_PAYMENT};
}

struct fault fault_of(enum rc rc, const struct err *err, const char *code)
{
    struct fault f = fault_base(rc, code);
    snprintf(f.param, sizeof f.param, "%s", err->field);
    snprintf(f.message, sizeof f.message, "%s", err->msg);
    return f;
}

struct fault fault_make(enum rc rc, const char *code, const char *param, const char *fmt, ...)
{
    struct fault f = fault_base(rc, code);
    snprintf(f.param, sizeof f.param, "%s", param ? param : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(f.message, sizeof f.message, fmt, args);
    va_end(args);
    return f;
}

struct fault fault_of_limit(const struct err *err, const struct limit_refusal *r)
{
    struct fault f = fault_of(RC_LIMIT, err, NULL);
    f.type = r->kind == LIMIT_TOKENS ? "tokens" : "requests";
    f.retry_ms = r->retry_ms > 0 ? r->retry_ms : 0;
    f.never_retry = r->retry_ms == LIMIT_NEVER;
    f.has_limit = true;
    f.limit = *r;
    return f;
}

void fault_body(const struct fault *f, struct buf *to)
{
    reply_error(to, f->message, f->type, f->param, f->code);
}

static void add_i64(struct http_req *r, const char *name, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    http_add_header(r, name, text);
}

static void limit_headers(const struct limit_refusal *l, struct http_req *r)
{
    char reset[SSE_DURATION_BYTES];
    bool tok = l->kind == LIMIT_TOKENS;
    add_i64(r, tok ? "x-ratelimit-limit-tokens" : "x-ratelimit-limit-requests", l->limit);
    add_i64(r, tok ? "x-ratelimit-remaining-tokens" : "x-ratelimit-remaining-requests",
            MAX_OF(l->limit - l->used, 0));
    if (l->retry_ms > 0)
        http_add_header(r, tok ? "x-ratelimit-reset-tokens" : "x-ratelimit-reset-requests",
                        sse_duration(l->retry_ms, reset));
}

void fault_headers(const struct fault *f, struct http_req *r)
{
    if (f->has_limit && f->limit.kind != LIMIT_CONCURRENCY)
        limit_headers(&f->limit, r);
    if (f->never_retry)
        http_add_header(r, "x-should-retry", "false");
    if (f->retry_ms <= 0)
        return;
    add_i64(r, "retry-after", (f->retry_ms + MS_PER_SEC - 1) / MS_PER_SEC);
    add_i64(r, "retry-after-ms", f->retry_ms);
}
