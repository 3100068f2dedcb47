#ifndef SLUICE_CONTROL_SESSION_H
#define SLUICE_CONTROL_SESSION_H
/* session - finding out who calls: browser sessions (cookie and CSRF token) and bearer tokens.
 *
 * Neither is stored: only keyed hashes are. A session lives 7 days. Login failures are counted by
 * email and by address (guard.h); too many are refused with RC_LIMIT before any hashing. */

#include <stdint.h>

#include "base/clock.h"
#include "control/api.h"

#define SESSION_COOKIE    "sluice_session"
#define SESSION_LIFE_MS   (INT64_C(7) * 24 * 3600 * 1000)
#define SESSION_TOKEN_LEN 56 /* "slt_" or "sls_" and 52 digits */

/* Fills c->caller from cookie or Authorization. RC_UNAUTHENTICATED: none, unknown, expired,
 * blocked: all with the same words. RC_FORBIDDEN: the org is suspended, or the CSRF token is
 * missing. */
enum rc session_identify(struct api_call *c, struct txn *txn, struct err *err);
/* The CSRF token that belongs to a session cookie: 64 hex digits and NUL. */
void session_csrf(const struct secrets *s, struct str cookie, char ret[65]);
/* A fresh random token of that prefix, and its stored hash in hex. */
void session_token_new(const struct secrets *s, const char *prefix, char ret[SESSION_TOKEN_LEN + 1],
                       char ret_hash[65]);
/* Ends the sessions of a user, but for the one whose cookie is `keep` (may be STR_NONE). */
enum rc session_end_all(struct txn *txn, const struct secrets *s, struct str user_id,
                        struct str keep, struct err *err);

/* POST, GET, DELETE /api/v1/session. The table's user is a struct guard. */
extern const struct api_route session_routes[];
extern const size_t session_n_routes;

#endif
