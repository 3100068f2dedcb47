#include "control/db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "control/db_conn.h"
#include "control/migrate.h"
#include "control/txn.h"

enum { BUSY_MS = 5000 };

/* SQLite's code and words → ours. "UNIQUE constraint failed: users.email" gives field "email". */
static enum rc refuse(sqlite3 *raw, struct err *err)
{
    int ext = sqlite3_extended_errcode(raw);
    const char *msg = sqlite3_errmsg(raw);
    const char *dot = strrchr(msg, '.');
    switch (ext) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
        if (dot && !strchr(msg, '\''))
            return err_field(err, RC_CONFLICT, dot + 1, "another one with this %s exists already",
                             dot + 1);
        return err_set(err, RC_CONFLICT, "one like this exists already");
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return err_set(err, RC_CONFLICT, "it is in use, or refers to something that is gone");
    default:
        break;
    }
    switch (ext & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, RC_UNAVAILABLE, "the database is busy: %s", msg);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(err, RC_CORRUPT, "the database is damaged: %s", msg);
    case SQLITE_NOMEM:
        return err_set(err, RC_NO_MEMORY, "the database has no memory");
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        return err_set(err, RC_IO, "the database cannot be read or written: %s", msg);
    default:
        return err_set(err, RC_INTERNAL, "database: %s", msg);
    }
}

enum rc conn_exec(struct conn *c, const char *sql, struct err *err)
{
    return sqlite3_exec(c->raw, sql, NULL, NULL, NULL) == SQLITE_OK ? RC_OK : refuse(c->raw, err);
}

bool conn_is_in_txn(const struct conn *c)
{
    return !sqlite3_get_autocommit(c->raw);
}

void conn_checkpoint(struct conn *c)
{
    sqlite3_wal_checkpoint_v2(c->raw, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static enum rc conn_settle(struct conn *c, bool writes, struct err *err)
{
    sqlite3_extended_result_codes(c->raw, 1);
    sqlite3_busy_timeout(c->raw, BUSY_MS);
    sqlite3_db_config(c->raw, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(c->raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(c->raw, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(c->raw, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(c->raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, writes ? 0 : 1, NULL);
    sqlite3_db_config(c->raw, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    return conn_exec(c,
                     writes ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                              "PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY;"
                            : "PRAGMA query_only=1; PRAGMA temp_store=MEMORY;",
                     err);
}

enum rc conn_open(struct conn *c, const char *path, bool writes, struct err *err)
{
    *c = (struct conn){0};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    enum rc rc = RC_OK;
    if (sqlite3_open_v2(path, &c->raw, flags, NULL) != SQLITE_OK)
        rc = c->raw ? refuse(c->raw, err) : err_set(err, RC_NO_MEMORY, "no memory for %s", path);
    if (rc == RC_OK)
        rc = conn_settle(c, writes, err);
    if (rc != RC_OK)
        conn_close(c);
    return rc;
}

static void forget_statements(struct conn *c)
{
    for (int i = 0; i < STMT_BUCKETS; i++) {
        struct stmt **at = &c->bucket[i];
        while (*at) {
            struct stmt *s = *at;
            if (s->lent) {
                at = &s->next;
                continue;
            }
            *at = s->next;
            sqlite3_finalize(s->raw);
            free(s->sql);
            free(s);
            c->n_stmts--;
        }
    }
}

void conn_close(struct conn *c)
{
    forget_statements(c);
    ASSERT(c->n_stmts == 0);
    sqlite3_close(c->raw);
    *c = (struct conn){0};
}

/* Made by us and not by SQLite, so that it never exists with other rights; the WAL copies them. */
static enum rc make_file(const char *path, struct err *err)
{
    SCOPED_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0600) != 0)
        return err_errno(err, errno, "cannot open %s", path);
    return RC_OK;
}

static enum rc take_lock(struct db *db, struct err *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s.lock", db->path) >= (int)sizeof path)
        return err_set(err, RC_BAD_INPUT, "the database's path is too long");
    db->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (db->lock_fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(err, RC_UNAVAILABLE, "another process is writing %s", db->path);
    return RC_OK;
}

static enum rc bring_up_to_date(struct db *db, struct err *err)
{
    int64_t from = 0;
    SCOPED_TXN txn = {0};
    enum rc rc = txn_begin_write(db, clock_wall_ms(clock_system()), &txn, err);
    if (rc == RC_OK)
        rc = migrate_run(&txn, &from, err);
    if (rc == RC_OK)
        rc = txn_commit(&txn, err);
    if (rc == RC_OK && from != migrate_latest())
        log_info("db.migrated", "from=%d to=%d", (int)from, (int)migrate_latest());
    return rc;
}

enum rc db_open(const struct db_opts *opts, struct db **ret, struct err *err)
{
    struct db *db = calloc(1, sizeof *db);
    if (!db)
        return err_set(err, RC_NO_MEMORY, "no memory for the database");
    db->lock_fd = -1;
    pthread_mutex_init(&db->lock, NULL);
    db->path = strdup(opts->path);
    enum rc rc = db->path ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for the database");
    if (rc == RC_OK && opts->look_only && access(opts->path, R_OK) != 0)
        rc = err_errno(err, errno, "cannot open %s", opts->path);
    if (rc == RC_OK && !opts->look_only) {
        rc = make_file(db->path, err);
        if (rc == RC_OK)
            rc = take_lock(db, err);
        if (rc == RC_OK)
            rc = conn_open(&db->writer, db->path, true, err);
        if (rc == RC_OK)
            rc = bring_up_to_date(db, err);
    }
    if (rc != RC_OK) {
        db_close(db);
        return rc;
    }
    *ret = db;
    return RC_OK;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    for (int i = 0; i < DB_READERS_MAX; i++) {
        ASSERT(!db->reader[i].in_use);
        conn_close(&db->reader[i]);
    }
    if (db->writer.raw)
        txn_checkpoint(db);
    conn_close(&db->writer);
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    pthread_mutex_destroy(&db->lock);
    free(db->path);
    free(db);
}

const char *db_path(const struct db *db)
{
    return db->path;
}

enum rc db_copy(struct db *db, const char *to_path, struct err *err)
{
    SCOPED_FD fd = open(to_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot make %s", to_path);
    sqlite3 *from = NULL, *to = NULL;
    sqlite3_backup *copy = NULL;
    enum rc rc = RC_OK;
    if (sqlite3_open_v2(db->path, &from, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_open_v2(to_path, &to, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        !(copy = sqlite3_backup_init(to, "main", from, "main")) ||
        sqlite3_backup_step(copy, -1) != SQLITE_DONE)
        rc = to ? refuse(to, err) : err_set(err, RC_IO, "cannot copy the database");
    if (copy && sqlite3_backup_finish(copy) != SQLITE_OK && rc == RC_OK)
        rc = refuse(to, err);
    if (from)
        sqlite3_db_config(from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(from);
    sqlite3_close(to);
    if (rc == RC_OK && fsync(fd) != 0)
        rc = err_errno(err, errno, "cannot write %s", to_path);
    if (rc != RC_OK)
        unlink(to_path);
    return rc;
}

static uint32_t bucket_of(const char *sql)
{
    uint32_t h = 2166136261u;
    for (; *sql; sql++)
        h = (h ^ (uint8_t)*sql) * 16777619u;
    return h % STMT_BUCKETS;
}

static enum rc prepare(struct conn *c, const char *sql, uint32_t bucket, struct stmt **ret,
                       struct err *err)
{
    if (c->n_stmts >= STMTS_MAX)
        forget_statements(c);
    struct stmt *s = calloc(1, sizeof *s);
    char *copy = strdup(sql);
    enum rc rc = s && copy ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for a statement");
    if (rc == RC_OK &&
        sqlite3_prepare_v3(c->raw, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->raw, NULL) != SQLITE_OK)
        rc = refuse(c->raw, err);
    if (rc != RC_OK) {
        free(s);
        free(copy);
        return rc;
    }
    s->sql = copy;
    s->next = c->bucket[bucket];
    c->bucket[bucket] = s;
    c->n_stmts++;
    *ret = s;
    return RC_OK;
}

enum rc stmt_get(struct txn *txn, const char *sql, struct stmt **ret, struct err *err)
{
    struct conn *c = txn->conn;
    ASSERT(c);
    uint32_t bucket = bucket_of(sql);
    struct stmt *s = c->bucket[bucket];
    while (s && strcmp(s->sql, sql) != 0)
        s = s->next;
    if (s && s->lent)
        return err_set(err, RC_INTERNAL, "a statement is used inside itself: %.100s", sql);
    enum rc rc = s ? RC_OK : prepare(c, sql, bucket, &s, err);
    if (rc == RC_OK) {
        s->lent = true;
        *ret = s;
    }
    return rc;
}

void stmt_put(struct stmt *s)
{
    if (!s)
        return;
    sqlite3_reset(s->raw);
    sqlite3_clear_bindings(s->raw);
    s->lent = false;
}

void stmt_bind_i64(struct stmt *s, int at, int64_t v)
{
    int rc = sqlite3_bind_int64(s->raw, at, v);
    ASSERT(rc == SQLITE_OK);
}

void stmt_bind_str(struct stmt *s, int at, struct str v)
{
    int rc = v.p ? sqlite3_bind_text64(s->raw, at, v.p, v.len, SQLITE_STATIC, SQLITE_UTF8)
                 : sqlite3_bind_null(s->raw, at);
    ASSERT(rc == SQLITE_OK);
}

void stmt_bind_blob(struct stmt *s, int at, const void *p, size_t n)
{
    int rc = sqlite3_bind_blob64(s->raw, at, p, n, SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK);
}

void stmt_bind_null(struct stmt *s, int at)
{
    int rc = sqlite3_bind_null(s->raw, at);
    ASSERT(rc == SQLITE_OK);
}

int stmt_index(struct stmt *s, const char *name)
{
    return sqlite3_bind_parameter_index(s->raw, name);
}

enum rc stmt_step(struct stmt *s, bool *ret_row, struct err *err)
{
    int rc = sqlite3_step(s->raw);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return refuse(sqlite3_db_handle(s->raw), err);
    *ret_row = rc == SQLITE_ROW;
    return RC_OK;
}

enum rc stmt_run(struct stmt *s, int64_t *ret_changes, struct err *err)
{
    bool row = true;
    enum rc rc = RC_OK;
    while (rc == RC_OK && row)
        rc = stmt_step(s, &row, err);
    if (rc == RC_OK && ret_changes)
        *ret_changes = sqlite3_changes64(sqlite3_db_handle(s->raw));
    return rc;
}

bool stmt_is_null(struct stmt *s, int col)
{
    return sqlite3_column_type(s->raw, col) == SQLITE_NULL;
}

int64_t stmt_i64(struct stmt *s, int col)
{
    return sqlite3_column_int64(s->raw, col);
}

struct str stmt_str(struct stmt *s, int col)
{
    const char *p = (const char *)sqlite3_column_text(s->raw, col);
    return str_make(p, p ? (size_t)sqlite3_column_bytes(s->raw, col) : 0);
}

struct str stmt_blob(struct stmt *s, int col)
{
    const char *p = sqlite3_column_blob(s->raw, col);
    return str_make(p, p ? (size_t)sqlite3_column_bytes(s->raw, col) : 0);
}

struct str stmt_keep(struct stmt *s, int col, struct arena *arena)
{
    struct str v = stmt_str(s, col);
    return v.p ? arena_dup(arena, v) : STR_NONE;
}

enum rc db_i64(struct txn *txn, const char *sql, int64_t *ret, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc = stmt_get(txn, sql, &s, err);
    if (rc == RC_OK)
        rc = stmt_step(s, &row, err);
    if (rc == RC_OK && !row)
        rc = err_set(err, RC_NOT_FOUND, "no row");
    if (rc == RC_OK)
        *ret = stmt_i64(s, 0);
    return rc;
}

enum rc db_exec(struct txn *txn, const char *sql, struct err *err)
{
    return conn_exec(txn->conn, sql, err);
}
