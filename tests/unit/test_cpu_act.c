/* test_cpu_act - activations as the fast paths quantise them. */

#include <check.h>
#include <math.h>

#include "tests/unit/cpu_bench.h"

/* The largest error of products whose rows have one number `far` times as large as the rest may
 * be, and how many of those rows have just that outlier. */
static double error_with(const struct cpu_ops *ops, const struct quant_type *type, float far,
                         int *ret_found)
{
    struct bench truth = bench_make(&cpu_scalar, type, MAX_ROWS, MAX_COLS, 5);
    struct bench fast = bench_make(ops, type, MAX_ROWS, MAX_COLS, 5);
    double worst = 0;
    *ret_found = 0;
    for (int32_t t = 0; t < MAX_ACTS; t++) {
        const int32_t at = 37 * t + 5;
        for (int32_t k = 0; k < MAX_COLS; k++) {
            float v = next_even() * (k == at ? far : 1);
            truth.a.x[t * MAX_COLS + k] = fast.a.x[t * MAX_COLS + k] = v;
        }
        ops->fill(&fast.a, t, ACT_BYTES);
        const struct outlier *out = fast.a.out + (size_t)t * act_outliers(fast.a.ld);
        *ret_found +=
            fast.a.n_out[t] == 1 && out->column == (uint32_t)at / 4 * 4 && out->high[at % 4] != 0;
    }
    multiply(&cpu_scalar, &truth, 0, MAX_ACTS);
    multiply(ops, &fast, 0, MAX_ACTS);
    for (int32_t i = 0; i < MAX_ACTS * MAX_ROWS; i++)
        worst = fmax(worst, fabs((double)truth.to[i] - (double)fast.to[i]));
    bench_done(&truth);
    bench_done(&fast);
    return worst;
}

/* It has 15 bits of its own and leaves the others of its block theirs: the error is what it is
 * without it. With one scale for all of them it was 17 times as large. */
START_TEST(an_outlier_does_not_spoil_its_block)
{
    static const uint32_t four_bits[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q4_K};
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    for (size_t i = 0; i < ARRAY_LEN(four_bits); i++) {
        const struct quant_type *type = quant_find(four_bits[i]);
        int none, all;
        double without = error_with(ops, type, 1, &none), with = error_with(ops, type, 100, &all);
        ck_assert_int_eq(none, 0);
        ck_assert_int_ge(all, MAX_ACTS - 2); /* some of them are small by chance */
        ck_assert_msg(with <= 1.5 * without, "%s: %g, and %g", type->name, with, without);
    }
}
END_TEST

/* Whatever a row is, it has no more outliers than there is room for; squares that vanish or
 * overflow make no number look far out. */
START_TEST(outliers_never_outgrow_their_room)
{
    static const int32_t cols[] = {32, 64, 96, MAX_COLS};
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    for (size_t c = 0; c < ARRAY_LEN(cols); c++) {
        struct bench b = bench_make(ops, quant_find(QUANT_Q4_1), CPU_PANEL, cols[c], 5);
        for (int i = 0; i < 83 * 32; i++) { /* the first i % 32 numbers are far out, by 10 to 1e6 */
            const float scale = powf(10, (float)(i / 32 - 44));
            for (int32_t k = 0; k < cols[c]; k++)
                b.a.x[k] = next_even() * scale * (k < i % 32 ? powf(10, (float)(i % 6 + 1)) : 1);
            ops->fill(&b.a, 0, ACT_BYTES);
            ck_assert_uint_le(b.a.n_out[0], act_outliers(b.a.ld));
            for (uint32_t o = 0; o < b.a.n_out[0]; o++) {
                ck_assert(b.a.out[o].column % 4 == 0);
                ck_assert_uint_lt(b.a.out[o].column, (uint32_t)cols[c]);
                ck_assert(o == 0 || b.a.out[o].column > b.a.out[o - 1].column);
            }
        }
        bench_done(&b);
    }
}
END_TEST

/* The widest row a model may have: its mean square is rounded a 65,536th time, always down. */
START_TEST(rounding_makes_no_more_outliers_than_there_is_room)
{
    enum { WIDE = 1 << 20, EXTRA = 20 };
    const struct cpu_ops *ops = fast_path("avx2");
    if (!ops)
        return;
    struct act a = {.n_cols = WIDE, .ld = WIDE};
    a.x = zeroed(WIDE * sizeof(float));
    a.b = zeroed(WIDE);
    a.m = zeroed(WIDE / CPU_BLOCK * sizeof(int32_t));
    a.sb = zeroed(WIDE / CPU_BLOCK * sizeof(float));
    a.unit = zeroed(sizeof(float));
    a.out = zeroed(act_outliers(WIDE) * sizeof(struct outlier));
    a.n_out = zeroed(sizeof(uint32_t));
    uint32_t most = 0;
    for (int step = 0; step < 30; step++) {
        memset(a.x, 0, WIDE * sizeof(float));
        for (int32_t i = 0; i < WIDE; i += 16)
            a.x[i] = 1.04f + 0.007f * (float)step;
        for (int32_t i = 0; i < EXTRA; i++)
            a.x[16 * i + 4] = a.x[0];
        ops->fill(&a, 0, ACT_BYTES);
        ck_assert_uint_le(a.n_out[0], act_outliers(WIDE));
        for (uint32_t o = 1; o < a.n_out[0]; o++)
            ck_assert_uint_gt(a.out[o].column, a.out[o - 1].column);
        most = MAX_OF(most, a.n_out[0]);
    }
    ck_assert_uint_gt(most, WIDE / 16); /* or the rounding that this is about did not happen */
    free(a.x);
    free(a.b);
    free(a.m);
    free(a.sb);
    free(a.unit);
    free(a.out);
    free(a.n_out);
}
END_TEST

START_TEST(zeros_tiny_numbers_and_nan_are_quantised)
{
    const struct cpu_ops *ops = fast_path("avx2");
    float x[64] = {0}, d[2], s[2], sb[2], unit[1];
    int32_t m[2];
    int16_t q[64];
    int8_t bytes[64];
    struct outlier out[8];
    uint32_t n_out[1];
    struct act a = {.n_cols = 64,
                    .ld = 64,
                    .x = x,
                    .q = q,
                    .d = d,
                    .s = s,
                    .b = bytes,
                    .out = out,
                    .n_out = n_out,
                    .m = m,
                    .sb = sb,
                    .unit = unit};
    if (!ops)
        return;
    for (int i = 32; i < 64; i++)
        x[i] = 1e-42f;
    ops->fill(&a, 0, ACT_WORDS | ACT_BYTES);
    for (int i = 0; i < 64; i++)
        ck_assert(q[i] == 0 && bytes[i] == 0);
    ck_assert(d[0] == 0 && isfinite(d[1]) && s[0] == 0 && s[1] == 0);
    ck_assert(isfinite(unit[0]) && sb[0] == 0 && sb[1] == 0);
    x[3] = NAN;
    ops->fill(&a, 0, ACT_WORDS | ACT_BYTES);
    ck_assert(isnan(d[0]) && isnan(unit[0]));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu_act");
    TCase *t = tcase_create("cpu_act");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, an_outlier_does_not_spoil_its_block);
    tcase_add_test(t, outliers_never_outgrow_their_room);
    tcase_add_test(t, rounding_makes_no_more_outliers_than_there_is_room);
    tcase_add_test(t, zeros_tiny_numbers_and_nan_are_quantised);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
