#ifndef SLUICE_ENGINE_KV_POOL_H
#define SLUICE_ENGINE_KV_POOL_H
/* pool - who owns which KV page. Pages are numbers; their bytes live in the backend.
 *
 *            alloc                    unref to 0, not published
 *     FREE ────────▶ LIVE (refs > 0) ──────────────────────────▶ FREE
 *                    ▲  │ unref to 0, published
 *                ref │  ▼
 *                   CACHED (refs = 0, kept for the next prompt with this prefix)
 *                       │ alloc finds no FREE page: the least recently used one is
 *                       ▼ forgotten by the prefix index and handed out
 *                     LIVE
 *
 * One owner thread. Nothing is allocated after kv_pool_open(). */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define KV_PAGES_MAX (1 << 28)
#define KV_NO_PAGE   (-1)

enum kv_state { KV_FREE, KV_LIVE, KV_CACHED };

struct kv_page {
    int32_t refs;
    int32_t next, prev; /* free list or LRU list, by state */
    uint8_t state;      /* enum kv_state */
    bool published;     /* the prefix index knows it */
};

struct kv_pool {
    int32_t n_pages, n_free, n_cached;
    struct kv_page *page;           /* [n_pages] */
    int32_t free_head;              /* stack through next */
    int32_t lru_oldest, lru_newest; /* CACHED pages, through next (newer) and prev (older) */
    /* Called when a CACHED page is taken for new content; the index must forget it. */
    void (*on_evict)(void *ctx, int32_t page);
    void *ctx;
};

enum rc kv_pool_open(struct kv_pool *p, int32_t n_pages, struct err *err);
void kv_pool_close(struct kv_pool *p); /* accepts a zeroed struct */

/* One page with one reference, or KV_NO_PAGE when all are LIVE. */
int32_t kv_page_alloc(struct kv_pool *p);
void kv_page_ref(struct kv_pool *p, int32_t page); /* LIVE or CACHED only */
void kv_page_unref(struct kv_pool *p, int32_t page);
void kv_page_publish(struct kv_pool *p, int32_t page); /* LIVE, once */

/* Pages that alloc can give: FREE and CACHED. */
int32_t kv_pool_available(const struct kv_pool *p);

/* Walks everything and asserts: lists, counts and states agree, and refs sum to `refs`. */
void kv_pool_check(const struct kv_pool *p, int64_t refs);

#endif
