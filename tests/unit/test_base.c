#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/scoped.h"
#include "base/str.h"

START_TEST(numbers_are_read_whole_or_not_at_all)
{
    int64_t v = 7;
    ck_assert(str_to_i64(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &v));
    ck_assert_int_eq(v, INT64_MIN);
    const char *bad[] = {"",    "-",  "+1", " 1", "1 ", "1.0", "0x5", "9223372036854775808",
                         "1e3", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!str_to_i64(str_of(bad[i]), INT64_MIN, INT64_MAX, &v), "took \"%s\"", bad[i]);
    ck_assert(!str_to_i64(STR("11"), 0, 10, &v));
    ck_assert_int_eq(v, INT64_MIN);
}
END_TEST

START_TEST(doubles_are_finite_decimals)
{
    double v;
    ck_assert(str_to_double(STR("-1.5e-3"), &v) && v == -1.5e-3);
    const char *bad[] = {"", "nan", "inf", "1e999", "0x1p3", "1,5", "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!str_to_double(str_of(bad[i]), &v), "took \"%s\"", bad[i]);
}
END_TEST

START_TEST(utf8_is_judged_as_rfc_3629_does)
{
    const char *good[] = {"", "a", "é", "€", "😀", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    const char *bad[] = {"\x80",
                         "\xc0\x80",
                         "\xc1\xbf",
                         "\xe0\x9f\xbf",
                         "\xed\xa0\x80",
                         "\xf0\x8f\xbf\xbf",
                         "\xf4\x90\x80\x80",
                         "\xf5\x80\x80\x80",
                         "\xe2\x82",
                         "a\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_msg(str_is_utf8(str_of(good[i])), "refused good %zu", i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!str_is_utf8(str_of(bad[i])), "took bad %zu", i);
}
END_TEST

START_TEST(cut_gives_every_part_once)
{
    struct str rest = STR("a,,b");
    ck_assert(str_is(str_cut(&rest, ','), "a"));
    ck_assert(str_is(str_cut(&rest, ','), ""));
    ck_assert(str_is(str_cut(&rest, ','), "b"));
    ck_assert_ptr_null(rest.p);
}
END_TEST

START_TEST(a_full_buffer_keeps_what_it_has)
{
    SCOPED_BUF b;
    buf_init(&b, 8);
    ck_assert(buf_z(&b, "12345678"));
    ck_assert(!buf_byte(&b, '9'));
    ck_assert(b.failed);
    ck_assert(str_is(buf_view(&b), "12345678"));
    buf_drop(&b, 3);
    ck_assert(str_is(buf_view(&b), "45678"));
}
END_TEST

START_TEST(json_text_is_always_valid)
{
    SCOPED_BUF b;
    buf_init(&b, 1000);
    buf_json(&b, str_make("a\"\\\n\x01\xff\xc3\xa9\0z", 10));
    ck_assert(str_is(buf_view(&b), "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\\u0000z\""));
}
END_TEST

START_TEST(an_arena_stops_at_its_cap)
{
    SCOPED_ARENA a;
    arena_init(&a, 1000);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1, 900));
    ck_assert_ptr_null(arena_alloc(&a, 1, 200));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX, 2));
    ck_assert_ptr_null(arena_alloc(&a, 1, SIZE_MAX));
    arena_reset(&a);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1, 1000 - 16));
}
END_TEST

START_TEST(times_go_both_ways)
{
    int64_t ms;
    char text[CLOCK_TEXT_BYTES];
    ck_assert(clock_from_text(STR("2026-11-21T07:49:00.123Z"), &ms));
    clock_to_text(ms, text);
    ck_assert_str_eq(text, "2026-11-21T07:49:00.123Z");
    ck_assert(clock_from_text(STR("2026-11-21T09:19:00+01:30"), &ms));
    clock_to_text(ms, text);
    ck_assert_str_eq(text, "2026-11-21T07:49:00.000Z");
    const char *bad[] = {
        "2026-02-31T00:00:00Z", "2026-13-01T00:00:00Z",  "2026-01-01",           "now",
        "2026-01-01T00:00:00",  "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zx"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!clock_from_text(str_of(bad[i]), &ms), "took \"%s\"", bad[i]);
}
END_TEST

static void *make_ids(void *to)
{
    struct id *ids = to;
    for (int i = 0; i < 1000; i++)
        ids[i] = id_new("req_");
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct id *)a)->z, ((const struct id *)b)->z);
}

START_TEST(ids_are_unique_and_ordered_in_each_thread)
{
    static struct id ids[4][1000];
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, make_ids, ids[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++)
        for (int k = 1; k < 1000; k++)
            ck_assert_int_lt(strcmp(ids[i][k - 1].z, ids[i][k].z), 0);
    struct id *all = ids[0];
    qsort(all, 4000, sizeof *all, by_text);
    struct id back;
    for (int k = 1; k < 4000; k++)
        ck_assert_str_ne(all[k - 1].z, all[k].z);
    ck_assert(id_parse(id_str(&all[0]), "req_", &back));
    ck_assert(!id_parse(id_str(&all[0]), "org_", &back));
    ck_assert(!id_parse(STR("req_8zzzzzzzzzzzzzzzzzzzzzzzzz"), "req_", &back)); /* over 128 bits */
}
END_TEST

START_TEST(crc32c_matches_the_standard_vector)
{
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}
END_TEST

START_TEST(errors_name_file_field_and_status)
{
    struct err err;
    ck_assert_int_eq(err_field(&err, RC_BAD_INPUT, "top_p", "must be %d..%d", 0, 1), RC_BAD_INPUT);
    ck_assert_str_eq(err.field, "top_p");
    ck_assert_str_eq(err.msg, "must be 0..1");
    ck_assert_int_eq(rc_http_status(err.rc), 400);
    for (int rc = 0; rc < RC_COUNT; rc++)
        ck_assert_msg(rc_http_status(rc) >= 200 && rc_name(rc)[0], "code %d has no row", rc);
}
END_TEST

int main(void)
{
    hash_init(NULL);
    Suite *s = suite_create("base");
    TCase *t = tcase_create("base");
    tcase_add_test(t, numbers_are_read_whole_or_not_at_all);
    tcase_add_test(t, doubles_are_finite_decimals);
    tcase_add_test(t, utf8_is_judged_as_rfc_3629_does);
    tcase_add_test(t, cut_gives_every_part_once);
    tcase_add_test(t, a_full_buffer_keeps_what_it_has);
    tcase_add_test(t, json_text_is_always_valid);
    tcase_add_test(t, an_arena_stops_at_its_cap);
    tcase_add_test(t, times_go_both_ways);
    tcase_add_test(t, ids_are_unique_and_ordered_in_each_thread);
    tcase_add_test(t, crc32c_matches_the_standard_vector);
    tcase_add_test(t, errors_name_file_field_and_status);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
