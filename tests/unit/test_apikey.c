/* The text of an API key: its shape, its checksum, its hash. */
#include <check.h>

#include "schema/apikey.h"

static void set_up(void)
{
    struct err err;
    ck_assert_int_eq(hash_init(&err), RC_OK);
}

START_TEST(a_new_key_reads_back_and_no_two_are_the_same)
{
    struct apikey a, b;
    struct str pa, pb;
    apikey_new(&a);
    apikey_new(&b);
    ck_assert_uint_eq(strlen(a.text), APIKEY_LEN);
    ck_assert(apikey_parse(str_of(a.text), &pa));
    ck_assert(apikey_parse(str_of(b.text), &pb));
    ck_assert_uint_eq(pa.len, APIKEY_PUBLIC_LEN);
    ck_assert(!str_eq(pa, pb));
    ck_assert_str_ne(a.text + 21, b.text + 21);
}
END_TEST

/* Any one character changed, left out, or swapped with its neighbour is noticed. */
START_TEST(a_slip_of_the_fingers_is_noticed)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyzABilou_-";
    struct apikey key;
    struct str public_id;
    apikey_new(&key);
    for (int at = 0; at < APIKEY_LEN; at++) {
        char text[APIKEY_LEN + 1];
        for (const char *c = digits; *c; c++) {
            memcpy(text, key.text, sizeof text);
            if (text[at] == *c)
                continue;
            text[at] = *c;
            ck_assert_msg(!apikey_parse(str_make(text, APIKEY_LEN), &public_id), "%s", text);
        }
        memcpy(text, key.text, (size_t)at);
        memcpy(text + at, key.text + at + 1, (size_t)(APIKEY_LEN - at));
        ck_assert(!apikey_parse(str_make(text, APIKEY_LEN - 1), &public_id));
        memcpy(text, key.text, sizeof text);
        if (at + 1 < APIKEY_LEN && text[at] != text[at + 1]) {
            char c = text[at];
            text[at] = text[at + 1];
            text[at + 1] = c;
            ck_assert_msg(!apikey_parse(str_make(text, APIKEY_LEN), &public_id), "%s", text);
        }
    }
}
END_TEST

START_TEST(other_texts_are_no_keys)
{
    static const char *const texts[] = {"", "slk_", "sk-1234", "slk_0000000000000000_"};
    char zeros[APIKEY_LEN] = {0};
    struct str public_id;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert(!apikey_parse(str_of(texts[i]), &public_id));
    memcpy(zeros, "slk_", 4);
    zeros[20] = '_';
    ck_assert(!apikey_parse(str_make(zeros, sizeof zeros), &public_id));
    ck_assert(!apikey_parse(STR_NONE, &public_id));
}
END_TEST

START_TEST(the_hash_depends_on_the_whole_key_and_on_the_hash_key)
{
    struct apikey key;
    uint8_t k1[HASH_KEY_BYTES] = {1}, k2[HASH_KEY_BYTES] = {2};
    uint8_t a[HASH_BYTES], b[HASH_BYTES], c[HASH_BYTES];
    apikey_new(&key);
    apikey_hash(str_of(key.text), k1, a);
    apikey_hash(str_of(key.text), k1, b);
    ck_assert(hash_equal(a, b, sizeof a));
    apikey_hash(str_of(key.text), k2, c);
    ck_assert(!hash_equal(a, c, sizeof a));
    apikey_hash(str_make(key.text, APIKEY_LEN - 1), k1, c);
    ck_assert(!hash_equal(a, c, sizeof a));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("apikey");
    TCase *t = tcase_create("apikey");
    tcase_add_checked_fixture(t, set_up, NULL);
    tcase_add_test(t, a_new_key_reads_back_and_no_two_are_the_same);
    tcase_add_test(t, a_slip_of_the_fingers_is_noticed);
    tcase_add_test(t, other_texts_are_no_keys);
    tcase_add_test(t, the_hash_depends_on_the_whole_key_and_on_the_hash_key);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
