/* replica.c - the feed's loop.
 *
 *   POLLING --200--> apply, publish, POLLING     POLLING --anything else--> WAITING --timer-->
 * POLLING
 */
#include "gateway/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "schema/feed.h"

struct asking {
    struct replica *replica;
    struct http_call *call; /* NULL: free */
    char public_id[APIKEY_PUBLIC_LEN + 1];
    struct replica_ask *waiting; /* all who want this key */
};

struct unknown {
    char public_id[APIKEY_PUBLIC_LEN + 1];
    int64_t until_ms;
};

struct replica {
    struct replica_opts opts;
    char *auth; /* "Authorization: Bearer …" */
    pthread_mutex_t lock;
    struct tables *tables; /* under the lock; changed by the feed's loop only */
    struct replica_watch *watches;
    struct http_call *poll;
    struct loop_timer retry, save;
    int32_t fails;
    struct asking asking[REPLICA_ASKS_MAX];
    struct unknown unknown[REPLICA_UNKNOWN_MAX];
    atomic_llong polls, failures, asks, changes, heard_ms;
    atomic_bool connected;
};

enum { RETRY_MIN_MS = 50, RETRY_MAX_MS = 1000, SAVE_MS = 200, WAIT_MS = 25000 };

/* ---- the snapshot ---- */

struct tables *replica_get(struct replica *r)
{
    pthread_mutex_lock(&r->lock);
    struct tables *t = tables_ref(r->tables);
    pthread_mutex_unlock(&r->lock);
    return t;
}

static void publish(struct replica *r, struct tables *t)
{
    pthread_mutex_lock(&r->lock);
    struct tables *old = r->tables;
    r->tables = t;
    pthread_mutex_unlock(&r->lock);
    tables_unref(old);
    atomic_fetch_add(&r->changes, 1);
    for (struct replica_watch *w = r->watches; w; w = w->next)
        loop_post(w->loop, &w->post);
}

void replica_watch_add(struct replica *r, struct replica_watch *w)
{
    w->next = r->watches;
    r->watches = w;
}

/* ---- the copy on disk ---- */

static enum rc write_file(const char *path, struct str bytes, struct err *err)
{
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s.new", path);
    SCOPED_FD fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot write %s", tmp);
    while (bytes.len) {
        ssize_t n = write(fd, bytes.p, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(err, errno, "cannot write %s", tmp);
        bytes = str_sub(bytes, (size_t)n, SIZE_MAX);
    }
    if (fdatasync(fd) < 0 || rename(tmp, path) < 0)
        return err_errno(err, errno, "cannot replace %s", path);
    return RC_OK;
}

static void save(struct replica *r)
{
    if (!r->tables)
        return;
    struct err err = {0};
    SCOPED_BUF text;
    buf_init(&text, REPLICA_FILE_MAX);
    tables_to_json(r->tables, &text);
    enum rc rc = text.failed ? err_set(&err, RC_TOO_LARGE, "the tables are too large to save")
                             : write_file(r->opts.path, buf_view(&text), &err);
    if (rc != RC_OK)
        log_warn("replica.save", "error=%s", LOG_STR(str_of(err.msg)));
}

static void on_save(struct loop_timer *t)
{
    save(t->user);
}

static void save_soon(struct replica *r)
{
    if (!r->save.slot)
        loop_timer_set(r->opts.loop, &r->save, loop_now_ms(r->opts.loop) + r->opts.save_ms, NULL);
}

static enum rc load(struct replica *r, struct err *err)
{
    SCOPED_FD fd = open(r->opts.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? err_set(err, RC_NOT_FOUND, "none yet")
                               : err_errno(err, errno, "cannot read %s", r->opts.path);
    json_error_t je;
    json_t *json = json_loadfd(fd, JSON_ALLOW_NUL, &je);
    if (!json)
        return err_set(err, RC_CORRUPT, "%s is no JSON: %.100s", r->opts.path, je.text);
    struct tables *t = NULL;
    enum rc rc = tables_apply(NULL, json, &t, err);
    json_decref(json);
    if (rc == RC_OK)
        publish(r, t);
    return rc;
}

/* ---- the feed ---- */

static void start_poll(struct replica *r);

static void poll_later(struct replica *r)
{
    int64_t wait = RETRY_MIN_MS;
    for (int32_t i = 0; i < r->fails && wait < r->opts.retry_ms; i++)
        wait *= 2;
    wait = MIN_OF(wait, (int64_t)r->opts.retry_ms);
    wait = wait / 2 + (int64_t)(random_u64() % (uint64_t)(wait / 2 + 1));
    loop_timer_set(r->opts.loop, &r->retry, loop_now_ms(r->opts.loop) + wait, NULL);
}

static enum rc take_reply(struct replica *r, int status, struct str body, struct err *err)
{
    if (status != 200)
        return err_set(err, RC_UPSTREAM, "the control plane answered %d", status);
    json_error_t je;
    json_t *json = json_loadb(body.p ? body.p : "", body.len, JSON_ALLOW_NUL, &je);
    if (!json)
        return err_set(err, RC_CORRUPT, "the feed's reply is no JSON: %.100s", je.text);
    const json_t *changes = json_object_get(json, "changes");
    enum rc rc = RC_OK;
    /* A poll that ran out says nothing new: no snapshot is built for it. */
    if (!r->tables || json_array_size(changes) || json_is_true(json_object_get(json, "full")) ||
        json_integer_value(json_object_get(json, "rev")) != tables_rev(r->tables)) {
        struct tables *t = NULL;
        rc = tables_apply(r->tables, json, &t, err);
        if (rc == RC_OK) {
            log_info("replica.change", "rev=%lld changes=%zu rows=%zu", (long long)tables_rev(t),
                     json_array_size(changes), tables_rows(t));
            publish(r, t);
            save_soon(r);
        }
    }
    json_decref(json);
    return rc;
}

static void on_poll(void *user, enum rc rc, int status, struct str body, const struct err *cause)
{
    struct replica *r = user;
    struct err err = {0};
    r->poll = NULL;
    if (rc == RC_CLIENT_GONE)
        return; /* shutting down */
    if (rc == RC_OK)
        rc = take_reply(r, status, body, &err);
    else
        err = *cause;
    if (rc == RC_OK) {
        if (!atomic_exchange(&r->connected, true))
            log_info("replica.connected", "url=%s", r->opts.url);
        atomic_store(&r->heard_ms, loop_now_ms(r->opts.loop));
        r->fails = 0;
        start_poll(r);
        return;
    }
    if (atomic_exchange(&r->connected, false) || r->fails == 0)
        log_warn("replica.lost", "url=%s error=%s", r->opts.url, LOG_STR(str_of(err.msg)));
    atomic_fetch_add(&r->failures, 1);
    r->fails = MIN_OF(r->fails + 1, 20);
    poll_later(r);
}

static enum rc get(struct replica *r, const char *url, int32_t total_ms, size_t max_body,
                   void (*on_done)(void *, enum rc, int, struct str, const struct err *),
                   void *user, struct http_call **ret, struct err *err)
{
    const char *const headers[] = {r->auth, "Accept: application/json", NULL};
    struct http_call_opts call = {.method = "GET",
                                  .url = url,
                                  .unix_path = r->opts.unix_path,
                                  .headers = headers,
                                  .connect_ms = 2000,
                                  .total_ms = total_ms,
                                  .max_body = max_body,
                                  .on_done = on_done,
                                  .user = user};
    return http_call_start(r->opts.http, &call, ret, err);
}

static void start_poll(struct replica *r)
{
    char url[1024];
    /* The first poll of a connection does not wait: it tells us that we are connected. */
    int32_t wait_ms = atomic_load(&r->connected) ? r->opts.wait_ms : 0;
    snprintf(url, sizeof url, "%s%s?after=%lld&epoch=%s&wait_ms=%d", r->opts.url, FEED_PATH_CHANGES,
             r->tables ? (long long)tables_rev(r->tables) : 0LL,
             r->tables ? tables_epoch(r->tables) : "", wait_ms);
    struct err err = {0};
    atomic_fetch_add(&r->polls, 1);
    if (get(r, url, wait_ms + 10000, REPLICA_FILE_MAX, on_poll, r, &r->poll, &err) != RC_OK) {
        r->fails = MIN_OF(r->fails + 1, 20);
        poll_later(r);
    }
}

static void on_retry(struct loop_timer *t)
{
    start_poll(t->user);
}

/* ---- single keys ---- */

static void answer(struct replica_ask *a, enum rc rc)
{
    while (a) {
        struct replica_ask *next = a->next;
        a->rc = rc;
        loop_post(a->loop, &a->post);
        a = next;
    }
}

static void on_answer_there(struct loop_post *p)
{
    struct replica_ask *a = p->user;
    a->on_answer(a, a->rc);
}

static struct unknown *unknown_of(struct replica *r, const char *public_id)
{
    uint32_t h = crc32c(0, public_id, APIKEY_PUBLIC_LEN);
    return &r->unknown[h % REPLICA_UNKNOWN_MAX];
}

static enum rc take_key(struct replica *r, struct str body, struct err *err)
{
    json_t *json = json_loadb(body.p ? body.p : "", body.len, 0, NULL);
    const json_t *row = json_object_get(json, "row"), *rev = json_object_get(json, "rev");
    enum rc rc = RC_OK;
    if (!r->tables || !json_is_object(row) || !json_is_integer(rev)) {
        rc = err_set(err, RC_UNAVAILABLE, "a key was answered with no row");
    } else {
        struct tables *t = NULL;
        rc = tables_apply_key(r->tables, row, json_integer_value(rev), &t, err);
        if (rc == RC_OK)
            publish(r, t);
        else if (rc == RC_CONFLICT)
            rc = RC_OK; /* the feed was quicker: look again */
        else
            rc = RC_UNAVAILABLE;
    }
    json_decref(json);
    return rc;
}

static void on_key(void *user, enum rc rc, int status, struct str body, const struct err *cause)
{
    struct asking *k = user;
    struct replica *r = k->replica;
    struct err err = {0};
    (void)cause;
    k->call = NULL;
    if (rc == RC_OK && status == 404) {
        struct unknown *u = unknown_of(r, k->public_id);
        memcpy(u->public_id, k->public_id, sizeof u->public_id);
        u->until_ms = loop_now_ms(r->opts.loop) + REPLICA_UNKNOWN_MS;
        rc = RC_NOT_FOUND;
    } else if (rc == RC_OK && status == 200) {
        rc = take_key(r, body, &err);
    } else {
        rc = RC_UNAVAILABLE;
    }
    struct replica_ask *waiting = k->waiting;
    k->waiting = NULL;
    answer(waiting, rc);
}

/* A place to ask from: the one that asks for this key already, or a free one. */
static struct asking *asking_for(struct replica *r, const char *public_id)
{
    struct asking *open = NULL;
    for (size_t i = 0; i < REPLICA_ASKS_MAX; i++) {
        struct asking *k = &r->asking[i];
        if (k->call && strcmp(k->public_id, public_id) == 0)
            return k;
        if (!k->call && !k->waiting)
            open = k;
    }
    return open;
}

static void ask_here(struct loop_post *p)
{
    struct replica_ask *a = p->user;
    struct replica *r = a->replica;
    const struct unknown *u = unknown_of(r, a->public_id);
    a->next = NULL;
    a->post = (struct loop_post){.on_post = on_answer_there, .user = a};
    if (r->tables && tables_key(r->tables, str_of(a->public_id))) {
        answer(a, RC_OK);
        return;
    }
    if (u->until_ms > loop_now_ms(r->opts.loop) && strcmp(u->public_id, a->public_id) == 0) {
        answer(a, RC_NOT_FOUND);
        return;
    }
    struct asking *k = *r->opts.url ? asking_for(r, a->public_id) : NULL;
    if (!k) {
        answer(a, RC_UNAVAILABLE);
        return;
    }
    a->next = k->waiting;
    k->waiting = a;
    if (k->call)
        return;
    char url[1024];
    struct err err = {0};
    k->replica = r;
    memcpy(k->public_id, a->public_id, sizeof k->public_id);
    snprintf(url, sizeof url, "%s%s%s", r->opts.url, FEED_PATH_KEY, a->public_id);
    atomic_fetch_add(&r->asks, 1);
    if (get(r, url, REPLICA_ASK_MS, 64 * KIB, on_key, k, &k->call, &err) != RC_OK) {
        k->call = NULL;
        k->waiting = NULL;
        answer(a, RC_UNAVAILABLE);
    }
}

void replica_ask(struct replica_ask *a)
{
    a->post = (struct loop_post){.on_post = ask_here, .user = a};
    loop_post(a->replica->opts.loop, &a->post);
}

/* ---- life ---- */

enum rc replica_open(const struct replica_opts *opts, struct replica **ret, struct err *err)
{
    struct replica *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, RC_NO_MEMORY, "no memory for the replica");
    r->opts = *opts;
    r->opts.wait_ms = opts->wait_ms ? MIN_OF(opts->wait_ms, FEED_WAIT_MAX_MS) : WAIT_MS;
    r->opts.save_ms = opts->save_ms ? opts->save_ms : SAVE_MS;
    r->opts.retry_ms = opts->retry_ms ? opts->retry_ms : RETRY_MAX_MS;
    pthread_mutex_init(&r->lock, NULL);
    atomic_store(&r->heard_ms, -1);
    r->retry = (struct loop_timer){.on_time = on_retry, .user = r};
    r->save = (struct loop_timer){.on_time = on_save, .user = r};
    if (asprintf(&r->auth, "Authorization: Bearer %s", opts->token) < 0) {
        r->auth = NULL;
        replica_close(r);
        return err_set(err, RC_NO_MEMORY, "no memory for the replica");
    }
    struct err why = {0};
    enum rc rc = load(r, &why);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        log_warn("replica.load", "error=%s", LOG_STR(str_of(why.msg)));
    if (*opts->url)
        start_poll(r);
    *ret = r;
    return RC_OK;
}

void replica_close(struct replica *r)
{
    if (!r)
        return;
    if (r->poll)
        http_call_cancel(r->poll);
    for (size_t i = 0; i < REPLICA_ASKS_MAX; i++)
        if (r->asking[i].call) {
            http_call_cancel(r->asking[i].call);
            answer(r->asking[i].waiting, RC_UNAVAILABLE);
        }
    if (r->save.slot)
        save(r);
    loop_timer_clear(r->opts.loop, &r->save);
    loop_timer_clear(r->opts.loop, &r->retry);
    tables_unref(r->tables);
    if (r->auth)
        hash_wipe(r->auth, strlen(r->auth));
    free(r->auth);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void replica_stat(struct replica *r, struct replica_stats *ret)
{
    struct tables *t = replica_get(r);
    int64_t heard = atomic_load(&r->heard_ms);
    *ret = (struct replica_stats){
        .rev = t ? tables_rev(t) : 0,
        .rows = t ? (int64_t)tables_rows(t) : 0,
        .polls = atomic_load(&r->polls),
        .failures = atomic_load(&r->failures),
        .asks = atomic_load(&r->asks),
        .changes = atomic_load(&r->changes),
        .connected = atomic_load(&r->connected),
        .quiet_ms = heard < 0 ? -1 : clock_mono_ms(loop_clock(r->opts.loop)) - heard};
    tables_unref(t);
}
