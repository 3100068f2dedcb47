#include "control/txn.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/db_conn.h"

static enum rc take_reader(struct db *db, struct conn **ret, struct err *err)
{
    enum rc rc = RC_OK;
    struct conn *c = NULL;
    pthread_mutex_lock(&db->lock);
    for (int i = 0; i < DB_READERS_MAX && !c; i++)
        if (!db->reader[i].in_use)
            c = &db->reader[i];
    if (!c)
        rc = err_set(err, RC_UNAVAILABLE, "all %d reading connections are in use", DB_READERS_MAX);
    else if (!c->raw)
        rc = conn_open(c, db->path, false, err);
    if (rc == RC_OK)
        c->in_use = true;
    pthread_mutex_unlock(&db->lock);
    if (rc == RC_OK)
        *ret = c;
    return rc;
}

static void give_reader(struct db *db, struct conn *c)
{
    pthread_mutex_lock(&db->lock);
    c->in_use = false;
    pthread_mutex_unlock(&db->lock);
}

enum rc txn_begin_read(struct db *db, struct txn *ret, struct err *err)
{
    struct conn *c = NULL;
    enum rc rc = take_reader(db, &c, err);
    if (rc != RC_OK)
        return rc;
    rc = conn_exec(c, "BEGIN", err);
    if (rc != RC_OK) {
        give_reader(db, c);
        return rc;
    }
    *ret = (struct txn){.conn = c, .db = db, .now_ms = clock_wall_ms(clock_system())};
    return RC_OK;
}

enum rc txn_begin_write(struct db *db, int64_t now_ms, struct txn *ret, struct err *err)
{
    ASSERT(db->writer.raw && !db->writer.in_use);
    enum rc rc = conn_exec(&db->writer, "BEGIN IMMEDIATE", err);
    if (rc != RC_OK)
        return rc;
    db->writer.in_use = true;
    *ret = (struct txn){.conn = &db->writer, .db = db, .write = true, .now_ms = now_ms};
    return RC_OK;
}

void txn_end(struct txn *txn)
{
    if (!txn->conn)
        return;
    struct err err = {0};
    /* SQLite rolls back by itself after some failures (disk full); then there is nothing to end. */
    if (conn_is_in_txn(txn->conn) && conn_exec(txn->conn, "ROLLBACK", &err) != RC_OK)
        log_error("db.rollback_failed", "err=\"%s\"", err.msg);
    if (txn->write)
        txn->conn->in_use = false;
    else
        give_reader(txn->db, txn->conn);
    *txn = (struct txn){0};
}

enum rc txn_commit(struct txn *txn, struct err *err)
{
    ASSERT(txn->conn && txn->write);
    enum rc rc = conn_exec(txn->conn, "COMMIT", err);
    if (rc == RC_OK) {
        txn->conn->in_use = false;
        *txn = (struct txn){0};
    }
    return rc;
}

enum rc txn_save(struct txn *txn, struct err *err)
{
    return conn_exec(txn->conn, "SAVEPOINT job", err);
}

enum rc txn_save_keep(struct txn *txn, struct err *err)
{
    return conn_exec(txn->conn, "RELEASE job", err);
}

enum rc txn_save_undo(struct txn *txn, struct err *err)
{
    return conn_exec(txn->conn, "ROLLBACK TO job; RELEASE job", err);
}

void txn_checkpoint(struct db *db)
{
    conn_checkpoint(&db->writer);
}
