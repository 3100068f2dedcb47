/* The scheduler over a fake model: right answers in every company, pages that always come back. */
#include "tests/fake/sched_fixture.h"

START_TEST(an_answer_does_not_depend_on_company_or_chunks)
{
    static const int32_t chunks[] = {0, 1, 5, 16};
    for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
        struct sched_opts o = small_opts();
        o.max_chunk = chunks[c];
        struct sched_fixture *fx = fixture_open(o, 20);
        fx->fake.end_every = 15;
        struct ask ask[12];
        for (uint32_t i = 0; i < 12; i++)
            must_submit(fx, ask_init(&ask[i], i + 1, 3 + 7 * (int32_t)i, i));
        run_dry(fx);
        for (uint32_t i = 0; i < 12; i++)
            answer_is_right(fx, &ask[i]);
        ck_assert_int_le(fx->fake.widest, 32);
        pool_is_whole(fx);
        fixture_close(fx);
    }
}
END_TEST

START_TEST(a_known_prefix_is_not_computed_again_and_the_answer_is_the_same)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a[4];
    must_submit(fx, ask_init(&a[0], 1, 40, 7));
    run_dry(fx);
    int64_t rows = fx->s.stats.rows;
    must_submit(fx, ask_init(&a[1], 2, 40, 7));
    run_dry(fx);
    ck_assert_int_eq(fx->note[1].usage.cached, 0);
    ck_assert_int_eq(fx->note[2].usage.cached, 32);
    ck_assert_int_eq(fx->s.stats.rows - rows, 8 + 9);
    /* All blocks known: the last one is computed once more, for its logits. */
    must_submit(fx, ask_init(&a[2], 3, 32, 7));
    run_dry(fx);
    ck_assert_int_eq(fx->note[3].usage.cached, 16);
    /* The answer of before is a part of the next prompt. */
    ask_init(&a[3], 4, 40, 7);
    memcpy(a[3].token + 40, fx->note[1].id, 8 * sizeof(int32_t));
    a[3].token[48] = 9;
    a[3].f.n_prompt = 49;
    must_submit(fx, &a[3]);
    run_dry(fx);
    ck_assert_int_eq(fx->note[4].usage.cached, 48);
    for (int i = 0; i < 4; i++)
        answer_is_right(fx, &a[i]);
    ck_assert_mem_eq(fx->note[1].id, fx->note[2].id, sizeof(int32_t) * 10);
    ck_assert_mem_eq(fx->note[1].logprob, fx->note[2].logprob, sizeof(float) * 10);
    pool_is_whole(fx);
    fixture_close(fx);
}
END_TEST

START_TEST(another_org_computes_its_own)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a, b;
    must_submit(fx, ask_init(&a, 1, 64, 7));
    run_dry(fx);
    ask_init(&b, 2, 64, 7);
    b.f.org_salt[3] = 'X';
    must_submit(fx, &b);
    run_dry(fx);
    ck_assert_int_eq(fx->note[2].usage.cached, 0);
    answer_is_right(fx, &b);
    fixture_close(fx);
}
END_TEST

START_TEST(decodes_go_on_while_a_long_prompt_is_read)
{
    struct sched_opts o = small_opts();
    o.max_batch = 8;
    struct sched_fixture *fx = fixture_open(o, 20);
    struct ask a, b;
    must_submit(fx, ask_init(&a, 1, 4, 1));
    step(fx);
    ck_assert_int_eq(fx->note[1].usage.output, 1);
    must_submit(fx, ask_init(&b, 2, 60, 2));
    for (int32_t i = 2; i < 9; i++) {
        step(fx);
        ck_assert_int_eq(fx->note[1].usage.output, i);
        ck_assert_int_eq(fx->note[2].usage.output, 0);
    }
    step(fx); /* 8 steps of 7 rows; 60 = 8 * 7 + 4 */
    run_dry(fx);
    answer_is_right(fx, &a);
    answer_is_right(fx, &b);
    fixture_close(fx);
}
END_TEST

/* Two that fit alone but not together: the younger one yields and is none the wiser. */
START_TEST(a_preempted_request_goes_on_as_if_nothing_had_happened)
{
    struct sched_opts o = small_opts();
    o.n_pages = 8;
    struct sched_fixture *fx = fixture_open(o, 20);
    struct ask a, b;
    ask_init(&a, 1, 40, 1);
    ask_init(&b, 2, 40, 2);
    a.f.params.max_tok = b.f.params.max_tok = 60;
    must_submit(fx, &a);
    must_submit(fx, &b);
    run_dry(fx);
    ck_assert_int_gt(fx->s.stats.preempted, 0);
    answer_is_right(fx, &a);
    answer_is_right(fx, &b);
    ck_assert_int_eq(fx->note[2].usage.cached, 0); /* its own pages, found again, are no discount */
    pool_is_whole(fx);
    fixture_close(fx);
}
END_TEST

START_TEST(a_prompt_that_never_fits_is_refused_at_once)
{
    struct sched_opts o = small_opts();
    struct sched_fixture *fx = fixture_open(o, 20);
    struct ask a;
    ck_assert_int_eq(submit(fx, ask_init(&a, 1, 128, 1)), RC_BAD_INPUT);
    ck_assert_str_eq(fx->err.msg, "prompt has 128 tokens, the context of 128 allows at most 127");
    a.f.params.max_tok = 0;
    ck_assert_int_eq(submit(fx, &a), RC_OK);
    run_dry(fx);
    fixture_close(fx);
    o.n_pages = 2;
    fx = fixture_open(o, 20);
    ck_assert_int_eq(submit(fx, ask_init(&a, 1, 32, 1)), RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(fx->err.msg, "KV memory allows at most 31"));
    must_submit(fx, ask_init(&a, 1, 31, 1)); /* a pool of exactly one request */
    run_dry(fx);
    answer_is_right(fx, &a);
    ck_assert_int_eq(fx->note[1].finish, FINISH_LENGTH);
    ck_assert_int_eq(fx->note[1].usage.output, 1);
    fixture_close(fx);
}
END_TEST

START_TEST(a_full_context_ends_with_length)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a;
    ask_init(&a, 1, 100, 1);
    a.f.params.max_tok = 1000;
    must_submit(fx, &a);
    run_dry(fx);
    answer_is_right(fx, &a);
    ck_assert_int_eq(fx->note[1].usage.output, 28);
    ck_assert_int_eq(fx->note[1].finish, FINISH_LENGTH);
    fixture_close(fx);
}
END_TEST

START_TEST(no_or_one_token_may_be_asked_for)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a, b;
    ask_init(&a, 1, 20, 1)->f.params.max_tok = 0;
    ask_init(&b, 2, 20, 1)->f.params.max_tok = 1;
    must_submit(fx, &a);
    must_submit(fx, &b);
    run_dry(fx);
    answer_is_right(fx, &a);
    answer_is_right(fx, &b);
    ck_assert_int_eq(fx->note[1].usage.output, 0);
    ck_assert_int_eq(fx->note[1].usage.input, 20);
    ck_assert_int_eq(fx->note[1].n_tokens_frames, 0);
    ck_assert_int_eq(fx->note[2].usage.output, 1);
    fixture_close(fx);
}
END_TEST

START_TEST(a_full_line_refuses_and_forgets)
{
    struct sched_opts o = small_opts();
    o.max_waiting = 2;
    struct sched_fixture *fx = fixture_open(o, 20);
    struct ask a;
    must_submit(fx, ask_init(&a, 1, 5, 1));
    must_submit(fx, ask_init(&a, 2, 5, 1));
    ck_assert_int_eq(submit(fx, ask_init(&a, 3, 5, 1)), RC_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(fx->err.msg, "engine is full"));
    ck_assert_int_eq(submit(fx, ask_init(&a, 1, 5, 1)), RC_CONFLICT);
    step(fx);
    must_submit(fx, ask_init(&a, 3, 5, 1));
    sched_drain(&fx->s);
    ck_assert_int_eq(submit(fx, ask_init(&a, 4, 5, 1)), RC_UNAVAILABLE);
    run_dry(fx);
    ck_assert_int_eq(fx->note[3].n_done, 1);
    fixture_close(fx);
}
END_TEST

START_TEST(ids_outside_the_vocabulary_are_refused)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a;
    struct frame_bias bias = {100000, 1};
    ask_init(&a, 1, 5, 1)->token[3] = fx->s.opts.n_vocab;
    ck_assert_int_eq(submit(fx, &a), RC_BAD_INPUT);
    ask_init(&a, 1, 5, 1)->f.params.bias = &bias;
    a.f.params.n_bias = 1;
    ck_assert_int_eq(submit(fx, &a), RC_BAD_INPUT);
    ck_assert_str_eq(fx->err.field, "logit_bias");
    ask_init(&a, 1, 5, 1)->f.params.n_stop_ids = 1;
    a.f.params.stop_id[0] = fx->s.opts.n_vocab;
    ck_assert_int_eq(submit(fx, &a), RC_BAD_INPUT);
    ck_assert(!sched_has_work(&fx->s));
    fixture_close(fx);
}
END_TEST

START_TEST(broken_logits_fail_one_request_only)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a, b;
    must_submit(fx, ask_init(&a, 1, 20, 1));
    ask_init(&b, 2, 20, 2);
    b.token[19] = fx->fake.poison = 269;
    must_submit(fx, &b);
    run_dry(fx);
    answer_is_right(fx, &a);
    ck_assert_int_eq(fx->note[2].n_error, 1);
    ck_assert_int_eq(fx->note[2].n_done, 0);
    ck_assert_int_eq(fx->note[2].rc, RC_INTERNAL);
    ck_assert_int_eq(fx->note[2].usage.input, 20);
    pool_is_whole(fx);
    fixture_close(fx);
}
END_TEST

START_TEST(a_failed_pass_fails_its_requests_and_the_next_ones_run)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a, b;
    must_submit(fx, ask_init(&a, 1, 20, 1));
    step(fx);
    fx->fake.fail_at = fx->fake.n_forwards + 1;
    step(fx);
    ck_assert_int_eq(fx->note[1].n_error, 1);
    ck_assert_int_eq(fx->note[1].usage.output, 1);
    must_submit(fx, ask_init(&b, 2, 20, 1));
    run_dry(fx);
    answer_is_right(fx, &b);
    pool_is_whole(fx);
    fixture_close(fx);
}
END_TEST

START_TEST(a_backed_up_connection_gets_fewer_but_complete_frames)
{
    struct sched_fixture *fx = fixture_open(small_opts(), 20);
    struct ask a;
    ask_init(&a, 1, 5, 1)->f.params.max_tok = 100;
    must_submit(fx, &a);
    fx->is_backed_up = true;
    run_dry(fx);
    answer_is_right(fx, &a);
    ck_assert_int_eq(fx->note[1].n_tokens_frames, 2); /* a frame carries 64 at most */
    fixture_close(fx);
}
END_TEST

START_TEST(times_are_those_of_the_clock)
{
    struct sched_opts o = small_opts();
    o.max_seqs = 1;
    struct sched_fixture *fx = fixture_open(o, 20);
    struct ask a, b;
    must_submit(fx, ask_init(&a, 1, 40, 1));
    must_submit(fx, ask_init(&b, 2, 5, 2));
    run_dry(fx);
    const struct frame_usage *u = &fx->note[1].usage;
    ck_assert_int_eq(u->queue_us, 1000); /* a step is 1 ms here; 40 rows are two of them */
    ck_assert_int_eq(u->prefill_us, 1000);
    ck_assert_int_eq(u->decode_us, 9000);
    ck_assert_int_eq(fx->note[2].usage.queue_us, 12000);
    fixture_close(fx);
}
END_TEST

/* ---- the model check ---- */

enum { STEPS = 100000, RIDS = 60000, LIVE_MAX = 64, WAIT_BOUND = 1500 };

static uint64_t rng_state = 20261121;
static uint32_t rnd(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct live {
    struct ask ask;
    uint64_t conn;
    int64_t since; /* step */
    bool is_cancelled, is_dropped;
};

struct world {
    struct sched_fixture *fx;
    struct live live[LIVE_MAX];
    int n_live;
    uint64_t next_rid;
    int64_t n_step, longest, refused, answered, aborted, dropped;
};

static void arrive(struct world *w)
{
    if (w->n_live == LIVE_MAX || w->next_rid >= RIDS)
        return;
    struct live *l = &w->live[w->n_live];
    *l = (struct live){.conn = 1 + rnd(3), .since = w->n_step};
    ask_init(&l->ask, w->next_rid++, 1 + (int32_t)rnd(90), rnd(4)); /* four texts: prefixes meet */
    l->ask.f.org_salt[0] = (uint8_t)rnd(2);
    l->ask.f.params.max_tok = (int32_t)rnd(50);
    enum rc rc = sched_submit(&w->fx->s, l->conn, &l->ask.f, w->fx->now_ns, &w->fx->err);
    ck_assert(rc == RC_OK || rc == RC_UNAVAILABLE);
    w->refused += rc != RC_OK;
    w->n_live += rc == RC_OK;
}

static void cancel_one(struct world *w)
{
    if (!w->n_live)
        return;
    struct live *l = &w->live[rnd((uint32_t)w->n_live)];
    sched_cancel(&w->fx->s, l->conn, l->ask.f.rid);
    l->is_cancelled = true;
}

static void drop_conn(struct world *w)
{
    uint64_t conn = 1 + rnd(3);
    sched_drop_conn(&w->fx->s, conn);
    for (int i = 0; i < w->n_live; i++) {
        struct live *l = &w->live[i];
        const struct note *n = &w->fx->note[l->ask.f.rid];
        if (l->conn == conn && !n->n_done)
            l->is_dropped = true;
    }
}

/* Takes out what is over, and looks that it ended as it had to. */
static void reap(struct world *w)
{
    for (int i = w->n_live - 1; i >= 0; i--) {
        struct live *l = &w->live[i];
        const struct note *n = &w->fx->note[l->ask.f.rid];
        ck_assert_int_eq(n->n_error, 0);
        ck_assert_int_le(n->n_done, 1);
        int64_t age = w->n_step - l->since;
        w->longest = age > w->longest ? age : w->longest;
        ck_assert_msg(age <= WAIT_BOUND, "request %d waits for %d steps", (int)l->ask.f.rid,
                      (int)age);
        if (l->is_dropped) {
            ck_assert_int_eq(n->n_done, 0);
            w->dropped++;
        } else if (!n->n_done) {
            continue;
        } else if (n->finish == FINISH_ABORT) {
            ck_assert(l->is_cancelled);
            ck_assert_int_eq(n->usage.output, n->n_ids);
            w->aborted++;
        } else {
            answer_is_right(w->fx, &l->ask);
            w->answered++;
        }
        w->live[i] = w->live[--w->n_live];
    }
}

/* A pool of 12 pages, where three requests are a crowd: arrivals, aborts, hang-ups at random. Every
 * answer is compared with the model's own, every page is counted after every move. */
START_TEST(random_traffic_loses_no_page_and_starves_nobody)
{
    struct sched_opts o = small_opts();
    o.n_pages = 12;
    o.max_batch = 24;
    o.max_seqs = 5;
    o.max_waiting = 8;
    struct world w = {.fx = fixture_open(o, RIDS + 1), .next_rid = 1};
    w.fx->fake.end_every = 30;
    for (; w.n_step < STEPS; w.n_step++) {
        uint32_t luck = rnd(1000);
        if (luck < 250)
            arrive(&w);
        else if (luck < 270)
            cancel_one(&w);
        else if (luck < 272)
            drop_conn(&w);
        else if (luck < 273)
            w.fx->is_backed_up = !w.fx->is_backed_up;
        sched_check(&w.fx->s);
        bool had_work = sched_has_work(&w.fx->s);
        int64_t rows = w.fx->s.stats.rows;
        step(w.fx);
        ck_assert(!had_work || w.fx->s.stats.rows > rows); /* progress, always */
        reap(&w);
    }
    run_dry(w.fx);
    reap(&w);
    ck_assert_int_eq(w.n_live, 0);
    pool_is_whole(w.fx);
    const struct sched_stats *st = &w.fx->s.stats;
    printf("%d steps: %d answered, %d aborted, %d dropped, %d refused, %d preempted, %d tokens "
           "cached, %d recomputed, longest stay %d steps\n",
           STEPS, (int)w.answered, (int)w.aborted, (int)w.dropped, (int)w.refused,
           (int)st->preempted, (int)st->cached_tok, (int)st->recomputed_tok, (int)w.longest);
    ck_assert(w.answered > 1000 && w.aborted > 100 && w.dropped > 20);
    ck_assert(st->preempted > 100 && st->cached_tok > 1000);
    fixture_close(w.fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sched");
    TCase *t = tcase_create("sched");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, an_answer_does_not_depend_on_company_or_chunks);
    tcase_add_test(t, a_known_prefix_is_not_computed_again_and_the_answer_is_the_same);
    tcase_add_test(t, another_org_computes_its_own);
    tcase_add_test(t, decodes_go_on_while_a_long_prompt_is_read);
    tcase_add_test(t, a_preempted_request_goes_on_as_if_nothing_had_happened);
    tcase_add_test(t, a_prompt_that_never_fits_is_refused_at_once);
    tcase_add_test(t, a_full_context_ends_with_length);
    tcase_add_test(t, no_or_one_token_may_be_asked_for);
    tcase_add_test(t, a_full_line_refuses_and_forgets);
    tcase_add_test(t, ids_outside_the_vocabulary_are_refused);
    tcase_add_test(t, broken_logits_fail_one_request_only);
    tcase_add_test(t, a_failed_pass_fails_its_requests_and_the_next_ones_run);
    tcase_add_test(t, a_backed_up_connection_gets_fewer_but_complete_frames);
    tcase_add_test(t, times_are_those_of_the_clock);
    tcase_add_test(t, random_traffic_loses_no_page_and_starves_nobody);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
