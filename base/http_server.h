#ifndef SLUICE_BASE_HTTP_SERVER_H
#define SLUICE_BASE_HTTP_SERVER_H
/* http_server - the door to libmicrohttpd: HTTP/1.1 requests in, whole or streamed replies out,
 * all on one loop and one thread (external epoll; the library's own threads stall, see LIMITS).
 *
 * Life of a request: on_head (headers seen; may refuse) → on_request (whole body seen) → exactly
 * one reply, at once or later → on_close, exactly once if on_request was called. Between on_request
 * and on_close the request is valid; a client that hangs up is noticed even while nothing is sent.
 *
 * Header check (S01): names are tokens, no control bytes, at most one Content-Length,
 * Transfer-Encoding, Host, Authorization; not both of the first two; Transfer-Encoding is exactly
 * "chunked". (Folded lines are unfolded by the library before anybody can see them.) A breach is
 * 400 and the connection closes. A chunked request is served, and its connection closes after the
 * reply, so nothing can hide behind it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct loop;
struct http_server;
struct http_req;

struct http_server_opts {
    const char *bind; /* "127.0.0.1", "0.0.0.0", "::1" */
    uint16_t port;    /* 0: any; see http_server_port */
    bool reuse_port;  /* several servers on one port, one a core */
    int32_t max_conns;
    size_t max_body;        /* 413 above; default for paths without a rule of their own */
    size_t arena_cap;       /* of one request's arena, body included */
    size_t stream_max;      /* unsent bytes of one stream; more is RC_LIMIT to the writer */
    int32_t head_ms;        /* from first byte (or accept) to the end of the headers */
    int32_t body_ms;        /* from there to the end of the body */
    int32_t idle_ms;        /* keep-alive connection without a request */
    int32_t write_stall_ms; /* unsent bytes and no progress: the client is gone */

    /* Headers are there, the body is not. Anything but RC_OK refuses: on_error writes the reply
     * and the connection closes after it. May be NULL. */
    enum rc (*on_head)(struct http_req *r, void *user, struct err *err);
    void (*on_request)(struct http_req *r, void *user);
    /* gone: the reply did not reach the client whole. NULL user data is fine. */
    void (*on_close)(struct http_req *r, void *user, bool gone);
    /* Fills `body` (JSON) for errors that this file answers itself: 400, 408, 413, 431, 503. */
    void (*on_error)(struct http_req *r, void *user, const struct err *err, struct buf *body);
    void *user;
};

enum rc http_server_open(struct loop *l, const struct http_server_opts *opts,
                         struct http_server **ret, struct err *err);
uint16_t http_server_port(const struct http_server *s);
void http_server_quiesce(struct http_server *s); /* stop accepting; running requests go on */
int32_t
http_server_active(const struct http_server *s); /* requests between on_request and on_close */
void http_server_close(struct http_server *s);   /* cuts what is left; accepts NULL */

/* What was asked. Views live as long as the request. */
struct str http_method(const struct http_req *r);
struct str http_path(const struct http_req *r);   /* percent-decoded, without the query */
struct str http_target(const struct http_req *r); /* as sent, without the query: for ids with %2F */
struct str http_header(const struct http_req *r, const char *name); /* p == NULL: absent */
struct str http_query(const struct http_req *r, const char *name);  /* p == NULL: absent */
struct str http_cookie(const struct http_req *r, const char *name); /* p == NULL: absent */
struct str http_body(const struct http_req *r);
struct str http_peer(const struct http_req *r); /* "127.0.0.1" */
struct arena *http_arena(struct http_req *r);
void http_set_user(struct http_req *r, void *user); /* the handler's own struct */
void *http_user(const struct http_req *r);
bool http_is_gone(
    const struct http_req *r); /* the client hung up; on_close will follow the reply */
/* Called once, in the loop's thread, when the client hangs up before the reply is complete. */
void http_on_gone(struct http_req *r, void (*on_gone)(struct http_req *r));

/* Reply. Headers are copied; name and value must be free of CR and LF (ASSERT on the name, the
 * value is cut there). http_reply copies the body. */
void http_add_header(struct http_req *r, const char *name, const char *value);
void http_reply(struct http_req *r, int status, const char *content_type, struct str body);
/* Same, closing the connection after it. */
void http_reply_close(struct http_req *r, int status, const char *content_type, struct str body);
/* A file's bytes that live as long as the server (console assets); not copied. */
void http_reply_static(struct http_req *r, int status, const char *content_type, struct str body);

/* Streamed reply, chunked. Bytes go out at the end of the loop's turn, the first together with the
 * headers. RC_LIMIT: stream_max unsent bytes would be passed, nothing was taken. RC_CLIENT_GONE. */
void http_stream_begin(struct http_req *r, int status, const char *content_type);
enum rc http_stream_write(struct http_req *r, struct str bytes);
size_t http_stream_unsent(const struct http_req *r);
void http_stream_end(struct http_req *r);
/* Cuts the connection without the closing chunk, so that the client sees a broken answer. */
void http_stream_cut(struct http_req *r);

#endif
