#ifndef SLUICE_GATEWAY_FAULT_H
#define SLUICE_GATEWAY_FAULT_H
/* fault - an error as an OpenAI client is told of it: status, type, code, param, when to retry. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "gateway/limit.h"

struct http_req;

struct fault {
    enum rc rc;
    int status;
    const char *type, *code; /* static */
    char param[48];
    char message[320];
    int64_t retry_ms; /* 0: not said */
    bool never_retry;
    bool has_limit; /* refused by a limit: `limit` says which */
    struct limit_refusal limit;
};

/* code NULL: the usual one of rc. */
struct fault fault_of(enum rc rc, const struct err *err, const char *code);
struct fault fault_make(enum rc rc, const char *code, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
struct fault fault_of_limit(const struct err *err, const struct limit_refusal *r);

void fault_body(const struct fault *f, struct buf *to);
/* retry-after and friends. */
void fault_headers(const struct fault *f, struct http_req *r);

#endif
