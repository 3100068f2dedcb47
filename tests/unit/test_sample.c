/* Sampling: the kept set and its probabilities against a slow and obvious reference. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/sample.h"

enum { VOCAB = 61, DRAWS = 20000, BIG_VOCAB = 49152 };

static uint64_t rng_state = 3;
static uint32_t rnd(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}
static float some_real(float lo, float hi)
{
    return lo + (hi - lo) * ((float)rnd(100001) / 100000.0f);
}

static struct frame_params defaults(void)
{
    return (struct frame_params){.max_tok = 10, .temperature = 1, .top_p = 1, .repetition = 1};
}

struct fixture {
    struct sampler s;
    struct err err;
    struct frame_params params;
    float logits[VOCAB];
    int32_t token[64];
    struct sample_in in;
    struct sample_out out;
};

static void setup(struct fixture *fx)
{
    *fx = (struct fixture){.params = defaults()};
    ck_assert_int_eq(sampler_open(&fx->s, VOCAB, &fx->err), RC_OK);
    for (int32_t i = 0; i < VOCAB; i++)
        fx->logits[i] = some_real(-4, 4);
    fx->in = (struct sample_in){.logits = fx->logits,
                                .params = &fx->params,
                                .token = fx->token,
                                .n_prompt = 1,
                                .n_total = 1};
}

static int32_t next(struct fixture *fx)
{
    ck_assert_int_eq(sample_next(&fx->s, &fx->in, &fx->out, &fx->err), RC_OK);
    return fx->out.chosen.id;
}

/* ---- the reference: sort all, cut one after the other, in doubles ---- */

struct ranked {
    double x;
    int32_t id;
};
static int by_rank(const void *a, const void *b)
{
    const struct ranked *p = a, *q = b;
    return p->x > q->x ? -1 : p->x < q->x ? 1 : (p->id > q->id) - (p->id < q->id);
}

static void reference(const struct fixture *fx, double prob[VOCAB])
{
    const struct frame_params *p = &fx->params;
    struct ranked r[VOCAB];
    double e[VOCAB], mass = 0, sum = 0;
    for (int32_t i = 0; i < VOCAB; i++) {
        r[i] = (struct ranked){(double)fx->logits[i] / (double)p->temperature, i};
        prob[i] = 0;
    }
    qsort(r, VOCAB, sizeof *r, by_rank);
    int32_t n = p->top_k > 0 && p->top_k < VOCAB ? p->top_k : VOCAB;
    for (int32_t i = 0; i < n; i++)
        mass += e[i] = exp(r[i].x - r[0].x);
    int32_t kept = 0;
    while (kept < n && (kept == 0 || sum < mass * (double)p->top_p))
        sum += e[kept++];
    sum = 0;
    for (int32_t i = 0; i < kept; i++)
        sum += e[i] >= (double)p->min_p ? e[i] : 0;
    for (int32_t i = 0; i < kept; i++)
        prob[r[i].id] = e[i] >= (double)p->min_p ? e[i] / sum : 0;
}

static void draws_match_the_reference(struct fixture *fx)
{
    double prob[VOCAB];
    int32_t count[VOCAB] = {0};
    reference(fx, prob);
    for (int32_t i = 0; i < DRAWS; i++) {
        fx->in.seed = (uint64_t)i * 7919;
        count[next(fx)]++;
    }
    for (int32_t id = 0; id < VOCAB; id++) {
        double want = prob[id] * DRAWS, sigma = sqrt(want) + 1;
        ck_assert_msg(prob[id] > 0 || count[id] == 0, "token %d was cut, yet drawn", id);
        ck_assert_msg(fabs(count[id] - want) < 6 * sigma, "token %d: %d draws, want %.1f", id,
                      count[id], want);
    }
}

START_TEST(draws_follow_the_probabilities)
{
    struct fixture fx;
    setup(&fx);
    static const struct {
        float temperature, top_p, min_p;
        int32_t top_k;
    } cases[] = {{1, 1, 0, 0},       {0.3f, 1, 0, 0},      {2, 1, 0, 0},        {1, 0.9f, 0, 0},
                 {1, 0.1f, 0, 0},    {1, 1, 0, 5},         {1, 1, 0, 1},        {1, 1, 0, VOCAB},
                 {1, 1, 0, 1000000}, {1, 1, 0.1f, 0},      {1, 1, 1e-5f, 0},    {1, 1, 1, 0},
                 {1, 0.7f, 0, 10},   {1.3f, 0.8f, .2f, 7}, {50, 0.999f, 0, 60}, {1, 1e-7f, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fx.params.temperature = cases[i].temperature;
        fx.params.top_p = cases[i].top_p;
        fx.params.min_p = cases[i].min_p;
        fx.params.top_k = cases[i].top_k;
        draws_match_the_reference(&fx);
    }
    sampler_close(&fx.s);
}
END_TEST

START_TEST(equal_logits_are_cut_by_id)
{
    struct fixture fx;
    setup(&fx);
    for (int32_t i = 0; i < VOCAB; i++)
        fx.logits[i] = (float)(i / 10); /* six groups of equals */
    fx.params.top_k = 3;                /* only 60 is best; then 50 and 51 of the next group */
    draws_match_the_reference(&fx);
    fx.params.temperature = 0;
    fx.logits[7] = fx.logits[60] = 99;
    ck_assert_int_eq(next(&fx), 7);
    fx.params.temperature = 1e-9f;
    ck_assert_int_eq(next(&fx), 7);
    sampler_close(&fx.s);
}
END_TEST

START_TEST(a_seed_and_a_position_are_all_that_matters)
{
    struct fixture fx;
    setup(&fx);
    int32_t first[40];
    fx.in.seed = 12345;
    for (int32_t i = 0; i < 40; i++) {
        fx.in.n_total = 1 + i;
        first[i] = next(&fx);
    }
    bool differs = false;
    for (int32_t i = 39; i >= 0; i--) { /* another order, other neighbours */
        fx.in.n_total = 1 + i;
        fx.in.seed = 999;
        differs |= next(&fx) != first[i];
        fx.in.seed = 12345;
        ck_assert_int_eq(next(&fx), first[i]);
    }
    ck_assert(differs);
    sampler_close(&fx.s);
}
END_TEST

START_TEST(philox_gives_the_published_numbers)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t got[4];
        philox(cases[i].counter, cases[i].key, got);
        ck_assert_mem_eq(got, cases[i].want, sizeof got);
    }
}
END_TEST

START_TEST(penalties_and_bias_move_the_choice)
{
    struct fixture fx;
    setup(&fx);
    for (int32_t i = 0; i < VOCAB; i++)
        fx.logits[i] = 0;
    fx.logits[10] = 3;
    fx.logits[20] = 2.5f;
    fx.logits[30] = 2;
    fx.params.temperature = 0;
    fx.token[0] = 10; /* prompt */
    fx.token[1] = 20; /* output */
    fx.token[2] = 20;
    fx.in.n_total = 3;
    ck_assert_int_eq(next(&fx), 10);
    fx.params.presence = 2; /* touches the output alone */
    fx.params.frequency = 0.3f;
    ck_assert_int_eq(next(&fx), 10);
    fx.params.repetition = 2; /* touches the prompt too: 10 → 1.5, 20 → 1.25 - 2.6, 30 stays */
    ck_assert_int_eq(next(&fx), 30);
    struct frame_bias bias[] = {{40, 2.1f}, {30, -100}};
    fx.params.bias = bias;
    fx.params.n_bias = 2;
    ck_assert_int_eq(next(&fx), 40);
    for (int32_t i = 0; i < VOCAB; i++) /* the scratch is clean for the next request */
        ck_assert(fx.s.count[i] == 0 && fx.s.seen[i] == 0);
    sampler_close(&fx.s);
}
END_TEST

START_TEST(a_negative_logit_is_repelled_too)
{
    struct fixture fx;
    setup(&fx);
    for (int32_t i = 0; i < VOCAB; i++)
        fx.logits[i] = -9;
    fx.logits[1] = -1;
    fx.logits[2] = -1.5f;
    fx.params.temperature = 0;
    fx.params.repetition = 2;
    fx.token[0] = 1;
    ck_assert_int_eq(next(&fx), 2);
    sampler_close(&fx.s);
}
END_TEST

START_TEST(min_tok_bars_every_end)
{
    struct fixture fx;
    setup(&fx);
    const int32_t end[] = {5, 6};
    fx.in.end_id = end;
    fx.in.n_end = 2;
    fx.params.n_stop_ids = 1;
    fx.params.stop_id[0] = 7;
    fx.params.temperature = 0;
    fx.params.min_tok = 2;
    fx.logits[5] = fx.logits[6] = fx.logits[7] = 50;
    fx.logits[8] = 40;
    for (int32_t output = 0; output < 4; output++) {
        fx.in.n_total = fx.in.n_prompt + output;
        ck_assert_int_eq(next(&fx), output < 2 ? 8 : 5);
    }
    sampler_close(&fx.s);
}
END_TEST

START_TEST(logprobs_are_those_of_the_untouched_logits)
{
    struct fixture fx;
    setup(&fx);
    double sum = 0;
    for (int32_t i = 0; i < VOCAB; i++)
        sum += exp((double)fx.logits[i]);
    fx.params.logprobs = true;
    fx.params.top_logprobs = 20;
    fx.params.temperature = 0;
    struct frame_bias bias = {17, 100};
    fx.params.bias = &bias;
    fx.params.n_bias = 1;
    ck_assert_int_eq(next(&fx), 17);
    ck_assert(fabs((double)fx.out.chosen.logprob - ((double)fx.logits[17] - log(sum))) < 1e-5);
    ck_assert_int_eq(fx.out.n_top, 20);
    struct ranked r[VOCAB];
    for (int32_t i = 0; i < VOCAB; i++)
        r[i] = (struct ranked){(double)fx.logits[i], i};
    qsort(r, VOCAB, sizeof *r, by_rank);
    for (int32_t i = 0; i < 20; i++) {
        ck_assert_int_eq(fx.out.top[i].id, r[i].id);
        ck_assert(fabs((double)fx.out.top[i].logprob - (r[i].x - log(sum))) < 1e-5);
    }
    sampler_close(&fx.s);
}
END_TEST

START_TEST(a_broken_logit_fails_the_request)
{
    struct fixture fx;
    setup(&fx);
    const float broken[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < ARRAY_LEN(broken); k++)
        for (int32_t i = 0; i < VOCAB; i++) { /* every lane and the tail */
            float keep = fx.logits[i];
            fx.logits[i] = broken[k];
            ck_assert_int_eq(sample_next(&fx.s, &fx.in, &fx.out, &fx.err), RC_INTERNAL);
            fx.logits[i] = keep;
        }
    next(&fx);
    fx.logits[3] = 3e38f;
    fx.params.temperature = 0;
    fx.params.repetition = 0.001f;
    fx.token[0] = 3;
    ck_assert_int_eq(sample_next(&fx.s, &fx.in, &fx.out, &fx.err), RC_INTERNAL);
    sampler_close(&fx.s);
}
END_TEST

START_TEST(extreme_but_finite_logits_are_served)
{
    struct fixture fx;
    setup(&fx);
    for (int32_t i = 0; i < VOCAB; i++)
        fx.logits[i] = i == 9 ? 3e38f : -3e38f;
    fx.params.logprobs = true;
    fx.params.top_logprobs = 2;
    fx.params.temperature = 1e-5f;
    ck_assert_int_eq(next(&fx), 9);
    ck_assert(fx.out.chosen.logprob == 0 && fx.out.top[1].logprob == -9999);
    fx.params.temperature = 3e38f;
    next(&fx);
    sampler_close(&fx.s);
}
END_TEST

/* A model's vocabulary, all kinds of rows: quick paths and slow ones keep the same set. */
START_TEST(a_big_vocabulary_is_cut_like_a_small_one)
{
    struct sampler s;
    struct err err;
    ck_assert_int_eq(sampler_open(&s, BIG_VOCAB, &err), RC_OK);
    float *logits = malloc(BIG_VOCAB * sizeof *logits);
    struct ranked *r = malloc(BIG_VOCAB * sizeof *r);
    ck_assert(logits && r);
    for (int round = 0; round < 12; round++) {
        float spread = round % 3 == 0 ? 1.0f : round % 3 == 1 ? 12.0f : 60.0f;
        struct frame_params p = defaults();
        p.top_p = round < 8 ? some_real(0.05f, 0.999f) : 1;
        p.top_k = round % 4 == 3 ? (int32_t)(1 + rnd(500)) : 0;
        double mass = 0, sum = 0;
        for (int32_t i = 0; i < BIG_VOCAB; i++) {
            logits[i] = some_real(-spread, spread);
            r[i] = (struct ranked){(double)logits[i], i};
        }
        qsort(r, BIG_VOCAB, sizeof *r, by_rank);
        int32_t n = p.top_k ? p.top_k : BIG_VOCAB, kept = 0;
        for (int32_t i = 0; i < n; i++)
            mass += exp(r[i].x - r[0].x);
        while (kept < n && (kept == 0 || sum < mass * (double)p.top_p))
            sum += exp(r[kept++].x - r[0].x);
        for (int32_t i = 0; i < 200; i++) {
            struct sample_in in = {
                .logits = logits, .params = &p, .seed = (uint64_t)i, .n_prompt = 1, .n_total = 1};
            int32_t token = 0;
            in.token = &token;
            struct sample_out out;
            ck_assert_int_eq(sample_next(&s, &in, &out, &err), RC_OK);
            /* One part in 10⁵ of the mass may fall to either side of the cut by rounding. */
            int32_t slack = 1 + kept / 1000;
            int32_t edge = kept + slack < BIG_VOCAB ? kept + slack : BIG_VOCAB - 1;
            ck_assert((double)logits[out.chosen.id] >= r[edge].x);
        }
    }
    free(logits);
    free(r);
    sampler_close(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sample");
    TCase *t = tcase_create("sample");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, draws_follow_the_probabilities);
    tcase_add_test(t, equal_logits_are_cut_by_id);
    tcase_add_test(t, a_seed_and_a_position_are_all_that_matters);
    tcase_add_test(t, philox_gives_the_published_numbers);
    tcase_add_test(t, penalties_and_bias_move_the_choice);
    tcase_add_test(t, a_negative_logit_is_repelled_too);
    tcase_add_test(t, min_tok_bars_every_end);
    tcase_add_test(t, logprobs_are_those_of_the_untouched_logits);
    tcase_add_test(t, a_broken_logit_fails_the_request);
    tcase_add_test(t, extreme_but_finite_logits_are_served);
    tcase_add_test(t, a_big_vocabulary_is_cut_like_a_small_one);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
