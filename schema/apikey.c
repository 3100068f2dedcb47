#include "schema/apikey.h"

#include <string.h>

#include "base/err.h"

enum { PREFIX_LEN = 4, SECRET_LEN = 52, CHECK_LEN = 6, CHECKED_LEN = APIKEY_LEN - CHECK_LEN };

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static void random_digits(char *to, size_t n)
{
    uint8_t raw[SECRET_LEN];
    ASSERT(n <= sizeof raw);
    random_bytes(raw, n);
    for (size_t i = 0; i < n; i++) /* 256 is a whole number of alphabets: no digit is favoured */
        to[i] = alphabet[raw[i] & 31];
    hash_wipe(raw, sizeof raw);
}

/* 30 bits of a CRC: enough to tell a slip of the fingers, of no use to a guesser. */
static void checksum(const char *text, char ret[CHECK_LEN])
{
    uint32_t crc = crc32c(0, text, CHECKED_LEN);
    for (int i = 0; i < CHECK_LEN; i++)
        ret[i] = alphabet[crc >> (5 * i) & 31];
}

void apikey_new(struct apikey *ret)
{
    char *p = ret->text;
    memcpy(p, "slk_", PREFIX_LEN);
    random_digits(p + PREFIX_LEN, APIKEY_PUBLIC_LEN);
    p[PREFIX_LEN + APIKEY_PUBLIC_LEN] = '_';
    random_digits(p + PREFIX_LEN + APIKEY_PUBLIC_LEN + 1, SECRET_LEN);
    checksum(p, p + CHECKED_LEN);
    p[APIKEY_LEN] = '\0';
}

bool apikey_parse(struct str text, struct str *ret_public)
{
    if (text.len != APIKEY_LEN || !str_starts(text, STR("slk_")) ||
        text.p[PREFIX_LEN + APIKEY_PUBLIC_LEN] != '_')
        return false;
    for (size_t i = PREFIX_LEN; i < APIKEY_LEN; i++)
        if (i != PREFIX_LEN + APIKEY_PUBLIC_LEN &&
            (text.p[i] == '\0' || !strchr(alphabet, text.p[i])))
            return false;
    char check[CHECK_LEN];
    checksum(text.p, check);
    if (memcmp(check, text.p + CHECKED_LEN, CHECK_LEN) != 0)
        return false;
    *ret_public = str_sub(text, PREFIX_LEN, APIKEY_PUBLIC_LEN);
    return true;
}

void apikey_hash(struct str text, const uint8_t hash_key[HASH_KEY_BYTES], uint8_t ret[HASH_BYTES])
{
    hash_blake2b(ret, HASH_BYTES, text.p, text.len, hash_key, HASH_KEY_BYTES);
}
