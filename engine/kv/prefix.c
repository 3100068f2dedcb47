/* prefix.c - a hash table from block hash to page, threaded through arrays made at start. */
#include "engine/kv/prefix.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/ops.h"

_Static_assert(KV_PAGE_TOKENS == 16, "a block is a page");

static uint32_t bucket_of(const struct kv_prefix *x, const struct kv_hash *h)
{
    uint32_t v;
    memcpy(&v, h->b, sizeof v); /* the hash is uniform: any 32 bits of it will do */
    return v & (x->n_buckets - 1);
}

static void forget(void *ctx, int32_t page)
{
    struct kv_prefix *x = ctx;
    int32_t *at = &x->bucket[bucket_of(x, &x->hash[page])];
    while (*at != page) {
        ASSERT(*at != KV_NO_PAGE);
        at = &x->next[*at];
    }
    *at = x->next[page];
    x->next[page] = KV_NO_PAGE;
}

enum rc kv_prefix_open(struct kv_prefix *x, struct kv_pool *pool, const uint8_t fingerprint[16],
                       struct err *err)
{
    size_t n = (size_t)pool->n_pages;
    *x = (struct kv_prefix){.pool = pool, .n_buckets = 16};
    while (x->n_buckets < n)
        x->n_buckets *= 2;
    memcpy(x->fingerprint, fingerprint, KV_HASH_BYTES);
    x->bucket = malloc(x->n_buckets * sizeof *x->bucket);
    x->next = malloc(n * sizeof *x->next);
    x->hash = calloc(n, sizeof *x->hash);
    x->token = calloc(n, sizeof *x->token);
    if (!x->bucket || !x->next || !x->hash || !x->token) {
        kv_prefix_close(x);
        return err_set(err, RC_NO_MEMORY, "no memory for the prefix index of %zu pages", n);
    }
    for (uint32_t i = 0; i < x->n_buckets; i++)
        x->bucket[i] = KV_NO_PAGE;
    for (size_t i = 0; i < n; i++)
        x->next[i] = KV_NO_PAGE;
    pool->on_evict = forget;
    pool->ctx = x;
    return RC_OK;
}

void kv_prefix_close(struct kv_prefix *x)
{
    free(x->bucket);
    free(x->next);
    free(x->hash);
    free(x->token);
    *x = (struct kv_prefix){0};
}

struct kv_hash kv_prefix_root(const struct kv_prefix *x, const uint8_t org_salt[16])
{
    struct kv_hash h;
    hash_blake2b(h.b, sizeof h.b, x->fingerprint, sizeof x->fingerprint, org_salt, KV_HASH_BYTES);
    return h;
}

struct kv_hash kv_prefix_chain(struct kv_hash parent, const int32_t token[16],
                               const uint8_t org_salt[16])
{
    struct {
        struct kv_hash parent;
        int32_t token[KV_PAGE_TOKENS];
    } block = {.parent = parent};
    memcpy(block.token, token, sizeof block.token);
    struct kv_hash h;
    hash_blake2b(h.b, sizeof h.b, &block, sizeof block, org_salt, KV_HASH_BYTES);
    return h;
}

static int32_t find(const struct kv_prefix *x, const struct kv_hash *h, const int32_t token[16])
{
    int32_t page = x->bucket[bucket_of(x, h)];
    while (page != KV_NO_PAGE) {
        if (memcmp(&x->hash[page], h, sizeof *h) == 0 &&
            memcmp(x->token[page], token, sizeof x->token[page]) == 0)
            return page;
        page = x->next[page];
    }
    return KV_NO_PAGE;
}

int32_t kv_prefix_take(struct kv_prefix *x, const uint8_t org_salt[16], const int32_t *token,
                       int32_t max_blocks, int32_t *page, struct kv_hash *chain)
{
    *chain = kv_prefix_root(x, org_salt);
    int32_t n = 0;
    for (; n < max_blocks; n++) {
        const int32_t *block = token + (size_t)n * KV_PAGE_TOKENS;
        struct kv_hash h = kv_prefix_chain(*chain, block, org_salt);
        x->n_lookups++;
        int32_t found = find(x, &h, block);
        if (found == KV_NO_PAGE)
            break;
        kv_page_ref(x->pool, found);
        page[n] = found;
        *chain = h;
        x->n_hits++;
    }
    return n;
}

void kv_prefix_publish(struct kv_prefix *x, const uint8_t org_salt[16], struct kv_hash *chain,
                       const int32_t token[16], int32_t page)
{
    struct kv_hash h = kv_prefix_chain(*chain, token, org_salt);
    *chain = h;
    if (find(x, &h, token) != KV_NO_PAGE)
        return;
    kv_page_publish(x->pool, page);
    x->hash[page] = h;
    memcpy(x->token[page], token, sizeof x->token[page]);
    uint32_t b = bucket_of(x, &h);
    x->next[page] = x->bucket[b];
    x->bucket[b] = page;
}

void kv_prefix_check(const struct kv_prefix *x)
{
    int32_t n_published = 0, n_known = 0;
    for (int32_t i = 0; i < x->pool->n_pages; i++)
        n_published += x->pool->page[i].published;
    for (uint32_t b = 0; b < x->n_buckets; b++)
        for (int32_t i = x->bucket[b]; i != KV_NO_PAGE; i = x->next[i]) {
            ASSERT(x->pool->page[i].published && bucket_of(x, &x->hash[i]) == b);
            ASSERT(n_known < x->pool->n_pages);
            n_known++;
        }
    ASSERT(n_known == n_published);
}
