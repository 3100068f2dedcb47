/* The fair line: turns by tokens, not by requests. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "gateway/queue.h"

struct item {
    struct queue_item it;
    int org;
};

static struct queue q;
static struct err err;
static struct item items[QUEUE_MAX + 1];

static struct str org_name(int org)
{
    static char names[QUEUE_ORGS_MAX * 2][16];
    snprintf(names[org], sizeof names[org], "org_%d", org);
    return str_of(names[org]);
}

static enum rc push(int i, int org, int64_t cost)
{
    items[i] = (struct item){.org = org};
    items[i].it.user = &items[i];
    return queue_push(&q, &items[i].it, org_name(org), cost, &err);
}

static int pop(void)
{
    struct queue_item *it = queue_pop(&q);
    return it ? ((struct item *)it->user)->org : -1;
}

static void set_up(void)
{
    ck_assert_int_eq(queue_init(&q, &err), RC_OK);
}

static void tear_down(void)
{
    queue_done(&q);
}

START_TEST(one_request_does_not_wait_behind_another_orgs_hundred)
{
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(push(i, 0, 100), RC_OK);
    ck_assert_int_eq(push(100, 1, 100), RC_OK);
    int first = pop(), second = pop();
    ck_assert_msg(first == 1 || second == 1, "org 1 waits behind org 0");
    int left = 0;
    while (pop() >= 0)
        left++;
    ck_assert_int_eq(left, 99);
}
END_TEST

/* Org 0's requests are ten times as large: it gets a tenth of the turns, and as many tokens. */
START_TEST(turns_are_shared_by_tokens)
{
    int64_t tok[2] = {0};
    int turns[2] = {0};
    for (int i = 0; i < 400; i++)
        ck_assert_int_eq(push(i, i % 2, i % 2 ? 100 : 1000), RC_OK);
    for (int i = 0; i < 110; i++) {
        int org = pop();
        ck_assert(org == 0 || org == 1);
        turns[org]++;
        tok[org] += org ? 100 : 1000;
    }
    ck_assert_int_ge(turns[1], 9 * turns[0]);
    ck_assert_int_le(tok[0] - tok[1], 1000);
    ck_assert_int_le(tok[1] - tok[0], 1000);
    while (pop() >= 0)
        ;
}
END_TEST

START_TEST(what_was_not_used_is_given_back_to_its_org)
{
    ck_assert_int_eq(push(0, 0, 1000), RC_OK);
    ck_assert_int_eq(push(1, 0, 1000), RC_OK);
    ck_assert_int_eq(push(2, 1, 500), RC_OK);
    ck_assert_int_eq(push(3, 1, 500), RC_OK);
    ck_assert_int_eq(pop(), 0);
    queue_charge(&q, org_name(0), 10 - 1000); /* it ended after 10 tokens */
    ck_assert_int_eq(pop(), 1);
    ck_assert_int_eq(pop(), 0);
    ck_assert_int_eq(pop(), 1);
}
END_TEST

START_TEST(absence_saves_nothing_up)
{
    for (int i = 0; i < 50; i++)
        push(i, 0, 100);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(pop(), 0);
    for (int i = 50; i < 80; i++)
        push(i, 1, 100);
    int late = 0;
    for (int i = 0; i < 10; i++)
        late += pop() == 1;
    ck_assert_int_ge(late, 4);
    ck_assert_int_le(late, 6);
    while (pop() >= 0)
        ;
}
END_TEST

START_TEST(the_line_has_an_end_and_no_org_fills_it)
{
    int n = 0;
    while (push(n, 0, 1) == RC_OK)
        n++;
    ck_assert_int_eq(n, QUEUE_MAX / 2);
    ck_assert_int_eq(err.rc, RC_UNAVAILABLE);
    while (n < QUEUE_MAX && push(n, 1 + n % 7, 1) == RC_OK)
        n++;
    ck_assert_int_eq(n, QUEUE_MAX);
    ck_assert_int_eq(push(n, 99, 1), RC_UNAVAILABLE);
    int popped = 0;
    while (pop() >= 0)
        popped++;
    ck_assert_int_eq(popped, QUEUE_MAX);
}
END_TEST

START_TEST(a_request_can_leave_from_anywhere)
{
    for (int gone = 0; gone < 3; gone++) {
        for (int i = 0; i < 3; i++)
            push(i, 0, 10);
        queue_remove(&q, &items[gone].it);
        queue_remove(&q, &items[gone].it); /* twice is fine */
        for (int i = 0; i < 3; i++) {
            if (i == gone)
                continue;
            struct queue_item *it = queue_pop(&q);
            ck_assert_ptr_eq(it, &items[i].it);
        }
        ck_assert_int_eq(pop(), -1);
    }
}
END_TEST

START_TEST(more_orgs_than_places_still_get_their_turn)
{
    for (int i = 0; i < QUEUE_ORGS_MAX * 2; i++) {
        ck_assert_int_eq(push(0, i, 10), RC_OK);
        ck_assert_int_eq(pop(), i);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("queue");
    TCase *c = tcase_create("line");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, one_request_does_not_wait_behind_another_orgs_hundred);
    tcase_add_test(c, turns_are_shared_by_tokens);
    tcase_add_test(c, what_was_not_used_is_given_back_to_its_org);
    tcase_add_test(c, absence_saves_nothing_up);
    tcase_add_test(c, the_line_has_an_end_and_no_org_fills_it);
    tcase_add_test(c, a_request_can_leave_from_anywhere);
    tcase_add_test(c, more_orgs_than_places_still_get_their_turn);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
