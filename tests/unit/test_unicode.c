/* test_unicode - UTF-8 steps against brute force, and classes at their known edges. */

#include "tests/unit/text_fixture.h"

#include "engine/text/unicode.h"

START_TEST(every_scalar_value_survives_encoding_and_decoding)
{
    size_t faults = 0;
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        if (cp >= 0xd800 && cp <= 0xdfff)
            continue;
        char c[4];
        uint32_t got = 0;
        size_t n = utf8_encode(cp, c);
        faults += !str_is_utf8(str_make(c, n)) || utf8_next(c, c + n, &got) != n || got != cp;
    }
    ck_assert_uint_eq(faults, 0);
}
END_TEST

/* All texts of four bytes out of those where the rules change. Counts faults: an assertion for each
 * of 10^5 cases would take a minute. */
START_TEST(whole_and_broken_are_told_apart_as_the_strict_check_does)
{
    static const unsigned char edge[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1,
                                         0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff};
    const size_t e = ARRAY_LEN(edge);
    size_t faults = 0;
    for (size_t k = 0; k < e * e * e * e; k++) {
        char s[4] = {(char)edge[k / (e * e * e)], (char)edge[k / (e * e) % e],
                     (char)edge[k / e % e], (char)edge[k % e]};
        size_t len = 0, first = 0;
        enum utf8_state state = utf8_look(s, 4, &len);
        for (size_t n = 1; n <= 4 && first == 0; n++) {
            if (str_is_utf8(str_make(s, n)))
                first = n;
        }
        if (first > 0)
            faults += state != UTF8_WHOLE || len != first;
        else
            faults += state != UTF8_BROKEN || len < 1 || len > 3;
    }
    ck_assert_uint_eq(faults, 0);
}
END_TEST

START_TEST(a_beginning_is_part_as_long_as_something_can_complete_it)
{
    static const struct {
        const char *bytes;
        enum utf8_state state;
        size_t len;
    } cases[] = {
        {"\xc3", UTF8_PART, 1},
        {"\xe4\xb8", UTF8_PART, 2},
        {"\xf0\x9f\x98", UTF8_PART, 3},
        {"\xe0\x80", UTF8_BROKEN, 1},
        {"\xed\xa0", UTF8_BROKEN, 1},
        {"\xf4\x90", UTF8_BROKEN, 1},
        {"\xf0\x8f", UTF8_BROKEN, 1},
        {"\xc1", UTF8_BROKEN, 1},
        {"\xf5", UTF8_BROKEN, 1},
        {"\xf0\x9f"
         "a",
         UTF8_BROKEN, 2},
        {"\x80", UTF8_BROKEN, 1},
        {"\xf4\x8f\xbf\xbf", UTF8_WHOLE, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = 0;
        ck_assert_int_eq(utf8_look(cases[i].bytes, strlen(cases[i].bytes), &len), cases[i].state);
        ck_assert_uint_eq(len, cases[i].len);
    }
}
END_TEST

START_TEST(classes_are_those_of_the_oracle)
{
    struct unicode u;
    MUST(unicode_init(&u, err));
    static const struct {
        uint32_t cp;
        enum uni_class want;
    } cases[] = {
        {'a', UNI_LETTER},    {'Z', UNI_LETTER},     {'5', UNI_NUMBER},     {' ', UNI_SPACE},
        {'\n', UNI_SPACE},    {'_', UNI_OTHER},      {0, UNI_OTHER},        {0x85, UNI_SPACE},
        {0xa0, UNI_SPACE},    {0xbd, UNI_NUMBER},    {0xaa, UNI_LETTER},    {0x301, UNI_OTHER},
        {0x2167, UNI_NUMBER}, {0x3000, UNI_SPACE},   {0x200b, UNI_OTHER},   {0x4e16, UNI_LETTER},
        {0x1f600, UNI_OTHER}, {0x20000, UNI_LETTER}, {0x10ffff, UNI_OTHER}, {UTF8_BAD, UNI_OTHER},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(unicode_class(&u, cases[i].cp) == cases[i].want, "U+%04X", cases[i].cp);
    ck_assert(unicode_is_digit(&u, '7') && unicode_is_digit(&u, 0xbd));
    ck_assert(!unicode_is_digit(&u, 'x') && !unicode_is_digit(&u, UTF8_BAD));
    unicode_done(&u);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unicode");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, every_scalar_value_survives_encoding_and_decoding);
    tcase_add_test(c, whole_and_broken_are_told_apart_as_the_strict_check_does);
    tcase_add_test(c, a_beginning_is_part_as_long_as_something_can_complete_it);
    tcase_add_test(c, classes_are_those_of_the_oracle);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
