#include "control/feed.h"

#include <stdlib.h>

#include "base/http_server.h"
#include "base/id.h"
#include "base/loop.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/api_impl.h"
#include "control/db.h"
#include "control/row.h"
#include "control/secret.h"
#include "control/txn.h"
#include "schema/feed.h"

enum { WAITERS_MAX = 256, EPOCH_HEX = 32 };

/* In the order in which a full answer lists them: what is pointed at before what points. */
static const struct resource *const kinds[] = {
    &resource_org,        &resource_user,  &resource_key,   &resource_model, &resource_endpoint,
    &resource_deployment, &resource_share, &resource_limit, &resource_price};

struct wait {
    struct api_call *call;
    struct feed *feed;
    struct wait *prev, *next;
    struct loop_timer timer;
    int64_t after;
    struct str epoch;
};

struct feed {
    struct loop *loop;
    struct wait *first; /* at most WAITERS_MAX */
    int n_waiting;
};

static bool is_fed(const struct resource *res)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i] == res)
            return true;
    return false;
}

enum rc feed_record(struct txn *txn, const struct resource *res, struct str id, struct err *err)
{
    SCOPED_STMT s = NULL;
    txn->n_fed++;
    if (!is_fed(res))
        return RC_OK;
    enum rc rc = stmt_get(txn,
                          "INSERT INTO changes (kind, id, rev)"
                          " VALUES (?1, ?2, (SELECT ifnull(max(rev), 0) + 1 FROM changes))"
                          " ON CONFLICT (kind, id) DO UPDATE SET rev = excluded.rev",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, str_of(res->name));
    stmt_bind_str(s, 2, id);
    return stmt_run(s, NULL, err);
}

enum rc feed_revision(struct txn *txn, int64_t *ret, struct err *err)
{
    return db_i64(txn, "SELECT ifnull(max(rev), 0) FROM changes", ret, err);
}

enum rc feed_begin(void *unused, struct txn *txn, struct err *err)
{
    SCOPED_STMT s = NULL;
    uint8_t raw[EPOCH_HEX / 2];
    char hex[EPOCH_HEX + 1];
    (void)unused;
    random_bytes(raw, sizeof raw);
    str_to_hex(raw, sizeof raw, hex);
    enum rc rc = stmt_get(
        txn, "INSERT INTO meta VALUES ('epoch', ?1) ON CONFLICT (name) DO NOTHING", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, str_of(hex));
    return stmt_run(s, NULL, err);
}

static enum rc read_epoch(struct txn *txn, char ret[EPOCH_HEX + 1], struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc = stmt_get(txn, "SELECT value FROM meta WHERE name = 'epoch'", &s, err);
    if (rc == RC_OK)
        rc = stmt_step(s, &row, err);
    if (rc != RC_OK)
        return rc;
    struct str v = row ? stmt_str(s, 0) : STR_NONE;
    if (v.len != EPOCH_HEX)
        return err_set(err, RC_CORRUPT, "the database has no epoch");
    memcpy(ret, v.p, EPOCH_HEX);
    ret[EPOCH_HEX] = '\0';
    return RC_OK;
}

static void add_change(struct buf *to, const struct resource *res, struct str id, const void *row,
                       bool *first)
{
    buf_printf(to, "%s{\"kind\":\"%s\",\"id\":", *first ? "" : ",", res->name);
    *first = false;
    buf_json(to, id);
    buf_z(to, ",\"row\":");
    if (row)
        resource_to_json(res, row, VIEW_FEED, to);
    else
        buf_z(to, "null");
    buf_byte(to, '}');
}

/* One row as it is now; gone when there is none. */
static enum rc add_current(struct txn *txn, struct str kind, struct str id, struct buf *to,
                           bool *first, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, 4 * MIB);
    const struct resource *res = resource_find(kind);
    if (!res)
        return err_set(err, RC_CORRUPT, "the feed holds an unknown kind: " STR_FMT, STR_ARG(kind));
    void *row = arena_alloc(&arena, 1, res->size);
    enum rc rc = row ? row_get(txn, access_system(), res, id, &arena, row, err)
                     : err_set(err, RC_NO_MEMORY, "no memory for the feed");
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    add_change(to, res, id, rc == RC_OK ? row : NULL, first);
    return RC_OK;
}

/* What changed after `after`, at most FEED_ROWS_MAX rows; *rev becomes the last one's revision when
 * more follow. */
static enum rc add_since(struct txn *txn, int64_t after, int64_t *rev, struct buf *to,
                         struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = true, first = true;
    int64_t last = after;
    int n = 0;
    enum rc rc = stmt_get(
        txn, "SELECT kind, id, rev FROM changes WHERE rev > ?1 ORDER BY rev LIMIT ?2", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_i64(s, 1, after);
    stmt_bind_i64(s, 2, FEED_ROWS_MAX);
    while (rc == RC_OK) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        last = stmt_i64(s, 2);
        rc = add_current(txn, stmt_str(s, 0), stmt_str(s, 1), to, &first, err);
        n++;
    }
    if (n == FEED_ROWS_MAX)
        *rev = last;
    return rc;
}

static enum rc add_kind(struct txn *txn, const struct resource *res, struct buf *to, bool *first,
                        struct err *err)
{
    SCOPED_STMT s = NULL;
    SCOPED_ARENA names, arena;
    arena_init(&names, 64 * KIB);
    arena_init(&arena, 4 * MIB);
    const char *columns;
    bool row = true;
    enum rc rc = row_columns(res, &names, &columns, err);
    if (rc != RC_OK)
        return rc;
    struct str sql =
        arena_printf(&names, "SELECT %s FROM %s t ORDER BY t.id", columns, res->plural);
    rc = sql.p ? stmt_get(txn, sql.p, &s, err) : err_set(err, RC_NO_MEMORY, "no memory");
    while (rc == RC_OK) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        arena_reset(&arena);
        void *at = arena_alloc(&arena, 1, res->size);
        rc = at ? row_read(s, 0, res, &arena, at, err) : err_set(err, RC_NO_MEMORY, "no memory");
        if (rc == RC_OK) /* the id is each resource's first member */
            add_change(to, res, *(const struct str *)at, at, first);
    }
    return rc;
}

static enum rc add_all(struct txn *txn, struct buf *to, struct err *err)
{
    bool first = true;
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < ARRAY_LEN(kinds); i++)
        rc = add_kind(txn, kinds[i], to, &first, err);
    return rc;
}

/* Fills the reply. RC_AGAIN: there is nothing new, and `wait` says that this may wait. */
static enum rc fill(struct api_call *c, int64_t after, struct str epoch, bool wait, struct err *err)
{
    SCOPED_TXN txn = {0};
    SCOPED_BUF changes;
    char now_epoch[EPOCH_HEX + 1], hash_key[2 * HASH_KEY_BYTES + 1];
    int64_t rev = 0;
    buf_init(&changes, API_REPLY_MAX);
    enum rc rc = txn_begin_read(api_db(c->api), &txn, err);
    if (rc == RC_OK)
        rc = read_epoch(&txn, now_epoch, err);
    if (rc == RC_OK)
        rc = feed_revision(&txn, &rev, err);
    if (rc != RC_OK)
        return rc;
    bool full = after <= 0 || after > rev || !str_is(epoch, now_epoch);
    if (!full && after == rev && wait)
        return RC_AGAIN;
    rc = full ? add_all(&txn, &changes, err) : add_since(&txn, after, &rev, &changes, err);
    if (rc != RC_OK)
        return rc;
    str_to_hex(api_secrets(c->api)->apikey, HASH_KEY_BYTES, hash_key);
    struct buf *to = &c->reply.body;
    buf_printf(to, "{\"epoch\":\"%s\",\"rev\":%lld,\"full\":%s,\"hash_key\":\"%s\",\"changes\":[",
               now_epoch, (long long)rev, full ? "true" : "false", hash_key);
    buf_str(to, buf_view(&changes));
    buf_z(to, "]}");
    to->failed |= changes.failed;
    c->reply.has_secret = true;
    return RC_OK;
}

static void leave(struct wait *w)
{
    struct feed *f = w->feed;
    loop_timer_clear(f->loop, &w->timer);
    if (w->prev)
        w->prev->next = w->next;
    else
        f->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    f->n_waiting--;
}

/* Answers a waiter with what there is, be it nothing. */
static void answer(struct wait *w)
{
    struct err err = {0};
    leave(w);
    enum rc rc = fill(w->call, w->after, w->epoch, false, &err);
    api_answer(w->call, rc, &err);
}

static void on_time(struct loop_timer *t)
{
    answer(t->user);
}

static void on_gone(struct http_req *r)
{
    struct api_call *c = http_user(r);
    struct err err;
    leave(c->state);
    err_set(&err, RC_CLIENT_GONE, "the client went away");
    api_answer(c, RC_CLIENT_GONE, &err);
}

static enum rc begin_wait(struct feed *f, struct api_call *c, int64_t after, struct str epoch,
                          int64_t wait_ms, struct err *err)
{
    struct wait *w = ARENA_NEW(c->arena, struct wait);
    if (!w)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    *w = (struct wait){.call = c, .feed = f, .next = f->first, .after = after, .epoch = epoch};
    w->timer = (struct loop_timer){.on_time = on_time, .user = w};
    enum rc rc = loop_timer_set(f->loop, &w->timer, loop_now_ms(f->loop) + wait_ms, err);
    if (rc != RC_OK)
        return rc;
    if (f->first)
        f->first->prev = w;
    f->first = w;
    f->n_waiting++;
    c->state = w;
    http_on_gone(c->http, on_gone);
    return RC_AGAIN;
}

static enum rc changes_run(struct api_call *c, struct txn *none, struct err *err)
{
    struct feed *f = c->user;
    int64_t after = 0, wait_ms = 0;
    struct str epoch = http_query(c->http, "epoch");
    (void)none;
    enum rc rc = api_query_i64(c, "after", 0, INT64_MAX, 0, &after, err);
    if (rc == RC_OK)
        rc = api_query_i64(c, "wait_ms", 0, FEED_WAIT_MAX_MS, 0, &wait_ms, err);
    if (rc != RC_OK)
        return rc;
    bool may_wait = wait_ms > 0 && f->n_waiting < WAITERS_MAX;
    rc = fill(c, after, epoch, may_wait, err);
    return rc == RC_AGAIN ? begin_wait(f, c, after, epoch, wait_ms, err) : rc;
}

static enum rc key_run(struct api_call *c, struct txn *txn, struct err *err)
{
    struct key k = {0};
    int64_t rev = 0;
    enum rc rc = row_find(txn, access_system(), &resource_key, "public_id", api_path(c, 0),
                          c->arena, &k, err);
    if (rc == RC_OK)
        rc = feed_revision(txn, &rev, err);
    if (rc != RC_OK)
        return rc;
    buf_z(&c->reply.body, "{\"row\":");
    resource_to_json(&resource_key, &k, VIEW_FEED, &c->reply.body);
    buf_printf(&c->reply.body, ",\"rev\":%lld}", (long long)rev);
    return RC_OK;
}

const struct api_route feed_routes[] = {
    {"GET", FEED_PATH_CHANGES, API_INTERNAL, API_RAW, changes_run, NULL, NULL, {0}},
    {"GET", FEED_PATH_KEY "{public_id}", API_INTERNAL, API_READ, key_run, NULL, NULL, {0}},
};
const size_t feed_n_routes = ARRAY_LEN(feed_routes);

enum rc feed_open(struct loop *loop, struct feed **ret, struct err *err)
{
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(err, RC_NO_MEMORY, "no memory for the feed");
    f->loop = loop;
    *ret = f;
    return RC_OK;
}

void feed_wake(struct feed *f)
{
    struct wait *next;
    for (struct wait *w = f->first; w; w = next) {
        struct err err = {0};
        next = w->next;
        enum rc rc = fill(w->call, w->after, w->epoch, true, &err);
        if (rc == RC_AGAIN)
            continue;
        leave(w);
        api_answer(w->call, rc, &err);
    }
}

void feed_close(struct feed *f)
{
    if (!f)
        return;
    while (f->first)
        answer(f->first);
    free(f);
}
