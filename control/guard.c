#include "control/guard.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/units.h"

enum { SLOTS = 4096, PROBE = 16 };

struct slot {
    uint64_t name; /* keyed hash; 0: free */
    int64_t since_ms;
    int count;
};

struct guard {
    const struct clock *clock;
    pthread_mutex_t lock;
    uint8_t key[HASH_KEY_BYTES]; /* so that nobody can aim at a slot */
    struct slot slot[SLOTS];
};

struct guard *guard_new(const struct clock *clock)
{
    struct guard *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->clock = clock;
    pthread_mutex_init(&g->lock, NULL);
    random_bytes(g->key, sizeof g->key);
    return g;
}

void guard_free(struct guard *g)
{
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static uint64_t name_hash(const struct guard *g, struct str name)
{
    uint8_t sum[16];
    uint64_t v;
    hash_blake2b(sum, sizeof sum, name.p, name.len, g->key, sizeof g->key);
    memcpy(&v, sum, sizeof v);
    return v ? v : 1;
}

/* The name's slot, or the one to take for it: a free or spent one, else the oldest. */
static struct slot *find(struct guard *g, uint64_t name, int64_t now)
{
    struct slot *best = NULL;
    for (int i = 0; i < PROBE; i++) {
        struct slot *s = &g->slot[(name + (uint64_t)i) % SLOTS];
        if (s->name == name)
            return s;
        if (s->name && now - s->since_ms >= GUARD_WINDOW_MS)
            s->name = 0;
        if (!best || (best->name && (!s->name || s->since_ms < best->since_ms)))
            best = s;
    }
    ASSERT(best);
    return best;
}

bool guard_try(struct guard *g, struct str name, int max, int64_t *reterr_wait_ms)
{
    int64_t now = clock_mono_ms(g->clock);
    uint64_t h = name_hash(g, name);
    pthread_mutex_lock(&g->lock);
    struct slot *s = find(g, h, now);
    if (s->name != h || now - s->since_ms >= GUARD_WINDOW_MS)
        *s = (struct slot){.name = h, .since_ms = now};
    bool ok = s->count < max;
    if (ok)
        s->count++;
    else
        *reterr_wait_ms = s->since_ms + GUARD_WINDOW_MS - now;
    pthread_mutex_unlock(&g->lock);
    return ok;
}

void guard_undo(struct guard *g, struct str name)
{
    uint64_t h = name_hash(g, name);
    pthread_mutex_lock(&g->lock);
    struct slot *s = find(g, h, clock_mono_ms(g->clock));
    if (s->name == h && s->count > 0)
        s->count--;
    pthread_mutex_unlock(&g->lock);
}

void guard_forget(struct guard *g, struct str name)
{
    uint64_t h = name_hash(g, name);
    pthread_mutex_lock(&g->lock);
    struct slot *s = find(g, h, clock_mono_ms(g->clock));
    if (s->name == h)
        *s = (struct slot){0};
    pthread_mutex_unlock(&g->lock);
}
