/* user - the rules of people: operators have no org, everybody else has one; nobody locks out the
 * last operator; a password that changes ends the sessions it opened. */
#include "control/access.h"
#include "control/db.h"
#include "control/entity.h"
#include "control/row.h"
#include "control/session.h"
#include "control/sweep.h"
#include "control/txn.h"

static enum rc lower_email(struct entity_act *act, struct user *u, struct err *err)
{
    char *z = arena_zdup(act->arena, u->email);
    int n_at = 0;
    if (!z)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    for (size_t i = 0; i < u->email.len; i++) {
        if (z[i] >= 'A' && z[i] <= 'Z')
            z[i] = (char)(z[i] + 32);
        n_at += z[i] == '@';
        if (z[i] == ' ')
            n_at = 99;
    }
    if (n_at != 1 || z[0] == '@' || z[u->email.len - 1] == '@')
        return err_field(err, RC_BAD_INPUT, "email", "email must look like name@example.com");
    u->email = str_make(z, u->email.len);
    return RC_OK;
}

static enum rc check_role(const struct entity_act *act, const struct user *u, struct err *err)
{
    if (u->role == ROLE_OPERATOR && !scope_is_operator(act->scope))
        return err_field(err, RC_FORBIDDEN, "role", "only operators make operators");
    if (u->role == ROLE_OPERATOR && u->org_id.p)
        return err_field(err, RC_INVALID, "role", "an operator belongs to no org");
    if (u->role != ROLE_OPERATOR && !u->org_id.p)
        return err_field(err, RC_INVALID, "org_id", "a user who is no operator needs an org_id");
    return RC_OK;
}

static enum rc store_password(struct entity_act *act, struct str user_id, struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(act->txn,
                          "INSERT INTO passwords VALUES (?1, ?2)"
                          " ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, user_id);
    stmt_bind_str(s, 2, act->password_hash);
    return stmt_run(s, NULL, err);
}

static enum rc drop_password(struct entity_act *act, struct str user_id, struct err *err)
{
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(act->txn, "DELETE FROM passwords WHERE user_id = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, user_id);
    return stmt_run(s, NULL, err);
}

static enum rc before_create(struct entity_act *act, void *row, struct err *err)
{
    struct user *u = row;
    if (!scope_is_operator(act->scope))
        u->org_id = scope_org(act->scope);
    enum rc rc = lower_email(act, u, err);
    if (rc == RC_OK)
        rc = check_role(act, u, err);
    if (rc == RC_OK && u->password.p && !act->password_hash.p)
        rc = err_set(err, RC_INTERNAL, "the password was not hashed");
    return rc;
}

static enum rc after_create(struct entity_act *act, void *row, struct err *err)
{
    struct user *u = row;
    u->password = STR_NONE;
    return act->password_hash.p ? store_password(act, u->id, err) : RC_OK;
}

/* Refuses when `u` is the only operator who can still log in. */
static enum rc keep_an_operator(struct entity_act *act, const struct user *u, struct err *err)
{
    int64_t n = 0;
    if (u->role != ROLE_OPERATOR || u->status != USER_ACTIVE)
        return RC_OK;
    enum rc rc =
        db_i64(act->txn, "SELECT count(*) FROM users WHERE role = 'operator' AND status = 'active'",
               &n, err);
    if (rc == RC_OK && n <= 1)
        rc = err_set(err, RC_CONFLICT, "this is the last active operator");
    return rc;
}

static bool was_set(uint64_t set, const char *name)
{
    const struct field *f = resource_field(&resource_user, str_of(name));
    return set >> (f - resource_user.fields) & 1;
}

static enum rc change_password(struct entity_act *act, struct user *u, struct err *err)
{
    bool keep = str_eq(u->id, scope_user(act->scope));
    enum rc rc;
    if (u->password.p && !act->password_hash.p)
        return err_set(err, RC_INTERNAL, "the password was not hashed");
    rc = u->password.p ? store_password(act, u->id, err) : drop_password(act, u->id, err);
    if (rc == RC_OK)
        rc = session_end_all(act->txn, act->secrets, u->id, keep ? act->session : STR_NONE, err);
    return rc;
}

static enum rc before_update(struct entity_act *act, const void *old_row, void *row, uint64_t set,
                             struct err *err)
{
    const struct user *old = old_row;
    struct user *u = row;
    enum rc rc = lower_email(act, u, err);
    bool own = str_eq(u->id, scope_user(act->scope));
    bool rank = u->role != old->role || u->status != old->status;
    if (rc == RC_OK && own && rank)
        rc = err_set(err, RC_FORBIDDEN, "you cannot change your own role or status");
    if (rc == RC_OK && rank)
        rc = check_role(act, u, err);
    if (rc == RC_OK && rank)
        rc = keep_an_operator(act, old, err);
    if (rc == RC_OK && was_set(set, "password"))
        rc = change_password(act, u, err);
    if (rc == RC_OK && u->status == USER_BLOCKED && old->status != USER_BLOCKED)
        rc = session_end_all(act->txn, act->secrets, u->id, STR_NONE, err);
    u->password = STR_NONE;
    return rc;
}

static enum rc before_delete(struct entity_act *act, const void *row, struct err *err)
{
    const struct user *u = row;
    if (str_eq(u->id, scope_user(act->scope)))
        return err_set(err, RC_CONFLICT, "you cannot delete yourself");
    enum rc rc = keep_an_operator(act, u, err);
    struct row_query q = {.n_filters = 1};
    void *rows;
    size_t n = 0;
    q.filter[0] = (struct row_filter){resource_field(&resource_key, STR("user_id")), u->id};
    if (rc == RC_OK)
        rc = row_list(act->txn, access_system(), &resource_key, &q, act->arena, &rows, &n, err);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = sweep_rows(act, &resource_limit, "subject_id", ((struct key *)rows)[i].id, err);
    if (rc == RC_OK)
        rc = sweep_rows(act, &resource_key, "user_id", u->id, err);
    if (rc == RC_OK)
        rc = sweep_rows(act, &resource_limit, "subject_id", u->id, err);
    return rc; /* password, sessions, tokens and replays go by their foreign keys */
}

const struct entity_hooks user_hooks = {before_create, after_create, before_update, before_delete};
