#ifndef SLUICE_GATEWAY_TAIL_H
#define SLUICE_GATEWAY_TAIL_H
/* tail - the growing end of the journal, and the list of its segments. No lock and no thread here:
 * the journal's lock guards it.
 *
 *   segs:  [sealed][sealed, not yet synced]...[current] (spare)
 *                                              ^ at
 * True after every call: the CLOSE of each open request fits behind `at` in current and spare. */

#include "gateway/journal.h"
#include "gateway/packed.h"
#include "gateway/shelf.h"

struct tail_seg {
    uint64_t number, end;         /* end: where its records end; of the current one see `at` */
    int32_t open;                 /* OPENs in it that have no CLOSE yet */
    struct journal_pos closed_at; /* behind the last CLOSE that belongs to an OPEN in it */
};

struct tail {
    struct segment_file *current, *spare;
    struct segment_file *unsynced; /* sealed, oldest first */
    uint64_t at;
    struct tail_seg *segs; /* ascending; the last is current */
    size_t n_segs, cap_segs;
    size_t close_bytes;
    int32_t open;
    int64_t records;
};

void tail_init(struct tail *t);
void tail_done(struct tail *t);

/* Room in the list for one more segment: before tail_set, and before a spare is there. */
enum rc tail_grow(struct tail *t, struct err *err);
void tail_add_old(struct tail *t, uint64_t number, uint64_t end); /* before the first tail_set */
void tail_set(struct tail *t, struct segment_file *f);            /* the current is sealed */

struct journal_pos tail_end(const struct tail *t);
bool tail_fits(const struct tail *t, const struct packed *p); /* in the current segment */
/* Would every open request and one more still find room for its CLOSE after this OPEN? */
bool tail_admits(const struct tail *t, const struct packed *p);

/* Where it was written. True in *ret_rolled: the spare is used up. */
struct journal_pos tail_open(struct tail *t, const struct packed *p, bool *ret_rolled);
void tail_close(struct tail *t, struct journal_pos open_at, const struct packed *p,
                bool *ret_rolled);

/* Takes the oldest segment off the list when nobody needs it: its rows are applied, its requests
 * closed, and their CLOSEs on disk. False: there is none. */
bool tail_drop_oldest(struct tail *t, struct journal_pos durable, struct journal_pos applied,
                      uint64_t *ret_number);
/* The first segment with at least this number, or the current one. */
struct tail_seg tail_seg_from(const struct tail *t, uint64_t number);
struct tail_seg *tail_seg_at(struct tail *t, uint64_t number); /* it must be there */

void segment_files_free(struct segment_file *f); /* the whole list */

#endif
