/* One request's own life: what it copies, how it counts, where it ends. */
#include "tests/fake/sched_fixture.h"

#include <signal.h>

struct fixture {
    struct tokenizer *tok;
    struct ask ask;
    struct seq *q;
    struct err err;
};

static void setup(struct fixture *fx, int32_t max_tok)
{
    *fx = (struct fixture){.tok = toy_tokenizer("smollm")};
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    ask_init(&fx->ask, 1, 20, 1)->f.params.max_tok = max_tok;
}

static void make(struct fixture *fx, int32_t limit)
{
    enum rc rc = seq_new(&fx->ask.f, CONN, limit, fx->tok, 0, &fx->q, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
    seq_check(fx->q);
    seq_move(fx->q, SEQ_PREFILL);
    seq_move(fx->q, SEQ_DECODE);
}

static void teardown(struct fixture *fx)
{
    seq_free(fx->q);
    tokenizer_close(fx->tok);
}

static void push(struct fixture *fx, int32_t id)
{
    const struct sample_out out = {.chosen = {id, -0.5f}};
    ck_assert_int_eq(seq_push(fx->q, fx->tok, &out, &fx->err), RC_OK);
}

START_TEST(a_request_is_copied_whole)
{
    struct fixture fx;
    setup(&fx, 10);
    char stop[] = "END";
    struct frame_bias bias = {3, 4};
    fx.ask.f.params.n_stop = 1;
    fx.ask.f.params.stop[0] = str_of(stop);
    fx.ask.f.params.n_bias = 1;
    fx.ask.f.params.bias = &bias;
    make(&fx, 100);
    int32_t first = fx.ask.token[0];
    memset(&fx.ask.token, 0x55, sizeof fx.ask.token);
    memset(stop, 'x', 3);
    bias.id = 99;
    ck_assert_int_eq(fx.q->token[0], first);
    ck_assert(str_is(fx.q->params.stop[0], "END"));
    ck_assert_int_eq(fx.q->params.bias[0].id, 3);
    ck_assert_int_eq(fx.q->max_total, 30);
    ck_assert_int_eq(fx.q->max_pages, 2);
    teardown(&fx);
}
END_TEST

START_TEST(it_ends_by_length_at_max_tok_or_at_the_limit)
{
    for (int32_t limit = 22; limit <= 100; limit += 78) {
        struct fixture fx;
        setup(&fx, 5);
        make(&fx, limit);
        int32_t room = limit == 22 ? 2 : 5;
        for (int32_t i = 0; i < room; i++) {
            ck_assert(!fx.q->finish);
            push(&fx, 'a');
        }
        ck_assert_int_eq(fx.q->finish, FINISH_LENGTH);
        ck_assert_int_eq(fx.q->usage.output, room);
        ck_assert_int_eq(fx.q->n_logprobs, room);
        ck_assert(str_is(buf_view(&fx.q->text), room == 2 ? "aa" : "aaaaa"));
        teardown(&fx);
    }
}
END_TEST

START_TEST(the_end_token_is_counted_and_not_shown)
{
    struct fixture fx;
    setup(&fx, 5);
    make(&fx, 100);
    push(&fx, 'a');
    push(&fx, END_ID);
    ck_assert_int_eq(fx.q->finish, FINISH_STOP);
    ck_assert_int_eq(fx.q->usage.output, 2);
    ck_assert_int_eq(fx.q->n_logprobs, 1);
    ck_assert_int_eq(fx.q->stop_index, -1);
    ck_assert(str_is(buf_view(&fx.q->text), "a"));
    teardown(&fx);
}
END_TEST

START_TEST(an_ignored_end_token_goes_on)
{
    struct fixture fx;
    setup(&fx, 3);
    fx.ask.f.params.ignore_eos = true;
    make(&fx, 100);
    push(&fx, END_ID);
    ck_assert(!fx.q->finish);
    push(&fx, 'b');
    push(&fx, END_ID);
    ck_assert_int_eq(fx.q->finish, FINISH_LENGTH);
    ck_assert_int_eq(fx.q->usage.output, 3);
    teardown(&fx);
}
END_TEST

START_TEST(a_stop_id_ends_it_even_when_end_tokens_are_ignored)
{
    struct fixture fx;
    setup(&fx, 5);
    fx.ask.f.params.ignore_eos = true;
    fx.ask.f.params.n_stop_ids = 2;
    fx.ask.f.params.stop_id[1] = 'z';
    make(&fx, 100);
    push(&fx, 'y');
    push(&fx, 'z');
    ck_assert_int_eq(fx.q->finish, FINISH_STOP);
    ck_assert(str_is(buf_view(&fx.q->text), "y"));
    teardown(&fx);
}
END_TEST

START_TEST(a_stop_string_over_three_tokens_is_never_shown)
{
    struct fixture fx;
    setup(&fx, 9);
    fx.ask.f.params.n_stop = 2;
    fx.ask.f.params.stop[0] = STR("xyz");
    fx.ask.f.params.stop[1] = STR("\n\n");
    make(&fx, 100);
    push(&fx, 'a');
    push(&fx, 'x');
    ck_assert(str_is(buf_view(&fx.q->text), "a")); /* x is held back */
    push(&fx, 'b');
    ck_assert(str_is(buf_view(&fx.q->text), "axb")); /* and comes when it was nothing */
    push(&fx, 'x');
    push(&fx, 'y');
    push(&fx, 'z');
    ck_assert_int_eq(fx.q->finish, FINISH_STOP);
    ck_assert_int_eq(fx.q->stop_index, 0);
    seq_flush(fx.q);
    ck_assert(str_is(buf_view(&fx.q->text), "axb"));
    ck_assert_int_eq(fx.q->usage.output, 6);
    teardown(&fx);
}
END_TEST

START_TEST(what_was_held_back_comes_with_the_end)
{
    struct fixture fx;
    setup(&fx, 2);
    fx.ask.f.params.n_stop = 1;
    fx.ask.f.params.stop[0] = STR("xyz");
    make(&fx, 100);
    push(&fx, 'x');
    push(&fx, 'y');
    ck_assert_int_eq(fx.q->finish, FINISH_LENGTH);
    ck_assert_uint_eq(fx.q->text.len, 0);
    seq_flush(fx.q);
    ck_assert(str_is(buf_view(&fx.q->text), "xy"));
    teardown(&fx);
}
END_TEST

START_TEST(an_incomplete_character_waits)
{
    struct fixture fx;
    setup(&fx, 5);
    make(&fx, 100);
    push(&fx, 0xe4); /* the first byte of a character of three */
    push(&fx, 0xb8);
    ck_assert_uint_eq(fx.q->text.len, 0);
    push(&fx, 0xad);
    ck_assert(str_is(buf_view(&fx.q->text), "\xe4\xb8\xad"));
    teardown(&fx);
}
END_TEST

START_TEST(a_move_that_is_not_in_the_table_is_caught)
{
    struct fixture fx;
    setup(&fx, 5);
    make(&fx, 100);
    seq_move(fx.q, SEQ_PREFILL); /* from DECODE: only by way of QUEUED */
    teardown(&fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("seq");
    TCase *t = tcase_create("seq");
    tcase_add_test(t, a_request_is_copied_whole);
    tcase_add_test(t, it_ends_by_length_at_max_tok_or_at_the_limit);
    tcase_add_test(t, the_end_token_is_counted_and_not_shown);
    tcase_add_test(t, an_ignored_end_token_goes_on);
    tcase_add_test(t, a_stop_id_ends_it_even_when_end_tokens_are_ignored);
    tcase_add_test(t, a_stop_string_over_three_tokens_is_never_shown);
    tcase_add_test(t, what_was_held_back_comes_with_the_end);
    tcase_add_test(t, an_incomplete_character_waits);
    tcase_add_test_raise_signal(t, a_move_that_is_not_in_the_table_is_caught, SIGABRT);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
