/* http_req.c - a request as its handler sees it: questions about it, and the one reply. */
#include "base/http_req.h"

#include "base/units.h"

enum { STREAM_BLOCK = 4 * 1024 };

/* ---- replies ------------------------------------------------------------------------------- */

void http_req_wake(struct http_req *r)
{
    struct http_server *s = r->conn->server;
    s->dirty = true;
    if (r->suspended) {
        r->suspended = false;
        MHD_resume_connection(r->conn->mhd);
    }
}

void http_add_header(struct http_req *r, const char *name, const char *value)
{
    ASSERT(!strpbrk(name, "\r\n: "));
    if (r->n_headers == HTTP_REPLY_HEADERS_MAX)
        return;
    struct str v = str_of(value);
    v.len = strcspn(value, "\r\n");
    const char *n = arena_zdup(&r->arena, str_of(name)), *kept = arena_zdup(&r->arena, v);
    if (!n || !kept)
        return;
    r->header[r->n_headers].name = n;
    r->header[r->n_headers++].value = kept;
}

static void set_reply(struct http_req *r, int status, const char *content_type,
                      struct MHD_Response *reply)
{
    ASSERT(reply && !r->reply && r->phase <= REQ_WAITING);
    r->reply = reply;
    r->status = status;
    if (content_type)
        MHD_add_response_header(reply, "Content-Type", content_type);
    for (int i = 0; i < r->n_headers; i++)
        MHD_add_response_header(reply, r->header[i].name, r->header[i].value);
    if (r->close_after || r->chunked || r->conn->server->quiet)
        MHD_add_response_header(reply, "Connection", "close");
    if (!r->in_call)
        http_req_wake(r);
}

void http_reply(struct http_req *r, int status, const char *content_type, struct str body)
{
    set_reply(r, status, content_type,
              MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.p,
                                              MHD_RESPMEM_MUST_COPY));
}

void http_reply_close(struct http_req *r, int status, const char *content_type, struct str body)
{
    r->close_after = true;
    http_reply(r, status, content_type, body);
}

void http_reply_static(struct http_req *r, int status, const char *content_type, struct str body)
{
    set_reply(r, status, content_type,
              MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.p,
                                              MHD_RESPMEM_PERSISTENT));
}

static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max)
{
    (void)pos;
    struct http_req *r = cls;
    size_t left = r->out.len - r->out_at;
    if (r->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (left) {
        size_t n = MIN_OF(left, max);
        memcpy(to, r->out.p + r->out_at, n);
        r->out_at += n;
        if (r->out_at == r->out.len) {
            buf_clear(&r->out);
            r->out_at = 0;
        }
        r->conn->since_ms = loop_now_ms(r->conn->server->loop);
        return (ssize_t)n;
    }
    if (r->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    r->suspended = true;
    MHD_suspend_connection(r->conn->mhd);
    return 0;
}

void http_stream_begin(struct http_req *r, int status, const char *content_type)
{
    buf_init(&r->out, r->conn->server->opts.stream_max);
    set_reply(
        r, status, content_type,
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, r, NULL));
    r->phase = REQ_STREAMING;
    r->conn->since_ms = loop_now_ms(r->conn->server->loop);
}

enum rc http_stream_write(struct http_req *r, struct str bytes)
{
    ASSERT(r->phase == REQ_STREAMING && !r->ended);
    if (r->gone || r->cut)
        return RC_CLIENT_GONE;
    if (r->out_at > r->out.len / 2 && r->out_at > STREAM_BLOCK) {
        buf_drop(&r->out, r->out_at);
        r->out_at = 0;
    }
    if (r->out.len == r->out_at) /* the stall clock starts with the first unsent byte */
        r->conn->since_ms = loop_now_ms(r->conn->server->loop);
    if (!buf_str(&r->out, bytes)) {
        r->out.failed = false;
        return RC_LIMIT;
    }
    http_req_wake(r);
    return RC_OK;
}

size_t http_stream_unsent(const struct http_req *r)
{
    return r->out.len - r->out_at;
}

void http_stream_end(struct http_req *r)
{
    ASSERT(r->phase == REQ_STREAMING);
    r->ended = true;
    http_req_wake(r);
}

void http_stream_cut(struct http_req *r)
{
    ASSERT(r->phase == REQ_STREAMING);
    r->cut = true;
    http_req_wake(r);
}

/* ---- questions ----------------------------------------------------------------------------- */

struct str http_method(const struct http_req *r)
{
    return r->method;
}

struct str http_path(const struct http_req *r)
{
    return r->path;
}

struct str http_target(const struct http_req *r)
{
    return r->target;
}

static struct str lookup(const struct http_req *r, enum MHD_ValueKind kind, const char *name)
{
    return str_of(MHD_lookup_connection_value(r->conn->mhd, kind, name));
}

struct str http_header(const struct http_req *r, const char *name)
{
    return lookup(r, MHD_HEADER_KIND, name);
}

struct str http_query(const struct http_req *r, const char *name)
{
    return lookup(r, MHD_GET_ARGUMENT_KIND, name);
}

struct str http_cookie(const struct http_req *r, const char *name)
{
    return lookup(r, MHD_COOKIE_KIND, name);
}

struct str http_body(const struct http_req *r)
{
    return buf_view(&r->body);
}

struct str http_peer(const struct http_req *r)
{
    return str_of(r->conn->peer);
}

struct arena *http_arena(struct http_req *r)
{
    return &r->arena;
}

void http_set_user(struct http_req *r, void *user)
{
    r->user = user;
}

void *http_user(const struct http_req *r)
{
    return r->user;
}

bool http_is_gone(const struct http_req *r)
{
    return r->gone;
}

void http_on_gone(struct http_req *r, void (*on_gone)(struct http_req *r))
{
    r->on_gone = on_gone;
}
