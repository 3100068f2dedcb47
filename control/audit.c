#include "control/audit.h"

#include "base/hash.h"
#include "base/id.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/row.h"
#include "control/txn.h"

enum { HASH_HEX = 2 * HASH_BYTES };
#define DETAIL_MAX (256 * KIB)

static const char first_prev[HASH_HEX + 1] =
    "0000000000000000000000000000000000000000000000000000000000000000";

static void add_part(struct hash_state *h, struct str s)
{
    hash_add(h, s.p ? s.p : "", s.len);
    hash_add(h, "\n", 1);
}

/* Written out field by field and not as the row's JSON: a new field must not break old chains.
 * No field but the last can hold a line break. */
static void chain_hash(const struct audit_row *a, char ret[HASH_HEX + 1])
{
    struct hash_state h;
    uint8_t sum[HASH_BYTES];
    char numbers[64];
    snprintf(numbers, sizeof numbers, "%lld %lld %lld", (long long)a->seq, (long long)a->created_at,
             (long long)a->action);
    hash_begin(&h, sizeof sum, NULL, 0);
    add_part(&h, a->prev_hash);
    add_part(&h, str_of(numbers));
    add_part(&h, a->id);
    add_part(&h, a->actor_id);
    add_part(&h, a->peer);
    add_part(&h, a->org_id);
    add_part(&h, a->kind);
    add_part(&h, a->object_id);
    add_part(&h, a->detail);
    hash_end(&h, sum, sizeof sum);
    str_to_hex(sum, sizeof sum, ret);
}

static enum rc last_link(struct txn *txn, int64_t *ret_seq, char ret_hash[HASH_HEX + 1],
                         struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc = stmt_get(txn, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", &s, err);
    if (rc == RC_OK)
        rc = stmt_step(s, &row, err);
    if (rc != RC_OK)
        return rc;
    struct str hash = row ? stmt_str(s, 1) : str_of(first_prev);
    if (hash.len != HASH_HEX)
        return err_set(err, RC_CORRUPT, "the audit log's last row has no hash");
    *ret_seq = row ? stmt_i64(s, 0) : 0;
    memcpy(ret_hash, hash.p, HASH_HEX);
    ret_hash[HASH_HEX] = '\0';
    return RC_OK;
}

enum rc audit_add(struct txn *txn, const struct scope *scope, const struct audit_entry *e,
                  struct err *err)
{
    char prev[HASH_HEX + 1], hash[HASH_HEX + 1];
    struct id id = id_new(resource_audit.prefix);
    struct audit_row a = {
        .id = id_str(&id),
        .created_at = txn->now_ms,
        .actor_id = scope_user(scope),
        .peer = scope_peer(scope).p ? scope_peer(scope) : STR(""),
        .org_id = e->org_id,
        .action = e->action,
        .kind = str_of(e->res->name),
        .object_id = e->object_id,
        .detail = e->detail.len ? e->detail : STR("{}"),
    };
    enum rc rc = last_link(txn, &a.seq, prev, err);
    if (rc != RC_OK)
        return rc;
    a.seq++;
    a.prev_hash = str_of(prev);
    chain_hash(&a, hash);
    a.hash = str_of(hash);
    bool inserted;
    return row_put(txn, &resource_audit, &a, &inserted, err);
}

static enum rc check_link(const struct audit_row *a, int64_t seq, const char *prev, struct err *err)
{
    char hash[HASH_HEX + 1];
    chain_hash(a, hash);
    if (a->seq != seq)
        return err_set(err, RC_CORRUPT, "audit row %lld is missing", (long long)seq);
    if (!str_is(a->prev_hash, prev) || !str_is(a->hash, hash))
        return err_set(err, RC_CORRUPT, "audit row %lld (" STR_FMT ") was altered", (long long)seq,
                       STR_ARG(a->id));
    return RC_OK;
}

enum rc audit_check(struct txn *txn, int64_t *ret_rows, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, 4 * MIB);
    SCOPED_STMT s = NULL;
    const char *columns, *sql;
    char prev[HASH_HEX + 1];
    int64_t n = 0;
    memcpy(prev, first_prev, sizeof prev);
    enum rc rc = row_columns(&resource_audit, &arena, &columns, err);
    if (rc != RC_OK)
        return rc;
    sql = arena_printf(&arena, "SELECT %s FROM audit t ORDER BY t.seq", columns).p;
    rc = sql ? stmt_get(txn, sql, &s, err) : err_set(err, RC_NO_MEMORY, "no memory");
    for (bool row = rc == RC_OK; rc == RC_OK && row;) {
        struct audit_row a = {0};
        arena_reset(&arena);
        rc = stmt_step(s, &row, err);
        if (rc == RC_OK && row)
            rc = row_read(s, 0, &resource_audit, &arena, &a, err);
        if (rc == RC_OK && row)
            rc = check_link(&a, n + 1, prev, err);
        if (rc == RC_OK && row) {
            n++;
            memcpy(prev, a.hash.p, HASH_HEX);
        }
    }
    if (rc == RC_OK)
        *ret_rows = n;
    return rc;
}
