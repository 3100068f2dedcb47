/* Who asks: keys out of headers, against tables. */
#include <check.h>
#include <stdlib.h>

#include "base/units.h"
#include "gateway/auth.h"
#include "tests/fake/tenant.h"

static struct apikey key;
static struct err err;

static struct tables *tables_with(const char *id, const char *field, json_t *value)
{
    json_t *feed = tenant_feed(&key, "unix:/x");
    struct tables *t = NULL;
    if (id)
        json_object_set_new(tenant_row(feed, id), field, value);
    ck_assert_msg(tables_apply(NULL, feed, &t, &err) == RC_OK, "%s", err.msg);
    json_decref(feed);
    return t;
}

static enum rc check(struct tables *t, const char *text)
{
    struct str k, p;
    struct auth auth = {0};
    char header[256];
    snprintf(header, sizeof header, "Bearer %s", text);
    enum rc rc = auth_key_text(str_of(header), STR_NONE, &k, &p, &err);
    if (rc == RC_OK)
        rc = auth_check(t, k, p, 1000000, &auth, &err);
    if (rc == RC_OK)
        ck_assert(str_is(auth.org->id, "org_a") && str_is(auth.user->id, "usr_a"));
    return rc;
}

START_TEST(a_good_key_is_known)
{
    struct tables *t = tables_with(NULL, NULL, NULL);
    ck_assert_int_eq(check(t, key.text), RC_OK);
    tables_unref(t);
}
END_TEST

START_TEST(every_bad_key_is_refused_in_the_same_words)
{
    static const struct {
        const char *id, *field, *value;
    } cases[] = {
        {"key_a", "status", "blocked"},
        {"key_a", "status", "revoked"},
        {"key_a", "expires_at", "1970-01-01T00:10:00Z"},
        {"usr_a", "status", "blocked"},
        {"org_a", "status", "suspended"},
        {"usr_a", "org_id", "org_b"},
        {"key_a", "org_id", "org_b"},
        {"key_a", "user_id", "usr_none"},
        {"key_a", "hash", "0000000000000000000000000000000000000000000000000000000000000000"}};
    struct err first = {0};
    auth_refuse(&first);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tables *t = tables_with(cases[i].id, cases[i].field, json_string(cases[i].value));
        ck_assert_msg(check(t, key.text) == RC_UNAUTHENTICATED, "%s %s", cases[i].id,
                      cases[i].value);
        ck_assert_str_eq(err.msg, first.msg);
        ck_assert_ptr_null(strstr(err.msg, key.text));
        tables_unref(t);
    }
}
END_TEST

START_TEST(a_key_that_has_not_expired_yet_is_good)
{
    struct tables *t = tables_with("key_a", "expires_at", json_string("2100-01-01T00:00:00Z"));
    ck_assert_int_eq(check(t, key.text), RC_OK);
    tables_unref(t);
}
END_TEST

START_TEST(an_unknown_key_is_to_be_asked_for_and_a_misspelt_one_is_not)
{
    struct tables *t = tables_with(NULL, NULL, NULL);
    struct apikey other;
    apikey_new(&other);
    ck_assert_int_eq(check(t, other.text), RC_AGAIN);
    other.text[30] = other.text[30] == 'a' ? 'b' : 'a';
    ck_assert_int_eq(check(t, other.text), RC_UNAUTHENTICATED);
    ck_assert_int_eq(check(t, ""), RC_UNAUTHENTICATED);
    ck_assert_int_eq(check(t, "sk-1234"), RC_UNAUTHENTICATED);
    ck_assert_int_eq(check(t, "' OR 1=1 --"), RC_UNAUTHENTICATED);
    tables_unref(t);
}
END_TEST

START_TEST(two_headers_must_agree)
{
    struct str k, p;
    struct apikey one, two;
    char header[256];
    apikey_new(&one);
    apikey_new(&two);
    snprintf(header, sizeof header, "bearer  %s ", one.text);
    ck_assert_int_eq(auth_key_text(str_of(header), str_of(two.text), &k, &p, &err), RC_BAD_INPUT);
    ck_assert_int_eq(auth_key_text(str_of(header), str_of(one.text), &k, &p, &err), RC_OK);
    ck_assert_int_eq(auth_key_text(STR_NONE, str_of(one.text), &k, &p, &err), RC_OK);
    ck_assert(str_is(k, one.text));
    ck_assert_int_eq(auth_key_text(STR("Basic x"), STR_NONE, &k, &p, &err), RC_UNAUTHENTICATED);
    ck_assert_int_eq(auth_key_text(STR("Basic x"), str_of(one.text), &k, &p, &err), RC_BAD_INPUT);
}
END_TEST

int main(void)
{
    if (hash_init(&err) != RC_OK)
        return 1;
    Suite *s = suite_create("auth");
    TCase *c = tcase_create("keys");
    tcase_add_test(c, a_good_key_is_known);
    tcase_add_test(c, every_bad_key_is_refused_in_the_same_words);
    tcase_add_test(c, a_key_that_has_not_expired_yet_is_good);
    tcase_add_test(c, an_unknown_key_is_to_be_asked_for_and_a_misspelt_one_is_not);
    tcase_add_test(c, two_headers_must_agree);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
