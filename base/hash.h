#ifndef SLUICE_BASE_HASH_H
#define SLUICE_BASE_HASH_H
/* hash - BLAKE2b keyed and plain, CRC32C, secrets' comparison, random bytes.
 * The door to libsodium for everything but passwords and sealed boxes (control/secret.c). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define HASH_BYTES     32
#define HASH_KEY_BYTES 32

enum rc hash_init(struct err *err); /* once, before anything else here */

/* ret_len 16..64 bytes; key may be NULL (then key_len 0), else 16..64 bytes. */
void hash_blake2b(uint8_t *ret, size_t ret_len, const void *data, size_t len, const uint8_t *key,
                  size_t key_len);

/* The same over parts, for chains and files. */
struct hash_state {
    _Alignas(64) uint8_t opaque[384];
};
void hash_begin(struct hash_state *h, size_t ret_len, const uint8_t *key, size_t key_len);
void hash_add(struct hash_state *h, const void *data, size_t len);
void hash_end(struct hash_state *h, uint8_t *ret, size_t ret_len);

bool hash_equal(const void *a, const void *b, size_t len); /* constant time */
void hash_wipe(void *p, size_t len);
void random_bytes(void *p, size_t len);
uint64_t random_u64(void);

uint32_t crc32c(uint32_t crc /* 0 to start */, const void *data, size_t len);

#endif
