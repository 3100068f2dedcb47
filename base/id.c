#include "base/id.h"

#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* 16 bytes, big-endian: 6 of time, 10 random, counted up within one millisecond. The last id made
 * is shared by the process, else two threads could break the order. */
static void next_value(uint8_t v[16])
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint8_t last[16];
    int64_t now = clock_wall_ms(clock_system());
    pthread_mutex_lock(&lock);
    int64_t then = 0;
    for (int i = 0; i < 6; i++)
        then = then << 8 | last[i];
    if (now > then) {
        for (int i = 0; i < 6; i++)
            last[i] = (uint8_t)(now >> (40 - 8 * i));
        random_bytes(last + 6, 10);
        last[6] &= 0x7f; /* room to count up */
    } else {
        for (int i = 15; i >= 0 && ++last[i] == 0; i--) {
        }
    }
    memcpy(v, last, 16);
    pthread_mutex_unlock(&lock);
}

struct id id_new(const char *prefix)
{
    struct id id = {0};
    uint8_t v[16];
    next_value(v);
    size_t n = strlen(prefix);
    ASSERT(n + 26 < ID_BYTES);
    memcpy(id.z, prefix, n);
    /* 128 bits are 26 digits of 5 bits with 2 bits of padding in front. */
    for (int i = 0; i < 26; i++) {
        int bit = 5 * i - 2, digit = 0;
        for (int k = bit; k < bit + 5; k++)
            digit = digit << 1 | (k >= 0 ? v[k / 8] >> (7 - k % 8) & 1 : 0);
        id.z[n++] = alphabet[digit];
    }
    return id;
}

bool id_parse(struct str s, const char *prefix, struct id *ret)
{
    size_t n = strlen(prefix);
    if (s.len != n + 26 || !str_starts(s, str_of(prefix)) || s.p[n] > '7')
        return false;
    for (size_t i = n; i < s.len; i++)
        if (s.p[i] == '\0' || !strchr(alphabet, s.p[i]))
            return false;
    *ret = (struct id){0};
    memcpy(ret->z, s.p, s.len);
    return true;
}
