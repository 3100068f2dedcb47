#ifndef SLUICE_CONTROL_VERIFY_H
#define SLUICE_CONTROL_VERIFY_H
/* verify - proves from the files that every token is billed once (DESIGN, section 5).
 *
 *   rows = links of the chain, each with the hash of row and price version it was written with
 *   cost of a row = its tokens × its price version; price versions are as they were at first use
 *   Σ rows = Σ sums by the hour, for each org × user × key × deployment × model × outcome
 *   each CLOSE of a journal = one row, field by field; each row is in the journal if that reaches
 *   back so far; each OPEN has one CLOSE, unless its request still runs
 *
 * It reads one state of the database and then the journals. Rows on their way from the one to the
 * other are counted as in flight. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct txn;

struct verify {
    /* One sentence for each difference. */
    void (*on_difference)(void *user, const char *line);
    void *user;
    int64_t rows, links, hours, prices; /* looked at */
    int64_t segments, opens, closes;    /* of the journals */
    int64_t running;                    /* OPENs of requests that may still run */
    int64_t in_flight;                  /* CLOSEs that the ledger has not yet heard of */
    int64_t differences, passing;       /* passing: those that a live system may mend in a moment */
};

/* Rows, chain, prices, sums. */
enum rc verify_ledger(struct txn *txn, struct verify *v, struct err *err);

/* The journals in `dir`; a missing folder is an empty one. gateway_since_ms: when the running
 * gateway was started, by the wall clock; 0: none runs, and its next start settles what is open. */
enum rc verify_journal(struct txn *txn, const char *dir, int64_t gateway_since_ms, struct verify *v,
                       struct err *err);

void verify_differs(struct verify *v, bool passing, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
