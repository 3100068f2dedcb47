#include "gateway/tail.h"

#include <stdlib.h>
#include <string.h>

void tail_init(struct tail *t)
{
    *t = (struct tail){.close_bytes = packed_close_bytes()};
}

void segment_files_free(struct segment_file *f)
{
    while (f) {
        struct segment_file *next = f->next;
        segment_file_free(f);
        f = next;
    }
}

void tail_done(struct tail *t)
{
    segment_files_free(t->unsynced);
    segment_file_free(t->current);
    segment_file_free(t->spare);
    free(t->segs);
    *t = (struct tail){0};
}

enum rc tail_grow(struct tail *t, struct err *err)
{
    if (t->n_segs < t->cap_segs)
        return RC_OK;
    size_t cap = t->cap_segs ? 2 * t->cap_segs : 64;
    struct tail_seg *more = realloc(t->segs, cap * sizeof *more);
    if (!more)
        return err_set(err, RC_NO_MEMORY, "no memory for the list of journal segments");
    t->segs = more;
    t->cap_segs = cap;
    return RC_OK;
}

void tail_add_old(struct tail *t, uint64_t number, uint64_t end)
{
    ASSERT(!t->current && t->n_segs < t->cap_segs);
    t->segs[t->n_segs++] = (struct tail_seg){.number = number, .end = end};
}

void tail_set(struct tail *t, struct segment_file *f)
{
    if (t->current) {
        t->segs[t->n_segs - 1].end = t->at;
        struct segment_file **last = &t->unsynced;
        while (*last)
            last = &(*last)->next;
        *last = t->current;
    }
    ASSERT(t->n_segs < t->cap_segs);
    t->segs[t->n_segs++] = (struct tail_seg){.number = f->number, .end = SEGMENT_HEAD_BYTES};
    t->current = f;
    t->at = SEGMENT_HEAD_BYTES;
}

struct journal_pos tail_end(const struct tail *t)
{
    return (struct journal_pos){t->current->number, t->at};
}

static bool fits(const struct tail *t, size_t bytes)
{
    return t->current->bytes - t->at >= bytes;
}

bool tail_fits(const struct tail *t, const struct packed *p)
{
    return fits(t, segment_record_bytes(p->payload.len));
}

bool tail_admits(const struct tail *t, const struct packed *p)
{
    size_t bytes = segment_record_bytes(p->payload.len);
    /* This request's CLOSE is one more; and the end of a segment may be too short for a record,
     * which wastes less than another. */
    size_t closes = ((size_t)t->open + 2) * t->close_bytes;
    size_t spare = t->spare ? t->spare->bytes - SEGMENT_HEAD_BYTES : 0;
    if (fits(t, bytes))
        return t->current->bytes - t->at - bytes + spare >= closes;
    return spare >= bytes + closes;
}

static struct journal_pos append(struct tail *t, const struct packed *p, bool *ret_rolled)
{
    size_t bytes = segment_record_bytes(p->payload.len);
    *ret_rolled = !fits(t, bytes);
    if (*ret_rolled) {
        struct segment_file *f = t->spare;
        ASSERT(f); /* tail_admits */
        t->spare = NULL;
        tail_set(t, f);
    }
    struct journal_pos pos = tail_end(t);
    segment_record_put(t->current->map + t->at, pos.segment, pos.offset, p->type, p->payload,
                       p->crc);
    t->at += bytes;
    t->records++;
    return pos;
}

struct journal_pos tail_open(struct tail *t, const struct packed *p, bool *ret_rolled)
{
    struct journal_pos pos = append(t, p, ret_rolled);
    t->segs[t->n_segs - 1].open++;
    t->open++;
    return pos;
}

struct tail_seg *tail_seg_at(struct tail *t, uint64_t number)
{
    size_t i = t->n_segs - 1; /* nearly always the newest */
    while (i > 0 && t->segs[i].number > number)
        i--;
    ASSERT(t->segs[i].number == number);
    return &t->segs[i];
}

void tail_close(struct tail *t, struct journal_pos open_at, const struct packed *p,
                bool *ret_rolled)
{
    append(t, p, ret_rolled);
    struct tail_seg *s = tail_seg_at(t, open_at.segment);
    s->open--;
    s->closed_at = tail_end(t);
    t->open--;
}

bool tail_drop_oldest(struct tail *t, struct journal_pos durable, struct journal_pos applied,
                      uint64_t *ret_number)
{
    const struct tail_seg *s = &t->segs[0];
    if (t->n_segs < 2 || s->open > 0 || s->number >= applied.segment ||
        s->number >= durable.segment || journal_pos_cmp(s->closed_at, durable) > 0)
        return false;
    *ret_number = s->number;
    t->n_segs--;
    memmove(t->segs, t->segs + 1, t->n_segs * sizeof *t->segs);
    return true;
}

struct tail_seg tail_seg_from(const struct tail *t, uint64_t number)
{
    size_t i = 0;
    while (i + 1 < t->n_segs && t->segs[i].number < number)
        i++;
    return t->segs[i];
}
