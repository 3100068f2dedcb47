#ifndef SLUICE_CONTROL_TXN_H
#define SLUICE_CONTROL_TXN_H
/* txn - a transaction, and the only way to a statement.
 *
 * A read transaction sees one state of the file and must be short: it holds back the checkpoint. It
 * can be had by any thread. A write transaction exists only inside the writer (writer.h). */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct db;
struct conn;

struct txn {
    struct conn *conn; /* NULL: not begun */
    struct db *db;
    bool write;
    int64_t now_ms; /* wall clock at the start: one time for all that it writes */
    int64_t n_fed;  /* rows put into the change feed so far */
};

/* RC_UNAVAILABLE when all reading connections (16) are in use. */
enum rc txn_begin_read(struct db *db, struct txn *ret, struct err *err);
/* Ends a read, or rolls back a write that was not committed. Accepts a zeroed struct. */
void txn_end(struct txn *txn);
#define SCOPED_TXN __attribute__((cleanup(txn_end))) struct txn

/* For writer.c. BEGIN IMMEDIATE; savepoints let one job fail alone. */
enum rc txn_begin_write(struct db *db, int64_t now_ms, struct txn *ret, struct err *err);
enum rc txn_commit(struct txn *txn, struct err *err);
enum rc txn_save(struct txn *txn, struct err *err);
enum rc txn_save_keep(struct txn *txn, struct err *err);
enum rc txn_save_undo(struct txn *txn, struct err *err);
/* Copies the WAL into the file as far as readers allow. */
void txn_checkpoint(struct db *db);

#endif
