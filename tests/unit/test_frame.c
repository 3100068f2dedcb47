/* Frames: what is written is what is read, and nothing else is accepted. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "schema/frame.h"

enum { ARENA_CAP = 1 << 22, PROMPT_MAX = 300, SEED = 7 };

static uint64_t rng_state;
static uint32_t rnd(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}
static char noise[8192];

static struct str some_text(uint32_t max)
{
    uint32_t len = rnd(max + 1);
    return str_make(noise + rnd((uint32_t)sizeof noise - len), len);
}

static float some_real(float lo, float hi)
{
    return lo + (hi - lo) * ((float)rnd(10001) / 10000.0f);
}

static struct frame_usage some_usage(void)
{
    int32_t input = (int32_t)rnd(100000);
    return (struct frame_usage){input,
                                (int32_t)rnd((uint32_t)input + 1),
                                (int32_t)rnd(10000),
                                rnd(1u << 30),
                                INT64_MAX - rnd(9),
                                rnd(1u << 30)};
}

static struct frame_load some_load(void)
{
    int32_t total = (int32_t)rnd(5000);
    return (struct frame_load){(int32_t)rnd(64), (int32_t)rnd(1000),
                               (int32_t)rnd((uint32_t)total + 1), total, rnd(1u << 30)};
}

/* Everything a random frame points to. */
struct props {
    int32_t prompt[PROMPT_MAX];
    struct frame_bias bias[FRAME_BIAS_MAX];
    struct frame_token token[FRAME_RUN_TOKENS_MAX];
    struct frame_logprob top[FRAME_RUN_TOKENS_MAX][FRAME_TOP_LOGPROBS_MAX];
    struct str bytes[FRAME_RUN_TOKENS_MAX][FRAME_TOP_LOGPROBS_MAX];
};

static struct frame_submit some_submit(struct props *x)
{
    struct frame_submit s = {.rid = 1 + rnd(1000), .n_prompt = 1 + (int32_t)rnd(PROMPT_MAX)};
    for (int i = 0; i < 16; i++) {
        s.org_salt[i] = (uint8_t)rnd(256);
        s.request_id[i] = (uint8_t)rnd(256);
    }
    s.prompt = x->prompt;
    for (int32_t i = 0; i < s.n_prompt; i++)
        x->prompt[i] = (int32_t)rnd(INT32_MAX);
    s.params = (struct frame_params){.max_tok = (int32_t)rnd(INT32_MAX),
                                     .min_tok = (int32_t)rnd(100),
                                     .temperature = some_real(0, 2),
                                     .top_p = some_real(0.01f, 1),
                                     .top_k = (int32_t)rnd(100),
                                     .min_p = some_real(0, 1),
                                     .presence = some_real(-2, 2),
                                     .frequency = some_real(-2, 2),
                                     .repetition = some_real(0.1f, 2),
                                     .has_seed = rnd(2),
                                     .ignore_eos = rnd(2),
                                     .logprobs = rnd(2),
                                     .top_logprobs = (int32_t)rnd(21),
                                     .seed = ((uint64_t)rnd(UINT32_MAX) << 32) | rnd(UINT32_MAX),
                                     .n_stop = (int32_t)rnd(FRAME_STOP_MAX + 1),
                                     .n_stop_ids = (int32_t)rnd(FRAME_STOP_IDS_MAX + 1),
                                     .n_bias = (int32_t)rnd(FRAME_BIAS_MAX + 1)};
    for (int32_t i = 0; i < s.params.n_stop; i++)
        s.params.stop[i] = str_make(noise + rnd(100), 1 + rnd(256));
    for (int32_t i = 0; i < s.params.n_stop_ids; i++)
        s.params.stop_id[i] = (int32_t)rnd(49152);
    for (int32_t i = 0; i < s.params.n_bias; i++)
        x->bias[i] = (struct frame_bias){(int32_t)rnd(49152), some_real(-100, 100)};
    s.params.bias = s.params.n_bias ? x->bias : NULL;
    return s;
}

static struct frame_tokens some_tokens(struct props *x)
{
    struct frame_tokens t = {.rid = 1 + rnd(1000),
                             .usage = some_usage(),
                             .text = some_text(500),
                             .n_tokens = (int32_t)rnd(FRAME_RUN_TOKENS_MAX + 1)};
    t.token = t.n_tokens ? x->token : NULL;
    for (int32_t i = 0; i < t.n_tokens; i++) {
        struct frame_token *one = &x->token[i];
        *one = (struct frame_token){.chosen = {(int32_t)rnd(49152), some_real(-30, 0)},
                                    .bytes = some_text(20),
                                    .n_top = (int32_t)rnd(FRAME_TOP_LOGPROBS_MAX + 1),
                                    .top = x->top[i],
                                    .top_bytes = x->bytes[i]};
        for (int32_t k = 0; k < one->n_top; k++) {
            x->top[i][k] = (struct frame_logprob){(int32_t)rnd(49152), some_real(-30, 0)};
            x->bytes[i][k] = some_text(20);
        }
    }
    return t;
}

static struct frame some_frame(struct props *x)
{
    struct frame f = {.type = (enum frame_type)(1 + rnd(FRAME_TYPE_COUNT - 1))};
    switch (f.type) {
    case FRAME_HELLO:
        f.hello.gateway = some_text(256);
        break;
    case FRAME_HELLO_ACK:
        f.hello_ack = (struct frame_hello_ack){1 + (int32_t)rnd(9000),
                                               1 + (int32_t)rnd(9000),
                                               1 + (int32_t)rnd(64),
                                               (int32_t)rnd(1000),
                                               some_load(),
                                               some_text(30),
                                               some_text(8000)};
        break;
    case FRAME_SUBMIT:
        f.submit = some_submit(x);
        break;
    case FRAME_TOKENS:
        f.tokens = some_tokens(x);
        break;
    case FRAME_DONE:
        f.done = (struct frame_done){1 + rnd(1000), (enum frame_finish)(1 + rnd(4)), some_usage(),
                                     (int32_t)rnd(17) - 1};
        break;
    case FRAME_ERROR:
        f.error = (struct frame_error){rnd(5), (enum rc)(1 + rnd(RC_COUNT - 1)), some_usage(),
                                       some_text(300)};
        break;
    case FRAME_CANCEL:
        f.cancel.rid = 1 + rnd(1000);
        break;
    case FRAME_PING:
        f.ping.nonce = rnd(1000);
        break;
    default:
        f.type = FRAME_STATUS;
        f.status = (struct frame_status){rnd(1000), some_load()};
    }
    return f;
}

struct fixture {
    struct props props;
    struct buf buf;
    struct arena arena;
    struct err err;
};

static struct fixture *setup(void)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    ck_assert_ptr_nonnull(fx);
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    buf_init(&fx->buf, FRAME_BODY_MAX + FRAME_HEADER_BYTES);
    arena_init(&fx->arena, ARENA_CAP);
    rng_state = SEED;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)rnd(256);
    return fx;
}

static void teardown(struct fixture *fx)
{
    buf_done(&fx->buf);
    arena_done(&fx->arena);
    free(fx);
}

static enum rc reread(struct fixture *fx, struct frame *ret)
{
    size_t used;
    enum rc rc = frame_read(buf_view(&fx->buf), &fx->arena, ret, &used, &fx->err);
    if (rc == RC_OK)
        ck_assert_uint_eq(used, fx->buf.len);
    return rc;
}

static void must_write(struct fixture *fx, const struct frame *f)
{
    buf_clear(&fx->buf);
    enum rc rc = frame_write(&fx->buf, f, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
}

/* Two frames are the same when they write the same bytes: each field is written. */
START_TEST(random_frames_survive_the_trip)
{
    struct fixture *fx = setup();
    struct buf again;
    buf_init(&again, FRAME_BODY_MAX + FRAME_HEADER_BYTES);
    for (int round = 0; round < 5000; round++) {
        struct frame f = some_frame(&fx->props), back;
        must_write(fx, &f);
        ck_assert_msg(reread(fx, &back) == RC_OK, "type %d: %s", f.type, fx->err.msg);
        ck_assert_int_eq(back.type, f.type);
        buf_clear(&again);
        ck_assert_int_eq(frame_write(&again, &back, &fx->err), RC_OK);
        ck_assert(str_eq(buf_view(&again), buf_view(&fx->buf)));
        arena_reset(&fx->arena);
    }
    buf_done(&again);
    teardown(fx);
}
END_TEST

START_TEST(fields_arrive_where_they_were_put)
{
    struct fixture *fx = setup();
    struct frame f = {.type = FRAME_SUBMIT}, back;
    f.submit = some_submit(&fx->props);
    f.submit.params.n_stop = 1;
    f.submit.params.stop[0] = STR("END");
    must_write(fx, &f);
    ck_assert_int_eq(reread(fx, &back), RC_OK);
    const struct frame_submit *a = &f.submit, *b = &back.submit;
    ck_assert_uint_eq(a->rid, b->rid);
    ck_assert_mem_eq(a->org_salt, b->org_salt, 16);
    ck_assert_mem_eq(a->request_id, b->request_id, 16);
    ck_assert_int_eq(a->n_prompt, b->n_prompt);
    ck_assert_mem_eq(a->prompt, b->prompt, (size_t)a->n_prompt * 4);
    ck_assert_int_eq(a->params.max_tok, b->params.max_tok);
    ck_assert(a->params.temperature == b->params.temperature);
    ck_assert(a->params.repetition == b->params.repetition);
    ck_assert_uint_eq(a->params.seed, b->params.seed);
    ck_assert(str_is(b->params.stop[0], "END"));
    ck_assert_int_eq(a->params.n_bias, b->params.n_bias);
    ck_assert_mem_eq(a->params.bias, b->params.bias, (size_t)a->params.n_bias * 8);
    teardown(fx);
}
END_TEST

START_TEST(a_cut_frame_is_asked_for_again)
{
    struct fixture *fx = setup();
    struct frame f = {.type = FRAME_TOKENS}, back;
    f.tokens = some_tokens(&fx->props);
    must_write(fx, &f);
    for (size_t n = 0; n < fx->buf.len; n++) {
        size_t used = 99;
        struct str part = str_make(fx->buf.p, n);
        ck_assert_int_eq(frame_read(part, &fx->arena, &back, &used, &fx->err), RC_AGAIN);
        ck_assert_uint_eq(used, 99);
    }
    teardown(fx);
}
END_TEST

START_TEST(any_flipped_bit_is_found)
{
    struct fixture *fx = setup();
    struct frame f = {.type = FRAME_SUBMIT}, back;
    f.submit = some_submit(&fx->props);
    f.submit.params.n_bias = 3;
    must_write(fx, &f);
    for (size_t bit = 0; bit < fx->buf.len * 8; bit++) {
        fx->buf.p[bit / 8] = (char)(fx->buf.p[bit / 8] ^ (1 << bit % 8));
        enum rc rc = reread(fx, &back);
        /* A longer length waits for bytes that never come: the peer's time-out ends it. A changed
         * type with the same body may only pass when the body fits it, which it cannot here. */
        ck_assert_msg(rc == RC_CORRUPT || rc == RC_AGAIN, "bit %zu: rc %d", bit, rc);
        ck_assert(rc != RC_AGAIN || bit / 32 == 2);
        fx->buf.p[bit / 8] = (char)(fx->buf.p[bit / 8] ^ (1 << bit % 8));
    }
    teardown(fx);
}
END_TEST

/* Rewrites the checksum, so that only the content is at fault. */
static void patch(struct fixture *fx, size_t at, const void *p, size_t n)
{
    ck_assert_uint_le(at + n, fx->buf.len);
    memcpy(fx->buf.p + at, p, n);
    uint32_t crc = crc32c(0, fx->buf.p + FRAME_HEADER_BYTES, fx->buf.len - FRAME_HEADER_BYTES);
    memcpy(fx->buf.p + 12, &crc, sizeof crc);
}

START_TEST(absurd_counts_and_lengths_allocate_nothing)
{
    struct fixture *fx = setup();
    struct frame f = {.type = FRAME_SUBMIT}, back;
    f.submit = some_submit(&fx->props);
    f.submit.params.n_stop = f.submit.params.n_stop_ids = f.submit.params.n_bias = 0;
    f.submit.n_prompt = 1;
    must_write(fx, &f);
    const int32_t bad[] = {0, -1, 2, 4000000, 4194304, 4194305, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        patch(fx, fx->buf.len - 8, &bad[i], 4); /* n_prompt */
        ck_assert_int_eq(reread(fx, &back), RC_CORRUPT);
        ck_assert_uint_eq(fx->arena.used, 0);
    }
    teardown(fx);
}
END_TEST

START_TEST(an_arena_that_is_full_says_so)
{
    struct fixture *fx = setup();
    struct frame f = {.type = FRAME_SUBMIT}, back;
    f.submit = some_submit(&fx->props);
    f.submit.n_prompt = PROMPT_MAX;
    must_write(fx, &f);
    arena_done(&fx->arena);
    arena_init(&fx->arena, 64);
    ck_assert_int_eq(reread(fx, &back), RC_NO_MEMORY);
    teardown(fx);
}
END_TEST

static void refused(struct fixture *fx, const struct frame_submit *s, const char *field)
{
    struct frame f = {.type = FRAME_SUBMIT, .submit = *s};
    size_t before = fx->buf.len;
    ck_assert_int_eq(frame_write(&fx->buf, &f, &fx->err), RC_BAD_INPUT);
    ck_assert_str_eq(fx->err.field, field);
    ck_assert_uint_eq(fx->buf.len, before);
    ck_assert(!fx->buf.failed);
}

START_TEST(what_must_not_be_read_is_not_written)
{
    struct fixture *fx = setup();
    struct frame_submit good = some_submit(&fx->props), s;
    good.params.n_bias = 1;
    good.params.bias = fx->props.bias;
    fx->props.bias[0] = (struct frame_bias){1, 1};
#define WITH(change, field)                                                                        \
    s = good;                                                                                      \
    change;                                                                                        \
    refused(fx, &s, field)
    WITH(s.params.temperature = NAN, "temperature");
    WITH(s.params.temperature = INFINITY, "temperature");
    WITH(s.params.temperature = -0.1f, "temperature");
    WITH(s.params.top_p = 0, "top_p");
    WITH(s.params.top_p = 1.01f, "top_p");
    WITH(s.params.top_k = -1, "top_k");
    WITH(s.params.repetition = 0, "repetition");
    WITH(s.params.max_tok = -1, "max_tok");
    WITH(s.params.n_stop = FRAME_STOP_MAX + 1, "n_stop");
    WITH((s.params.n_stop = 1, s.params.stop[0] = STR_NONE), "stop");
    WITH((s.params.n_stop = 1, s.params.stop[0] = str_make(noise, 257)), "stop");
    WITH(s.params.n_bias = FRAME_BIAS_MAX + 1, "n_bias");
    WITH(s.params.bias = NULL, "bias");
    WITH(s.params.top_logprobs = 21, "top_logprobs");
    WITH(s.params.prompt_logprobs = true, "prompt_logprobs");
    WITH(s.n_prompt = 0, "n_prompt");
    WITH(s.rid = 0, "rid");
    fx->props.prompt[0] = -5;
    WITH((void)0, "prompt");
#undef WITH
    teardown(fx);
}
END_TEST

START_TEST(a_full_buffer_is_left_as_it_was)
{
    struct fixture *fx = setup();
    struct frame ping = {.type = FRAME_PING, .ping = {42}};
    buf_done(&fx->buf);
    buf_init(&fx->buf, 60);
    ck_assert_int_eq(frame_write(&fx->buf, &ping, &fx->err), RC_OK);
    ck_assert_int_eq(frame_write(&fx->buf, &ping, &fx->err), RC_OK);
    ck_assert_int_eq(frame_write(&fx->buf, &ping, &fx->err), RC_TOO_LARGE);
    ck_assert_uint_eq(fx->buf.len, 48);
    ck_assert(!fx->buf.failed);
    teardown(fx);
}
END_TEST

START_TEST(a_stranger_is_known_by_its_first_byte)
{
    struct fixture *fx = setup();
    struct frame back;
    size_t used;
    ck_assert_int_eq(frame_read(STR("G"), &fx->arena, &back, &used, &fx->err), RC_CORRUPT);
    ck_assert_int_eq(frame_read(STR("SLF2"), &fx->arena, &back, &used, &fx->err), RC_CORRUPT);
    ck_assert_int_eq(frame_read(STR("SLF"), &fx->arena, &back, &used, &fx->err), RC_AGAIN);
    teardown(fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("frame");
    TCase *t = tcase_create("frame");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, random_frames_survive_the_trip);
    tcase_add_test(t, fields_arrive_where_they_were_put);
    tcase_add_test(t, a_cut_frame_is_asked_for_again);
    tcase_add_test(t, any_flipped_bit_is_found);
    tcase_add_test(t, absurd_counts_and_lengths_allocate_nothing);
    tcase_add_test(t, an_arena_that_is_full_says_so);
    tcase_add_test(t, what_must_not_be_read_is_not_written);
    tcase_add_test(t, a_full_buffer_is_left_as_it_was);
    tcase_add_test(t, a_stranger_is_known_by_its_first_byte);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
