/* ship.c - one exchange with the ledger at a time; the journal is the queue.
 *
 * The place up to which a batch was read is what moves on, not the place the ledger answers: the
 * ledger keeps the furthest one it ever saw, which may be ahead of a journal that was put back from
 * a backup. Rows are told apart by their ids alone. */
#include "gateway/ship.h"

#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/units.h"
#include "schema/feed.h"

enum {
    LAG_SEGMENTS_MAX = 16,
    WAIT_MIN_MS = 100,
    WAIT_MAX_MS = 10 * 1000,
    CHECK_MS = 1000, /* between looks at lag and disk */
    CALL_MS = 30 * 1000,
    URL_MAX = 512,
    REPLY_MAX = 64 * 1024
};
#define BATCH_PACKED_BYTES (512 * KIB)
#define BODY_MAX           (16 * MIB)
#define DISK_LOW_BYTES     (256 * MIB)

enum state { ASKING, IDLE, SENDING };

/* Apart from ship, because a posted node cannot be taken back: it may be run after ship is gone. */
struct wake {
    struct loop_post post;
    struct ship *ship; /* NULL: gone */
};

struct ship {
    struct loop *loop;
    struct http_client *http;
    struct journal *journal;
    struct wake *wake;
    struct loop_timer retry, check;
    char url_usage[URL_MAX], url_applied[URL_MAX], auth[URL_MAX];
    const char *headers[3];
    char unix_path[128];
    int64_t lag_segments_max, disk_low_bytes;
    int32_t wait_min_ms, wait_max_ms, wait_ms; /* wait_ms: before the next try; 0: none failed */

    enum state state;
    struct http_call *call;         /* NULL: none under way */
    struct journal_pos applied, to; /* to: end of the batch under way */
    struct buf body;
    int32_t rows; /* in body */

    pthread_mutex_t lock; /* of stats */
    struct ship_stats stats;
};

static void step(struct ship *s);

/* ---- how far behind ---- */

static const char *shed_why(const struct ship *s, const struct journal_stats *j, int64_t lag)
{
    if (lag > s->lag_segments_max)
        return "the ledger is too far behind";
    if (j->disk_free >= 0 && j->disk_free < s->disk_low_bytes)
        return "the disk is nearly full";
    return NULL;
}

static void look(struct ship *s)
{
    struct journal_stats j;
    journal_stat(s->journal, &j);
    uint64_t oldest = j.end.segment - (uint64_t)j.segments + 1;
    int64_t lag =
        (int64_t)(j.end.segment - MAX_OF(oldest, MIN_OF(s->applied.segment, j.end.segment)));
    const char *why = shed_why(s, &j, lag);
    bool at_end = s->state == IDLE && journal_pos_cmp(s->applied, j.durable) >= 0;
    if (why && !s->stats.shedding)
        log_warn("ship.shed", "why=%s lag_segments=%" PRId64, LOG_STR(str_of(why)), lag);
    else if (!why && s->stats.shedding)
        log_info("ship.shed_over", "lag_segments=%" PRId64, lag);
    journal_shed(s->journal, why != NULL, why);
    pthread_mutex_lock(&s->lock);
    s->stats.shedding = why != NULL;
    s->stats.lag_segments = lag;
    s->stats.lag_bytes =
        lag * (int64_t)j.segment_bytes +
        (lag == 0 ? (int64_t)(j.end.offset - MIN_OF(s->applied.offset, j.end.offset))
                  : (int64_t)j.end.offset);
    s->stats.idle = at_end;
    pthread_mutex_unlock(&s->lock);
}

static void on_check(struct loop_timer *t)
{
    struct ship *s = t->user;
    look(s);
    if (loop_timer_set(s->loop, t, loop_now_ms(s->loop) + CHECK_MS, NULL) != RC_OK)
        log_error("ship.timer", "what=check");
}

/* ---- after a failure ---- */

static void on_retry(struct loop_timer *t)
{
    step(t->user);
}

static void try_later(struct ship *s, const char *what, int status, const char *msg)
{
    bool first = s->wait_ms == 0;
    s->wait_ms = first ? s->wait_min_ms : MIN_OF(2 * s->wait_ms, s->wait_max_ms);
    /* Half fixed, half by chance: gateways that lost the same ledger must not return as one. */
    int64_t wait = s->wait_ms / 2 + (int64_t)(random_u64() % (uint64_t)(s->wait_ms / 2 + 1));
    if (first || s->wait_ms == s->wait_max_ms)
        log_warn("ship.failed", "what=%s status=%d retry_ms=%" PRId64 " msg=%s", what, status, wait,
                 LOG_STR(str_of(msg)));
    pthread_mutex_lock(&s->lock);
    s->stats.failures++;
    s->stats.connected = false;
    pthread_mutex_unlock(&s->lock);
    s->state = ASKING; /* what the ledger took before the failure is for it to say */
    if (loop_timer_set(s->loop, &s->retry, loop_now_ms(s->loop) + wait, NULL) != RC_OK)
        log_error("ship.timer", "what=retry");
    look(s);
}

static void went_well(struct ship *s)
{
    if (s->wait_ms)
        log_info("ship.again", "waited=%d", s->wait_ms);
    s->wait_ms = 0;
    pthread_mutex_lock(&s->lock);
    s->stats.connected = true;
    pthread_mutex_unlock(&s->lock);
}

/* ---- exchanges ---- */

static bool place_read(struct str body, struct journal_pos *ret)
{
    json_error_t why;
    json_t *json = json_loadb(body.p ? body.p : "", body.len, JSON_REJECT_DUPLICATES, &why);
    const json_t *segment = json_object_get(json, "segment"),
                 *offset = json_object_get(json, "offset");
    bool ok = json_is_integer(segment) && json_is_integer(offset) &&
              json_integer_value(segment) >= 0 && json_integer_value(offset) >= 0;
    if (ok)
        *ret = (struct journal_pos){(uint64_t)json_integer_value(segment),
                                    (uint64_t)json_integer_value(offset)};
    json_decref(json);
    return ok;
}

static void call(struct ship *s, const char *method, const char *url, struct str body,
                 void (*on_done)(void *, enum rc, int, struct str, const struct err *))
{
    struct err err = {0};
    const struct http_call_opts opts = {.method = method,
                                        .url = url,
                                        .unix_path = s->unix_path[0] ? s->unix_path : NULL,
                                        .headers = s->headers,
                                        .body = body,
                                        .total_ms = CALL_MS,
                                        .max_body = REPLY_MAX,
                                        .on_done = on_done,
                                        .user = s};
    if (http_call_start(s->http, &opts, &s->call, &err) != RC_OK) {
        s->call = NULL;
        try_later(s, "start", 0, err.msg);
    }
}

static void on_asked(void *user, enum rc rc, int status, struct str body, const struct err *err)
{
    struct ship *s = user;
    struct journal_pos pos;
    struct journal_stats j;
    s->call = NULL;
    if (rc != RC_OK || status != 200 || !place_read(body, &pos)) {
        try_later(s, "ask", status, rc != RC_OK && err ? err->msg : "not the expected answer");
        return;
    }
    went_well(s);
    journal_stat(s->journal, &j);
    if (journal_pos_cmp(pos, j.durable) > 0) {
        log_warn("ship.ahead", "segment=%" PRIu64 " offset=%" PRIu64, pos.segment, pos.offset);
        pos = (struct journal_pos){0}; /* send all we have: the ledger skips what it knows */
    }
    s->applied = pos;
    journal_applied(s->journal, pos);
    s->state = IDLE;
    step(s);
}

static void on_sent(void *user, enum rc rc, int status, struct str body, const struct err *err)
{
    struct ship *s = user;
    struct journal_pos pos;
    s->call = NULL;
    if (rc != RC_OK || status != 200 || !place_read(body, &pos) ||
        journal_pos_cmp(pos, s->to) < 0) {
        /* A 4xx is ours or the ledger's fault; rows are kept either way, and people are told. */
        if (status >= 400 && status < 500)
            log_error("ship.rejected", "status=%d rows=%d body=%s", status, s->rows,
                      LOG_STR(str_sub(body, 0, 100)));
        try_later(s, "send", status, rc != RC_OK && err ? err->msg : "not the expected answer");
        return;
    }
    went_well(s);
    s->applied = s->to;
    journal_applied(s->journal, s->to);
    pthread_mutex_lock(&s->lock);
    s->stats.batches++;
    s->stats.rows += s->rows;
    pthread_mutex_unlock(&s->lock);
    s->state = IDLE;
    step(s);
}

static void on_row(void *user, const struct usage *row)
{
    struct ship *s = user;
    if (s->rows++)
        buf_byte(&s->body, ',');
    resource_to_json(&resource_usage, row, VIEW_FEED, &s->body);
}

/* False: nothing to send. */
static bool batch_make(struct ship *s, struct err *err)
{
    buf_clear(&s->body);
    s->rows = 0;
    buf_z(&s->body, "{\"rows\": [");
    enum rc rc = journal_read(s->journal, s->applied, FEED_ROWS_MAX, BATCH_PACKED_BYTES, on_row, s,
                              &s->to, err);
    if (rc != RC_OK) {
        try_later(s, "read", 0, err->msg);
        return false;
    }
    buf_printf(&s->body, "], \"gateway\": ");
    buf_json(&s->body, journal_gateway(s->journal));
    buf_printf(&s->body, ", \"segment\": %" PRIu64 ", \"offset\": %" PRIu64 "}", s->to.segment,
               s->to.offset);
    if (s->body.failed) {
        try_later(s, "read", 0, "no memory for a batch");
        return false;
    }
    return s->rows > 0;
}

static void step(struct ship *s)
{
    struct err err = {0};
    if (s->call || s->retry.slot)
        return; /* goes on by itself */
    if (s->state == ASKING) {
        call(s, "GET", s->url_applied, STR_NONE, on_asked);
    } else if (batch_make(s, &err)) {
        s->state = SENDING;
        call(s, "POST", s->url_usage, buf_view(&s->body), on_sent);
    } else if (s->state == IDLE) {
        s->applied = s->to; /* only OPENs were in between */
        journal_applied(s->journal, s->to);
        look(s);
    }
}

static void on_durable(struct loop_post *p)
{
    struct wake *w = p->user;
    if (w->ship)
        step(w->ship);
    else
        free(w);
}

/* ---- start and end ---- */

__attribute__((format(printf, 3, 4))) static bool text_set(char *to, size_t cap, const char *fmt,
                                                           ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(to, cap, fmt, args);
    va_end(args);
    return n >= 0 && (size_t)n < cap;
}

static enum rc texts_make(struct ship *s, const struct ship_opts *o, struct err *err)
{
    struct str gateway = journal_gateway(s->journal);
    bool ok = text_set(s->url_usage, sizeof s->url_usage, "%s%s", o->url, FEED_PATH_USAGE) &&
              text_set(s->url_applied, sizeof s->url_applied, "%s%s?gateway=" STR_FMT, o->url,
                       FEED_PATH_APPLIED, STR_ARG(gateway)) &&
              text_set(s->auth, sizeof s->auth, "Authorization: Bearer %s", o->token) &&
              text_set(s->unix_path, sizeof s->unix_path, "%s", o->unix_path ? o->unix_path : "");
    s->headers[0] = s->auth;
    s->headers[1] = "Content-Type: application/json";
    return ok ? RC_OK : err_set(err, RC_BAD_INPUT, "the control plane's address is too long");
}

enum rc ship_open(const struct ship_opts *opts, struct ship **ret, struct err *err)
{
    struct ship *s = calloc(1, sizeof *s);
    struct wake *w = calloc(1, sizeof *w);
    if (!s || !w) {
        free(s);
        free(w);
        return err_set(err, RC_NO_MEMORY, "no memory to ship usage");
    }
    s->loop = opts->loop;
    s->http = opts->http;
    s->journal = opts->journal;
    s->lag_segments_max = opts->lag_segments_max > 0 ? opts->lag_segments_max : LAG_SEGMENTS_MAX;
    s->disk_low_bytes = opts->disk_low_bytes > 0 ? opts->disk_low_bytes : (int64_t)DISK_LOW_BYTES;
    s->wait_min_ms = opts->wait_min_ms > 0 ? opts->wait_min_ms : WAIT_MIN_MS;
    s->wait_max_ms = opts->wait_max_ms > 0 ? opts->wait_max_ms : WAIT_MAX_MS;
    s->wake = w;
    *w = (struct wake){.post = {.on_post = on_durable, .user = w}, .ship = s};
    s->retry = (struct loop_timer){.on_time = on_retry, .user = s};
    s->check = (struct loop_timer){.on_time = on_check, .user = s};
    buf_init(&s->body, BODY_MAX);
    pthread_mutex_init(&s->lock, NULL);
    enum rc rc = texts_make(s, opts, err);
    if (rc == RC_OK)
        rc = loop_timer_set(s->loop, &s->check, loop_now_ms(s->loop) + CHECK_MS, err);
    if (rc != RC_OK) {
        ship_close(s);
        return rc;
    }
    journal_watch(s->journal, s->loop, &w->post);
    step(s);
    *ret = s;
    return RC_OK;
}

void ship_close(struct ship *s)
{
    if (!s)
        return;
    journal_watch(s->journal, NULL, NULL);
    journal_shed(s->journal, false, NULL);
    s->wake->ship = NULL;
    if (!__atomic_load_n(&s->wake->post.queued, __ATOMIC_ACQUIRE))
        free(s->wake); /* else on_durable does */
    loop_timer_clear(s->loop, &s->retry);
    loop_timer_clear(s->loop, &s->check);
    if (s->call)
        http_call_cancel(s->call);
    buf_done(&s->body);
    hash_wipe(s->auth, sizeof s->auth);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void ship_stat(struct ship *s, struct ship_stats *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->stats;
    pthread_mutex_unlock(&s->lock);
}
