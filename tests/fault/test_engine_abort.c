/* Something ends at the worst moment: after each step of a request's life it is cancelled, its
 * connection lost, or the device fails. Each time: one answer or none, right neighbours, whole
 * pool. */
#include "tests/fake/sched_fixture.h"

enum { VICTIM = 1, FRIEND, OTHER_CONN = 9 };
enum fault { CANCEL, HANG_UP, DEVICE };

struct scene {
    struct sched_fixture *fx;
    struct ask victim, friend;
};

/* Small chunks and a pool that is too small for both: the victim is queued, read in pieces,
 * decoded, preempted and resumed in its time. */
static struct scene scene_open(void)
{
    struct sched_opts o = small_opts();
    o.n_pages = 8;
    o.max_batch = 16;
    o.max_seqs = 2;
    struct scene sc = {.fx = fixture_open(o, 8)};
    ask_init(&sc.friend, FRIEND, 40, 2)->f.params.max_tok = 60;
    ask_init(&sc.victim, VICTIM, 40, 1)->f.params.max_tok = 60;
    must_submit(sc.fx, &sc.friend);
    ck_assert_int_eq(sched_submit(&sc.fx->s, OTHER_CONN, &sc.victim.f, sc.fx->now_ns, &sc.fx->err),
                     RC_OK);
    return sc;
}

static void strike(struct scene *sc, enum fault fault)
{
    struct sched *s = &sc->fx->s;
    if (fault == CANCEL)
        sched_cancel(s, OTHER_CONN, VICTIM);
    else if (fault == HANG_UP)
        sched_drop_conn(s, OTHER_CONN);
    else
        sc->fx->fake.fail_at = sc->fx->fake.n_forwards + 1;
    sched_check(s);
}

static void look(struct scene *sc, enum fault fault)
{
    const struct note *v = &sc->fx->note[VICTIM];
    if (fault == DEVICE) {
        for (int rid = VICTIM; rid <= FRIEND; rid++)
            ck_assert_int_eq(sc->fx->note[rid].n_done + sc->fx->note[rid].n_error, 1);
    } else {
        answer_is_right(sc->fx, &sc->friend);
        ck_assert_int_eq(v->n_error, 0);
        ck_assert_int_le(v->n_done, fault == CANCEL ? 1 : v->finish != FINISH_ABORT);
        if (fault == CANCEL)
            ck_assert_int_eq(v->n_done, 1);
    }
    if (v->n_done || v->n_error) {
        ck_assert_int_ge(v->usage.output, v->n_ids);
        ck_assert_int_le(v->usage.input, 40);
        ck_assert(v->usage.output == 0 || v->usage.input == 40);
    }
    pool_is_whole(sc->fx);
}

static void at_every_step(enum fault fault)
{
    bool was_in[SEQ_STATE_COUNT] = {false};
    int32_t preempted = 0;
    for (int k = 0;; k++) {
        struct scene sc = scene_open();
        for (int i = 0; i < k && sched_has_work(&sc.fx->s); i++)
            step(sc.fx);
        bool over = !sched_has_work(&sc.fx->s);
        const struct seq *q = seq_list_find(&sc.fx->s.running, OTHER_CONN, VICTIM);
        if (!q)
            q = seq_list_find(&sc.fx->s.waiting, OTHER_CONN, VICTIM);
        if (q) {
            was_in[q->state] = true;
            preempted += q->n_preempted > 0 && q->state == SEQ_QUEUED;
        }
        strike(&sc, fault);
        run_dry(sc.fx);
        look(&sc, fault);
        fixture_close(sc.fx);
        if (over)
            break;
    }
    ck_assert(was_in[SEQ_QUEUED] && was_in[SEQ_PREFILL] && was_in[SEQ_DECODE] && preempted);
}

START_TEST(cancelled_in_any_state_it_answers_once_and_holds_nothing)
{
    at_every_step(CANCEL);
}
END_TEST

START_TEST(a_lost_connection_in_any_state_is_silent_and_holds_nothing)
{
    at_every_step(HANG_UP);
}
END_TEST

START_TEST(a_failing_device_in_any_state_is_told_and_holds_nothing)
{
    at_every_step(DEVICE);
}
END_TEST

/* What was computed before the cancel is not thrown away: the next one finds it. */
START_TEST(the_pages_of_a_cancelled_prompt_serve_the_next_one)
{
    struct sched_opts o = small_opts();
    o.max_batch = 16;
    struct sched_fixture *fx = fixture_open(o, 8);
    struct ask a;
    must_submit(fx, ask_init(&a, 1, 60, 1));
    step(fx);
    step(fx);
    sched_cancel(&fx->s, CONN, 1);
    ck_assert_int_eq(fx->note[1].usage.input, 32); /* read so far; the rest was not computed */
    ck_assert_int_eq(fx->note[1].usage.output, 0);
    must_submit(fx, ask_init(&a, 2, 60, 1));
    run_dry(fx);
    ck_assert_int_eq(fx->note[2].usage.cached, 32);
    answer_is_right(fx, &a);
    fixture_close(fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_abort");
    TCase *t = tcase_create("engine_abort");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, cancelled_in_any_state_it_answers_once_and_holds_nothing);
    tcase_add_test(t, a_lost_connection_in_any_state_is_silent_and_holds_nothing);
    tcase_add_test(t, a_failing_device_in_any_state_is_told_and_holds_nothing);
    tcase_add_test(t, the_pages_of_a_cancelled_prompt_serve_the_next_one);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
