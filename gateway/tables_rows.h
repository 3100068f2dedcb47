#ifndef SLUICE_GATEWAY_TABLES_ROWS_H
#define SLUICE_GATEWAY_TABLES_ROWS_H
/* tables_rows - how a snapshot keeps its rows: for tables.c, which builds it, and tables_find.c,
 * which looks things up. */

#include <stdatomic.h>

#include "gateway/tables.h"

/* The kinds of the feed, in its order of names. */
#define KINDS(X) X(org) X(user) X(key) X(model) X(endpoint) X(deployment) X(share) X(limit) X(price)

enum tables_kind {
#define X(name) KIND_##name,
    KINDS(X)
#undef X
        KIND_COUNT
};

struct tables_row {
    atomic_int refs;
    enum tables_kind kind;
    struct arena arena;
    union {
        struct str id; /* first in every resource */
        struct org org;
        struct user user;
        struct key key;
        struct model_row model;
        struct endpoint endpoint;
        struct deployment deployment;
        struct share share;
        struct limit limit;
        struct price price;
    };
};

/* Open addressing; never more than half full. */
struct tables_index {
    struct tables_row **slot;
    size_t mask, n;
};

struct tables {
    atomic_int refs;
    int64_t rev;
    char epoch[TABLES_EPOCH_BYTES];
    uint8_t hash_key[HASH_KEY_BYTES];
    struct tables_index by_id, by_public, by_limit;
    struct arena arena; /* of the deployments and their lists */
    struct tables_dep *deps;
    int32_t n_deps;
};

/* ---- hashing ---- */

static inline uint64_t tables_mix(uint64_t h, struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

#define TABLES_SEED UINT64_C(0xcbf29ce484222325)

static inline uint64_t tables_hash_id(enum tables_kind kind, struct str id)
{
    return tables_mix(TABLES_SEED + (uint64_t)kind, id);
}

static inline uint64_t tables_hash_limit(struct str deployment, int64_t scope, struct str subject)
{
    return tables_mix(tables_mix(TABLES_SEED + (uint64_t)scope, deployment), subject);
}

#define INDEX_EACH(x, hash, i)                                                                     \
    for (size_t i = ((hash) ^ (hash) >> 32) & (x)->mask; (x)->slot[i]; i = (i + 1) & (x)->mask)

static inline struct tables_row *tables_find_row(const struct tables_index *x,
                                                 enum tables_kind kind, struct str id)
{
    uint64_t h = tables_hash_id(kind, id);
    if (x->slot)
        INDEX_EACH(x, h, i)
        {
            if (x->slot[i]->kind == kind && str_eq(x->slot[i]->id, id))
                return x->slot[i];
        }
    return NULL;
}

#endif
