#ifndef SLUICE_GATEWAY_AUTH_H
#define SLUICE_GATEWAY_AUTH_H
/* auth - who asks: a key out of the headers, checked against the tables.
 *
 * Unknown, wrong, blocked, expired and revoked keys, and keys of blocked users and suspended orgs,
 * are told apart nowhere outside (S05). */

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "gateway/tables.h"

struct auth {
    const struct key *key;
    const struct user *user;
    const struct org *org;
};

/* The key's text: `Authorization: Bearer K` or `x-api-key: K`; both only if they agree.
 * RC_BAD_INPUT when they do not, RC_UNAUTHENTICATED when there is none or it cannot be a key.
 * *ret_public is the part that may be logged. */
enum rc auth_key_text(struct str authorization, struct str x_api_key, struct str *ret_key,
                      struct str *ret_public, struct err *err);

/* RC_AGAIN: no such key in these tables; the control plane may know more. */
enum rc auth_check(const struct tables *t, struct str key, struct str public_id, int64_t wall_ms,
                   struct auth *ret, struct err *err);
enum rc auth_refuse(struct err *err); /* RC_UNAUTHENTICATED with the one message for all of them */

#endif
