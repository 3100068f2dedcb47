/* replay - Idempotency-Key: the answer to a POST is kept for 24 hours and given again to the same
 * request. It is sealed, because it may show a new key's secret. */
#include "base/hash.h"
#include "base/http_server.h"
#include "base/scoped.h"
#include "control/api_impl.h"
#include "control/db.h"
#include "control/secret.h"
#include "control/txn.h"

enum { KEY_MAX = 255 };
#define KEEP_MS (INT64_C(24) * 3600 * 1000)

/* Keyed, because a body may hold a password: its hash must not serve for guessing. */
static void request_hash(const struct api_call *c, uint8_t ret[HASH_BYTES])
{
    struct hash_state h;
    struct str path = http_path(c->http), body = http_body(c->http);
    hash_begin(&h, HASH_BYTES, api_secrets(c->api)->token, HASH_KEY_BYTES);
    hash_add(&h, path.p, path.len);
    hash_add(&h, "\n", 1);
    hash_add(&h, body.p ? body.p : "", body.len);
    hash_end(&h, ret, HASH_BYTES);
}

/* What the seal is bound to: an answer moved to another user's row does not open. */
static struct str about(const struct api_call *c, struct str key)
{
    return arena_printf(c->arena, STR_FMT "\n" STR_FMT, STR_ARG(c->caller.user_id), STR_ARG(key));
}

static enum rc give_again(struct api_call *c, struct stmt *s, struct str key, struct err *err)
{
    uint8_t hash[HASH_BYTES];
    struct str kept = stmt_blob(s, 0);
    request_hash(c, hash);
    if (kept.len != HASH_BYTES || !hash_equal(kept.p, hash, HASH_BYTES))
        return err_field(err, RC_INVALID, "Idempotency-Key",
                         "this Idempotency-Key was used for another request");
    c->reply.status = (int)stmt_i64(s, 1);
    c->reply.version = stmt_i64(s, 2);
    c->reply.location = stmt_keep(s, 3, c->arena);
    c->reply.has_secret = true;
    return secret_open(api_secrets(c->api), about(c, key), stmt_blob(s, 4), &c->reply.body, err);
}

enum rc replay_find(struct api_call *c, struct txn *txn, struct str key, bool *ret_found,
                    struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    if (key.len == 0 || key.len > KEY_MAX || !str_is_utf8(key))
        return err_field(err, RC_BAD_INPUT, "Idempotency-Key",
                         "Idempotency-Key must have 1 to %d bytes", KEY_MAX);
    enum rc rc = stmt_get(txn,
                          "SELECT request_hash, status, version, location, body FROM replays"
                          " WHERE user_id = ?1 AND name = ?2 AND created_at > ?3",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, c->caller.user_id);
    stmt_bind_str(s, 2, key);
    stmt_bind_i64(s, 3, txn->now_ms - KEEP_MS);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK && row)
        rc = give_again(c, s, key, err);
    if (rc == RC_OK)
        *ret_found = row;
    return rc;
}

static enum rc drop_old(struct txn *txn, struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(txn, "DELETE FROM replays WHERE created_at <= ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_i64(s, 1, txn->now_ms - KEEP_MS);
    return stmt_run(s, NULL, err);
}

enum rc replay_keep(struct api_call *c, struct txn *txn, struct str key, struct err *err)
{
    SCOPED_STMT s = NULL;
    SCOPED_BUF sealed;
    uint8_t hash[HASH_BYTES];
    buf_init(&sealed, API_REPLY_MAX);
    request_hash(c, hash);
    enum rc rc = drop_old(txn, err);
    if (rc == RC_OK)
        rc =
            secret_seal(api_secrets(c->api), about(c, key), buf_view(&c->reply.body), &sealed, err);
    if (rc == RC_OK)
        rc = stmt_get(txn, "INSERT INTO replays VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, c->caller.user_id);
    stmt_bind_str(s, 2, key);
    stmt_bind_blob(s, 3, hash, sizeof hash);
    stmt_bind_i64(s, 4, c->reply.status ? c->reply.status : 200);
    stmt_bind_i64(s, 5, c->reply.version);
    stmt_bind_str(s, 6, c->reply.location);
    stmt_bind_blob(s, 7, sealed.p, sealed.len);
    stmt_bind_i64(s, 8, txn->now_ms);
    rc = stmt_run(s, NULL, err);
    stmt_put(s); /* before `sealed` and `hash` go: they are bound without a copy */
    s = NULL;
    return rc;
}
