/* The prefix index: what was computed for an org is found by that org, and by nobody else. */
#include <check.h>
#include <string.h>

#include "base/hash.h"
#include "engine/kv/prefix.h"

enum { PAGES = 32, BLOCKS = 4, TOKENS = BLOCKS * 16 };

static const uint8_t MODEL[16] = "fingerprint 1", OTHER_MODEL[16] = "fingerprint 2";
static const uint8_t ORG[16] = "org one", OTHER_ORG[16] = "org two";

struct fixture {
    struct kv_pool pool;
    struct kv_prefix index;
    struct err err;
    int32_t token[TOKENS];
    int32_t page[BLOCKS];
};

static void setup(struct fixture *fx, int32_t n_pages)
{
    *fx = (struct fixture){0};
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    ck_assert_int_eq(kv_pool_open(&fx->pool, n_pages, &fx->err), RC_OK);
    ck_assert_int_eq(kv_prefix_open(&fx->index, &fx->pool, MODEL, &fx->err), RC_OK);
    for (int32_t i = 0; i < TOKENS; i++)
        fx->token[i] = 100 + i;
}

static void teardown(struct fixture *fx)
{
    kv_prefix_check(&fx->index);
    kv_prefix_close(&fx->index);
    kv_pool_close(&fx->pool);
}

static void compute_and_publish(struct fixture *fx, const uint8_t *org, int32_t n_blocks)
{
    struct kv_hash chain = kv_prefix_root(&fx->index, org);
    for (int32_t i = 0; i < n_blocks; i++) {
        fx->page[i] = kv_page_alloc(&fx->pool);
        kv_prefix_publish(&fx->index, org, &chain, fx->token + i * 16, fx->page[i]);
    }
}

static void release(struct fixture *fx, int32_t n_blocks)
{
    while (n_blocks)
        kv_page_unref(&fx->pool, fx->page[--n_blocks]);
}

static int32_t hits(struct fixture *fx, const uint8_t *org, const int32_t *token)
{
    int32_t page[BLOCKS];
    struct kv_hash chain;
    int32_t n = kv_prefix_take(&fx->index, org, token, BLOCKS, page, &chain);
    for (int32_t i = n; i > 0; i--)
        kv_page_unref(&fx->pool, page[i - 1]);
    return n;
}

START_TEST(the_same_prompt_finds_the_same_pages)
{
    struct fixture fx;
    setup(&fx, PAGES);
    compute_and_publish(&fx, ORG, BLOCKS);
    release(&fx, BLOCKS);
    int32_t page[BLOCKS];
    struct kv_hash chain;
    ck_assert_int_eq(kv_prefix_take(&fx.index, ORG, fx.token, BLOCKS, page, &chain), BLOCKS);
    ck_assert_mem_eq(page, fx.page, sizeof page);
    kv_pool_check(&fx.pool, BLOCKS);
    ck_assert_int_eq(kv_prefix_take(&fx.index, ORG, fx.token, 2, page, &chain), 2);
    kv_pool_check(&fx.pool, BLOCKS + 2);
    teardown(&fx);
}
END_TEST

START_TEST(a_hit_ends_at_the_first_other_token)
{
    struct fixture fx;
    setup(&fx, PAGES);
    compute_and_publish(&fx, ORG, BLOCKS);
    release(&fx, BLOCKS);
    for (int32_t i = 0; i < TOKENS; i++) {
        fx.token[i]++;
        ck_assert_int_eq(hits(&fx, ORG, fx.token), i / 16);
        fx.token[i]--;
    }
    teardown(&fx);
}
END_TEST

START_TEST(a_block_is_not_found_at_another_place)
{
    struct fixture fx;
    setup(&fx, PAGES);
    compute_and_publish(&fx, ORG, BLOCKS);
    release(&fx, BLOCKS);
    int32_t page;
    struct kv_hash chain;
    ck_assert_int_eq(kv_prefix_take(&fx.index, ORG, fx.token + 16, 1, &page, &chain), 0);
    teardown(&fx);
}
END_TEST

START_TEST(another_org_never_hits)
{
    struct fixture fx;
    setup(&fx, PAGES);
    compute_and_publish(&fx, ORG, BLOCKS);
    ck_assert_int_eq(hits(&fx, OTHER_ORG, fx.token), 0);
    release(&fx, BLOCKS);
    ck_assert_int_eq(hits(&fx, OTHER_ORG, fx.token), 0);
    ck_assert_int_eq(hits(&fx, ORG, fx.token), BLOCKS);
    teardown(&fx);
}
END_TEST

START_TEST(another_model_has_another_root)
{
    struct fixture fx;
    setup(&fx, PAGES);
    struct kv_hash a = kv_prefix_root(&fx.index, ORG);
    memcpy(fx.index.fingerprint, OTHER_MODEL, sizeof OTHER_MODEL);
    struct kv_hash b = kv_prefix_root(&fx.index, ORG);
    ck_assert_mem_ne(&a, &b, sizeof a);
    teardown(&fx);
}
END_TEST

/* Were two blocks to share a hash, the token ids would tell them apart. */
START_TEST(a_hash_collision_is_a_miss)
{
    struct fixture fx;
    setup(&fx, PAGES);
    compute_and_publish(&fx, ORG, 1);
    fx.index.token[fx.page[0]][15]++; /* as if another block had left this hash */
    ck_assert_int_eq(hits(&fx, ORG, fx.token), 0);
    fx.index.token[fx.page[0]][15]--;
    ck_assert_int_eq(hits(&fx, ORG, fx.token), 1);
    teardown(&fx);
}
END_TEST

START_TEST(an_equal_block_is_published_once)
{
    struct fixture fx;
    setup(&fx, PAGES);
    compute_and_publish(&fx, ORG, 1);
    int32_t first = fx.page[0];
    compute_and_publish(&fx, ORG, 1);
    ck_assert(fx.pool.page[first].published);
    ck_assert(!fx.pool.page[fx.page[0]].published);
    release(&fx, 1);
    ck_assert_int_eq(fx.pool.page[fx.page[0]].state, KV_FREE);
    teardown(&fx);
}
END_TEST

START_TEST(an_evicted_page_is_forgotten_tails_first)
{
    struct fixture fx;
    setup(&fx, BLOCKS);
    compute_and_publish(&fx, ORG, BLOCKS);
    release(&fx, BLOCKS);
    for (int32_t left = BLOCKS - 1; left >= 0; left--) {
        int32_t page = kv_page_alloc(&fx.pool);
        ck_assert_int_eq(page, fx.page[left]);
        kv_prefix_check(&fx.index);
        if (left < 1) {
            ck_assert_int_eq(kv_pool_available(&fx.pool), 0);
            ck_assert_int_eq(hits(&fx, ORG, fx.token), 0);
        }
    }
    teardown(&fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kv_prefix");
    TCase *t = tcase_create("kv_prefix");
    tcase_add_test(t, the_same_prompt_finds_the_same_pages);
    tcase_add_test(t, a_hit_ends_at_the_first_other_token);
    tcase_add_test(t, a_block_is_not_found_at_another_place);
    tcase_add_test(t, another_org_never_hits);
    tcase_add_test(t, another_model_has_another_root);
    tcase_add_test(t, a_hash_collision_is_a_miss);
    tcase_add_test(t, an_equal_block_is_published_once);
    tcase_add_test(t, an_evicted_page_is_forgotten_tails_first);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
