#ifndef SLUICE_ENGINE_KV_PREFIX_H
#define SLUICE_ENGINE_KV_PREFIX_H
/* prefix - finds pages that already hold the start of a prompt.
 *
 * Blocks of 16 tokens form a chain: hash(block) = BLAKE2b-128 of (hash of the block before, its
 * token ids), keyed by the org's salt; the chain's root is the model's fingerprint under the same
 * key. So one org's pages can neither be hit nor be guessed by another's prompts, and the hash of
 * a block does not depend on the process that made it. Token ids are compared on every hit: a
 * collision costs a miss, never a wrong answer.
 *
 * Only pages whose 16 positions are all computed may be published. */

#include <stdint.h>

#include "engine/kv/pool.h"

#define KV_HASH_BYTES 16

struct kv_hash {
    uint8_t b[KV_HASH_BYTES];
};

struct kv_prefix {
    struct kv_pool *pool; /* view of; outlives the index */
    uint8_t fingerprint[KV_HASH_BYTES];
    uint32_t n_buckets;        /* power of two */
    int32_t *bucket;           /* [n_buckets] first page, or KV_NO_PAGE */
    int32_t *next;             /* [n_pages] next page of the same bucket */
    struct kv_hash *hash;      /* [n_pages] of published pages */
    int32_t (*token)[16];      /* [n_pages] of published pages */
    int64_t n_hits, n_lookups; /* blocks */
};

/* Becomes the pool's listener for evictions. */
enum rc kv_prefix_open(struct kv_prefix *x, struct kv_pool *pool, const uint8_t fingerprint[16],
                       struct err *err);
void kv_prefix_close(struct kv_prefix *x); /* accepts a zeroed struct */

/* Start of an org's chain. */
struct kv_hash kv_prefix_root(const struct kv_prefix *x, const uint8_t org_salt[16]);
struct kv_hash kv_prefix_chain(struct kv_hash parent, const int32_t token[16],
                               const uint8_t org_salt[16]);

/* Finds up to max_blocks leading blocks of token[]; puts a reference on each page found, writes
 * them to page[] and leaves the last block's hash in *chain. Returns how many. */
int32_t kv_prefix_take(struct kv_prefix *x, const uint8_t org_salt[16], const int32_t *token,
                       int32_t max_blocks, int32_t *page, struct kv_hash *chain);

/* Makes a LIVE page known as the block after *chain and moves *chain on. When an equal block is
 * known already, that one stays and this page remains private. */
void kv_prefix_publish(struct kv_prefix *x, const uint8_t org_salt[16], struct kv_hash *chain,
                       const int32_t token[16], int32_t page);

/* Asserts that the index holds exactly the published pages, each findable. */
void kv_prefix_check(const struct kv_prefix *x);

#endif
