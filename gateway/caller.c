#include "gateway/caller.h"

#include "base/units.h"
#include "gateway/req.h"

void gate_reply(struct worker *w, struct http_req *http, int status, struct str json)
{
    metrics_add(&w->metrics->http[MIN_OF(status / 100, 5)], 1);
    if (status == 401)
        metrics_add(&w->metrics->unauthenticated, 1);
    req_common_headers(http);
    http_reply(http, status, "application/json", json);
}

void gate_fail(struct worker *w, struct http_req *http, const struct fault *f)
{
    fault_headers(f, http);
    fault_body(f, &w->scratch);
    gate_reply(w, http, f->status, buf_view(&w->scratch));
    buf_clear(&w->scratch);
}

void caller_reply(struct caller *c, struct str json)
{
    gate_reply(c->worker, c->http, 200, json);
    tables_unref(c->tables);
    c->tables = NULL;
}

void caller_fail(struct caller *c, const struct fault *f)
{
    gate_fail(c->worker, c->http, f);
    tables_unref(c->tables);
    c->tables = NULL;
}

static void check(struct caller *c)
{
    struct err err = {0};
    enum rc rc = c->tables ? auth_check(c->tables, c->key_text, c->key_public,
                                        clock_wall_ms(c->worker->gate->clock), &c->auth, &err)
                           : err_set(&err, RC_UNAVAILABLE,
                                     "The gateway is starting. Please try again shortly.");
    if (rc == RC_AGAIN && !c->asked) {
        c->asked = true;
        replica_ask(&c->ask);
        return;
    }
    if (rc == RC_AGAIN)
        rc = auth_refuse(&err);
    if (rc == RC_OK) {
        c->on_known(c);
        return;
    }
    struct fault f = fault_of(rc, &err, NULL);
    caller_fail(c, &f);
}

static void on_answer(struct replica_ask *a, enum rc rc)
{
    struct caller *c = a->user;
    if (rc == RC_UNAVAILABLE) {
        struct fault f = fault_make(rc, NULL, NULL,
                                    "The key cannot be checked right now. Please try again in a "
                                    "moment.");
        caller_fail(c, &f);
        return;
    }
    tables_unref(c->tables);
    c->tables = replica_get(c->worker->gate->replica);
    check(c);
}

void caller_begin(struct worker *w, struct http_req *http, struct str arg,
                  void (*on_known)(struct caller *c))
{
    struct err err = {0};
    struct caller *c = ARENA_NEW(http_arena(http), struct caller);
    enum rc rc = c ? RC_OK : err_set(&err, RC_NO_MEMORY, "The request is too large.");
    struct str key = STR_NONE, public_id = STR_NONE;
    if (rc == RC_OK)
        rc = auth_key_text(http_header(http, "Authorization"), http_header(http, "x-api-key"), &key,
                           &public_id, &err);
    if (rc != RC_OK) {
        struct fault f = fault_of(rc, &err, NULL);
        gate_fail(w, http, &f);
        return;
    }
    *c = (struct caller){
        .worker = w,
        .http = http,
        .tables = tables_ref(w->tables),
        .key_text = key,
        .key_public = public_id,
        .arg = arg,
        .on_known = on_known,
        .ask = {.replica = w->gate->replica, .loop = w->loop, .on_answer = on_answer, .user = c}};
    memcpy(c->ask.public_id, public_id.p, MIN_OF(public_id.len, sizeof c->ask.public_id - 1));
    check(c);
}
