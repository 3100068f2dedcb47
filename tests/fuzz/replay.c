/* replay.c - stands in for libFuzzer where the compiler has none: runs the target over every file
 * of the corpus folder given, and over seeded mutations of each.
 *
 *   fuzz_x [CORPUS [ROUNDS]]      without a corpus: mutations of nothing
 *
 * The seed and the number of rounds are fixed, so a failure comes back; the clock only ends a run
 * that takes too long on a slow machine. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/scoped.h"
#include "base/units.h"

#define ENTRY_MAX   (256 * KIB)
#define ENTRIES_MAX 1000
#define ROUNDS      20000
#define TIME_MS     (20 * MS_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next(uint64_t *s)
{
    uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* In memory of just its size, so that a sanitizer sees one byte too far. */
static void run_one(const char *p, size_t n)
{
    uint8_t *data = malloc(n ? n : 1);
    if (!data)
        return;
    if (n)
        memcpy(data, p, n);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
}

/* One change: a bit, a byte, a number, a cut, a part twice, a part of itself elsewhere. */
static size_t mutate(char *p, size_t n, size_t cap, uint64_t *seed)
{
    static const char edge[] = {0,   1,   0x7f, (char)0x80, (char)0xff, '\n',
                                '{', '}', '"',  '%',        '\'',       ' '};
    if (n == 0) {
        p[0] = (char)next(seed);
        return 1;
    }
    size_t at = next(seed) % n, len = 1 + next(seed) % MIN_OF(n - at, (size_t)64);
    size_t to = next(seed) % n;
    switch (next(seed) % 7) {
    case 0:
        p[at] = (char)(p[at] ^ (1 << next(seed) % 8));
        return n;
    case 1:
        p[at] = edge[next(seed) % sizeof(edge)];
        return n;
    case 2:
        for (size_t i = at; i < MIN_OF(at + 4, n); i++)
            p[i] = (char)(next(seed) % 2 ? 0xff : 0);
        return n;
    case 3:
        return at;
    case 4:
        memmove(p + at, p + at + len, n - at - len);
        return n - len;
    case 5:
        if (n + len > cap)
            return n;
        memmove(p + at + len, p + at, n - at);
        return n + len;
    default:
        memmove(p + to, p + at, MIN_OF(len, n - to));
        return n;
    }
}

static bool read_entry(const char *dir, const char *name, struct buf *b)
{
    char path[4096], part[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    SCOPED_FILE f = fopen(path, "rb");
    buf_clear(b);
    for (size_t n; f && (n = fread(part, 1, sizeof(part), f)) > 0;)
        buf_add(b, part, n);
    return f && !b->failed;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_file(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* A few changes on top of each other, starting from the entry each time. */
static void run_mutations(const struct buf *entry, size_t rounds, int64_t deadline_ms,
                          uint64_t *seed)
{
    size_t cap = entry->len + 1024;
    char *p = malloc(cap);
    for (size_t i = 0; p && i < rounds && clock_mono_ms(clock_system()) < deadline_ms; i++) {
        size_t n = entry->len;
        if (n)
            memcpy(p, entry->p, n);
        for (size_t k = 1 + next(seed) % 4; k-- > 0;)
            n = mutate(p, n, cap, seed);
        run_one(p, n);
    }
    free(p);
}

int main(int argc, char **argv)
{
    struct dirent **list = NULL;
    size_t rounds = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : ROUNDS;
    int n = argc > 1 ? scandir(argv[1], &list, is_file, by_name) : 0;
    int64_t begin_ms = clock_mono_ms(clock_system());
    uint64_t seed = 1;
    SCOPED_BUF entry;
    buf_init(&entry, ENTRY_MAX);
    if (n <= 0) {
        run_one(NULL, 0);
        run_mutations(&entry, rounds, begin_ms + TIME_MS, &seed);
    }
    for (int i = 0; i < n; i++) {
        if (i < ENTRIES_MAX && read_entry(argv[1], list[i]->d_name, &entry)) {
            run_one(entry.p, entry.len);
            /* Each entry gets its share of the time, so that none is left out. */
            run_mutations(&entry, rounds, begin_ms + TIME_MS * (i + 1) / n, &seed);
        }
        free(list[i]);
    }
    free(list);
    printf("%d entries, %zu mutations each at most, %lld ms\n", n > 0 ? n : 0, rounds,
           (long long)(clock_mono_ms(clock_system()) - begin_ms));
    return 0;
}
