#ifndef SLUICE_GATEWAY_JOURNAL_H
#define SLUICE_GATEWAY_JOURNAL_H
/* journal - the gateway's memory of who asked for what and what it came to, safe against kill -9 at
 * any instant and, once told durable, against power loss.
 *
 * A request leaves an OPEN record before any work is done for it, running counts while it streams,
 * and one CLOSE record with its final usage row. Records are appended to memory-mapped segments
 * that exist on disk, zero-filled, before they are needed; so an append is a memcpy, and the kernel
 * keeps it when the process dies. One thread syncs: at once when idle, and everything that came
 * meanwhile with the next sync. OPEN and counts are not waited for. The counts live in a table of
 * their own that is updated in place (gateway/cells.h), so that a token costs no journal space.
 *
 * After a start, every OPEN without a CLOSE has been given one, with outcome and source `recovered`
 * and the last counts. So each OPEN has exactly one row, always.
 *
 * Every OPEN sets aside room for its CLOSE; new requests are refused long before a running one
 * could find no room. A failed sync stops admission for good: nobody knows what the disk kept, and
 * only a new start reads it again.
 *
 * All calls are thread-safe unless they say otherwise. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "base/loop.h"
#include "gateway/price.h"
#include "schema/resource.h"

struct journal;

struct journal_opts {
    const char *dir; /* DIR/journal; made when missing */
    const struct clock *clock;
    size_t segment_bytes; /* 0: 64 MiB; at least 64 KiB, a multiple of 4 KiB */
    int32_t open_max;     /* requests at a time; 0: 65536 */
};

/* A place in the journal. Orders by segment, then offset; {0, 0} is before everything. */
struct journal_pos {
    uint64_t segment, offset;
};
int journal_pos_cmp(struct journal_pos a, struct journal_pos b);

/* Locks, replays, recovers, starts the threads. RC_CONFLICT: another gateway has this journal.
 * RC_IO: the disk is full or broken. */
enum rc journal_new(const struct journal_opts *opts, struct journal **ret, struct err *err);
/* Syncs what is left, tells all waiters, ends the threads. No request may be open. Accepts NULL. */
void journal_free(struct journal *j);

struct str journal_gateway(const struct journal *j); /* "gw_…": made with the journal, for good */

/* ---- one request ---- */

/* Belongs to the request until journal_close. */
struct journal_entry {
    struct journal_pos at; /* of its OPEN; segment 0: not open */
    int32_t cell;
    uint32_t counted; /* times journal_count was called */
};

/* row: who and what; its tokens and cost are not looked at. RC_UNAVAILABLE: no room, too many open,
 * behind with shipping, or the journal failed: come back later; nothing was written. */
enum rc journal_open(struct journal *j, const struct usage *row, const struct rate *rate,
                     struct journal_entry *ret, struct err *err);
/* Running totals, to be called before the bytes they stand for go out. No lock, no system call. */
void journal_count(struct journal *j, struct journal_entry *e, const struct token_count *tok);

/* Told once when everything up to its CLOSE is on disk (RC_OK), or never will be (RC_IO).
 * on_durable runs in `loop`'s thread. Belongs to the caller until then. */
struct journal_wait {
    struct loop *loop;
    void (*on_durable)(struct journal_wait *w, enum rc rc);
    void *user;
    /* The journal's. */
    struct loop_post post;
    struct journal_wait *next;
    enum rc rc;
};
/* The final row. wait may be NULL. RC_IO: the journal has failed, wait is not called; the record is
 * still there for the next start if the kernel kept it. Ends the entry either way. */
enum rc journal_close(struct journal *j, struct journal_entry *e, const struct usage *row,
                      struct journal_wait *wait, struct err *err);

/* Waits until all that was appended so far is on disk. For tests and shutdown, not for a loop. */
enum rc journal_sync(struct journal *j, struct err *err);

/* ---- reading and letting go: for ship ---- */

/* Calls on_row for the CLOSE rows after `from` that are durable, at most max_rows and about
 * max_bytes of them, and sets *ret_next to where to go on. The row's text lives until on_row
 * returns. RC_CORRUPT: a record that was durable is not readable any more. A `from` before the
 * oldest segment starts there. */
enum rc journal_read(struct journal *j, struct journal_pos from, int32_t max_rows, size_t max_bytes,
                     void (*on_row)(void *user, const struct usage *row), void *user,
                     struct journal_pos *ret_next, struct err *err);
/* All rows before `pos` are in the ledger: segments that hold nothing else are deleted, in order.
 */
void journal_applied(struct journal *j, struct journal_pos pos);
/* Posts p to its loop whenever rows became durable. One watcher; NULL loop: none. */
void journal_watch(struct journal *j, struct loop *loop, struct loop_post *p);
/* Refuse (or no longer) new requests; why is static text for the message. */
void journal_shed(struct journal *j, bool on, const char *why);

struct journal_stats {
    struct journal_pos end, durable, applied;
    int32_t open;     /* requests */
    int32_t segments; /* on disk, the spare one not counted */
    int64_t records, commits, recovered;
    size_t segment_bytes;
    int64_t disk_free;  /* bytes that we may still use there; -1: not known */
    bool failed, spare; /* spare: the next segment is ready */
    bool shedding;
    struct token_count closed;        /* sums of the rows closed since the start */
    struct token_count recovered_tok; /* of those that the start settled, not in closed */
};
void journal_stat(struct journal *j, struct journal_stats *ret);

#endif
