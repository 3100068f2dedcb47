#include "gateway/replay.h"

#include "base/scoped.h"
#include "base/units.h"
#include "gateway/recover.h"

static enum rc current_make(const struct shelf *shelf, struct tail *t, uint64_t number,
                            struct err *err)
{
    struct segment_file *f = NULL;
    enum rc rc = tail_grow(t, err);
    if (rc == RC_OK)
        rc = shelf_make(shelf, number, &f, err);
    if (rc == RC_OK)
        tail_set(t, f);
    return rc;
}

/* The last process left its spare untouched, and its current one too if it had nothing to do: they
 * are used again, so that starting often does not eat the disk. */
static enum rc segments_take(const struct shelf *shelf, const struct recover *r, struct tail *t,
                             struct err *err)
{
    const struct recover_segment *old;
    size_t n = recover_segments(r, &old), used = n;
    uint64_t last = n ? old[n - 1].number : 0;
    struct segment_file *current = NULL;
    enum rc rc = RC_OK;
    while (used > 0 && old[used - 1].untouched)
        used--;
    if (used < n)
        rc = shelf_reuse(shelf, old[used].number, &current, err);
    if (rc == RC_OK && current && used + 2 == n && last == current->number + 1)
        rc = shelf_reuse(shelf, last, &t->spare, err);
    bool all_reused = current && used + 1 + (t->spare != NULL) == n;
    if (rc == RC_OK && current && !all_reused) { /* of another size, or more than two */
        segment_file_free(current);
        current = NULL;
    }
    for (size_t i = 0; rc == RC_OK && i < (current ? used : n); i++) {
        rc = tail_grow(t, err);
        if (rc == RC_OK)
            tail_add_old(t, old[i].number, old[i].end);
    }
    if (rc == RC_OK && !current)
        return current_make(shelf, t, last + 1, err);
    if (rc == RC_OK)
        rc = tail_grow(t, err);
    if (rc != RC_OK) {
        segment_file_free(current);
        return rc;
    }
    tail_set(t, current);
    return t->spare ? tail_grow(t, err) : RC_OK;
}

/* The engine had computed the prompt if anything at all was counted; so what was counted is the
 * bill, and nothing when nothing was. */
static enum rc row_settle(const struct recover_open *o, struct arena *arena, struct usage *row,
                          struct err *err)
{
    const struct rate rate = {o->open.input_pico, o->open.cached_pico, o->open.output_pico};
    enum rc rc = resource_unpack(&resource_usage, o->open.row, arena, row, err);
    if (rc != RC_OK)
        return rc;
    row->outcome = OUTCOME_RECOVERED;
    row->source = SOURCE_RECOVERED;
    row->input_tokens = o->counted.input;
    row->cached_tokens = o->counted.cached;
    row->output_tokens = o->counted.output;
    row->cost = price_cost_capped(&rate, &o->counted);
    return RC_OK;
}

static enum rc close_one(const struct shelf *shelf, struct tail *t, const struct recover_open *o,
                         struct token_count *closed, struct err *err)
{
    SCOPED_ARENA arena;
    struct usage row = {0};
    struct packed p;
    bool rolled;
    arena_init(&arena, 64 * KIB);
    enum rc rc = row_settle(o, &arena, &row, err);
    if (rc != RC_OK)
        return rc;
    packed_close(&p, o->segment, o->offset, &row);
    if (!tail_fits(t, &p) && !t->spare)
        rc = current_make(shelf, t, t->current->number + 1, err);
    if (rc != RC_OK)
        return rc;
    t->open++; /* it was opened in another life */
    tail_seg_at(t, o->segment)->open++;
    tail_close(t, (struct journal_pos){o->segment, o->offset}, &p, &rolled);
    tokens_add(closed, &o->counted);
    return RC_OK;
}

enum rc replay_run(const struct shelf *shelf, const struct cells *cells, struct tail *tail,
                   int64_t *ret_recovered, struct token_count *ret_closed, struct err *err)
{
    struct recover *r = NULL;
    const struct recover_open *opens;
    struct token_count closed = {0};
    enum rc rc = recover_new(shelf, cells, &r, err);
    if (rc == RC_OK)
        rc = segments_take(shelf, r, tail, err);
    size_t n = rc == RC_OK ? recover_opens(r, &opens) : 0;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = close_one(shelf, tail, &opens[i], &closed, err);
    recover_free(r);
    if (rc == RC_OK) {
        *ret_recovered = (int64_t)n;
        *ret_closed = closed;
    }
    return rc;
}
