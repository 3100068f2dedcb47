#ifndef SLUICE_CONTROL_MIGRATE_H
#define SLUICE_CONTROL_MIGRATE_H
/* migrate - brings a database file forward, one numbered step at a time, never back.
 *
 * migrations/NNNN_name.sql are compiled into the program. PRAGMA user_version counts the steps that
 * were applied; each step and its number are one transaction. */

#include <stdint.h>

#include "base/err.h"

struct txn;

int64_t migrate_latest(void);
/* RC_CORRUPT when the file has steps that this program does not know. */
enum rc migrate_run(struct txn *txn, int64_t *ret_from, struct err *err);

#endif
