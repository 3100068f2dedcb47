#include "control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/units.h"
#include "control/api_impl.h"
#include "control/api_resource.h"
#include "control/console.h"
#include "control/db.h"
#include "control/feed.h"
#include "control/guard.h"
#include "control/secret.h"
#include "control/session.h"
#include "control/slow.h"

enum { LISTENERS_MAX = 8, CONNS_MAX = 2048, PATH_BYTES = 4096 };

struct control {
    struct api api;
    struct secrets secrets;
    struct feed *feed;
    struct guard *guard;
    struct http_server *http;
    char *gateway_url;
    struct {
        void (*on_change)(void *user);
        void *user;
    } listener[LISTENERS_MAX];
    int n_listeners;
};

static void add_table(struct control *c, const struct api_table *t)
{
    ASSERT(c->api.n_tables < API_TABLES_MAX);
    c->api.table[c->api.n_tables++] = *t;
}

static enum rc openapi_run(struct api_call *call, struct txn *none, struct err *err)
{
    (void)none;
    (void)err;
    api_print_openapi(call->api, &call->reply.body);
    return RC_OK;
}

static const struct api_route own_routes[] = {
    {"GET", "/openapi.json", API_ANYONE, API_RAW, openapi_run, NULL, NULL, {0}},
};

static void add_tables(struct control *c, const struct control_opts *opts)
{
    add_table(c, &(struct api_table){own_routes, ARRAY_LEN(own_routes), NULL, 0, NULL});
    add_table(c, &(struct api_table){session_routes, session_n_routes, NULL, 0, c->guard});
    add_table(c, &(struct api_table){resource_routes, resource_n_routes, NULL, 0, NULL});
    add_table(c, &(struct api_table){feed_routes, feed_n_routes, NULL, 0, c->feed});
    for (size_t i = 0; i < opts->n_tables; i++)
        add_table(c, &opts->tables[i]);
}

static void on_commit(void *user)
{
    control_changed(user);
}

static enum rc open_data(struct control *c, const struct control_opts *opts, struct err *err)
{
    char path[PATH_BYTES];
    if (mkdir(opts->data_dir, 0700) != 0 && errno != EEXIST)
        return err_errno(err, errno, "cannot make %s", opts->data_dir);
    if (snprintf(path, sizeof path, "%s/sluice.db", opts->data_dir) >= (int)sizeof path)
        return err_set(err, RC_BAD_INPUT, "the data folder's path is too long");
    enum rc rc = hash_init(err);
    if (rc == RC_OK)
        rc = secrets_open(opts->data_dir, &c->secrets, err);
    if (rc == RC_OK)
        rc = db_open(&(struct db_opts){.path = path}, &c->api.db, err);
    if (rc == RC_OK)
        rc = writer_open(c->api.db, opts->loop, on_commit, c, &c->api.writer, err);
    if (rc == RC_OK)
        rc = writer_call(c->api.writer, feed_begin, NULL, err);
    return rc;
}

static enum rc open_http(struct control *c, const struct control_opts *opts, struct err *err)
{
    struct http_server_opts http = {
        .bind = opts->bind,
        .port = opts->port,
        .max_conns = CONNS_MAX,
        .max_body = INTERNAL_BODY_MAX,
        .arena_cap = 4 * INTERNAL_BODY_MAX,
        .stream_max = MIB,
        .head_ms = 10 * MS_PER_SEC,
        .body_ms = 30 * MS_PER_SEC,
        .idle_ms = 75 * MS_PER_SEC,
        .write_stall_ms = 30 * MS_PER_SEC,
        .on_head = api_on_head,
        .on_request = api_on_request,
        .on_close = api_on_close,
        .on_error = api_on_error,
        .user = &c->api,
    };
    return http_server_open(opts->loop, &http, &c->http, err);
}

static enum rc open_parts(struct control *c, const struct control_opts *opts, struct err *err)
{
    c->api.loop = opts->loop;
    c->api.secrets = &c->secrets;
    c->gateway_url = strdup(opts->gateway_url ? opts->gateway_url : "");
    c->api.gateway_url = c->gateway_url;
    if (!c->gateway_url)
        return err_set(err, RC_NO_MEMORY, "no memory for the control plane");
    enum rc rc = open_data(c, opts, err);
    if (rc == RC_OK)
        rc = slow_open(opts->loop, &c->api.slow, err);
    if (rc == RC_OK)
        rc = feed_open(opts->loop, &c->feed, err);
    if (rc == RC_OK)
        rc = console_open(opts->console_dir, &c->api.console, err);
    if (rc == RC_OK && !(c->guard = guard_new(loop_clock(opts->loop))))
        rc = err_set(err, RC_NO_MEMORY, "no memory for the control plane");
    if (rc == RC_OK)
        add_tables(c, opts);
    if (rc == RC_OK)
        rc = open_http(c, opts, err);
    return rc;
}

enum rc control_open(const struct control_opts *opts, struct control **ret, struct err *err)
{
    struct control *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, RC_NO_MEMORY, "no memory for the control plane");
    enum rc rc = open_parts(c, opts, err);
    if (rc != RC_OK) {
        control_close(c);
        return rc;
    }
    log_info("control.ready", "bind=%s port=%u data=%s", opts->bind, control_port(c),
             opts->data_dir);
    *ret = c;
    return RC_OK;
}

void control_quiesce(struct control *c)
{
    http_server_quiesce(c->http);
}

/* Passwords first (their calls go on to the writer), then writes, then who waits for changes; each
 * close answers the calls it still holds, so the server goes last. */
void control_close(struct control *c)
{
    if (!c)
        return;
    slow_close(c->api.slow);
    writer_close(c->api.writer);
    feed_close(c->feed);
    http_server_close(c->http);
    console_close(c->api.console);
    db_close(c->api.db);
    guard_free(c->guard);
    secrets_done(&c->secrets);
    free(c->gateway_url);
    free(c);
}

uint16_t control_port(const struct control *c)
{
    return http_server_port(c->http);
}

struct db *control_db(const struct control *c)
{
    return c->api.db;
}

struct writer *control_writer(const struct control *c)
{
    return c->api.writer;
}

const struct secrets *control_secrets(const struct control *c)
{
    return &c->secrets;
}

void control_on_change(struct control *c, void (*on_change)(void *user), void *user)
{
    ASSERT(c->n_listeners < LISTENERS_MAX);
    c->listener[c->n_listeners].on_change = on_change;
    c->listener[c->n_listeners++].user = user;
}

void control_changed(struct control *c)
{
    feed_wake(c->feed);
    for (int i = 0; i < c->n_listeners; i++)
        c->listener[i].on_change(c->listener[i].user);
}

void api_print_openapi(const struct api *a, struct buf *to)
{
    struct openapi_route route[512];
    struct openapi_schema schema[128];
    size_t n = 0, n_schemas = 0;
    for (size_t t = 0; t < a->n_tables; t++) {
        for (size_t i = 0; i < a->table[t].n && n < ARRAY_LEN(route); i++) {
            const struct api_route *r = &a->table[t].routes[i];
            route[n++] = (struct openapi_route){r->method, r->path, r->doc};
        }
        for (size_t i = 0; i < a->table[t].n_schemas && n_schemas < ARRAY_LEN(schema); i++)
            schema[n_schemas++] = a->table[t].schemas[i];
    }
    openapi_print(route, n, schema, n_schemas, to);
}
