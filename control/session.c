#include "control/session.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/http_server.h"
#include "control/audit.h"
#include "control/db.h"
#include "control/guard.h"
#include "control/row.h"
#include "control/secret.h"
#include "control/txn.h"

#define SESSION_LIFE_S (SESSION_LIFE_MS / 1000)

static enum rc refuse(struct err *err)
{
    return err_set(err, RC_UNAUTHENTICATED, "log in, or send a valid bearer token");
}

static void token_hash(const struct secrets *s, struct str token, char ret[65])
{
    uint8_t sum[HASH_BYTES];
    hash_blake2b(sum, sizeof sum, token.p, token.len, s->token, sizeof s->token);
    str_to_hex(sum, sizeof sum, ret);
}

void session_token_new(const struct secrets *s, const char *prefix, char ret[SESSION_TOKEN_LEN + 1],
                       char ret_hash[65])
{
    static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint8_t raw[SESSION_TOKEN_LEN];
    random_bytes(raw, sizeof raw);
    ASSERT(strlen(prefix) == 4);
    memcpy(ret, prefix, 4);
    for (int i = 4; i < SESSION_TOKEN_LEN; i++)
        ret[i] = alphabet[raw[i] & 31];
    ret[SESSION_TOKEN_LEN] = '\0';
    token_hash(s, str_of(ret), ret_hash);
}

void session_csrf(const struct secrets *s, struct str cookie, char ret[65])
{
    uint8_t sum[HASH_BYTES];
    hash_blake2b(sum, sizeof sum, cookie.p, cookie.len, s->csrf, sizeof s->csrf);
    str_to_hex(sum, sizeof sum, ret);
}

#define WHO      "SELECT u.id, u.org_id, u.role, u.status, o.status, x.expires_at FROM "
#define WHO_JOIN " x JOIN users u ON u.id = x.user_id LEFT JOIN orgs o ON o.id = u.org_id "

static enum rc read_caller(struct api_call *c, struct stmt *s, int64_t now, struct err *err)
{
    struct caller *who = &c->caller;
    int64_t expires = stmt_i64(s, 5);
    struct str role = stmt_str(s, 2);
    if ((expires && expires <= now) || !str_is(stmt_str(s, 3), "active"))
        return refuse(err);
    if (str_is(stmt_str(s, 4), "suspended"))
        return err_set(err, RC_FORBIDDEN, "your org is suspended");
    who->role = str_is(role, "operator")    ? ROLE_OPERATOR
                : str_is(role, "org_admin") ? ROLE_ORG_ADMIN
                                            : ROLE_MEMBER;
    who->user_id = stmt_keep(s, 0, c->arena);
    who->org_id = stmt_keep(s, 1, c->arena);
    return who->user_id.p ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for the request");
}

static bool is_write(const struct api_call *c)
{
    struct str m = http_method(c->http);
    return !str_is(m, "GET") && !str_is(m, "HEAD");
}

static enum rc check_csrf(const struct api_call *c, struct str cookie, struct err *err)
{
    char want[65];
    struct str given = http_header(c->http, "x-csrf-token");
    session_csrf(api_secrets(c->api), cookie, want);
    if (given.len != 64 || !hash_equal(given.p, want, 64))
        return err_set(err, RC_FORBIDDEN,
                       "writes with a session cookie need its token in the x-csrf-token header");
    return RC_OK;
}

enum rc session_identify(struct api_call *c, struct txn *txn, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    char hash[65];
    struct str bearer = http_header(c->http, "authorization");
    struct str cookie = http_cookie(c->http, SESSION_COOKIE);
    bool by_cookie = !bearer.p;
    struct str token = by_cookie ? cookie : str_trim(str_sub(bearer, 7, bearer.len));
    if (!by_cookie && !str_eq_nocase(str_sub(bearer, 0, 7), STR("bearer ")))
        return refuse(err);
    if (token.len != SESSION_TOKEN_LEN)
        return refuse(err);
    /* Looked up by the hash of what was sent: the time tells nothing about stored values. */
    token_hash(api_secrets(c->api), token, hash);
    enum rc rc = stmt_get(txn,
                          by_cookie ? WHO "sessions" WHO_JOIN "WHERE x.hash = ?1"
                                    : WHO "tokens" WHO_JOIN "WHERE x.hash = ?1",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, str_of(hash));
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK)
        rc = row ? read_caller(c, s, api_now_ms(c->api), err) : refuse(err);
    if (rc == RC_OK && by_cookie && is_write(c))
        rc = check_csrf(c, cookie, err);
    c->caller.by_cookie = by_cookie;
    c->caller.session = by_cookie ? cookie : STR_NONE;
    return rc;
}

enum rc session_end_all(struct txn *txn, const struct secrets *secrets, struct str user_id,
                        struct str keep, struct err *err)
{
    SCOPED_STMT s = NULL;
    char hash[65] = "";
    if (keep.p)
        token_hash(secrets, keep, hash);
    enum rc rc = stmt_get(txn, "DELETE FROM sessions WHERE user_id = ?1 AND hash <> ?2", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, user_id);
    stmt_bind_str(s, 2, str_of(hash));
    return stmt_run(s, NULL, err);
}

/* What a login is made of, between its three steps: look up (loop), hash (password thread), write.
 */
struct login {
    struct str email, password;
    struct user user;
    char stored[SECRET_PASSWORD_BYTES];
};

static enum rc body_text(const json_t *body, const char *name, size_t max, struct str *ret,
                         struct err *err)
{
    const json_t *v = json_object_get(body, name);
    if (!json_is_string(v))
        return err_field(err, RC_BAD_INPUT, name, "%s must be a string", name);
    *ret = str_make(json_string_value(v), json_string_length(v));
    if (ret->len == 0 || ret->len > max)
        return err_field(err, RC_BAD_INPUT, name, "%s must have 1 to %zu bytes", name, max);
    return RC_OK;
}

static enum rc look_up(struct login *l, struct arena *arena, struct txn *txn, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc =
        row_find(txn, access_system(), &resource_user, "email", l->email, arena, &l->user, err);
    if (rc == RC_NOT_FOUND)
        return RC_OK; /* stored stays empty: the same work, then the same refusal */
    if (rc == RC_OK)
        rc = stmt_get(txn, "SELECT hash FROM passwords WHERE user_id = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, l->user.id);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK && row && l->user.status == USER_ACTIVE)
        snprintf(l->stored, sizeof l->stored, STR_FMT, STR_ARG(stmt_str(s, 0)));
    return rc;
}

static enum rc login_check(struct api_call *c, struct err *err)
{
    struct login *l = c->state;
    if (!secret_password_ok(l->stored, l->password))
        return err_set(err, RC_UNAUTHENTICATED, "email or password is wrong");
    guard_undo(c->user, c->caller.peer);
    guard_forget(c->user, l->email);
    return RC_OK;
}

static enum rc login_before(struct api_call *c, struct txn *txn, struct err *err)
{
    int64_t wait_ms = 0;
    struct login *l = ARENA_NEW(c->arena, struct login);
    if (!l)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    c->state = l;
    enum rc rc = body_text(c->body, "email", 254, &l->email, err);
    if (rc == RC_OK)
        rc = body_text(c->body, "password", 200, &l->password, err);
    if (rc != RC_OK)
        return rc;
    char *lower = arena_zdup(c->arena, l->email);
    if (!lower)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    for (size_t i = 0; i < l->email.len; i++)
        if (lower[i] >= 'A' && lower[i] <= 'Z')
            lower[i] = (char)(lower[i] + 32);
    l->email.p = lower;
    if (!guard_try(c->user, c->caller.peer, GUARD_PEER_MAX, &wait_ms) ||
        !guard_try(c->user, l->email, GUARD_EMAIL_MAX, &wait_ms)) {
        c->reply.retry_after = wait_ms / 1000 + 1;
        return err_set(err, RC_LIMIT, "too many failed logins; try again in %lld s",
                       (long long)c->reply.retry_after);
    }
    c->slow = login_check;
    return look_up(l, c->arena, txn, err);
}

static enum rc store_session(struct api_call *c, struct txn *txn, const struct login *l,
                             char token[SESSION_TOKEN_LEN + 1], struct err *err)
{
    SCOPED_STMT s = NULL;
    SCOPED_STMT login = NULL;
    SCOPED_STMT old = NULL;
    char hash[65];
    session_token_new(api_secrets(c->api), "sls_", token, hash);
    enum rc rc =
        stmt_get(txn, "DELETE FROM sessions WHERE user_id = ?1 AND expires_at <= ?2", &old, err);
    if (rc == RC_OK) {
        stmt_bind_str(old, 1, l->user.id);
        stmt_bind_i64(old, 2, txn->now_ms);
        rc = stmt_run(old, NULL, err);
    }
    if (rc == RC_OK)
        rc = stmt_get(txn, "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4)", &s, err);
    if (rc == RC_OK) {
        stmt_bind_str(s, 1, str_of(hash));
        stmt_bind_str(s, 2, l->user.id);
        stmt_bind_i64(s, 3, txn->now_ms);
        stmt_bind_i64(s, 4, txn->now_ms + SESSION_LIFE_MS);
        rc = stmt_run(s, NULL, err);
    }
    if (rc == RC_OK)
        rc = stmt_get(txn, "UPDATE users SET last_login_at = ?2 WHERE id = ?1", &login, err);
    if (rc == RC_OK) {
        stmt_bind_str(login, 1, l->user.id);
        stmt_bind_i64(login, 2, txn->now_ms);
        rc = stmt_run(login, NULL, err);
    }
    return rc;
}

static enum rc note(struct api_call *c, struct txn *txn, enum audit_action action, struct err *err)
{
    const struct scope *scope;
    enum rc rc = api_scope(c, &resource_user, ACCESS_READ, &scope, err);
    struct audit_entry e = {action, &resource_user, c->caller.user_id, c->caller.org_id, STR_NONE};
    return rc == RC_OK ? audit_add(txn, scope, &e, err) : rc;
}

/* {"user", "org", "csrf", "openai_base_url"} */
static enum rc describe(struct api_call *c, struct txn *txn, struct err *err)
{
    struct user user = {0};
    struct org org = {0};
    struct buf *to = &c->reply.body;
    enum resource_view view = c->caller.role == ROLE_OPERATOR ? VIEW_OPERATOR : VIEW_PUBLIC;
    enum rc rc =
        row_get(txn, access_system(), &resource_user, c->caller.user_id, c->arena, &user, err);
    if (rc == RC_OK && c->caller.org_id.p)
        rc = row_get(txn, access_system(), &resource_org, c->caller.org_id, c->arena, &org, err);
    if (rc != RC_OK)
        return rc;
    buf_z(to, "{\"user\":");
    resource_to_json(&resource_user, &user, view, to);
    buf_z(to, ",\"org\":");
    if (c->caller.org_id.p)
        resource_to_json(&resource_org, &org, view, to);
    else
        buf_z(to, "null");
    buf_z(to, ",\"csrf\":");
    if (c->caller.session.p) {
        char csrf[65];
        session_csrf(api_secrets(c->api), c->caller.session, csrf);
        buf_json(to, str_of(csrf));
    } else {
        buf_z(to, "null");
    }
    buf_z(to, ",\"openai_base_url\":");
    struct str url = arena_printf(c->arena, "%s/v1", api_gateway_url(c->api));
    buf_json(to, url);
    buf_byte(to, '}');
    c->reply.has_secret = true;
    return RC_OK;
}

static enum rc login_run(struct api_call *c, struct txn *txn, struct err *err)
{
    struct login *l = c->state;
    char token[SESSION_TOKEN_LEN + 1];
    enum rc rc = store_session(c, txn, l, token, err);
    if (rc != RC_OK)
        return rc;
    c->caller.user_id = l->user.id;
    c->caller.org_id = l->user.org_id;
    c->caller.role = (enum user_role)l->user.role;
    c->caller.session = arena_dup(c->arena, str_of(token));
    c->reply.cookie = arena_printf(
        c->arena, SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%lld", token,
        (long long)SESSION_LIFE_S);
    if (!c->caller.session.p || !c->reply.cookie.p)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    rc = note(c, txn, AUDIT_LOGIN, err);
    if (rc == RC_OK)
        rc = describe(c, txn, err);
    return rc;
}

static enum rc logout_run(struct api_call *c, struct txn *txn, struct err *err)
{
    SCOPED_STMT s = NULL;
    char hash[65];
    c->reply.status = 204;
    if (!c->caller.session.p)
        return RC_OK; /* a bearer token ends by DELETE /api/v1/tokens/{id} */
    token_hash(api_secrets(c->api), c->caller.session, hash);
    enum rc rc = stmt_get(txn, "DELETE FROM sessions WHERE hash = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, str_of(hash));
    rc = stmt_run(s, NULL, err);
    c->reply.cookie = STR(SESSION_COOKIE "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    return rc == RC_OK ? note(c, txn, AUDIT_LOGOUT, err) : rc;
}

const struct api_route session_routes[] = {
    {"POST", "/api/v1/session", API_ANYONE, API_WRITE, login_run, login_before, NULL,
     .doc = {.summary = "Log in",
             .tag = "session",
             .request = OPENAPI_REF("Login"),
             .response = OPENAPI_REF("Session")}},
    {"GET", "/api/v1/session", API_USER, API_READ, describe, NULL, NULL,
     .doc = {.summary = "Who am I", .tag = "session", .response = OPENAPI_REF("Session")}},
    {"DELETE", "/api/v1/session", API_USER, API_WRITE, logout_run, NULL, NULL,
     .doc = {.summary = "Log out", .tag = "session", .status = 204}},
};
const size_t session_n_routes = sizeof session_routes / sizeof session_routes[0];
