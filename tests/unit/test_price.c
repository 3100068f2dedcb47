/* Money is whole numbers: nothing is lost, and nothing that does not fit is written. */
#include <check.h>
#include <stdlib.h>

#include "gateway/price.h"
#include "schema/money.h"

static struct price a_price(int64_t input, int64_t cached, int64_t output)
{
    return (struct price){
        .input_per_1m = input, .cached_input_per_1m = cached, .output_per_1m = output};
}

static int64_t must_cost(struct price p, struct token_count tok)
{
    struct rate rate = rate_of(&p);
    struct err err;
    int64_t pico = -1;
    ck_assert_int_eq(price_cost(&rate, &tok, &pico, &err), RC_OK);
    return pico;
}

START_TEST(a_million_tokens_cost_the_price)
{
    char text[MONEY_TEXT_BYTES];
    money_cost_text(must_cost(a_price(150000, -1, 600000), (struct token_count){1000000, 0, 0}),
                    text);
    ck_assert_str_eq(text, "0.15");
    money_cost_text(must_cost(a_price(150000, -1, 600000), (struct token_count){0, 0, 1000000}),
                    text);
    ck_assert_str_eq(text, "0.60");
}
END_TEST

/* T29: 10^6 x $0.0000027 = $2.70, with every one of them below a cent. */
START_TEST(a_million_tiny_costs_add_up_exactly)
{
    char text[MONEY_TEXT_BYTES];
    struct price p = a_price(2700000, -1, 0);
    struct rate rate = rate_of(&p);
    struct token_count one = {1, 0, 0};
    int64_t sum = 0, pico = 0;
    bool ok = true; /* an assertion a time would take longer than the sum */
    for (int i = 0; i < 1000000; i++) {
        ok = ok && price_cost(&rate, &one, &pico, NULL) == RC_OK;
        sum += pico;
    }
    ck_assert(ok);
    money_cost_text(sum, text);
    ck_assert_str_eq(text, "2.70");
}
END_TEST

START_TEST(cached_tokens_have_their_own_price_or_the_input_s)
{
    struct token_count tok = {10, 90, 5};
    ck_assert_int_eq(must_cost(a_price(100, 10, 1000), tok), 10 * 100 + 90 * 10 + 5 * 1000);
    ck_assert_int_eq(must_cost(a_price(100, -1, 1000), tok), 100 * 100 + 5 * 1000);
    ck_assert_int_eq(must_cost(a_price(100, 0, 1000), tok), 10 * 100 + 5 * 1000);
}
END_TEST

START_TEST(no_price_is_free)
{
    struct rate rate = rate_of(NULL);
    struct token_count tok = {INT64_MAX, INT64_MAX, INT64_MAX};
    int64_t pico = -1;
    ck_assert_int_eq(price_cost(&rate, &tok, &pico, NULL), RC_OK);
    ck_assert_int_eq(pico, 0);
}
END_TEST

START_TEST(a_cost_beyond_63_bits_is_refused_before_the_work)
{
    struct price p = a_price(1000000000000, -1, 1000000000000);
    struct rate rate = rate_of(&p);
    struct err err;
    int64_t pico = 7;
    struct token_count last = {0, 0, 9223372}, over = {0, 0, 9223373};
    ck_assert_int_eq(price_cost(&rate, &last, &pico, &err), RC_OK);
    ck_assert_int_eq(pico, INT64_C(9223372000000000000));
    ck_assert_int_eq(price_cost(&rate, &over, &pico, &err), RC_INVALID);
    ck_assert_int_eq(pico, INT64_C(9223372000000000000));
    ck_assert_int_eq(price_fits(&rate, 9223372, &err), RC_OK);
    ck_assert_int_eq(price_fits(&rate, 9223373, &err), RC_BAD_INPUT);
    ck_assert_str_eq(err.field, "max_tokens");
    ck_assert_int_eq(price_cost_capped(&rate, &over), INT64_MAX);
    struct token_count all = {INT64_MAX, INT64_MAX, INT64_MAX};
    rate = (struct rate){INT64_MAX, INT64_MAX, INT64_MAX};
    ck_assert_int_eq(price_cost(&rate, &all, &pico, &err), RC_INVALID);
}
END_TEST

START_TEST(negative_counts_never_credit)
{
    struct price p = a_price(1, 1, 1);
    struct rate rate = rate_of(&p);
    int64_t pico = 0, sum = 0;
    const struct token_count bad[] = {{-1, 0, 0}, {0, -1, 0}, {0, 0, INT64_MIN}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(price_cost(&rate, &bad[i], &pico, NULL), RC_INVALID);
        ck_assert(!tokens_sum(&bad[i], &sum));
    }
    struct token_count huge = {INT64_MAX, 1, 0};
    ck_assert(!tokens_sum(&huge, &sum));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("price");
    TCase *tc = tcase_create("price");
    tcase_add_test(tc, a_million_tokens_cost_the_price);
    tcase_add_test(tc, a_million_tiny_costs_add_up_exactly);
    tcase_add_test(tc, cached_tokens_have_their_own_price_or_the_input_s);
    tcase_add_test(tc, no_price_is_free);
    tcase_add_test(tc, a_cost_beyond_63_bits_is_refused_before_the_work);
    tcase_add_test(tc, negative_counts_never_credit);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
