/* Pages: each has one state, one place and an exact count. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv/pool.h"

enum { PAGES = 13, STEPS = 100000, HOLDERS = 40 };

static uint64_t rng_state = 11;
static uint32_t rnd(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

START_TEST(alloc_gives_each_page_once_and_then_none)
{
    struct kv_pool p;
    struct err err;
    ck_assert_int_eq(kv_pool_open(&p, PAGES, &err), RC_OK);
    bool had[PAGES] = {false};
    for (int i = 0; i < PAGES; i++) {
        int32_t page = kv_page_alloc(&p);
        ck_assert(page >= 0 && page < PAGES && !had[page]);
        had[page] = true;
    }
    ck_assert_int_eq(kv_page_alloc(&p), KV_NO_PAGE);
    ck_assert_int_eq(kv_pool_available(&p), 0);
    kv_pool_check(&p, PAGES);
    kv_pool_close(&p);
}
END_TEST

START_TEST(a_published_page_waits_in_the_cache_and_a_private_one_is_free)
{
    struct kv_pool p;
    struct err err;
    ck_assert_int_eq(kv_pool_open(&p, 2, &err), RC_OK);
    int32_t a = kv_page_alloc(&p), b = kv_page_alloc(&p);
    kv_page_publish(&p, a);
    kv_page_unref(&p, a);
    kv_page_unref(&p, b);
    ck_assert_int_eq(p.page[a].state, KV_CACHED);
    ck_assert_int_eq(p.page[b].state, KV_FREE);
    ck_assert_int_eq(kv_pool_available(&p), 2);
    kv_page_ref(&p, a); /* a hit brings it back */
    ck_assert_int_eq(p.page[a].state, KV_LIVE);
    ck_assert_int_eq(kv_pool_available(&p), 1);
    kv_pool_check(&p, 1);
    kv_pool_close(&p);
}
END_TEST

static int32_t evicted[PAGES];
static int n_evicted;
static void note(void *ctx, int32_t page)
{
    (void)ctx;
    evicted[n_evicted++] = page;
}

START_TEST(free_pages_go_first_then_the_least_recently_used)
{
    struct kv_pool p;
    struct err err;
    ck_assert_int_eq(kv_pool_open(&p, 4, &err), RC_OK);
    p.on_evict = note;
    n_evicted = 0;
    int32_t page[4];
    for (int i = 0; i < 4; i++)
        page[i] = kv_page_alloc(&p);
    for (int i = 0; i < 3; i++)
        kv_page_publish(&p, page[i]);
    kv_page_unref(&p, page[1]);
    kv_page_unref(&p, page[0]);
    kv_page_unref(&p, page[2]);
    kv_page_unref(&p, page[3]);
    kv_page_ref(&p, page[1]); /* used again: now the youngest */
    kv_page_unref(&p, page[1]);
    ck_assert_int_eq(kv_page_alloc(&p), page[3]);
    ck_assert_int_eq(n_evicted, 0);
    ck_assert_int_eq(kv_page_alloc(&p), page[0]);
    ck_assert_int_eq(kv_page_alloc(&p), page[2]);
    ck_assert_int_eq(kv_page_alloc(&p), page[1]);
    ck_assert_int_eq(n_evicted, 3);
    ck_assert_int_eq(evicted[0], page[0]);
    ck_assert_int_eq(evicted[2], page[1]);
    kv_pool_check(&p, 4);
    kv_pool_close(&p);
}
END_TEST

START_TEST(random_use_keeps_every_count_exact)
{
    struct kv_pool p;
    struct err err;
    ck_assert_int_eq(kv_pool_open(&p, PAGES, &err), RC_OK);
    int32_t held[HOLDERS], n = 0;
    for (int i = 0; i < STEPS; i++) {
        uint32_t what = rnd(4);
        if (what == 0 && n < HOLDERS) {
            int32_t before = kv_pool_available(&p), page = kv_page_alloc(&p);
            ck_assert_int_eq(page == KV_NO_PAGE, before == 0);
            if (page != KV_NO_PAGE)
                held[n++] = page;
        } else if (what == 1 && n && n < HOLDERS) {
            held[n] = held[rnd((uint32_t)n)];
            kv_page_ref(&p, held[n++]);
        } else if (what == 2 && n) {
            int32_t page = held[rnd((uint32_t)n)];
            if (!p.page[page].published)
                kv_page_publish(&p, page);
        } else if (n) {
            uint32_t k = rnd((uint32_t)n);
            kv_page_unref(&p, held[k]);
            held[k] = held[--n];
        }
        kv_pool_check(&p, n);
    }
    while (n)
        kv_page_unref(&p, held[--n]);
    ck_assert_int_eq(kv_pool_available(&p), PAGES);
    kv_pool_check(&p, 0);
    kv_pool_close(&p);
}
END_TEST

START_TEST(an_absurd_size_is_refused)
{
    struct kv_pool p = {0};
    struct err err;
    ck_assert_int_eq(kv_pool_open(&p, 0, &err), RC_BAD_INPUT);
    ck_assert_int_eq(kv_pool_open(&p, KV_PAGES_MAX + 1, &err), RC_BAD_INPUT);
    kv_pool_close(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kv_pool");
    TCase *t = tcase_create("kv_pool");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, alloc_gives_each_page_once_and_then_none);
    tcase_add_test(t, a_published_page_waits_in_the_cache_and_a_private_one_is_free);
    tcase_add_test(t, free_pages_go_first_then_the_least_recently_used);
    tcase_add_test(t, random_use_keeps_every_count_exact);
    tcase_add_test(t, an_absurd_size_is_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
