/* reconcile.c - carries out what life.c plans. All on the loop's thread, but for the write jobs. */
#include "control/reconcile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/control.h"
#include "control/db.h"
#include "control/life.h"
#include "control/row.h"
#include "control/txn.h"
#include "control/writer.h"

enum {
    TURN_MOVING_MS = 100,
    TURN_CALM_MS = 1000,
    PROGRESS_EVERY_MS = 500, /* between writes that change nothing but progress */
    REPLICAS_MAX = 64,       /* as deployment.def */
    LIST_MAX_BYTES = 100000, /* as deployment.def */
    WANTED_ARENA_BYTES = 16 << 20,
    JOB_ARENA_BYTES = 1 << 20,
};

/* What is said about a deployment: written when it differs from what was written last. */
struct said {
    struct life_summary summary;
    uint8_t list_hash[HASH_BYTES];
};

struct entry {
    char id[40];
    bool in_catalog; /* else deleted: ends when its replicas have ended */
    int32_t wanted;
    struct replica_spec spec;
    struct driver *driver; /* view */
    char why_not[160];     /* no driver for it: shown as the reason */
    int32_t n;
    struct life lives[REPLICAS_MAX];
    struct replica_seen seen[REPLICAS_MAX];

    struct said written, writing;
    struct buf list; /* replica_list of `writing` */
    int64_t written_at_ms;
    bool has_written, busy; /* busy: a job is under way, `writing` and `list` are its own */
    struct writer_job job;
    struct reconcile *owner; /* view */
};

struct reconcile {
    struct reconcile_opts opts;
    struct driver *local, *external;
    struct loop_timer timer;
    bool stale; /* what is wanted may have changed */
    bool stopping;
    int32_t n;
    struct entry *entries[RECONCILE_DEPLOYMENTS_MAX];
};

static void turn_soon(struct reconcile *r, int64_t in_ms)
{
    int64_t at = loop_now_ms(r->opts.loop) + in_ms;
    if (r->timer.slot && r->timer.at_ms <= at)
        return;
    struct err err;
    if (loop_timer_set(r->opts.loop, &r->timer, at, &err) != RC_OK)
        log_error("reconcile.timer", "why=%s", err.msg);
}

static void on_change(void *user)
{
    struct reconcile *r = user;
    r->stale = true;
    turn_soon(r, 0);
}

static void on_replica(void *user)
{
    turn_soon(user, 0);
}

/* ---- what is wanted ---- */

static struct entry *entry_find(struct reconcile *r, struct str id)
{
    for (int32_t i = 0; i < r->n; i++)
        if (str_is(id, r->entries[i]->id))
            return r->entries[i];
    return NULL;
}

static struct entry *entry_new(struct reconcile *r, struct str id)
{
    if (r->n == RECONCILE_DEPLOYMENTS_MAX || id.len >= sizeof((struct entry *)0)->id)
        return NULL;
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    memcpy(e->id, id.p, id.len);
    e->owner = r;
    buf_init(&e->list, LIST_MAX_BYTES);
    r->entries[r->n++] = e;
    return e;
}

static void entry_drop(struct reconcile *r, int32_t at)
{
    buf_done(&r->entries[at]->list);
    free(r->entries[at]);
    r->entries[at] = r->entries[--r->n];
}

static void copy_text(char *to, size_t cap, struct str s)
{
    size_t n = MIN_OF(s.len, cap - 1);
    if (n > 0)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

/* Which driver, and with what. A deployment that no driver takes keeps why_not. */
static void entry_want(struct entry *e, const struct deployment *d, const struct model_row *model,
                       int64_t cluster_kind)
{
    struct reconcile *r = e->owner;
    struct replica_spec spec;
    memset(&spec, 0, sizeof spec); /* padding too: specs are compared whole */
    e->why_not[0] = '\0';
    if (d->engine == ENGINE_EXTERNAL) {
        e->driver = r->external;
        copy_text(spec.source, sizeof spec.source, d->upstream_url);
    } else if (cluster_kind == CLUSTER_LOCAL) {
        e->driver = r->local;
        copy_text(spec.source, sizeof spec.source, model->source);
        spec.context_length = d->context_length;
        spec.threads = d->threads;
        spec.kv_mib = d->kv_mib;
        spec.max_seqs = d->max_seqs;
    } else {
        e->driver = NULL;
        snprintf(e->why_not, sizeof e->why_not, "no driver for clusters of this kind yet");
    }
    spec.engine = d->engine;
    copy_text(spec.deployment_id, sizeof spec.deployment_id, d->id);
    /* An external server is one place, however many replicas stand behind it. */
    e->wanted = (int32_t)(e->driver == r->external ? MIN_OF(d->replicas, 1)
                                                   : MIN_OF(d->replicas, REPLICAS_MAX));
    e->in_catalog = true;
    if (memcmp(&spec, &e->spec, sizeof spec) == 0)
        return;
    bool first = e->spec.deployment_id[0] == '\0';
    e->spec = spec;
    for (int32_t i = 0; i < e->n && !first; i++) {
        e->lives[i].stale = true;
        life_forgive(&e->lives[i]);
    }
}

static enum rc want_one(struct reconcile *r, struct txn *txn, const struct deployment *d,
                        struct arena *arena, struct err *err)
{
    struct model_row model = {0};
    struct endpoint endpoint = {0};
    struct cluster cluster = {0};
    const struct scope *system = access_system();
    enum rc rc = row_get(txn, system, &resource_model, d->model_id, arena, &model, err);
    if (rc == RC_OK)
        rc = row_get(txn, system, &resource_endpoint, d->endpoint_id, arena, &endpoint, err);
    if (rc == RC_OK)
        rc = row_get(txn, system, &resource_cluster, endpoint.cluster_id, arena, &cluster, err);
    if (rc != RC_OK)
        return rc;
    struct entry *e = entry_find(r, d->id);
    if (!e)
        e = entry_new(r, d->id);
    if (!e)
        return err_set(err, RC_LIMIT, "at most %d deployments", RECONCILE_DEPLOYMENTS_MAX);
    entry_want(e, d, &model, cluster.kind);
    return RC_OK;
}

static enum rc read_wanted(struct reconcile *r, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, WANTED_ARENA_BYTES);
    SCOPED_TXN txn = {0};
    struct row_query all = {0};
    void *rows = NULL;
    size_t n = 0;
    enum rc rc = txn_begin_read(control_db(r->opts.control), &txn, err);
    if (rc == RC_OK)
        rc = row_list(&txn, access_system(), &resource_deployment, &all, &arena, &rows, &n, err);
    if (rc != RC_OK)
        return rc;
    for (int32_t i = 0; i < r->n; i++)
        r->entries[i]->in_catalog = false;
    const struct deployment *deployments = rows;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = want_one(r, &txn, &deployments[i], &arena, err);
    for (int32_t i = 0; rc == RC_OK && i < r->n; i++)
        if (!r->entries[i]->in_catalog)
            r->entries[i]->wanted = 0;
    return rc;
}

/* ---- replicas ---- */

static void start_replica(struct entry *e, struct life *life, int64_t now_ms)
{
    struct err err;
    if (!e->driver)
        snprintf(err.msg, sizeof err.msg, "%s", e->why_not);
    if (!e->driver || e->driver->ops->start(e->driver, &e->spec, life->index, &err) != RC_OK) {
        log_warn("replica.start", "deployment=%s replica=%d why=%s", e->id, life->index,
                 LOG_STR(str_of(err.msg)));
        life_start_failed(life, err.msg, now_ms);
    }
}

/* Returns false when the replica has ended for good. */
static bool step_replica(struct entry *e, int32_t at, bool wanted, int64_t now_ms)
{
    struct life *life = &e->lives[at];
    struct replica_seen *seen = &e->seen[at];
    *seen = (struct replica_seen){0};
    if (e->driver)
        e->driver->ops->look(e->driver, e->id, life->index, seen);
    enum deploy_state before = life->state;
    enum life_act act = life_next(life, seen, wanted, now_ms, life);
    if (life->state != before)
        log_info("replica.state", "deployment=%s replica=%d state=" STR_FMT " why=%s", e->id,
                 life->index,
                 STR_ARG(resource_enum_str(&resource_deployment, "state", (int64_t)life->state)),
                 LOG_STR(str_of(life->reason)));
    switch (act) {
    case LIFE_START:
        start_replica(e, life, now_ms);
        break;
    case LIFE_TERM:
    case LIFE_KILL:
        if (e->driver)
            e->driver->ops->stop(e->driver, e->id, life->index, act == LIFE_KILL);
        break;
    case LIFE_FORGET:
        if (e->driver)
            e->driver->ops->forget(e->driver, e->id, life->index);
        return false;
    case LIFE_NOTHING:
        break;
    }
    return true;
}

static bool entry_step(struct entry *e, int64_t now_ms)
{
    while (e->n < e->wanted) {
        e->lives[e->n] = (struct life){.index = e->n};
        e->n++;
    }
    struct life *replace = life_pick_stale(e->lives, e->n);
    bool moving = false;
    for (int32_t i = 0; i < e->n; i++) {
        bool wanted = i < e->wanted && &e->lives[i] != replace;
        bool stays = step_replica(e, i, wanted, now_ms);
        moving = moving || e->lives[i].state != DEPLOY_RUNNING;
        if (!stays && i >= e->wanted && i == e->n - 1)
            e->n--;
    }
    return moving;
}

/* ---- what is said ---- */

static void write_list(const struct entry *e, struct buf *to)
{
    buf_clear(to);
    buf_byte(to, '[');
    for (int32_t i = 0; i < e->n; i++) {
        const struct life *l = &e->lives[i];
        buf_printf(to, "%s{\"index\": %d, \"state\": ", i ? ", " : "", l->index);
        buf_json(to, resource_enum_str(&resource_deployment, "state", (int64_t)l->state));
        buf_z(to, ", \"reason\": ");
        buf_json(to, str_of(l->reason));
        buf_z(to, ", \"address\": ");
        buf_json(to, str_of(e->seen[i].address));
        buf_printf(to, ", \"pid\": %" PRId64 ", \"restarts\": %" PRId64 "}", e->seen[i].pid,
                   l->restarts);
    }
    buf_byte(to, ']');
}

/* In the writer's thread: the entry's `writing` and `list` stay as they are while it is busy. */
static enum rc write_state(struct writer_job *job, struct txn *txn, struct err *err)
{
    struct entry *e = job->user;
    SCOPED_ARENA arena;
    arena_init(&arena, JOB_ARENA_BYTES);
    struct deployment row = {0};
    enum rc rc =
        row_get(txn, access_system(), &resource_deployment, str_of(e->id), &arena, &row, err);
    if (rc != RC_OK)
        return rc;
    row.state = (int64_t)e->writing.summary.state;
    row.state_reason = str_of(e->writing.summary.reason);
    row.progress = e->writing.summary.progress;
    row.replica_list = buf_view(&e->list);
    return row_update(txn, access_system(), &resource_deployment, &row, err);
}

static void on_written(struct writer_job *job, enum rc rc, const struct err *err)
{
    struct entry *e = job->user;
    e->busy = false;
    if (rc == RC_OK) {
        e->written = e->writing;
        e->has_written = true;
    } else if (rc != RC_NOT_FOUND) { /* deleted meanwhile: the next reading will tell */
        log_error("reconcile.write", "deployment=%s rc=%s why=%s", e->id, rc_name(rc), err->msg);
    }
    turn_soon(e->owner, TURN_MOVING_MS);
}

static void entry_say(struct entry *e, int64_t now_ms)
{
    if (e->busy || !e->in_catalog)
        return;
    struct said now = {0};
    life_summarize(e->lives, e->n, e->wanted, &now.summary);
    write_list(e, &e->list);
    hash_blake2b(now.list_hash, HASH_BYTES, e->list.p, e->list.len, NULL, 0);
    struct said calm = now; /* as now, but for the progress */
    calm.summary.progress = e->written.summary.progress;
    if (e->has_written && memcmp(&now, &e->written, sizeof now) == 0)
        return;
    if (e->has_written && memcmp(&calm, &e->written, sizeof calm) == 0 &&
        now_ms - e->written_at_ms < PROGRESS_EVERY_MS)
        return;
    memcpy(&e->writing, &now, sizeof now);
    e->written_at_ms = now_ms;
    e->job = (struct writer_job){.run = write_state, .on_done = on_written, .user = e};
    struct err err;
    e->busy = writer_post(control_writer(e->owner->opts.control), &e->job, &err) == RC_OK;
    if (!e->busy)
        log_warn("reconcile.write", "deployment=%s why=%s", e->id, err.msg);
}

/* ---- turns ---- */

static void on_turn(struct loop_timer *t)
{
    struct reconcile *r = t->user;
    struct err err;
    if (r->stopping)
        return;
    if (r->stale) {
        r->stale = read_wanted(r, &err) != RC_OK;
        if (r->stale)
            log_error("reconcile.read", "why=%s", err.msg);
    }
    int64_t now_ms = loop_now_ms(r->opts.loop);
    bool moving = r->stale;
    for (int32_t i = r->n; i-- > 0;) {
        struct entry *e = r->entries[i];
        moving = entry_step(e, now_ms) || moving;
        entry_say(e, now_ms);
        if (!e->in_catalog && e->n == 0 && !e->busy)
            entry_drop(r, i);
    }
    turn_soon(r, moving ? TURN_MOVING_MS : TURN_CALM_MS);
}

enum rc reconcile_open(const struct reconcile_opts *opts, struct reconcile **ret, struct err *err)
{
    struct reconcile *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, RC_NO_MEMORY, "no memory for the reconciler");
    r->opts = *opts;
    r->stale = true;
    r->timer = (struct loop_timer){.on_time = on_turn, .user = r};
    struct driver_local_opts local = {.loop = opts->loop,
                                      .dirs = opts->dirs,
                                      .engine_path = opts->engine_path,
                                      .on_change = on_replica,
                                      .user = r};
    enum rc rc = driver_local_open(&local, &r->local, err);
    if (rc == RC_OK)
        rc = driver_external_open(&r->external, err);
    if (rc != RC_OK) {
        reconcile_close(r);
        return rc;
    }
    control_on_change(opts->control, on_change, r);
    turn_soon(r, 0);
    *ret = r;
    return RC_OK;
}

void reconcile_close(struct reconcile *r)
{
    if (!r)
        return;
    loop_timer_clear(r->opts.loop, &r->timer);
    if (r->local)
        r->local->ops->close(r->local);
    if (r->external)
        r->external->ops->close(r->external);
    while (r->n > 0)
        entry_drop(r, 0);
    free(r);
}

void reconcile_stop(struct reconcile *r)
{
    if (r->stopping)
        return;
    r->stopping = true;
    loop_timer_clear(r->opts.loop, &r->timer);
    for (int32_t i = 0; i < r->n; i++)
        for (int32_t k = 0; k < r->entries[i]->n && r->entries[i]->driver; k++)
            r->entries[i]->driver->ops->stop(r->entries[i]->driver, r->entries[i]->id,
                                             r->entries[i]->lives[k].index, false);
}

int32_t reconcile_alive(const struct reconcile *r)
{
    int32_t alive = 0;
    for (int32_t i = 0; i < r->n; i++) {
        struct entry *e = r->entries[i];
        for (int32_t k = 0; k < e->n && e->driver; k++) {
            struct replica_seen seen = {0};
            e->driver->ops->look(e->driver, e->id, e->lives[k].index, &seen);
            alive += seen.exists && seen.pid > 0;
        }
    }
    return alive;
}
