/* The life of a replica, step by step, with a clock that the test moves. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "control/life.h"

static const struct replica_seen nothing = {0};
static const struct replica_seen loading = {.exists = true, .progress = 40};
static const struct replica_seen ready = {.exists = true, .ready = true, .progress = 100};
static const struct replica_seen killed = {.ended = true, .reason = "was killed by signal 9"};

static struct life running_at(int64_t now_ms)
{
    struct life r = {.index = 0};
    ck_assert_int_eq(life_next(&r, &nothing, true, now_ms, &r), LIFE_START);
    ck_assert_int_eq(life_next(&r, &ready, true, now_ms, &r), LIFE_NOTHING);
    ck_assert_int_eq(r.state, DEPLOY_RUNNING);
    return r;
}

START_TEST(a_wanted_replica_is_started_loads_and_runs)
{
    struct life r = {.index = 0};
    ck_assert_int_eq(life_next(&r, &nothing, true, 0, &r), LIFE_START);
    ck_assert_int_eq(r.state, DEPLOY_SCHEDULING);
    ck_assert_int_eq(life_next(&r, &loading, true, 100, &r), LIFE_NOTHING);
    ck_assert_int_eq(r.state, DEPLOY_LOADING);
    ck_assert_int_eq(r.progress, 40);
    ck_assert_int_eq(life_next(&r, &ready, true, 200, &r), LIFE_NOTHING);
    ck_assert_int_eq(r.state, DEPLOY_RUNNING);
    ck_assert_int_eq(r.progress, 100);
    ck_assert_str_eq(r.reason, "");
}
END_TEST

START_TEST(an_unwanted_replica_is_never_started)
{
    struct life r = {.index = 0};
    ck_assert_int_eq(life_next(&r, &nothing, false, 0, &r), LIFE_FORGET);
    ck_assert_int_eq(r.state, DEPLOY_STOPPED);
}
END_TEST

START_TEST(a_crash_is_restarted_after_a_backoff_that_doubles)
{
    int64_t now = 0;
    struct life r = running_at(now);
    int64_t before = 0;
    for (int i = 1; i <= 4; i++) {
        ck_assert_int_eq(life_next(&r, &killed, true, now, &r), LIFE_NOTHING);
        ck_assert_int_eq(r.state, DEPLOY_PENDING);
        ck_assert_ptr_nonnull(strstr(r.reason, "was killed by signal 9"));
        int64_t wait = r.not_before_ms - now;
        ck_assert_int_eq(wait, before ? before * 2 : LIFE_BACKOFF_FIRST_MS);
        ck_assert_int_eq(life_next(&r, &nothing, true, now + wait - 1, &r), LIFE_NOTHING);
        now += wait;
        ck_assert_int_eq(life_next(&r, &nothing, true, now, &r), LIFE_START);
        before = wait;
    }
    ck_assert_int_eq(r.restarts, 4);
}
END_TEST

START_TEST(the_reason_says_what_happened_and_what_comes_next)
{
    struct life r = running_at(0);
    life_next(&r, &killed, true, 0, &r);
    life_next(&r, &nothing, true, 200, &r);
    life_next(&r, &killed, true, 300, &r);
    ck_assert_str_eq(r.reason, "was killed by signal 9; restart 2 in 0.4 s");
}
END_TEST

START_TEST(running_for_a_while_forgives_earlier_crashes)
{
    struct life r = running_at(0);
    for (int i = 0; i < 3; i++) {
        life_next(&r, &killed, true, 0, &r);
        life_next(&r, &nothing, true, r.not_before_ms, &r);
    }
    ck_assert_int_eq(r.failures, 3);
    life_next(&r, &ready, true, 10000, &r);
    life_next(&r, &killed, true, 10000 + LIFE_STABLE_MS, &r);
    ck_assert_int_eq(r.failures, 1);
    ck_assert_int_eq(r.restarts, 4);
}
END_TEST

START_TEST(many_crashes_in_a_row_show_as_failed_and_are_still_tried)
{
    int64_t now = 0;
    struct life r = {.index = 0};
    for (int i = 0; i < LIFE_FAIL_AFTER; i++) {
        now = MAX_OF(now, r.not_before_ms);
        ck_assert_int_eq(life_next(&r, &nothing, true, now, &r), LIFE_START);
        life_next(&r, &killed, true, now, &r);
    }
    ck_assert_int_eq(r.state, DEPLOY_FAILED);
    ck_assert_int_eq(life_next(&r, &nothing, true, now + LIFE_BACKOFF_MAX_MS, &r), LIFE_START);
    for (int i = 0; i < 100; i++)
        ck_assert_int_le(life_backoff_ms(i), LIFE_BACKOFF_MAX_MS);
}
END_TEST

START_TEST(an_edit_makes_a_failed_replica_start_at_once)
{
    struct life r = {.index = 0};
    for (int i = 0; i < LIFE_FAIL_AFTER; i++)
        life_start_failed(&r, "model file is not there", 0);
    ck_assert_int_eq(r.state, DEPLOY_FAILED);
    ck_assert_int_eq(life_next(&r, &nothing, true, 1, &r), LIFE_NOTHING);
    life_forgive(&r);
    ck_assert_int_eq(life_next(&r, &nothing, true, 1, &r), LIFE_START);
}
END_TEST

START_TEST(a_replica_no_longer_wanted_is_drained_before_it_is_ended)
{
    struct life r = running_at(0);
    ck_assert_int_eq(life_next(&r, &ready, false, 10, &r), LIFE_NOTHING);
    ck_assert_int_eq(r.state, DEPLOY_DRAINING);
    ck_assert_int_eq(life_next(&r, &ready, false, 10 + LIFE_TELL_MS - 1, &r), LIFE_NOTHING);
    ck_assert_int_eq(life_next(&r, &ready, false, 10 + LIFE_TELL_MS, &r), LIFE_TERM);
    ck_assert_int_eq(life_next(&r, &ready, false, 20 + LIFE_TELL_MS, &r), LIFE_NOTHING);
    ck_assert_int_eq(life_next(&r, &ready, false, 10 + LIFE_TELL_MS + LIFE_TERM_MS, &r), LIFE_KILL);
    ck_assert_int_eq(life_next(&r, &killed, false, 60000, &r), LIFE_FORGET);
    ck_assert_int_eq(r.state, DEPLOY_STOPPED);
}
END_TEST

START_TEST(an_edited_spec_replaces_the_replica_and_starts_the_new_one)
{
    struct life r = running_at(0);
    r.stale = true;
    life_next(&r, &ready, false, 0, &r); /* picked for replacement */
    ck_assert_int_eq(r.state, DEPLOY_DRAINING);
    ck_assert_int_eq(life_next(&r, &ready, true, LIFE_TELL_MS, &r), LIFE_TERM);
    ck_assert_int_eq(life_next(&r, &nothing, true, LIFE_TELL_MS + 1, &r), LIFE_NOTHING);
    ck_assert_int_eq(life_next(&r, &nothing, true, LIFE_TELL_MS + 2, &r), LIFE_START);
    ck_assert(!r.stale);
    ck_assert_int_eq(r.failures, 0);
}
END_TEST

START_TEST(stale_replicas_are_replaced_one_at_a_time)
{
    struct life r[3] = {running_at(0), running_at(0), running_at(0)};
    r[1].stale = r[2].stale = true;
    ck_assert_ptr_eq(life_pick_stale(r, 3), &r[1]);
    r[1].state = DEPLOY_DRAINING;
    ck_assert_ptr_null(life_pick_stale(r, 3));
    r[1].state = DEPLOY_LOADING;
    r[1].stale = false;
    ck_assert_ptr_null(life_pick_stale(r, 3));
    r[1].state = DEPLOY_RUNNING;
    ck_assert_ptr_eq(life_pick_stale(r, 3), &r[2]);
    r[2].stale = false;
    ck_assert_ptr_null(life_pick_stale(r, 3));
}
END_TEST

START_TEST(loading_that_stands_still_is_ended)
{
    struct life r = {.index = 0};
    life_next(&r, &nothing, true, 0, &r);
    life_next(&r, &loading, true, 0, &r);
    ck_assert_int_eq(life_next(&r, &loading, true, LIFE_LOAD_STALL_MS, &r), LIFE_NOTHING);
    ck_assert_int_eq(life_next(&r, &loading, true, LIFE_LOAD_STALL_MS + 1, &r), LIFE_KILL);
    ck_assert_int_eq(r.state, DEPLOY_PENDING);
}
END_TEST

START_TEST(a_deployment_runs_when_one_replica_runs)
{
    struct life r[2] = {running_at(0), {.index = 1}};
    struct life_summary s;
    life_summarize(r, 2, 2, &s);
    ck_assert_int_eq(s.state, DEPLOY_RUNNING);
    ck_assert_str_eq(s.reason, "1 of 2 replicas running");
    ck_assert_int_eq(s.progress, 50);
    life_start_failed(&r[1], "no file", 0);
    life_summarize(r, 2, 2, &s);
    ck_assert_int_eq(s.state, DEPLOY_RUNNING);
    ck_assert_str_eq(s.reason, "1 of 2 replicas running; replica 1 no file; restart 1 in 0.2 s");
    r[1] = running_at(0);
    life_summarize(r, 2, 2, &s);
    ck_assert_str_eq(s.reason, "");
    ck_assert_int_eq(s.progress, 100);
}
END_TEST

START_TEST(a_deployment_with_no_replicas_wanted_drains_then_stops)
{
    struct life r = running_at(0);
    struct life_summary s;
    life_summarize(&r, 1, 0, &s);
    ck_assert_int_eq(s.state, DEPLOY_DRAINING);
    life_summarize(NULL, 0, 0, &s);
    ck_assert_int_eq(s.state, DEPLOY_STOPPED);
    life_summarize(NULL, 0, 1, &s);
    ck_assert_int_eq(s.state, DEPLOY_PENDING);
}
END_TEST

/* Whatever is seen in whatever order, a replica that is not wanted ends, and one that is wanted
 * and can run runs. */
START_TEST(any_history_ends_where_it_is_wanted)
{
    srand(7);
    for (int round = 0; round < 2000; round++) {
        struct life r = {.index = 0};
        bool exists = false, is_ready = false;
        int64_t now = 0;
        for (int step = 0; step < 60; step++) {
            bool calm = step > 30, wanted = calm ? round % 2 : rand() % 2;
            if (!calm && rand() % 4 == 0)
                exists = is_ready = false;
            if (exists && rand() % 3 == 0)
                is_ready = true;
            struct replica_seen seen = {.exists = exists, .ready = is_ready};
            enum life_act act = life_next(&r, &seen, wanted, now, &r);
            if (act == LIFE_START) {
                ck_assert(wanted && !exists);
                exists = true;
            }
            if (act == LIFE_TERM || act == LIFE_KILL)
                exists = is_ready = false;
            if (act == LIFE_FORGET)
                ck_assert(!exists && !wanted);
            now += calm ? LIFE_BACKOFF_MAX_MS : rand() % 2000;
            if (calm)
                is_ready = exists;
        }
        ck_assert_int_eq(r.state, round % 2 ? DEPLOY_RUNNING : DEPLOY_STOPPED);
        ck_assert(exists == (round % 2 == 1));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reconcile");
    TCase *t = tcase_create("life");
    tcase_add_test(t, a_wanted_replica_is_started_loads_and_runs);
    tcase_add_test(t, an_unwanted_replica_is_never_started);
    tcase_add_test(t, a_crash_is_restarted_after_a_backoff_that_doubles);
    tcase_add_test(t, the_reason_says_what_happened_and_what_comes_next);
    tcase_add_test(t, running_for_a_while_forgives_earlier_crashes);
    tcase_add_test(t, many_crashes_in_a_row_show_as_failed_and_are_still_tried);
    tcase_add_test(t, an_edit_makes_a_failed_replica_start_at_once);
    tcase_add_test(t, a_replica_no_longer_wanted_is_drained_before_it_is_ended);
    tcase_add_test(t, an_edited_spec_replaces_the_replica_and_starts_the_new_one);
    tcase_add_test(t, stale_replicas_are_replaced_one_at_a_time);
    tcase_add_test(t, loading_that_stands_still_is_ended);
    tcase_add_test(t, a_deployment_runs_when_one_replica_runs);
    tcase_add_test(t, a_deployment_with_no_replicas_wanted_drains_then_stops);
    tcase_add_test(t, any_history_ends_where_it_is_wanted);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
