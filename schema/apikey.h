#ifndef SLUICE_SCHEMA_APIKEY_H
#define SLUICE_SCHEMA_APIKEY_H
/* apikey - the text of an API key: "slk_" public id (16) "_" secret (52) checksum (6), Crockford
 * base 32 in lower case. The public id may be logged; only a keyed hash of the whole is stored. The
 * checksum lets a typing error be told from a revoked key without any look-up. */

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/str.h"

#define APIKEY_PUBLIC_LEN 16
#define APIKEY_LEN (4 + APIKEY_PUBLIC_LEN + 1 + 52 + 6)

struct apikey {
    char text[APIKEY_LEN + 1];
};

void apikey_new(struct apikey *ret);
/* Shape and checksum; ret_public is a view of text. */
bool apikey_parse(struct str text, struct str *ret_public);
void apikey_hash(struct str text, const uint8_t hash_key[HASH_KEY_BYTES], uint8_t ret[HASH_BYTES]);

#endif
