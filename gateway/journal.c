/* journal.c - appends under one short lock, a thread that syncs, a thread that keeps a spare
 * segment.
 *
 * True at all times: durable <= end; a segment with an open request is on disk. Only the committer
 * closes a sealed segment's file, so it can sync without the lock. */
#include "gateway/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "gateway/cells.h"
#include "gateway/recover.h"
#include "gateway/replay.h"
#include "gateway/rows.h"
#include "gateway/tail.h"

enum {
    SEGMENT_BYTES = 64 << 20,
    SEGMENT_BYTES_MIN = 64 << 10,
    OPEN_MAX = 32768, /* their CLOSEs fit into one default segment */
    RETRY_MS = 500    /* until the next try to make a spare segment */
};

struct journal {
    struct shelf shelf;
    struct cells cells;
    int32_t open_max, n_free_cells;
    int32_t *free_cells;

    pthread_mutex_t lock;            /* of everything below */
    pthread_cond_t work, keep, done; /* committer, keeper, journal_sync */
    pthread_t committer, keeper;
    bool committer_runs, keeper_runs, stopping;

    struct tail tail;
    bool dirty; /* something waits for a sync */
    struct journal_wait *waits, **waits_end;
    struct journal_pos durable, applied;
    bool failed;
    const char *shed_why; /* NULL: not shedding */
    struct loop *watch_loop;
    struct loop_post *watch_post;
    int64_t commits, recovered;
    struct token_count closed, recovered_tok;
};

int journal_pos_cmp(struct journal_pos a, struct journal_pos b)
{
    if (a.segment != b.segment)
        return a.segment < b.segment ? -1 : 1;
    return (a.offset > b.offset) - (a.offset < b.offset);
}

struct str journal_gateway(const struct journal *j)
{
    return id_str(&j->shelf.gateway);
}

/* ---- one request ---- */

static enum rc admit(const struct journal *j, const struct packed *p, struct err *err)
{
    if (j->failed)
        return err_set(err, RC_UNAVAILABLE, "the usage journal has failed");
    if (j->shed_why)
        return err_set(err, RC_UNAVAILABLE, "the usage journal: %s", j->shed_why);
    if (j->n_free_cells == 0)
        return err_set(err, RC_UNAVAILABLE, "%d requests are under way", j->tail.open);
    if (!tail_admits(&j->tail, p))
        return err_set(err, RC_UNAVAILABLE, "the usage journal has no room on its disk");
    return RC_OK;
}

enum rc journal_open(struct journal *j, const struct usage *row, const struct rate *rate,
                     struct journal_entry *ret, struct err *err)
{
    struct packed p;
    enum rc rc = packed_check(row, err);
    if (rc != RC_OK)
        return rc;
    packed_open(&p, rate, row);

    pthread_mutex_lock(&j->lock);
    rc = admit(j, &p, err);
    if (rc == RC_OK) {
        bool rolled;
        *ret = (struct journal_entry){.at = tail_open(&j->tail, &p, &rolled),
                                      .cell = j->free_cells[--j->n_free_cells]};
        if (rolled)
            pthread_cond_signal(&j->keep);
    }
    pthread_mutex_unlock(&j->lock);
    return rc;
}

void journal_count(struct journal *j, struct journal_entry *e, const struct token_count *tok)
{
    ASSERT(e->at.segment);
    cells_put(&j->cells, e->cell, recover_owner(e->at.segment, e->at.offset), ++e->counted, tok);
}

enum rc journal_close(struct journal *j, struct journal_entry *e, const struct usage *row,
                      struct journal_wait *wait, struct err *err)
{
    const struct token_count tok = {row->input_tokens, row->cached_tokens, row->output_tokens};
    struct packed p;
    bool rolled;
    ASSERT(e->at.segment && packed_check(row, NULL) == RC_OK);
    packed_close(&p, e->at.segment, e->at.offset, row);

    pthread_mutex_lock(&j->lock);
    tail_close(&j->tail, e->at, &p, &rolled);
    j->free_cells[j->n_free_cells++] = e->cell;
    tokens_add(&j->closed, &tok);
    bool failed = j->failed;
    if (rolled)
        pthread_cond_signal(&j->keep);
    if (!failed) {
        if (wait) {
            wait->next = NULL;
            *j->waits_end = wait;
            j->waits_end = &wait->next;
        }
        j->dirty = true;
    }
    pthread_mutex_unlock(&j->lock);
    if (!failed)
        pthread_cond_signal(&j->work); /* after the unlock: else it wakes only to wait for it */
    *e = (struct journal_entry){0};
    return failed ? err_set(err, RC_IO, "the usage journal has failed") : RC_OK;
}

/* ---- the committer ---- */

static void on_posted(struct loop_post *post)
{
    struct journal_wait *w = post->user;
    w->on_durable(w, w->rc);
}

static void waits_tell(struct journal_wait *w, enum rc rc)
{
    while (w) {
        struct journal_wait *next = w->next; /* w is not ours any more once it is told */
        w->rc = rc;
        w->post = (struct loop_post){.on_post = on_posted, .user = w};
        if (w->loop)
            loop_post(w->loop, &w->post);
        else
            w->on_durable(w, rc);
        w = next;
    }
}

/* Syncs sealed segments, oldest first, then the current one. */
static bool sync_files(struct segment_file *sealed, int current_fd)
{
    bool ok = true;
    for (; sealed; sealed = sealed->next)
        ok = fdatasync(sealed->fd) == 0 && ok;
    ok = ok && fdatasync(current_fd) == 0;
    if (!ok)
        log_error("journal.failed", "what=sync errno=%d", errno);
    return ok;
}

/* One batch: everything up to now. The lock is held at entry and exit, not in between. */
static void commit(struct journal *j)
{
    struct journal_wait *waits = j->waits;
    struct segment_file *sealed = j->tail.unsynced;
    struct journal_pos end = tail_end(&j->tail);
    int fd = j->tail.current->fd;
    j->waits = NULL;
    j->waits_end = &j->waits;
    j->tail.unsynced = NULL;
    j->dirty = false;
    pthread_mutex_unlock(&j->lock);

    /* A failed sync may have dropped the pages and forgotten it: never try again. */
    bool ok = !j->failed && sync_files(sealed, fd);
    segment_files_free(sealed);

    pthread_mutex_lock(&j->lock);
    j->failed = !ok;
    if (ok) {
        j->durable = end;
        j->commits++;
    }
    struct loop *watch_loop = ok ? j->watch_loop : NULL;
    struct loop_post *watch_post = j->watch_post;
    if (watch_loop)
        loop_post(watch_loop, watch_post); /* under the lock: journal_watch takes it away */
    pthread_cond_broadcast(&j->done);
    pthread_mutex_unlock(&j->lock);
    waits_tell(waits, ok ? RC_OK : RC_IO);
    pthread_mutex_lock(&j->lock);
}

static void *committer_run(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    while (j->dirty || !j->stopping) {
        if (j->dirty)
            commit(j);
        else
            pthread_cond_wait(&j->work, &j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

enum rc journal_sync(struct journal *j, struct err *err)
{
    pthread_mutex_lock(&j->lock);
    struct journal_pos end = tail_end(&j->tail);
    while (!j->failed && journal_pos_cmp(j->durable, end) < 0) {
        j->dirty = true;
        pthread_cond_signal(&j->work);
        pthread_cond_wait(&j->done, &j->lock);
    }
    bool failed = j->failed;
    pthread_mutex_unlock(&j->lock);
    return failed ? err_set(err, RC_IO, "the usage journal has failed") : RC_OK;
}

/* ---- the keeper ---- */

static void wait_retry(struct journal *j)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* not the journal's clock: a thread waits in real time */
    int64_t ns = t.tv_nsec + (int64_t)RETRY_MS * NS_PER_MS;
    t.tv_sec += ns / NS_PER_SEC;
    t.tv_nsec = ns % NS_PER_SEC;
    pthread_cond_timedwait(&j->keep, &j->lock, &t);
}

/* Makes the next segment before it is needed, so that no request waits for 64 MiB of zeros. */
static void *keeper_run(void *arg)
{
    struct journal *j = arg;
    bool told = false;
    pthread_mutex_lock(&j->lock);
    while (!j->stopping) {
        if (j->tail.spare || j->failed) {
            pthread_cond_wait(&j->keep, &j->lock);
            continue;
        }
        struct err err = {0};
        struct segment_file *f = NULL;
        uint64_t number = j->tail.current->number + 1;
        enum rc rc = tail_grow(&j->tail, &err);
        if (rc == RC_OK) {
            pthread_mutex_unlock(&j->lock);
            rc = shelf_make(&j->shelf, number, &f, &err);
            pthread_mutex_lock(&j->lock);
        }
        j->tail.spare = f;
        if (rc != RC_OK && !told)
            log_error("journal.no_spare", "msg=%s", LOG_STR(str_of(err.msg)));
        else if (rc == RC_OK && told)
            log_info("journal.spare_again", "segment=%" PRIx64, number);
        told = rc != RC_OK;
        if (told && !j->stopping)
            wait_retry(j);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- reading and letting go ---- */

enum rc journal_read(struct journal *j, struct journal_pos from, int32_t max_rows, size_t max_bytes,
                     void (*on_row)(void *user, const struct usage *row), void *user,
                     struct journal_pos *ret_next, struct err *err)
{
    struct rows_take take = {
        .max_rows = max_rows, .max_bytes = max_bytes, .on_row = on_row, .user = user};
    struct journal_pos at = from;
    for (;;) {
        pthread_mutex_lock(&j->lock);
        struct journal_pos durable = j->durable;
        struct tail_seg seg = tail_seg_from(&j->tail, at.segment);
        pthread_mutex_unlock(&j->lock);

        if (seg.number > at.segment)
            at = (struct journal_pos){seg.number, SEGMENT_HEAD_BYTES};
        if (journal_pos_cmp(at, durable) >= 0)
            break;
        bool sealed = seg.number < durable.segment, all = false;
        uint64_t end = sealed ? seg.end : durable.offset;
        enum rc rc = rows_read(&j->shelf, at.segment, &at.offset, end, &take, &all, err);
        if (rc != RC_OK)
            return rc;
        if (!all || !sealed)
            break;
        at = (struct journal_pos){seg.number + 1, SEGMENT_HEAD_BYTES};
    }
    *ret_next = at;
    return RC_OK;
}

void journal_applied(struct journal *j, struct journal_pos pos)
{
    for (;;) {
        pthread_mutex_lock(&j->lock);
        if (journal_pos_cmp(pos, j->applied) > 0)
            j->applied = pos;
        uint64_t number;
        bool gone = tail_drop_oldest(&j->tail, j->durable, j->applied, &number);
        pthread_mutex_unlock(&j->lock);
        if (!gone)
            return;
        struct err err = {0};
        if (shelf_delete(&j->shelf, number, &err) != RC_OK)
            log_warn("journal.kept", "msg=%s", LOG_STR(str_of(err.msg)));
    }
}

void journal_watch(struct journal *j, struct loop *loop, struct loop_post *p)
{
    pthread_mutex_lock(&j->lock);
    j->watch_loop = loop;
    j->watch_post = p;
    pthread_mutex_unlock(&j->lock);
}

void journal_shed(struct journal *j, bool on, const char *why)
{
    pthread_mutex_lock(&j->lock);
    j->shed_why = on ? why : NULL;
    pthread_mutex_unlock(&j->lock);
}

void journal_stat(struct journal *j, struct journal_stats *ret)
{
    pthread_mutex_lock(&j->lock);
    *ret = (struct journal_stats){.end = tail_end(&j->tail),
                                  .durable = j->durable,
                                  .applied = j->applied,
                                  .open = j->tail.open,
                                  .segments = (int32_t)j->tail.n_segs,
                                  .segment_bytes = j->shelf.segment_bytes,
                                  .records = j->tail.records,
                                  .commits = j->commits,
                                  .recovered = j->recovered,
                                  .failed = j->failed,
                                  .spare = j->tail.spare != NULL,
                                  .shedding = j->shed_why != NULL,
                                  .closed = j->closed,
                                  .recovered_tok = j->recovered_tok};
    pthread_mutex_unlock(&j->lock);
    ret->disk_free = shelf_free_bytes(&j->shelf);
}

/* ---- start and end ---- */

static enum rc replay(struct journal *j, struct err *err)
{
    enum rc rc = replay_run(&j->shelf, &j->cells, &j->tail, &j->recovered, &j->recovered_tok, err);
    if (rc == RC_OK && !sync_files(j->tail.unsynced, j->tail.current->fd))
        rc = err_set(err, RC_IO, "cannot sync the usage journal");
    if (rc != RC_OK)
        return rc;
    segment_files_free(j->tail.unsynced);
    j->tail.unsynced = NULL;
    j->durable = tail_end(&j->tail);
    if (j->recovered)
        log_info("journal.recovered", "requests=%" PRId64, j->recovered);
    return RC_OK;
}

static enum rc cells_make(struct journal *j, struct err *err)
{
    enum rc rc = cells_open(j->shelf.dir_fd, "counts", j->open_max, &j->cells, err);
    if (rc != RC_OK)
        return rc;
    j->free_cells = calloc((size_t)j->open_max, sizeof *j->free_cells);
    if (!j->free_cells)
        return err_set(err, RC_NO_MEMORY, "no memory for %d requests", j->open_max);
    while (j->n_free_cells < j->open_max) {
        j->free_cells[j->n_free_cells] = j->open_max - 1 - j->n_free_cells;
        j->n_free_cells++;
    }
    return RC_OK;
}

static enum rc threads_start(struct journal *j, struct err *err)
{
    int rc = pthread_create(&j->committer, NULL, committer_run, j);
    j->committer_runs = rc == 0;
    if (rc == 0) {
        rc = pthread_create(&j->keeper, NULL, keeper_run, j);
        j->keeper_runs = rc == 0;
    }
    return rc == 0 ? RC_OK : err_errno(err, rc, "cannot start the journal's threads");
}

static void locks_init(struct journal *j)
{
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->work, NULL);
    pthread_cond_init(&j->done, NULL);
    pthread_cond_init(&j->keep, &mono);
    pthread_condattr_destroy(&mono);
}

enum rc journal_new(const struct journal_opts *opts, struct journal **ret, struct err *err)
{
    size_t bytes = opts->segment_bytes ? opts->segment_bytes : SEGMENT_BYTES;
    if (bytes < SEGMENT_BYTES_MIN || bytes % 4096 || bytes > 1 * GIB)
        return err_set(err, RC_BAD_INPUT,
                       "a journal segment has 64 KiB to 1 GiB, in steps of 4 KiB");
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return err_set(err, RC_NO_MEMORY, "no memory for the usage journal");
    j->shelf = (struct shelf){.dir_fd = -1, .lock_fd = -1};
    j->open_max = opts->open_max > 0 ? opts->open_max : OPEN_MAX;
    j->waits_end = &j->waits;
    tail_init(&j->tail);
    locks_init(j);
    enum rc rc = shelf_open(opts->dir, bytes, opts->clock, &j->shelf, err);
    if (rc == RC_OK)
        rc = cells_make(j, err);
    if (rc == RC_OK)
        rc = replay(j, err);
    if (rc == RC_OK)
        rc = threads_start(j, err);
    if (rc != RC_OK) {
        journal_free(j);
        return rc;
    }
    *ret = j;
    return RC_OK;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    j->dirty =
        j->committer_runs && j->tail.current && journal_pos_cmp(j->durable, tail_end(&j->tail)) < 0;
    pthread_cond_signal(&j->work);
    pthread_cond_signal(&j->keep);
    pthread_mutex_unlock(&j->lock);
    if (j->committer_runs)
        pthread_join(j->committer, NULL);
    if (j->keeper_runs)
        pthread_join(j->keeper, NULL);
    if (j->tail.open)
        log_warn("journal.left_open", "requests=%d",
                 j->tail.open); /* the next start settles them */
    tail_done(&j->tail);
    cells_close(&j->cells);
    shelf_close(&j->shelf);
    free(j->free_cells);
    pthread_cond_destroy(&j->work);
    pthread_cond_destroy(&j->done);
    pthread_cond_destroy(&j->keep);
    pthread_mutex_destroy(&j->lock);
    free(j);
}
