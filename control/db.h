#ifndef SLUICE_CONTROL_DB_H
#define SLUICE_CONTROL_DB_H
/* db - the only door to SQLite: one file, one connection that writes, a few that read.
 *
 * The file is 0600, in WAL mode with synchronous=FULL; tables are STRICT, foreign keys are on. Only
 * the writing connection checkpoints. Text and numbers reach SQL through bindings alone; SQL itself
 * is made of literals in this program and of names from the field tables. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct db;
struct txn;
struct stmt;

struct db_opts {
    const char *path;
    bool look_only; /* no writing connection, no migration: for commands beside a live server */
};

/* Creates the file when it is missing, brings it up to date (see migrate.h). RC_CORRUPT when the
 * file is newer than this program; RC_UNAVAILABLE when another process holds the writing side. */
enum rc db_open(const struct db_opts *opts, struct db **ret, struct err *err);
void db_close(struct db *db); /* after its writer and all transactions; accepts NULL */
const char *db_path(const struct db *db);
/* A consistent copy while others write: VACUUM INTO. The target must not exist. */
enum rc db_copy(struct db *db, const char *to_path, struct err *err);

/* A statement, prepared once a connection and kept. `sql` is not copied into the cache's key before
 * the call returns, so it may live in an arena. At most 1000 are kept. Get it, bind, step, and let
 * SCOPED_STMT give it back; a statement is lent to one user at a time (RC_INTERNAL). */
enum rc stmt_get(struct txn *txn, const char *sql, struct stmt **ret, struct err *err);
void stmt_put(struct stmt *s); /* resets; accepts NULL */
static inline void scoped_stmt_put(struct stmt **s)
{
    stmt_put(*s);
}
#define SCOPED_STMT __attribute__((cleanup(scoped_stmt_put))) struct stmt *

/* Parameters are numbered from 1. Text and blobs are not copied: they must live until stmt_put. */
void stmt_bind_i64(struct stmt *s, int at, int64_t v);
void stmt_bind_str(struct stmt *s, int at, struct str v); /* p == NULL: NULL */
void stmt_bind_blob(struct stmt *s, int at, const void *p, size_t n);
void stmt_bind_null(struct stmt *s, int at);
int stmt_index(struct stmt *s, const char *name); /* of ":name"; 0: the statement has none */

/* *ret_row: whether there is a row to look at. A broken UNIQUE is RC_CONFLICT, a broken foreign key
 * RC_CONFLICT too, with err.field "table.column" where SQLite names it. */
enum rc stmt_step(struct stmt *s, bool *ret_row, struct err *err);
/* For statements without rows; *ret_changes (may be NULL) is how many rows they changed. */
enum rc stmt_run(struct stmt *s, int64_t *ret_changes, struct err *err);
/* Columns are numbered from 0; views last until the next step. */
bool stmt_is_null(struct stmt *s, int col);
int64_t stmt_i64(struct stmt *s, int col);
struct str stmt_str(struct stmt *s, int col); /* p == NULL for NULL */
struct str stmt_blob(struct stmt *s, int col);
struct str stmt_keep(struct stmt *s, int col, struct arena *arena); /* a copy of stmt_str */

/* One number; RC_NOT_FOUND when there is no row. For counts and versions. */
enum rc db_i64(struct txn *txn, const char *sql, int64_t *ret, struct err *err);
/* Runs statements that take nothing and give nothing, separated by ';'. For migrations. */
enum rc db_exec(struct txn *txn, const char *sql, struct err *err);

#endif
