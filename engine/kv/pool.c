/* pool.c - pages by index: a stack of free ones, a list of cached ones by age, a count on each. */
#include "engine/kv/pool.h"

#include <stdlib.h>

enum rc kv_pool_open(struct kv_pool *p, int32_t n_pages, struct err *err)
{
    if (n_pages < 1 || n_pages > KV_PAGES_MAX)
        return err_field(err, RC_BAD_INPUT, "pages", "KV pool of %d pages, 1 to %d are allowed",
                         n_pages, KV_PAGES_MAX);
    *p = (struct kv_pool){.n_pages = n_pages,
                          .n_free = n_pages,
                          .free_head = 0,
                          .lru_oldest = KV_NO_PAGE,
                          .lru_newest = KV_NO_PAGE};
    p->page = calloc((size_t)n_pages, sizeof *p->page);
    if (!p->page)
        return err_set(err, RC_NO_MEMORY, "no memory for the table of %d KV pages", n_pages);
    for (int32_t i = 0; i < n_pages; i++)
        p->page[i].next = i + 1 < n_pages ? i + 1 : KV_NO_PAGE;
    return RC_OK;
}

void kv_pool_close(struct kv_pool *p)
{
    free(p->page);
    *p = (struct kv_pool){0};
}

static struct kv_page *page_at(const struct kv_pool *p, int32_t page)
{
    ASSERT(page >= 0 && page < p->n_pages);
    return &p->page[page];
}

static void lru_append(struct kv_pool *p, int32_t page)
{
    struct kv_page *g = page_at(p, page);
    g->prev = p->lru_newest;
    g->next = KV_NO_PAGE;
    if (p->lru_newest == KV_NO_PAGE)
        p->lru_oldest = page;
    else
        p->page[p->lru_newest].next = page;
    p->lru_newest = page;
    p->n_cached++;
}

static void lru_remove(struct kv_pool *p, int32_t page)
{
    struct kv_page *g = page_at(p, page);
    if (g->prev == KV_NO_PAGE)
        p->lru_oldest = g->next;
    else
        p->page[g->prev].next = g->next;
    if (g->next == KV_NO_PAGE)
        p->lru_newest = g->prev;
    else
        p->page[g->next].prev = g->prev;
    p->n_cached--;
}

int32_t kv_page_alloc(struct kv_pool *p)
{
    int32_t page = p->free_head;
    if (page != KV_NO_PAGE) {
        p->free_head = p->page[page].next;
        p->n_free--;
    } else if (p->lru_oldest != KV_NO_PAGE) {
        page = p->lru_oldest;
        lru_remove(p, page);
        if (p->on_evict)
            p->on_evict(p->ctx, page);
    } else {
        return KV_NO_PAGE;
    }
    p->page[page] = (struct kv_page){.refs = 1, .state = KV_LIVE};
    return page;
}

void kv_page_ref(struct kv_pool *p, int32_t page)
{
    struct kv_page *g = page_at(p, page);
    ASSERT(g->state != KV_FREE && g->refs < INT32_MAX);
    if (g->state == KV_CACHED) {
        lru_remove(p, page);
        g->state = KV_LIVE;
    }
    g->refs++;
}

void kv_page_unref(struct kv_pool *p, int32_t page)
{
    struct kv_page *g = page_at(p, page);
    ASSERT(g->state == KV_LIVE && g->refs > 0);
    if (--g->refs > 0)
        return;
    if (g->published) {
        g->state = KV_CACHED;
        lru_append(p, page);
        return;
    }
    g->state = KV_FREE;
    g->next = p->free_head;
    p->free_head = page;
    p->n_free++;
}

void kv_page_publish(struct kv_pool *p, int32_t page)
{
    struct kv_page *g = page_at(p, page);
    ASSERT(g->state == KV_LIVE && !g->published);
    g->published = true;
}

int32_t kv_pool_available(const struct kv_pool *p)
{
    return p->n_free + p->n_cached;
}

void kv_pool_check(const struct kv_pool *p, int64_t refs)
{
    int64_t sum = 0;
    int32_t count[3] = {0};
    for (int32_t i = 0; i < p->n_pages; i++) {
        const struct kv_page *g = &p->page[i];
        ASSERT(g->state <= KV_CACHED);
        ASSERT((g->state == KV_LIVE) == (g->refs > 0));
        ASSERT(g->state != KV_CACHED || g->published);
        ASSERT(g->state != KV_FREE || !g->published);
        sum += g->refs;
        count[g->state]++;
    }
    ASSERT(sum == refs);
    ASSERT(count[KV_FREE] == p->n_free && count[KV_CACHED] == p->n_cached);
    int32_t n = 0, before = KV_NO_PAGE;
    for (int32_t i = p->free_head; i != KV_NO_PAGE; i = p->page[i].next, n++)
        ASSERT(p->page[i].state == KV_FREE && n < p->n_pages);
    ASSERT(n == p->n_free);
    n = 0;
    for (int32_t i = p->lru_oldest; i != KV_NO_PAGE; before = i, i = p->page[i].next, n++)
        ASSERT(p->page[i].state == KV_CACHED && p->page[i].prev == before && n < p->n_pages);
    ASSERT(n == p->n_cached && p->lru_newest == before);
}
