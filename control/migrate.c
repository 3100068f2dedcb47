#include "control/migrate.h"

#include <stdio.h>

#include "base/units.h"
#include "control/db.h"
#include "control/txn.h"

static const struct {
    const char *name, *sql;
} steps[] = {
#include "migrations.inc"
};

int64_t migrate_latest(void)
{
    return (int64_t)ARRAY_LEN(steps);
}

enum rc migrate_run(struct txn *txn, int64_t *ret_from, struct err *err)
{
    int64_t from = 0;
    enum rc rc = db_i64(txn, "PRAGMA user_version", &from, err);
    if (rc == RC_OK && from > migrate_latest())
        rc = err_set(err, RC_CORRUPT,
                     "the database is at step %d, this program knows %d: use a newer program",
                     (int)from, (int)migrate_latest());
    for (int64_t i = from; rc == RC_OK && i < migrate_latest(); i++) {
        struct err why = {0};
        char number[64];
        rc = db_exec(txn, steps[i].sql, &why);
        if (rc != RC_OK)
            return err_set(err, rc, "migration %s: %s", steps[i].name, why.msg);
        snprintf(number, sizeof number, "PRAGMA user_version=%d", (int)i + 1);
        rc = db_exec(txn, number, err);
    }
    if (rc == RC_OK)
        *ret_from = from;
    return rc;
}
