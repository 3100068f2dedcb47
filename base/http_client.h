#ifndef SLUICE_BASE_HTTP_CLIENT_H
#define SLUICE_BASE_HTTP_CLIENT_H
/* http_client - the door to libcurl: calls on the loop's thread, connections kept and reused.
 * No redirects, http and https only, unix sockets by `unix_path`. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct loop;
struct http_client;
struct http_call;

enum http_flow { HTTP_GO_ON, HTTP_PAUSE, HTTP_STOP };

struct http_call_opts {
    const char *method; /* "GET" */
    const char *url;
    const char *unix_path;        /* NULL: TCP */
    const char *const *headers;   /* "Name: value", NULL-terminated; may be NULL */
    struct str body;              /* copied */
    int32_t connect_ms, total_ms; /* 0: 5 s, 60 s */
    int32_t idle_ms;              /* no byte for so long: RC_TIMEOUT; 0: off */
    size_t max_body;              /* of the reply when on_data is NULL; 0: 16 MiB */
    /* With on_data the reply's bytes are handed over as they come, else collected for on_done. */
    void (*on_head)(void *user, int status);
    enum http_flow (*on_data)(void *user, struct str bytes);
    /* Exactly once, never from inside http_call_start. rc is RC_OK for any HTTP status. */
    void (*on_done)(void *user, enum rc rc, int status, struct str body, const struct err *err);
    void *user;
};

enum rc http_client_open(struct loop *l, int32_t max_calls, struct http_client **ret,
                         struct err *err);
void http_client_close(struct http_client *c); /* running calls end with RC_CLIENT_GONE */

/* RC_UNAVAILABLE when max_calls are under way. */
enum rc http_call_start(struct http_client *c, const struct http_call_opts *opts,
                        struct http_call **ret /* may be NULL */, struct err *err);
void http_call_resume(struct http_call *call); /* after HTTP_PAUSE */
void http_call_cancel(struct http_call *call); /* no callback follows; the handle is gone */

/* One call, waiting for it: for command lines and tests, never in a server. */
enum rc http_call_wait(const struct http_call_opts *opts, int *ret_status, struct buf *ret_body,
                       struct err *err);

#endif
