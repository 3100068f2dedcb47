#include "base/hash.h"

#include <sodium.h>

_Static_assert(sizeof(struct hash_state) >= sizeof(crypto_generichash_state), "state fits");

enum rc hash_init(struct err *err)
{
    if (sodium_init() < 0)
        return err_set(err, RC_INTERNAL, "libsodium cannot start: no source of random bytes");
    return RC_OK;
}

void hash_blake2b(uint8_t *ret, size_t ret_len, const void *data, size_t len, const uint8_t *key,
                  size_t key_len)
{
    int rc = crypto_generichash(ret, ret_len, data, len, key, key_len);
    ASSERT(rc == 0);
}

void hash_begin(struct hash_state *h, size_t ret_len, const uint8_t *key, size_t key_len)
{
    int rc = crypto_generichash_init((crypto_generichash_state *)(void *)h->opaque, key, key_len,
                                     ret_len);
    ASSERT(rc == 0);
}

void hash_add(struct hash_state *h, const void *data, size_t len)
{
    crypto_generichash_update((crypto_generichash_state *)(void *)h->opaque, data, len);
}

void hash_end(struct hash_state *h, uint8_t *ret, size_t ret_len)
{
    crypto_generichash_final((crypto_generichash_state *)(void *)h->opaque, ret, ret_len);
}

bool hash_equal(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

void hash_wipe(void *p, size_t len)
{
    sodium_memzero(p, len);
}

void random_bytes(void *p, size_t len)
{
    randombytes_buf(p, len);
}

uint64_t random_u64(void)
{
    uint64_t v;
    randombytes_buf(&v, sizeof v);
    return v;
}

/* Castagnoli polynomial, reflected; a byte at a time from a table made at first use would need a
 * lock, so the nibble table is written out. The SSE4.2 instruction is used where the CPU has it. */
static uint32_t crc32c_soft(uint32_t crc, const uint8_t *p, size_t len)
{
    static const uint32_t nibble[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                        0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    while (len--) {
        crc ^= *p++;
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p,
                                                               size_t len)
{
    uint64_t c = crc, word;
    for (; len >= 8; len -= 8, p += 8) {
        __builtin_memcpy(&word, p, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    crc = (uint32_t)c;
    while (len--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse42(crc, data, len);
#endif
    return ~crc32c_soft(crc, data, len);
}
