/* The server and its threads over a fake model: what gateways may do to an engine, and may not. */
#include "tests/fake/frame_client.h"
#include "tests/fake/sched_fixture.h"

#include <pthread.h>
#include <time.h>

#include "base/loop.h"
#include "engine/listen.h"
#include "engine/server.h"

struct engine {
    struct fake_backend fake;
    struct tokenizer *tok;
    struct buf card;
    struct loop *loop;
    struct server *server;
    struct loop_post stop; /* carries server_stop into the loop's thread */
    pthread_t thread;
    bool is_running;
    char path[64], address[80];
    struct err err;
};

static void *run_loop(void *arg)
{
    struct engine *e = arg;
    ck_assert_int_eq(loop_run(e->loop, &e->err), RC_OK);
    return NULL;
}

static void on_stop(struct loop_post *p)
{
    server_stop(((struct engine *)p->user)->server);
}

static struct engine *engine_start(struct sched_opts sched, size_t backlog_max, int32_t step_us)
{
    struct engine *e = calloc(1, sizeof *e);
    ck_assert_ptr_nonnull(e);
    ck_assert_int_eq(hash_init(&e->err), RC_OK);
    log_init("test", LOG_ERROR);
    snprintf(e->path, sizeof e->path, "/tmp/sluice-test-%d.sock", (int)getpid());
    snprintf(e->address, sizeof e->address, "unix:%s", e->path);
    e->tok = toy_tokenizer("smollm");
    buf_init(&e->card, 1 << 20);
    buf_z(&e->card, "the card");
    sched.n_vocab = tokenizer_vocab(e->tok);
    fake_init(&e->fake, sched.n_vocab, sched.n_pages, sched.max_batch, sched.max_seqs, END_ID);
    e->fake.step_us = step_us;
    e->stop = (struct loop_post){.on_post = on_stop, .user = e};
    struct server_opts o = {.listen = str_of(e->address),
                            .drain_ms = 2000,
                            .backlog_max = backlog_max,
                            .runner = {.sched = sched,
                                       .ops = &fake_ops,
                                       .backend = &e->fake.base,
                                       .tok = e->tok,
                                       .clock = clock_system(),
                                       .path = STR("fake"),
                                       .card = buf_view(&e->card)}};
    ck_assert_int_eq(loop_open(clock_system(), &e->loop, &e->err), RC_OK);
    ck_assert_msg(server_open(e->loop, &o, &e->server, &e->err) == RC_OK, "%s", e->err.msg);
    e->is_running = pthread_create(&e->thread, NULL, run_loop, e) == 0;
    ck_assert(e->is_running);
    return e;
}

/* As SIGTERM would; returns after the loop has ended by itself. */
static void engine_drain(struct engine *e)
{
    loop_post(e->loop, &e->stop);
    pthread_join(e->thread, NULL);
    e->is_running = false;
}

static void engine_stop(struct engine *e)
{
    if (e->is_running) {
        loop_stop(e->loop);
        pthread_join(e->thread, NULL);
    }
    server_close(e->server);
    loop_close(e->loop);
    fake_done(&e->fake);
    tokenizer_close(e->tok);
    buf_done(&e->card);
    free(e);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Asks until the pool is whole again; each answer comes between two steps. */
static void pool_comes_back(struct client *c)
{
    static uint64_t nonce = 1000;
    for (int i = 0; i < 1000; i++) {
        client_ping(c, ++nonce);
        if (c->load.running + c->load.waiting == 0)
            break;
    }
    ck_assert_int_eq(c->load.running + c->load.waiting, 0);
    ck_assert_int_eq(c->load.pages_free, c->load.pages_total);
}

static void right_answer(struct engine *e, const struct client *c, const struct ask *a)
{
    const struct heard *h = &c->heard[a->f.rid];
    int32_t want[IDS_MAX];
    int32_t n = fake_answer(&e->fake, a->token, a->f.n_prompt, a->f.params.max_tok, want);
    ck_assert_int_eq(h->n_done, 1);
    ck_assert_int_eq(h->n_error, 0);
    ck_assert_int_eq(h->usage.output, n);
    ck_assert_mem_eq(h->id, want, sizeof(int32_t) * (size_t)h->n_ids);
}

START_TEST(a_gateway_is_told_the_sizes_the_card_and_its_answer)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    struct client *c = client_open(e->path);
    client_hello(c);
    ck_assert_int_eq(c->ack.n_ctx, 128);
    ck_assert_int_eq(c->ack.max_seqs, 4);
    ck_assert_int_eq(c->ack.load.pages_total, 32);
    ck_assert(str_is(buf_view(&c->card), "the card"));
    struct ask a;
    client_submit(c, &ask_init(&a, 1, 20, 3)->f);
    CLIENT_UNTIL(c, client_is_over(c, 1));
    right_answer(e, c, &a);
    pool_comes_back(c);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(many_at_once_each_get_their_own_answer)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    struct client *c[3];
    static struct ask ask[3][16];
    for (int k = 0; k < 3; k++)
        client_hello(c[k] = client_open(e->path));
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t k = 0; k < 3; k++) /* the same rids on each connection */
            client_submit(c[k], &ask_init(&ask[k][i], i + 1, 3 + (int32_t)i * 9, k * 7 + i)->f);
    for (int k = 0; k < 3; k++)
        for (uint32_t i = 0; i < 5; i++) {
            CLIENT_UNTIL(c[k], client_is_over(c[k], i + 1));
            right_answer(e, c[k], &ask[k][i]);
        }
    pool_comes_back(c[0]);
    for (int k = 0; k < 3; k++)
        client_close(c[k]);
    engine_stop(e);
}
END_TEST

START_TEST(a_refusal_names_the_reason_and_the_connection_lives)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a;
    client_submit(c, &ask_init(&a, 1, 300, 3)->f);
    CLIENT_UNTIL(c, client_is_over(c, 1));
    ck_assert_int_eq(c->heard[1].rc, RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(c->heard[1].message, "at most 127"));
    client_submit(c, &ask_init(&a, 2, 30, 3)->f);
    CLIENT_UNTIL(c, client_is_over(c, 2));
    right_answer(e, c, &a);
    client_close(c);
    engine_stop(e);
}
END_TEST

/* Steps of 20 ms: a long answer would take seconds. */
START_TEST(cancel_ends_a_request_within_a_step)
{
    struct engine *e = engine_start(small_opts(), 0, 20000);
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a;
    ask_init(&a, 1, 20, 3)->f.params.max_tok = 100;
    client_submit(c, &a.f);
    CLIENT_UNTIL(c, c->heard[1].usage.output >= 3);
    int64_t start = clock_mono_ms(clock_system());
    client_cancel(c, 1);
    int32_t before = c->heard[1].usage.output;
    CLIENT_UNTIL(c, client_is_over(c, 1));
    ck_assert_int_eq(c->heard[1].finish, FINISH_ABORT);
    ck_assert_int_le(c->heard[1].usage.output, before + 2);
    ck_assert_int_eq(c->heard[1].usage.output, c->heard[1].n_ids);
    ck_assert_int_lt(clock_mono_ms(clock_system()) - start, 1000);
    client_ping(c, 1);
    ck_assert_int_eq(c->load.running, 0);
    client_cancel(c, 1); /* once more: nobody is hurt */
    client_cancel(c, 77);
    pool_comes_back(c);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(a_lost_connection_takes_its_requests_along)
{
    struct engine *e = engine_start(small_opts(), 0, 5000);
    struct client *a = client_open(e->path), *b = client_open(e->path);
    client_hello(a);
    client_hello(b);
    struct ask ask;
    for (uint32_t i = 1; i <= 6; i++) { /* four run, two wait */
        ask_init(&ask, i, 20, i)->f.params.max_tok = 100;
        client_submit(a, &ask.f);
    }
    CLIENT_UNTIL(a, a->heard[1].usage.output > 0);
    client_close(a);
    int64_t start = clock_mono_ms(clock_system());
    pool_comes_back(b);
    ck_assert_int_lt(clock_mono_ms(clock_system()) - start, 1000);
    client_close(b);
    engine_stop(e);
}
END_TEST

static void expect_closed(struct client *c)
{
    while (client_read(c, CLIENT_WAIT_MS)) {
    }
    ck_assert(c->is_closed);
}

START_TEST(broken_frames_end_their_connection_and_nothing_else)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    struct client *good = client_open(e->path);
    client_hello(good);
    for (int round = 0; round < 8; round++) {
        struct client *c = client_open(e->path);
        struct ask a;
        struct frame f = {.type = FRAME_SUBMIT, .submit = ask_init(&a, 1, 9, 1)->f};
        if (round == 0)
            client_send_bytes(c, "GET / HTTP/1.1\r\n\r\n", 18);
        if (round == 1)
            client_send(c, &f); /* before HELLO */
        if (round >= 2)
            client_hello(c);
        if (round == 2)
            client_hello(c); /* twice; the first answer satisfies the wait */
        if (round == 3)
            client_send(c, &(struct frame){.type = FRAME_STATUS});
        if (round == 4)
            client_send_bytes(c, "SLF1\x03\x01\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00", 16);
        if (round >= 5) {
            buf_clear(&c->out);
            ck_assert_int_eq(frame_write(&c->out, &f, &c->err), RC_OK);
            c->out.p[round == 5 ? 12 : round == 6 ? 40 : 6] ^= 1;
            client_send_bytes(c, c->out.p, c->out.len);
        }
        expect_closed(c);
        ck_assert_int_eq(c->refused.rc, RC_CORRUPT);
        client_close(c);
    }
    struct ask a;
    client_submit(good, &ask_init(&a, 1, 9, 1)->f);
    CLIENT_UNTIL(good, client_is_over(good, 1));
    right_answer(e, good, &a);
    client_close(good);
    engine_stop(e);
}
END_TEST

START_TEST(frames_may_come_in_any_pieces)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a;
    struct frame f = {.type = FRAME_SUBMIT, .submit = ask_init(&a, 1, 30, 1)->f};
    buf_clear(&c->out);
    ck_assert_int_eq(frame_write(&c->out, &f, &c->err), RC_OK);
    for (size_t i = 0; i < c->out.len; i++)
        client_send_bytes(c, c->out.p + i, 1);
    CLIENT_UNTIL(c, client_is_over(c, 1));
    right_answer(e, c, &a);
    client_close(c);
    engine_stop(e);
}
END_TEST

/* A gateway that never reads, with a bound of 256 KiB: it is cut, its neighbour is served. */
START_TEST(a_gateway_that_does_not_read_is_cut_and_others_go_on)
{
    struct sched_opts o = small_opts();
    o.n_ctx = 4096;
    o.n_pages = 1024;
    struct engine *e = engine_start(o, 256 << 10, 0);
    struct client *slow = client_open(e->path), *good = client_open(e->path);
    client_hello(slow);
    client_hello(good);
    struct ask a;
    for (uint32_t i = 1; i <= 4; i++) {
        ask_init(&a, i, 20, i)->f.params.max_tok = 4000;
        a.f.params.top_logprobs = 20; /* wordy */
        client_submit(slow, &a.f);
    }
    client_submit(good, &ask_init(&a, 1, 9, 1)->f);
    CLIENT_UNTIL(good, client_is_over(good, 1)); /* it waits for a place among four */
    right_answer(e, good, &a);
    pool_comes_back(good);
    expect_closed(slow);
    int32_t n_done = 0;
    for (uint64_t i = 1; i <= 4; i++)
        n_done += slow->heard[i].n_done;
    ck_assert_int_lt(n_done, 4);
    client_close(slow);
    client_close(good);
    engine_stop(e);
}
END_TEST

/* More frames than the ring holds, while a step takes its time: the socket waits, nothing is lost.
 */
START_TEST(a_flood_of_frames_waits_its_turn)
{
    struct engine *e = engine_start(small_opts(), 0, 30000);
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a;
    ask_init(&a, 1, 20, 3)->f.params.max_tok = 20;
    client_submit(c, &a.f);
    CLIENT_UNTIL(c, c->heard[1].usage.output > 0);
    for (uint64_t nonce = 1; nonce <= 3 * RUNNER_RING; nonce++) {
        const struct frame f = {.type = FRAME_PING, .ping = {nonce}};
        client_send(c, &f);
    }
    CLIENT_UNTIL(c, c->pong == 3 * RUNNER_RING);
    CLIENT_UNTIL(c, client_is_over(c, 1));
    right_answer(e, c, &a);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(an_idle_engine_uses_no_time)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a;
    client_submit(c, &ask_init(&a, 1, 9, 1)->f);
    CLIENT_UNTIL(c, client_is_over(c, 1));
    struct timespec before, after;
    pause_ms(20);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    pause_ms(500);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    int64_t us = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
    ck_assert_msg(us < 5000, "%d us of CPU in half a second of nothing", (int)us);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(a_drain_finishes_what_runs_and_refuses_what_comes)
{
    struct engine *e = engine_start(small_opts(), 0, 5000);
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a, late;
    ask_init(&a, 1, 20, 3)->f.params.max_tok = 50;
    client_submit(c, &a.f);
    CLIENT_UNTIL(c, c->heard[1].usage.output > 0);
    loop_post(e->loop, &e->stop);
    while (access(e->path, F_OK) == 0)
        pause_ms(1);
    client_submit(c, &ask_init(&late, 2, 20, 3)->f);
    CLIENT_UNTIL(c, client_is_over(c, 2));
    ck_assert_int_eq(c->heard[2].rc, RC_UNAVAILABLE);
    CLIENT_UNTIL(c, client_is_over(c, 1));
    right_answer(e, c, &a);
    pthread_join(e->thread, NULL);
    e->is_running = false;
    expect_closed(c);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(a_drain_has_a_deadline)
{
    struct engine *e = engine_start(small_opts(), 0, 50000); /* 100 tokens: five seconds */
    struct client *c = client_open(e->path);
    client_hello(c);
    struct ask a;
    ask_init(&a, 1, 20, 3)->f.params.max_tok = 100;
    client_submit(c, &a.f);
    CLIENT_UNTIL(c, c->heard[1].usage.output > 0);
    engine_drain(e); /* drain_ms is 2000 here */
    expect_closed(c);
    ck_assert_int_eq(c->heard[1].n_done, 1);
    ck_assert_int_eq(c->heard[1].finish, FINISH_ABORT);
    ck_assert_int_eq(c->heard[1].usage.output, c->heard[1].n_ids);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(a_second_engine_does_not_steal_the_socket)
{
    struct engine *e = engine_start(small_opts(), 0, 0);
    int fd;
    ck_assert_int_eq(listen_open(str_of(e->address), &fd, &e->err), RC_CONFLICT);
    struct client *c = client_open(e->path);
    client_hello(c);
    client_close(c);
    engine_stop(e);
}
END_TEST

START_TEST(addresses_are_read_strictly)
{
    struct err err;
    int fd;
    static const char *const bad[] = {"",           "unix:",      "tcp:",        "tcp:127.0.0.1",
                                      "tcp::1:x",   "http://a:1", "tcp:host:-1", "tcp:h:70000",
                                      "/tmp/a.sock"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_int_eq(listen_open(str_of(bad[i]), &fd, &err), RC_BAD_INPUT);
    ck_assert_int_eq(listen_open(STR("tcp:127.0.0.1:0"), &fd, &err), RC_OK);
    close(fd);
    ck_assert_int_eq(listen_open(STR("tcp:[::1]:0"), &fd, &err), RC_OK);
    close(fd);
}
END_TEST

/* Connections that come and go in the middle of everything; nothing is left at the end. */
START_TEST(a_storm_of_gateways_leaves_nothing_behind)
{
    struct engine *e = engine_start(small_opts(), 0, 200);
    struct client *watch = client_open(e->path);
    client_hello(watch);
    uint64_t luck = 5;
    for (int round = 0; round < 60; round++) {
        struct client *c = client_open(e->path);
        client_hello(c);
        struct ask a;
        for (uint32_t i = 1; i <= 5; i++) {
            ask_init(&a, i, 1 + (int32_t)(luck % 90), i)->f.params.max_tok = 30;
            client_submit(c, &a.f);
            luck = fake_mix(luck, i);
        }
        if (luck % 3 == 0)
            client_cancel(c, 1 + luck / 3 % 5);
        for (uint64_t reads = luck % 7; reads; reads--)
            client_read(c, 5);
        client_close(c);
    }
    pool_comes_back(watch);
    client_close(watch);
    engine_stop(e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_server");
    TCase *t = tcase_create("engine_server");
    tcase_set_timeout(t, 180);
    tcase_add_test(t, a_gateway_is_told_the_sizes_the_card_and_its_answer);
    tcase_add_test(t, many_at_once_each_get_their_own_answer);
    tcase_add_test(t, a_refusal_names_the_reason_and_the_connection_lives);
    tcase_add_test(t, cancel_ends_a_request_within_a_step);
    tcase_add_test(t, a_lost_connection_takes_its_requests_along);
    tcase_add_test(t, broken_frames_end_their_connection_and_nothing_else);
    tcase_add_test(t, frames_may_come_in_any_pieces);
    tcase_add_test(t, a_gateway_that_does_not_read_is_cut_and_others_go_on);
    tcase_add_test(t, a_flood_of_frames_waits_its_turn);
    tcase_add_test(t, an_idle_engine_uses_no_time);
    tcase_add_test(t, a_drain_finishes_what_runs_and_refuses_what_comes);
    tcase_add_test(t, a_drain_has_a_deadline);
    tcase_add_test(t, a_second_engine_does_not_steal_the_socket);
    tcase_add_test(t, addresses_are_read_strictly);
    tcase_add_test(t, a_storm_of_gateways_leaves_nothing_behind);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
