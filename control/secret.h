#ifndef SLUICE_CONTROL_SECRET_H
#define SLUICE_CONTROL_SECRET_H
/* secret - the server's own key and what is derived from it; passwords; sealed values.
 *
 * DIR/secret.key holds 32 random bytes in hex, 0600, made at first start. Each purpose has its own
 * key derived from it, so a leak of one tells nothing of the others. Losing the file makes every
 * API key, token and session useless: it belongs in the backup. */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

struct secrets {
    uint8_t apikey[HASH_KEY_BYTES];  /* keys apikey_hash; handed to gateways by the feed */
    uint8_t token[HASH_KEY_BYTES];   /* hashes bearer tokens and session cookies */
    uint8_t csrf[HASH_KEY_BYTES];    /* session cookie → CSRF token */
    uint8_t seal[HASH_KEY_BYTES];    /* secretbox of stored replies */
    uint8_t receipt[HASH_KEY_BYTES]; /* seed for signing receipts */
    char internal[65];               /* DIR/run/internal.token */
};

/* Reads both files of `dir`, or makes them. RC_CORRUPT when one is damaged. */
enum rc secrets_open(const char *dir, struct secrets *ret, struct err *err);
void secrets_done(struct secrets *s);

/* Argon2id, "interactive" cost: about 100 ms and 64 MiB. Never on the loop's thread. */
#define SECRET_PASSWORD_BYTES 128
enum rc secret_password_hash(struct str password, char ret[SECRET_PASSWORD_BYTES], struct err *err);
/* stored NULL or "": takes the same time and answers false. */
bool secret_password_ok(const char *stored, struct str password);

/* nonce + box; opens only with the same key and `about` (what it belongs to). */
enum rc secret_seal(const struct secrets *s, struct str about, struct str plain, struct buf *to,
                    struct err *err);
enum rc secret_open(const struct secrets *s, struct str about, struct str sealed, struct buf *to,
                    struct err *err);

#endif
