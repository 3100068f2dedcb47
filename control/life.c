/* life.c - the table of life.h as code. No clock, no process, no database: everything comes in as
 * an argument, so every path is a unit test. */
#include "control/life.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

int64_t life_backoff_ms(int32_t failures)
{
    int64_t wait = LIFE_BACKOFF_FIRST_MS;
    for (int32_t i = 1; i < failures && wait < LIFE_BACKOFF_MAX_MS; i++)
        wait *= 2;
    return MIN_OF(wait, LIFE_BACKOFF_MAX_MS);
}

static void move(struct life *r, enum deploy_state to, int64_t now_ms, const char *reason)
{
    r->state = to;
    r->since_ms = now_ms;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
}

/* "was killed by signal 9 (Killed); restart 3 in 0.8 s" */
static void move_to_backoff(struct life *r, const char *why, int64_t now_ms)
{
    r->failures++;
    r->restarts++;
    r->progress = 0;
    int64_t wait = life_backoff_ms(r->failures);
    r->not_before_ms = now_ms + wait;
    char reason[LIFE_REASON_BYTES];
    snprintf(reason, sizeof reason, "%.220s; restart %lld in %lld.%lld s", why,
             (long long)r->restarts, (long long)(wait / MS_PER_SEC),
             (long long)(wait % MS_PER_SEC / 100));
    move(r, r->failures >= LIFE_FAIL_AFTER ? DEPLOY_FAILED : DEPLOY_PENDING, now_ms, reason);
}

static enum life_act when_waiting(struct life *r, bool wanted, int64_t now_ms)
{
    if (!wanted)
        return LIFE_FORGET;
    if (now_ms < r->not_before_ms)
        return LIFE_NOTHING;
    /* The reason of the last end stays to be read until the replica runs. */
    r->state = DEPLOY_SCHEDULING;
    r->since_ms = now_ms;
    r->stale = false;
    r->progress = 0;
    return LIFE_START;
}

static enum life_act when_starting(struct life *r, const struct replica_seen *seen, bool wanted,
                                   int64_t now_ms)
{
    if (!seen->exists) {
        if (!wanted)
            return LIFE_FORGET;
        move_to_backoff(r, seen->reason[0] ? seen->reason : "ended before it was ready", now_ms);
        return LIFE_NOTHING;
    }
    if (!wanted || r->stale) {
        /* No gateway knows of it yet: nobody needs to be told. */
        move(r, DEPLOY_DRAINING, now_ms, "stopped while loading");
        r->asked = true;
        return LIFE_TERM;
    }
    if (seen->ready) {
        r->progress = 100;
        move(r, DEPLOY_RUNNING, now_ms, "");
        return LIFE_NOTHING;
    }
    if (r->state == DEPLOY_SCHEDULING || seen->progress != r->progress) {
        r->state = DEPLOY_LOADING;
        r->since_ms = now_ms;
        r->progress = MIN_OF(seen->progress, 99);
    } else if (now_ms - r->since_ms > LIFE_LOAD_STALL_MS) {
        move_to_backoff(r, "made no progress in loading for 10 minutes", now_ms);
        return LIFE_KILL;
    }
    return LIFE_NOTHING;
}

static enum life_act when_running(struct life *r, const struct replica_seen *seen, bool wanted,
                                  int64_t now_ms)
{
    if (!seen->exists) {
        if (!wanted)
            return LIFE_FORGET;
        if (now_ms - r->since_ms >= LIFE_STABLE_MS)
            r->failures = 0;
        move_to_backoff(r, seen->reason[0] ? seen->reason : "is gone", now_ms);
        return LIFE_NOTHING;
    }
    if (!wanted) {
        r->asked = false;
        move(r, DEPLOY_DRAINING, now_ms,
             r->stale ? "to be replaced: the deployment was edited" : "no longer wanted");
    }
    return LIFE_NOTHING;
}

static enum life_act when_draining(struct life *r, const struct replica_seen *seen, bool wanted,
                                   int64_t now_ms)
{
    if (!seen->exists) {
        r->asked = false;
        r->not_before_ms = now_ms;
        r->failures = 0;
        move(r, DEPLOY_PENDING, now_ms, "");
        return wanted ? LIFE_NOTHING : LIFE_FORGET;
    }
    int64_t for_ms = now_ms - r->since_ms;
    if (!r->asked && for_ms >= LIFE_TELL_MS) {
        r->asked = true;
        r->since_ms = now_ms;
        return LIFE_TERM;
    }
    if (r->asked && for_ms >= LIFE_TERM_MS) {
        r->since_ms = now_ms;
        return LIFE_KILL;
    }
    return LIFE_NOTHING;
}

enum life_act life_next(const struct life *r, const struct replica_seen *seen, bool wanted,
                        int64_t now_ms, struct life *ret)
{
    struct life next = *r;
    enum life_act act = LIFE_NOTHING;
    switch (r->state) {
    case DEPLOY_PENDING:
    case DEPLOY_FAILED:
    case DEPLOY_STOPPED:
        act = when_waiting(&next, wanted, now_ms);
        break;
    case DEPLOY_SCHEDULING:
    case DEPLOY_LOADING:
        act = when_starting(&next, seen, wanted, now_ms);
        break;
    case DEPLOY_RUNNING:
        act = when_running(&next, seen, wanted, now_ms);
        break;
    case DEPLOY_DRAINING:
        act = when_draining(&next, seen, wanted, now_ms);
        break;
    }
    if (act == LIFE_FORGET)
        move(&next, DEPLOY_STOPPED, now_ms, "");
    *ret = next;
    return act;
}

void life_start_failed(struct life *r, const char *why, int64_t now_ms)
{
    move_to_backoff(r, why, now_ms);
}

void life_forgive(struct life *r)
{
    r->failures = 0;
    r->not_before_ms = 0;
}

struct life *life_pick_stale(struct life *lives, int32_t n)
{
    struct life *stale = NULL;
    for (int32_t i = 0; i < n; i++) {
        if (lives[i].state != DEPLOY_RUNNING && lives[i].state != DEPLOY_LOADING &&
            lives[i].state != DEPLOY_SCHEDULING)
            return NULL; /* one is on its way already */
        if (!lives[i].stale && lives[i].state != DEPLOY_RUNNING)
            return NULL;
        if (lives[i].stale && !stale)
            stale = &lives[i];
    }
    return stale;
}

static const struct life *first_in(const struct life *lives, int32_t n, enum deploy_state state)
{
    for (int32_t i = 0; i < n; i++)
        if (lives[i].state == state)
            return &lives[i];
    return NULL;
}

void life_summarize(const struct life *lives, int32_t n, int32_t wanted, struct life_summary *ret)
{
    /* Best first: one running replica serves, whatever the others do. */
    static const enum deploy_state order[] = {
        DEPLOY_RUNNING, DEPLOY_LOADING, DEPLOY_SCHEDULING,
        DEPLOY_PENDING, DEPLOY_FAILED,  DEPLOY_DRAINING,
    };
    *ret = (struct life_summary){.state = wanted > 0 ? DEPLOY_PENDING : DEPLOY_STOPPED};
    if (wanted == 0) {
        if (first_in(lives, n, DEPLOY_DRAINING) || first_in(lives, n, DEPLOY_RUNNING) ||
            first_in(lives, n, DEPLOY_LOADING) || first_in(lives, n, DEPLOY_SCHEDULING))
            ret->state = DEPLOY_DRAINING;
        return;
    }
    const struct life *shown = NULL;
    for (size_t i = 0; i < ARRAY_LEN(order) && !shown; i++)
        shown = first_in(lives, n, order[i]);
    if (!shown)
        return;
    ret->state = shown->state;
    int32_t running = 0;
    int64_t progress = 0;
    const struct life *sick = NULL; /* whose reason to tell */
    for (int32_t i = 0; i < n; i++) {
        running += lives[i].state == DEPLOY_RUNNING;
        progress += lives[i].progress;
        if (!sick && lives[i].reason[0])
            sick = &lives[i];
    }
    ret->progress = (int32_t)MIN_OF(progress / MAX_OF(wanted, 1), 100);
    if (running >= wanted && !sick)
        return;
    if (sick)
        snprintf(ret->reason, sizeof ret->reason, "%d of %d replicas running; replica %d %.250s",
                 running, wanted, sick->index, sick->reason);
    else
        snprintf(ret->reason, sizeof ret->reason, "%d of %d replicas running", running, wanted);
}
