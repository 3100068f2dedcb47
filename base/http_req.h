#ifndef SLUICE_BASE_HTTP_REQ_H
#define SLUICE_BASE_HTTP_REQ_H
/* http_req - what http_server.c and http_req.c share: a request, its connection, its server. Nobody
 * else includes this. */

#include <microhttpd.h>
#include <netinet/in.h>

#include "base/http_server.h"
#include "base/loop.h"

enum {
    HTTP_CONN_MEMORY =
        16 * 1024, /* headers and the send block; 32 KiB costs 16 KiB more a stream */
    HTTP_REPLY_HEADERS_MAX = 24
};

enum http_phase { REQ_HEAD, REQ_BODY, REQ_WAITING, REQ_REPLYING, REQ_STREAMING };

struct http_conn {
    struct http_conn *prev, *next;
    struct http_server *server;
    struct MHD_Connection *mhd;
    struct http_req *req; /* the one under way, or NULL */
    struct loop_io watch;
    int64_t since_ms; /* of the phase: accepted, request line, headers, last byte sent */
    bool served;      /* had a request before: idle_ms holds, not head_ms */
    char peer[INET6_ADDRSTRLEN];
};

struct http_req {
    struct http_conn *conn;
    struct arena arena;
    struct str method, path, target;
    struct buf body;
    size_t dropped; /* of the body, behind its maximum */
    bool chunked, in_call, suspended, accepted, gone, cut, ended, close_after;
    enum http_phase phase;
    struct MHD_Response *reply; /* made, not queued yet */
    int status;
    struct buf out; /* unsent bytes of a stream, from out_at on */
    size_t out_at;
    struct {
        const char *name, *value;
    } header[HTTP_REPLY_HEADERS_MAX];
    int n_headers;
    void *user;
    void (*on_gone)(struct http_req *r);
};

struct http_server {
    struct loop *loop;
    struct http_server_opts opts;
    struct MHD_Daemon *daemon;
    uint16_t port;
    int32_t active;
    bool dirty, closing, quiet;
    struct http_conn *conns;
    struct loop_io io;
    struct loop_hook hook;
    struct loop_timer sweep;
};

/* Makes the library look at this request again, in this turn. */
void http_req_wake(struct http_req *r);

#endif
