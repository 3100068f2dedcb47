#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row a code: log value and API code, HTTP status, OpenAI error type. */
static const struct {
    const char *name;
    int status;
    const char *type;
} codes[RC_COUNT] = {
    [RC_OK] = {"ok", 200, ""},
    [RC_AGAIN] = {"again", 503, "server_error"},
    [RC_BAD_INPUT] = {"bad_input", 400, "invalid_request_error"},
    [RC_UNAUTHENTICATED] = {"unauthenticated", 401, "authentication_error"},
    [RC_PAYMENT] = {"payment_required", 402, "insufficient_quota"},
    [RC_FORBIDDEN] = {"forbidden", 403, "permission_error"},
    [RC_NOT_FOUND] = {"not_found", 404, "invalid_request_error"},
    [RC_BAD_METHOD] = {"method_not_allowed", 405, "invalid_request_error"},
    [RC_CONFLICT] = {"conflict", 409, "invalid_request_error"},
    [RC_PRECONDITION] = {"precondition_failed", 412, "invalid_request_error"},
    [RC_TOO_LARGE] = {"too_large", 413, "invalid_request_error"},
    [RC_INVALID] = {"invalid", 422, "invalid_request_error"},
    [RC_LIMIT] = {"rate_limit_exceeded", 429, "rate_limit_error"},
    [RC_CLIENT_GONE] = {"client_gone", 499, "client_error"},
    [RC_INTERNAL] = {"internal", 500, "server_error"},
    [RC_UPSTREAM] = {"upstream_failed", 502, "server_error"},
    [RC_UNAVAILABLE] = {"unavailable", 503, "server_error"},
    [RC_TIMEOUT] = {"timeout", 504, "server_error"},
    [RC_NO_MEMORY] = {"overloaded", 503, "server_error"},
    [RC_IO] = {"io", 500, "server_error"},
    [RC_CORRUPT] = {"corrupt", 500, "server_error"},
};

static void fill(struct err *err, enum rc rc, const char *field, const char *file, int line)
{
    err->rc = rc;
    err->file = file;
    err->line = line;
    snprintf(err->field, sizeof err->field, "%s", field ? field : "");
}

enum rc err_set_at(struct err *err, enum rc rc, const char *field, const char *file, int line,
                   const char *fmt, ...)
{
    if (!err)
        return rc;
    fill(err, rc, field, file, line);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    return rc;
}

enum rc err_errno_at(struct err *err, int errno_value, const char *file, int line, const char *fmt,
                     ...)
{
    if (!err)
        return RC_IO;
    fill(err, RC_IO, NULL, file, line);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    size_t len = strlen(err->msg);
    char text[128];
    snprintf(err->msg + len, sizeof err->msg - len, ": %s",
             strerror_r(errno_value, text, sizeof text));
    return RC_IO;
}

const char *rc_name(enum rc rc)
{
    return rc < RC_COUNT ? codes[rc].name : "unknown";
}

int rc_http_status(enum rc rc)
{
    return rc < RC_COUNT ? codes[rc].status : 500;
}

const char *rc_openai_type(enum rc rc)
{
    return rc < RC_COUNT ? codes[rc].type : "server_error";
}

_Noreturn void assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken assumption: %s\n", file, line, cond);
    abort();
}
