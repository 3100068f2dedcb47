#ifndef SLUICE_CONTROL_DB_CONN_H
#define SLUICE_CONTROL_DB_CONN_H
/* db_conn - what db.c and txn.c share: one SQLite connection and its kept statements, and the file
 * with its connections. Nobody else includes this; SQLite itself is spoken to by db.c alone. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { DB_READERS_MAX = 16, STMTS_MAX = 1000, STMT_BUCKETS = 256 };

struct sqlite3;
struct sqlite3_stmt;

struct stmt {
    struct sqlite3_stmt *raw;
    struct stmt *next; /* in its bucket */
    char *sql;
    bool lent;
};

struct conn {
    struct sqlite3 *raw;
    struct stmt *bucket[STMT_BUCKETS];
    int n_stmts;
    bool in_use;
};

struct db {
    char *path;
    int lock_fd; /* of path + ".lock": whoever has it locked writes; -1 for look_only */
    struct conn writer;
    pthread_mutex_t lock; /* guards the readers' in_use and their opening */
    struct conn reader[DB_READERS_MAX];
};

enum rc conn_open(struct conn *c, const char *path, bool writes, struct err *err);
void conn_close(struct conn *c);
enum rc conn_exec(struct conn *c, const char *sql, struct err *err);
bool conn_is_in_txn(const struct conn *c);
void conn_checkpoint(struct conn *c);

#endif
