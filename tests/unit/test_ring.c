/* A ring carries every message once and in order, from one thread to another. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "base/ring.h"

enum { MESSAGES = 300000, CAPACITY = 8 };

static void *message(uintptr_t i)
{
    return (void *)(i + 1); /* NOLINT(performance-no-int-to-ptr): a number is all we send */
}

START_TEST(a_full_ring_refuses_and_an_empty_one_gives_nothing)
{
    struct ring r;
    struct err err;
    ck_assert_int_eq(ring_open(&r, 5, &err), RC_OK); /* rounded up to 8 */
    for (int round = 0; round < 20; round++) {
        ck_assert(ring_is_empty(&r));
        ck_assert_ptr_null(ring_pop(&r));
        for (uintptr_t i = 0; i < CAPACITY; i++)
            ck_assert(ring_push(&r, message(i)));
        ck_assert(!ring_push(&r, message(99)));
        for (uintptr_t i = 0; i < CAPACITY; i++)
            ck_assert_ptr_eq(ring_pop(&r), message(i));
    }
    ring_close(&r);
}
END_TEST

static void *write_all(void *arg)
{
    for (uintptr_t i = 0; i < MESSAGES; i++)
        while (!ring_push(arg, message(i)))
            sched_yield();
    return NULL;
}

START_TEST(nothing_is_lost_doubled_or_turned_around)
{
    struct ring r;
    struct err err;
    pthread_t writer;
    ck_assert_int_eq(ring_open(&r, CAPACITY, &err), RC_OK);
    ck_assert_int_eq(pthread_create(&writer, NULL, write_all, &r), 0);
    for (uintptr_t i = 0; i < MESSAGES;) {
        void *got = ring_pop(&r);
        if (!got) {
            sched_yield();
            continue;
        }
        ck_assert_ptr_eq(got, message(i));
        i++;
    }
    pthread_join(writer, NULL);
    ck_assert(ring_is_empty(&r));
    ring_close(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ring");
    TCase *t = tcase_create("ring");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_full_ring_refuses_and_an_empty_one_gives_nothing);
    tcase_add_test(t, nothing_is_lost_doubled_or_turned_around);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
