#ifndef SLUICE_CONTROL_API_H
#define SLUICE_CONTROL_API_H
/* api - from an HTTP request to a handler and back: routes, who may call, JSON bodies,
 * transactions, Idempotency-Key, errors.
 *
 * A handler is a function over a transaction that fills c->reply. READ runs at once in the loop's
 * thread on a reading connection; WRITE runs in the writer's thread, and the answer leaves after
 * the commit. RAW gets no transaction and may answer later. Resources get their five routes from
 * their tables (api_resource.c); all other routes are tables like this one:
 *
 *     static const struct api_route routes[] = {
 *         {"GET", "/api/v1/usage/summary", API_USER, API_READ, usage_summary, .doc = {…}},
 *     };
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "control/access.h"
#include "control/slow.h"
#include "control/writer.h"
#include "schema/openapi.h"

struct api;
struct http_req;
struct secrets;

enum api_who {
    API_ANYONE,   /* no login; c->caller is empty */
    API_USER,     /* session or bearer token */
    API_OPERATOR, /* the same, with that role; 403 otherwise */
    API_INTERNAL  /* the token of DIR/run/internal.token */
};

enum api_kind { API_READ, API_WRITE, API_RAW };

struct api_call;

struct api_route {
    const char *method, *path; /* "{name}" stands for one segment: api_path */
    enum api_who who;
    enum api_kind kind;
    /* RC_OK: c->reply (status 200 unless set) goes out. RAW may give RC_AGAIN and later call
     * api_answer once. Anything else becomes an error reply. */
    enum rc (*run)(struct api_call *c, struct txn *txn, struct err *err);
    /* Optional: first, in the loop's thread, with a read transaction; may set c->slow, which then
     * runs in the password thread before `run`. */
    enum rc (*before)(struct api_call *c, struct txn *txn, struct err *err);
    const struct resource *res; /* for the resource routes */
    struct openapi_doc doc;
};

struct api_reply {
    int status;               /* 0: 200 */
    const char *content_type; /* NULL: application/json */
    struct buf body;
    int64_t version;     /* > 0: the ETag */
    struct str location; /* p == NULL: none */
    int64_t retry_after; /* s; > 0: the header */
    struct str cookie;   /* Set-Cookie; p == NULL: none */
    bool has_secret;     /* not to be cached anywhere */
};

struct api_call {
    struct api *api;
    struct http_req *http;
    struct arena *arena; /* the request's */
    const struct api_route *route;
    void *user; /* of the table the route is in */
    struct caller caller;
    json_t *body; /* parsed object; NULL without a body */
    struct api_reply reply;
    enum rc (*slow)(struct api_call *c, struct err *err); /* see `before` */
    void *state;                                          /* the handler's, in `arena` */
    struct str password_hash;

    /* api.c's own. */
    struct str path_value[4];
    struct writer_job job;
    struct slow_job slow_job;
    enum rc slow_rc;
    struct err err;
};

/* A value of the path ("{id}" first). */
struct str api_path(const struct api_call *c, int at);
/* The clock, the database and the rest of what handlers need. */
struct db *api_db(const struct api *a);
struct writer *api_writer(const struct api *a);
const struct secrets *api_secrets(const struct api *a);
int64_t api_now_ms(const struct api *a); /* wall */
const char *api_gateway_url(const struct api *a);

/* Query parameters, refused with err.field. Absent: the default. */
enum rc api_query_i64(const struct api_call *c, const char *name, int64_t lo, int64_t hi,
                      int64_t def, int64_t *ret, struct err *err);
enum rc api_query_time(const struct api_call *c, const char *name, int64_t def, int64_t *ret,
                       struct err *err);
/* The caller's scope over a resource; the one check. */
enum rc api_scope(struct api_call *c, const struct resource *res, enum access_act act,
                  const struct scope **ret, struct err *err);
/* For RAW handlers that gave RC_AGAIN: sends c->reply (RC_OK) or the error. Loop's thread, once. */
void api_answer(struct api_call *c, enum rc rc, const struct err *err);
/* "{"error": {…}}" */
void api_error_json(const struct err *err, struct buf *to);

struct api_table {
    const struct api_route *routes;
    size_t n;
    const struct openapi_schema *schemas; /* that the routes' docs refer to */
    size_t n_schemas;
    void *user; /* → c->user */
};

#endif
