/* replay.c - runs a fuzz target without libFuzzer: each file of its corpus, then seeded mutations
 * of them, so that every build covers every parser of foreign bytes. Usage: fuzz_x [FOLDER] */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES_MAX = 256, FILE_MAX_BYTES = 1 << 20, MUTATIONS = 20000, GROWTH = 64 };

struct corpus {
    uint8_t *bytes[FILES_MAX];
    size_t len[FILES_MAX];
    size_t n;
};

static uint64_t state = 0x9E3779B97F4A7C15u;

static size_t rnd(size_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? (size_t)(state % below) : 0;
}

static void add_file(struct corpus *c, const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(FILE_MAX_BYTES);
    if (f && p) {
        c->len[c->n] = fread(p, 1, FILE_MAX_BYTES, f);
        c->bytes[c->n++] = p;
    } else {
        free(p);
    }
    if (f)
        fclose(f);
}

static void load(struct corpus *c, const char *folder)
{
    DIR *d = folder ? opendir(folder) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) && c->n < FILES_MAX;)
        if (e->d_name[0] != '.')
            add_file(c, folder, e->d_name);
    if (d)
        closedir(d);
}

/* One to eight edits: flip a bit, write an edge value, cut, repeat a piece. */
static size_t mutate(uint8_t *p, size_t len, size_t cap)
{
    static const uint8_t edge[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\\', '{'};
    for (size_t edits = 1 + rnd(8); edits; edits--) {
        size_t at = rnd(len), n = rnd(len - at), how = rnd(6);
        if (how == 0 && len < cap)
            p[len++] = (uint8_t)rnd(256);
        else if (len == 0)
            continue;
        else if (how <= 2)
            p[at] = (uint8_t)(p[at] ^ (1u << rnd(8)));
        else if (how == 3)
            p[at] = edge[rnd(sizeof edge)];
        else if (how == 4)
            len -= rnd(len - at + 1);
        else if (n <= GROWTH && len + n <= cap) {
            memmove(p + at + n, p + at, len - at);
            len += n;
        }
    }
    return len;
}

int main(int argc, char **argv)
{
    struct corpus c = {0};
    load(&c, argc > 1 ? argv[1] : NULL);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (size_t i = 0; i < c.n; i++)
        LLVMFuzzerTestOneInput(c.bytes[i], c.len[i]);
    size_t cap = FILE_MAX_BYTES + 8 * GROWTH;
    uint8_t *p = malloc(cap);
    for (int i = 0; p && i < MUTATIONS; i++) {
        size_t from = rnd(c.n), len = c.n ? c.len[from] : rnd(GROWTH);
        for (size_t k = 0; !c.n && k < len; k++)
            p[k] = (uint8_t)rnd(256);
        if (c.n)
            memcpy(p, c.bytes[from], len);
        LLVMFuzzerTestOneInput(p, mutate(p, len, cap));
    }
    printf("%zu files, %d mutations\n", c.n, MUTATIONS);
    free(p);
    for (size_t i = 0; i < c.n; i++)
        free(c.bytes[i]);
    return 0;
}
