/* test_quant - number formats against gguf-py's reading of the same bytes (tests/golden/quants.bin,
 * made by make_quants_golden.py), and f16 both ways over all its values. */

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/quant.h"

static uint32_t read_u32(FILE *f)
{
    uint32_t v = 0;
    ck_assert_uint_eq(fread(&v, 4, 1, f), 1);
    return v;
}

START_TEST(every_type_means_what_gguf_py_says)
{
    FILE *f = fopen(SOURCE_DIR "/tests/golden/quants.bin", "rb");
    char magic[8];
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(magic, 8, 1, f), 1);
    ck_assert_mem_eq(magic, "SLQUANT1", 8);
    uint32_t types = read_u32(f);
    ck_assert_uint_ge(types, 10);
    for (uint32_t i = 0; i < types; i++) {
        const struct quant_type *type = quant_find(read_u32(f));
        ck_assert_ptr_nonnull(type);
        (void)read_u32(f);
        uint32_t n_bytes = read_u32(f), n_floats = read_u32(f);
        uint8_t *raw = malloc(n_bytes);
        float *want = malloc(n_floats * sizeof(float)), *have = malloc(n_floats * sizeof(float));
        ck_assert_uint_eq(fread(raw, 1, n_bytes, f), n_bytes);
        ck_assert_uint_eq(fread(want, 4, n_floats, f), n_floats);
        ck_assert_uint_eq(n_bytes / (uint32_t)type->block_bytes * (uint32_t)type->block, n_floats);
        ck_assert(quant_is_served(type));
        quant_dequantise(type, raw, n_floats / (uint32_t)type->block, have);
        for (uint32_t k = 0; k < n_floats; k++)
            ck_assert_msg(fabsf(want[k] - have[k]) <= 1e-6f * fabsf(want[k]),
                          "%s element %u: %g, not %g", type->name, k, (double)have[k],
                          (double)want[k]);
        free(raw);
        free(want);
        free(have);
    }
    fclose(f);
}
END_TEST

START_TEST(f16_survives_the_way_through_f32)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = quant_f16_to_f32((uint16_t)h);
        if (isnan(f))
            ck_assert(isnan(quant_f16_to_f32(quant_f32_to_f16(f))));
        else
            ck_assert_uint_eq(quant_f32_to_f16(f), h);
    }
}
END_TEST

START_TEST(f32_rounds_to_the_nearest_f16_and_ties_to_even)
{
    ck_assert_uint_eq(quant_f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
    ck_assert_uint_eq(quant_f32_to_f16(1.0f + 0x1.8p-10f), 0x3c02);
    ck_assert_uint_eq(quant_f32_to_f16(1.0f + 0x1.1p-11f), 0x3c01);
    ck_assert_uint_eq(quant_f32_to_f16(65519.0f), 0x7bff);
    ck_assert_uint_eq(quant_f32_to_f16(65520.0f), 0x7c00);
    ck_assert_uint_eq(quant_f32_to_f16(-0x1p-24f), 0x8001);
    ck_assert_uint_eq(quant_f32_to_f16(0x1p-25f), 0x0000);
    ck_assert_uint_eq(quant_f32_to_f16(0x1.8p-25f), 0x0001);
    ck_assert_uint_eq(quant_f32_to_f16(INFINITY), 0x7c00);
}
END_TEST

START_TEST(scales_that_are_not_finite_are_found)
{
    static const uint32_t ids[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0,
                                   QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_F16,  QUANT_BF16};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const struct quant_type *type = quant_find(ids[i]);
        uint8_t block[256] = {0};
        int at = ids[i] == QUANT_Q6_K ? 208 : 0;
        ck_assert(quant_is_finite(type, block, 1));
        block[at] = 0x80, block[at + 1] = 0x7f; /* Inf as bf16, NaN as f16 */
        ck_assert_msg(!quant_is_finite(type, block, 1), "%s", type->name);
    }
}
END_TEST

START_TEST(foreign_type_numbers_are_looked_up_not_indexed)
{
    ck_assert_ptr_null(quant_find(4));
    ck_assert_ptr_null(quant_find(40));
    ck_assert_ptr_null(quant_find(UINT32_MAX));
    ck_assert(quant_find(10) && !quant_is_served(quant_find(10))); /* Q2_K: known, not served */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quant");
    TCase *t = tcase_create("quant");
    tcase_add_test(t, every_type_means_what_gguf_py_says);
    tcase_add_test(t, f16_survives_the_way_through_f32);
    tcase_add_test(t, f32_rounds_to_the_nearest_f16_and_ties_to_even);
    tcase_add_test(t, scales_that_are_not_finite_are_found);
    tcase_add_test(t, foreign_type_numbers_are_looked_up_not_indexed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
