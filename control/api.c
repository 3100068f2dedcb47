#include "control/api.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/api_impl.h"
#include "control/console.h"
#include "control/secret.h"
#include "control/session.h"
#include "control/slow.h"
#include "control/txn.h"

/* A call's way: found → identified → parsed → before → (slow) → run → answered. Each step either
 * goes on to the next or ends in api_answer, which every call reaches exactly once. */

struct db *api_db(const struct api *a)
{
    return a->db;
}

struct writer *api_writer(const struct api *a)
{
    return a->writer;
}

const struct secrets *api_secrets(const struct api *a)
{
    return a->secrets;
}

int64_t api_now_ms(const struct api *a)
{
    return clock_wall_ms(loop_clock(a->loop));
}

const char *api_gateway_url(const struct api *a)
{
    return a->gateway_url;
}

struct str api_path(const struct api_call *c, int at)
{
    ASSERT(at >= 0 && at < (int)ARRAY_LEN(c->path_value));
    return c->path_value[at];
}

enum rc api_scope(struct api_call *c, const struct resource *res, enum access_act act,
                  const struct scope **ret, struct err *err)
{
    return access_check(&c->caller, res, act, c->arena, ret, err);
}

enum rc api_query_i64(const struct api_call *c, const char *name, int64_t lo, int64_t hi,
                      int64_t def, int64_t *ret, struct err *err)
{
    struct str v = http_query(c->http, name);
    *ret = def;
    if (v.p && !str_to_i64(v, lo, hi, ret))
        return err_field(err, RC_BAD_INPUT, name, "%s must be a whole number from %lld to %lld",
                         name, (long long)lo, (long long)hi);
    return RC_OK;
}

enum rc api_query_time(const struct api_call *c, const char *name, int64_t def, int64_t *ret,
                       struct err *err)
{
    struct str v = http_query(c->http, name);
    *ret = def;
    if (v.p && !clock_from_text(v, ret))
        return err_field(err, RC_BAD_INPUT, name,
                         "%s must be an RFC 3339 time such as 2026-01-31T12:00:00Z", name);
    return RC_OK;
}

void api_error_json(const struct err *err, struct buf *to)
{
    bool ours = rc_http_status(err->rc) == 500; /* details go to the log, not to the client */
    buf_printf(to, "{\"error\":{\"code\":\"%s\",\"message\":", rc_name(err->rc));
    buf_json(to, ours ? STR("something went wrong here; the server's log says what")
                      : str_of(err->msg));
    buf_z(to, ",\"field\":");
    if (err->field[0] && !ours)
        buf_json(to, str_of(err->field));
    else
        buf_z(to, "null");
    buf_z(to, "}}");
}

static void add_common_headers(struct http_req *r)
{
    http_add_header(r, "cache-control", "no-store");
    http_add_header(r, "x-content-type-options", "nosniff");
}

static void add_reply_headers(struct api_call *c)
{
    const struct api_reply *reply = &c->reply;
    char text[32];
    add_common_headers(c->http);
    if (reply->version > 0) {
        snprintf(text, sizeof text, "\"%lld\"", (long long)reply->version);
        http_add_header(c->http, "etag", text);
    }
    if (reply->location.p)
        http_add_header(c->http, "location", reply->location.p);
    if (reply->retry_after > 0) {
        snprintf(text, sizeof text, "%lld", (long long)reply->retry_after);
        http_add_header(c->http, "retry-after", text);
    }
    if (reply->cookie.p)
        http_add_header(c->http, "set-cookie", reply->cookie.p);
}

static void answer_error(struct api_call *c, const struct err *err)
{
    int status = rc_http_status(err->rc);
    if (status == 500)
        log_error("api.failed", "method=" STR_FMT " path=%s rc=%s at=%s:%d err=\"%s\"",
                  STR_ARG(http_method(c->http)), LOG_STR(http_path(c->http)), rc_name(err->rc),
                  err->file ? err->file : "?", err->line, err->msg);
    c->reply.version = 0;
    c->reply.location = c->reply.cookie = STR_NONE;
    buf_clear(&c->reply.body);
    api_error_json(err, &c->reply.body);
    if (err->rc == RC_UNAUTHENTICATED)
        http_add_header(c->http, "www-authenticate", "Bearer");
    if (status == 503 && c->reply.retry_after == 0)
        c->reply.retry_after = 1;
    add_reply_headers(c);
    http_reply(c->http, status, "application/json", buf_view(&c->reply.body));
}

void api_answer(struct api_call *c, enum rc rc, const struct err *err)
{
    struct err too_large;
    if (rc == RC_OK && c->reply.body.failed) {
        err_set(&too_large, RC_NO_MEMORY, "the answer is too large; ask for less");
        rc = RC_NO_MEMORY;
        err = &too_large;
    }
    if (rc != RC_OK) {
        ASSERT(err);
        answer_error(c, err);
        return;
    }
    add_reply_headers(c);
    http_reply(c->http, c->reply.status ? c->reply.status : 200,
               c->reply.content_type ? c->reply.content_type : "application/json",
               buf_view(&c->reply.body));
}

/* Run, in the writer's thread. The request's arena is ours alone: the loop leaves a call that waits
 * for its job untouched. */
static enum rc run_job(struct writer_job *job, struct txn *txn, struct err *err)
{
    struct api_call *c = job->user;
    struct str key = http_header(c->http, "idempotency-key");
    bool keep = key.p && c->caller.user_id.p && str_is(http_method(c->http), "POST");
    bool found = false;
    enum rc rc = keep ? replay_find(c, txn, key, &found, err) : RC_OK;
    if (rc != RC_OK || found)
        return rc;
    rc = c->route->run(c, txn, err);
    if (rc == RC_OK && c->reply.body.failed)
        rc = err_set(err, RC_NO_MEMORY, "the answer is too large");
    if (rc == RC_OK && keep)
        rc = replay_keep(c, txn, key, err);
    return rc;
}

static void job_done(struct writer_job *job, enum rc rc, const struct err *err)
{
    api_answer(job->user, rc, err);
}

static void run_read(struct api_call *c)
{
    SCOPED_TXN txn = {0};
    enum rc rc = txn_begin_read(c->api->db, &txn, &c->err);
    if (rc == RC_OK)
        rc = c->route->run(c, &txn, &c->err);
    api_answer(c, rc, &c->err);
}

static void run(struct api_call *c)
{
    enum rc rc = RC_OK;
    switch (c->route->kind) {
    case API_READ:
        run_read(c);
        return;
    case API_WRITE:
        c->job = (struct writer_job){.run = run_job, .on_done = job_done, .user = c};
        rc = writer_post(c->api->writer, &c->job, &c->err);
        if (rc != RC_OK)
            api_answer(c, rc, &c->err);
        return;
    case API_RAW:
        rc = c->route->run(c, NULL, &c->err);
        if (rc != RC_AGAIN)
            api_answer(c, rc, &c->err);
        return;
    }
}

static void slow_run(struct slow_job *job)
{
    struct api_call *c = job->user;
    c->err.rc = RC_OK;
    c->slow_rc = c->slow(c, &c->err);
}

static void slow_done(struct slow_job *job)
{
    struct api_call *c = job->user;
    if (c->slow_rc != RC_OK)
        api_answer(c, c->slow_rc, &c->err);
    else
        run(c);
}

static enum rc identify(struct api_call *c, struct err *err)
{
    SCOPED_TXN txn = {0};
    enum rc rc = txn_begin_read(c->api->db, &txn, err);
    if (rc == RC_OK)
        rc = session_identify(c, &txn, err);
    if (rc == RC_OK && c->route->who == API_OPERATOR && c->caller.role != ROLE_OPERATOR)
        rc = err_set(err, RC_FORBIDDEN, "only operators may do this");
    return rc;
}

static enum rc check_internal(const struct api *a, const struct http_req *r, struct err *err)
{
    struct str given = http_header(r, "authorization");
    struct str token = str_sub(given, 7, given.len), want = str_of(a->secrets->internal);
    if (!str_starts(given, STR("Bearer ")) || token.len != want.len ||
        !hash_equal(token.p, want.p, want.len))
        return err_set(err, RC_UNAUTHENTICATED, "this needs the internal token");
    return RC_OK;
}

static enum rc parse_body(struct api_call *c, struct err *err)
{
    struct str body = http_body(c->http), m = http_method(c->http);
    struct str type = http_header(c->http, "content-type");
    json_error_t why;
    if (str_is(m, "GET") || str_is(m, "HEAD") || str_is(m, "DELETE"))
        return RC_OK;
    if (c->route->who != API_INTERNAL && body.len > API_BODY_MAX)
        return err_set(err, RC_TOO_LARGE, "the body has more than %zu bytes", API_BODY_MAX);
    /* A form cannot send this type, so no other site's page can write here. */
    if (!str_starts(type, STR("application/json")) &&
        !str_starts(type, STR("application/merge-patch+json")))
        return err_set(err, RC_BAD_INPUT, "send JSON, with content-type: application/json");
    c->body = json_loadb(body.len ? body.p : "", body.len, JSON_REJECT_DUPLICATES, &why);
    if (!c->body)
        return err_set(err, RC_BAD_INPUT, "the body is not JSON: %.120s at byte %d", why.text,
                       why.position);
    if (!json_is_object(c->body))
        return err_set(err, RC_BAD_INPUT, "the body must be a JSON object");
    return RC_OK;
}

static enum rc run_before(struct api_call *c, struct err *err)
{
    if (!c->route->before)
        return RC_OK;
    SCOPED_TXN txn = {0};
    enum rc rc = txn_begin_read(c->api->db, &txn, err);
    return rc == RC_OK ? c->route->before(c, &txn, err) : rc;
}

static void begin(struct api_call *c)
{
    enum rc rc = RC_OK;
    if (c->route->who == API_INTERNAL)
        rc = check_internal(c->api, c->http, &c->err);
    else if (c->route->who != API_ANYONE)
        rc = identify(c, &c->err);
    if (rc == RC_OK)
        rc = parse_body(c, &c->err);
    if (rc == RC_OK)
        rc = run_before(c, &c->err);
    if (rc == RC_OK && c->slow) {
        c->slow_job = (struct slow_job){.run = slow_run, .on_done = slow_done, .user = c};
        rc = slow_post(c->api->slow, &c->slow_job, &c->err);
        if (rc == RC_OK)
            return;
    }
    if (rc != RC_OK)
        api_answer(c, rc, &c->err);
    else
        run(c);
}

static bool path_fits(const char *pattern, struct str path, struct str value[4])
{
    struct str want = str_of(pattern);
    int n = 0;
    while (want.p && path.p) {
        struct str w = str_cut(&want, '/'), p = str_cut(&path, '/');
        if (w.len && w.p[0] == '{') {
            if (p.len == 0)
                return false;
            ASSERT(n < 4);
            value[n++] = p;
        } else if (!str_eq(w, p)) {
            return false;
        }
    }
    return !want.p && !path.p;
}

/* RC_NOT_FOUND: no such path. RC_BAD_METHOD: the path exists with other methods. */
static enum rc find_route(const struct api *a, const struct http_req *r, struct api_call *c,
                          struct err *err)
{
    struct str path = http_path(r), method = http_method(r);
    struct str get = str_is(method, "HEAD") ? STR("GET") : method;
    bool known = false;
    for (size_t t = 0; t < a->n_tables; t++)
        for (size_t i = 0; i < a->table[t].n; i++) {
            const struct api_route *route = &a->table[t].routes[i];
            struct str value[4] = {0};
            if (!path_fits(route->path, path, value))
                continue;
            known = true;
            if (!str_is(get, route->method))
                continue;
            c->route = route;
            c->user = a->table[t].user;
            memcpy(c->path_value, value, sizeof value);
            return RC_OK;
        }
    if (known)
        return err_set(err, RC_BAD_METHOD, STR_FMT " is not possible here", STR_ARG(method));
    return err_set(err, RC_NOT_FOUND, "there is nothing at this path");
}

static bool is_ours(struct str path)
{
    return str_starts(path, STR("/api/")) || str_starts(path, STR("/internal/")) ||
           str_is(path, "/api") || str_is(path, "/internal") || str_is(path, "/openapi.json");
}

static void reply_error(struct http_req *r, const struct err *err)
{
    SCOPED_BUF body;
    buf_init(&body, 4 * KIB);
    api_error_json(err, &body);
    add_common_headers(r);
    http_reply(r, rc_http_status(err->rc), "application/json", buf_view(&body));
}

void api_on_request(struct http_req *r, void *user)
{
    struct api *a = user;
    struct err err = {0};
    struct str path = http_path(r);
    if (!is_ours(path)) {
        console_serve(a->console, r);
        return;
    }
    struct api_call *c = ARENA_NEW(http_arena(r), struct api_call);
    enum rc rc = c ? RC_OK : err_set(&err, RC_NO_MEMORY, "no memory for the request");
    if (rc == RC_OK && str_starts(path, STR("/internal")))
        rc = check_internal(a, r, &err); /* before anything tells which paths exist */
    if (rc == RC_OK)
        rc = find_route(a, r, c, &err);
    if (rc != RC_OK) {
        reply_error(r, &err);
        return;
    }
    c->api = a;
    c->http = r;
    c->arena = http_arena(r);
    c->caller.peer = http_peer(r);
    buf_init(&c->reply.body, API_REPLY_MAX);
    http_set_user(r, c);
    begin(c);
}

void api_on_close(struct http_req *r, void *user, bool gone)
{
    struct api_call *c = http_user(r);
    (void)user;
    (void)gone;
    if (!c)
        return;
    if (c->reply.has_secret && c->reply.body.p)
        hash_wipe(c->reply.body.p, c->reply.body.len);
    buf_done(&c->reply.body);
    json_decref(c->body);
}

enum rc api_on_head(struct http_req *r, void *user, struct err *err)
{
    const struct api *a = user;
    int64_t n = 0;
    bool internal = str_starts(http_path(r), STR("/internal/"));
    size_t most = internal ? INTERNAL_BODY_MAX : API_BODY_MAX;
    struct str length = http_header(r, "content-length");
    if (internal && check_internal(a, r, err) != RC_OK)
        return RC_UNAUTHENTICATED; /* nobody else sends 16 MiB here */
    if (length.p && (!str_to_i64(length, 0, INT64_MAX, &n) || n > (int64_t)most))
        return err_set(err, RC_TOO_LARGE, "the body has more than %zu bytes", most);
    return RC_OK;
}

void api_on_error(struct http_req *r, void *user, const struct err *err, struct buf *body)
{
    (void)r;
    (void)user;
    api_error_json(err, body);
}
