#ifndef SLUICE_BASE_HTTP_GUARD_H
#define SLUICE_BASE_HTTP_GUARD_H
/* http_guard - our own look at a request's headers before the HTTP library's view of them is
 * trusted (S01: the distribution's library accepts two Content-Length, CL + TE and "Name :"). */

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

struct http_guard {
    int content_length, transfer_encoding, host, authorization; /* seen so far */
    bool chunked;
    int64_t length; /* -1: none given */
    int count;
    size_t bytes;
};

#define HTTP_GUARD_HEADERS_MAX 100

void http_guard_init(struct http_guard *g);
/* One header line as the library understood it. */
enum rc http_guard_add(struct http_guard *g, struct str name, struct str value, struct err *err);
/* After the last one. */
enum rc http_guard_end(const struct http_guard *g, struct str version, struct err *err);

#endif
