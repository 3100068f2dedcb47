#ifndef SLUICE_TESTS_FAKE_CONTROL_H
#define SLUICE_TESTS_FAKE_CONTROL_H
/* fake_control - the internal side of a control plane (schema/feed.h): a list of changes handed out
 * by long poll, keys by public id, usage rows taken once each. One thread, one loop. */

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/http_server.h"
#include "base/loop.h"
#include "schema/feed.h"
#include "tests/fake/tenant.h"

enum { CONTROL_WAITING = 16 };

struct fake_control {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    pthread_mutex_t lock; /* over all below */
    json_t *state;        /* of tenant_feed: the whole state at `rev` */
    json_t *log;          /* [{rev, change}] */
    json_t *hidden_keys;  /* rows known only when asked for */
    json_t *rows;         /* usage rows by id */
    int rev;
    bool forgets; /* usage rows are taken and not kept: for benchmarks */
    struct {
        struct http_req *req;
        int after;
    } waiting[CONTROL_WAITING];
    struct loop_post wake;
    atomic_int asks, usage_posts, repeats, down; /* down: every answer is 500 */
    char url[64];
};

static inline void control_reply(struct http_req *r, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    http_reply(r, 200, "application/json", str_of(text));
    free(text);
    json_decref(j);
}

/* What is new after `after`, or NULL for nothing. Under the lock. */
static inline json_t *control_news(struct fake_control *c, int after, bool same_epoch)
{
    if (after <= 0 || !same_epoch) {
        json_object_set_new(c->state, "rev", json_integer(c->rev));
        return json_deep_copy(c->state);
    }
    if (after >= c->rev)
        return NULL;
    json_t *list = json_array(), *one;
    size_t i;
    json_array_foreach(c->log, i, one) if (json_integer_value(json_object_get(one, "rev")) > after)
        json_array_append(list, json_object_get(one, "change"));
    return json_pack("{s:O, s:i, s:b, s:O, s:o}", "epoch", json_object_get(c->state, "epoch"),
                     "rev", c->rev, "full", 0, "hash_key", json_object_get(c->state, "hash_key"),
                     "changes", list);
}

static inline json_t *control_nothing(struct fake_control *c)
{
    return json_pack("{s:O, s:i, s:b, s:O, s:[]}", "epoch", json_object_get(c->state, "epoch"),
                     "rev", c->rev, "full", 0, "hash_key", json_object_get(c->state, "hash_key"),
                     "changes");
}

static inline void control_changes(struct fake_control *c, struct http_req *r)
{
    struct str after = http_query(r, "after"), epoch = http_query(r, "epoch");
    struct str wait = http_query(r, "wait_ms");
    int64_t from = 0, wait_ms = 0;
    str_to_i64(after, 0, INT32_MAX, &from);
    str_to_i64(wait, 0, INT32_MAX, &wait_ms);
    bool same = str_is(epoch, json_string_value(json_object_get(c->state, "epoch")));
    json_t *news = control_news(c, (int)from, same);
    if (!news && wait_ms == 0)
        news = control_nothing(c);
    if (news) {
        control_reply(r, news);
        return;
    }
    for (int i = 0; i < CONTROL_WAITING; i++)
        if (!c->waiting[i].req) {
            c->waiting[i].req = r;
            c->waiting[i].after = (int)from;
            return;
        }
    control_reply(r, control_nothing(c));
}

static inline json_t *control_find_key(struct fake_control *c, struct str public_id)
{
    size_t i;
    json_t *row, *change;
    json_array_foreach(
        c->hidden_keys, i,
        row) if (str_is(public_id,
                        json_string_value(json_object_get(row, "public_id")))) return row;
    json_array_foreach(json_object_get(c->state, "changes"), i, change)
    {
        row = json_object_get(change, "row");
        const char *id = json_string_value(json_object_get(row, "public_id"));
        if (id && str_is(public_id, id))
            return row;
    }
    return NULL;
}

static inline void control_usage(struct fake_control *c, struct http_req *r)
{
    struct str body = http_body(r);
    json_t *j = json_loadb(body.p, body.len, 0, NULL), *row;
    size_t i;
    atomic_fetch_add(&c->usage_posts, 1);
    json_array_foreach(json_object_get(j, "rows"), i, row)
    {
        if (c->forgets)
            break;
        const char *id = json_string_value(json_object_get(row, "id"));
        if (json_object_get(c->rows, id))
            atomic_fetch_add(&c->repeats, 1);
        json_object_set(c->rows, id, row);
    }
    json_object_set(c->rows, "@applied",
                    json_pack("{s:O, s:O}", "segment", json_object_get(j, "segment"), "offset",
                              json_object_get(j, "offset")));
    control_reply(r, json_pack("{s:O, s:O}", "segment", json_object_get(j, "segment"), "offset",
                               json_object_get(j, "offset")));
    json_decref(j);
}

static inline void control_request(struct http_req *r, void *user)
{
    struct fake_control *c = user;
    struct str path = http_path(r), keys = STR(FEED_PATH_KEY);
    if (atomic_load(&c->down)) {
        http_reply(r, 500, "application/json", STR("{}"));
        return;
    }
    if (!str_is(http_header(r, "Authorization"), "Bearer secret-token")) {
        http_reply(r, 401, "application/json", STR("{}"));
        return;
    }
    pthread_mutex_lock(&c->lock);
    if (str_is(path, FEED_PATH_CHANGES)) {
        control_changes(c, r);
    } else if (str_starts(path, keys)) {
        json_t *row = control_find_key(c, str_sub(path, keys.len, SIZE_MAX));
        atomic_fetch_add(&c->asks, 1);
        if (row)
            control_reply(r, json_pack("{s:O, s:i}", "row", row, "rev", c->rev + 1));
        else
            http_reply(r, 404, "application/json", STR("{}"));
    } else if (str_is(path, FEED_PATH_USAGE)) {
        control_usage(c, r);
    } else {
        json_t *at = json_object_get(c->rows, "@applied");
        control_reply(r, at ? json_incref(at) : json_pack("{s:i, s:i}", "segment", 0, "offset", 0));
    }
    pthread_mutex_unlock(&c->lock);
}

static inline void control_closed(struct http_req *r, void *user, bool gone)
{
    struct fake_control *c = user;
    (void)gone;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < CONTROL_WAITING; i++)
        if (c->waiting[i].req == r)
            c->waiting[i].req = NULL;
    pthread_mutex_unlock(&c->lock);
}

static inline void control_gone(struct http_req *r)
{
    http_reply_close(r, 499, "application/json", STR("{}"));
}

static inline void control_wake(struct loop_post *p)
{
    struct fake_control *c = p->user;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < CONTROL_WAITING; i++) {
        json_t *news = c->waiting[i].req ? control_news(c, c->waiting[i].after, true) : NULL;
        if (!news)
            continue;
        struct http_req *r = c->waiting[i].req;
        c->waiting[i].req = NULL;
        control_reply(r, news);
    }
    pthread_mutex_unlock(&c->lock);
}

/* row NULL: it is gone. Takes row. */
static inline void control_change(struct fake_control *c, const char *kind, const char *id,
                                  json_t *row)
{
    pthread_mutex_lock(&c->lock);
    json_t *change =
        json_pack("{s:s, s:s, s:o}", "kind", kind, "id", id, "row", row ? row : json_null());
    json_t *list = json_object_get(c->state, "changes"), *one;
    size_t i;
    json_array_foreach(list, i,
                       one) if (strcmp(json_string_value(json_object_get(one, "id")), id) == 0)
    {
        json_array_remove(list, i);
        break;
    }
    if (row)
        json_array_append(list, change);
    c->rev++;
    json_array_append_new(c->log, json_pack("{s:i, s:o}", "rev", c->rev, "change", change));
    pthread_mutex_unlock(&c->lock);
    loop_post(c->loop, &c->wake);
}

/* The row of that id, copied, with one field changed. */
static inline json_t *control_edited(struct fake_control *c, const char *id, const char *field,
                                     json_t *value)
{
    pthread_mutex_lock(&c->lock);
    json_t *row = json_deep_copy(tenant_row(c->state, id));
    pthread_mutex_unlock(&c->lock);
    json_object_set_new(row, field, value);
    json_object_set_new(row, "version",
                        json_integer(json_integer_value(json_object_get(row, "version")) + 1));
    return row;
}

static inline int control_rows(struct fake_control *c)
{
    pthread_mutex_lock(&c->lock);
    int n = (int)json_object_size(c->rows) - (json_object_get(c->rows, "@applied") != NULL);
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* A copy of the row, or NULL. */
static inline json_t *control_row(struct fake_control *c, const char *id)
{
    pthread_mutex_lock(&c->lock);
    json_t *row = json_deep_copy(json_object_get(c->rows, id));
    pthread_mutex_unlock(&c->lock);
    return row;
}

static inline void *control_run(void *arg)
{
    struct fake_control *c = arg;
    struct err err = {0};
    loop_run(c->loop, &err);
    return NULL;
}

static inline void fake_control_start(struct fake_control *c, json_t *state)
{
    struct err err = {0};
    memset(c, 0, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->state = state;
    c->log = json_array();
    c->hidden_keys = json_array();
    c->rows = json_object();
    c->rev = 1;
    c->wake = (struct loop_post){.on_post = control_wake, .user = c};
    struct http_server_opts opts = {.bind = "127.0.0.1",
                                    .max_conns = 64,
                                    .max_body = 16 << 20,
                                    .arena_cap = 16 << 20,
                                    .stream_max = 1 << 20,
                                    .head_ms = 10000,
                                    .body_ms = 10000,
                                    .idle_ms = 60000,
                                    .write_stall_ms = 10000,
                                    .on_request = control_request,
                                    .on_close = control_closed,
                                    .user = c};
    MUST(loop_open(clock_system(), &c->loop, &err) == RC_OK);
    MUST(http_server_open(c->loop, &opts, &c->server, &err) == RC_OK);
    snprintf(c->url, sizeof c->url, "http://127.0.0.1:%u", http_server_port(c->server));
    MUST(pthread_create(&c->thread, NULL, control_run, c) == 0);
}

static inline void fake_control_stop(struct fake_control *c)
{
    loop_stop(c->loop);
    pthread_join(c->thread, NULL);
    http_server_close(c->server);
    loop_close(c->loop);
    json_decref(c->state);
    json_decref(c->log);
    json_decref(c->hidden_keys);
    json_decref(c->rows);
}

#endif
