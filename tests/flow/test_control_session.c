/* Logging in with a browser, and what a cookie alone cannot do. */
#include "tests/flow/control_fixture.h"

#include "control/guard.h"

struct browser {
    char cookie[256]; /* a whole header line */
    char csrf[96];
};

static struct answer log_in(struct fixture *fx, const char *email, const char *password)
{
    return call(fx, NOBODY, "POST", "/api/v1/session",
                fmt(fx, "{\"email\":\"%s\",\"password\":\"%s\"}", email, password));
}

static struct browser browser_of(const struct answer *a)
{
    struct browser b = {0};
    const char *set = answer_header(a, "set-cookie");
    ck_assert_ptr_nonnull(set);
    snprintf(b.cookie, sizeof b.cookie, "Cookie: other=1; %.*s\r\n", (int)strcspn(set, ";"), set);
    snprintf(b.csrf, sizeof b.csrf, "x-csrf-token: %s\r\n", text_at(a->json, "csrf"));
    return b;
}

START_TEST(a_login_gives_a_cookie_that_scripts_and_other_sites_cannot_use)
{
    struct fixture *fx = fixture_new();
    ANSWER a = log_in(fx, "Ann@A.example", PASSWORD);
    expect(a, 200);
    const char *set = answer_header(&a, "set-cookie");
    ck_assert_ptr_nonnull(strstr(set, "HttpOnly"));
    ck_assert_ptr_nonnull(strstr(set, "SameSite=Strict"));
    ck_assert_ptr_nonnull(strstr(set, "Path=/"));
    ck_assert_str_eq(text_at(json_object_get(a.json, "user"), "email"), "ann@a.example");
    ck_assert_str_eq(text_at(json_object_get(a.json, "org"), "name"), "Org A");
    ck_assert_str_eq(text_at(a.json, "openai_base_url"), "http://127.0.0.1:8000/v1");
    ck_assert_str_eq(answer_header(&a, "cache-control"), "no-store");
    struct browser b = browser_of(&a);
    ANSWER me = call_raw(fx, "GET", "/api/v1/session", b.cookie, NULL);
    expect(me, 200);
    ck_assert_str_eq(text_at(me.json, "csrf"), text_at(a.json, "csrf"));
    fixture_free(fx);
}
END_TEST

/* S10: a form on another site can send the cookie at most, never the token. */
START_TEST(a_write_by_cookie_needs_the_csrf_token)
{
    struct fixture *fx = fixture_new();
    ANSWER a = log_in(fx, "ann@a.example", PASSWORD);
    struct browser b = browser_of(&a);
    const char *body = "{\"name\":\"from a browser\"}";
    ANSWER bare = call_raw(fx, "POST", "/api/v1/keys", b.cookie, body);
    expect(bare, 403);
    ANSWER wrong = call_raw(fx, "POST", "/api/v1/keys",
                            fmt(fx, "%sx-csrf-token: %064d\r\n", b.cookie, 0), body);
    expect(wrong, 403);
    ANSWER del = call_raw(fx, "DELETE", fmt(fx, "/api/v1/keys/%s", fx->w.key_a), b.cookie, NULL);
    expect(del, 403);
    ANSWER right = call_raw(fx, "POST", "/api/v1/keys", fmt(fx, "%s%s", b.cookie, b.csrf), body);
    expect(right, 201);
    /* Another session's token does not fit this cookie. */
    ANSWER op = log_in(fx, "op@example.com", PASSWORD);
    struct browser b2 = browser_of(&op);
    ANSWER mixed = call_raw(fx, "POST", "/api/v1/keys", fmt(fx, "%s%s", b.cookie, b2.csrf), body);
    expect(mixed, 403);
    fixture_free(fx);
}
END_TEST

START_TEST(a_logout_ends_the_session)
{
    struct fixture *fx = fixture_new();
    ANSWER a = log_in(fx, "ann@a.example", PASSWORD);
    struct browser b = browser_of(&a);
    const char *both = fmt(fx, "%s%s", b.cookie, b.csrf);
    ANSWER out = call_raw(fx, "DELETE", "/api/v1/session", both, NULL);
    expect(out, 204);
    ck_assert_ptr_nonnull(strstr(answer_header(&out, "set-cookie"), "Max-Age=0"));
    ANSWER me = call_raw(fx, "GET", "/api/v1/session", b.cookie, NULL);
    expect(me, 401);
    fixture_free(fx);
}
END_TEST

/* S05: the same words for an unknown email, a wrong password and a user without one. */
START_TEST(a_failed_login_tells_nothing)
{
    struct fixture *fx = fixture_new();
    ANSWER wrong = log_in(fx, "ann@a.example", "not the password");
    ANSWER unknown = log_in(fx, "nobody@a.example", "not the password");
    ANSWER without = log_in(fx, "abe@a.example", "not the password");
    ANSWER empty = log_in(fx, "abe@a.example", "x");
    expect(wrong, 401);
    ck_assert_str_eq(wrong.body, unknown.body);
    ck_assert_str_eq(wrong.body, without.body);
    ck_assert_str_eq(wrong.body, empty.body);
    ck_assert_ptr_null(answer_header(&wrong, "set-cookie"));
    fixture_free(fx);
}
END_TEST

START_TEST(too_many_failed_logins_are_refused_before_hashing)
{
    struct fixture *fx = fixture_new();
    for (int i = 0; i < GUARD_EMAIL_MAX; i++) {
        ANSWER a = log_in(fx, "ann@a.example", "wrong wrong wrong");
        expect(a, 401);
    }
    ANSWER even_right = log_in(fx, "ann@a.example", PASSWORD);
    expect(even_right, 429);
    ck_assert_int_gt(atoi(answer_header(&even_right, "retry-after")), 0);
    ANSWER other = log_in(fx, "op@example.com", PASSWORD);
    expect(other, 200);
    fixture_free(fx);
}
END_TEST

START_TEST(a_new_password_ends_the_other_sessions)
{
    struct fixture *fx = fixture_new();
    ANSWER one = log_in(fx, "ann@a.example", PASSWORD);
    ANSWER two = log_in(fx, "ann@a.example", PASSWORD);
    struct browser b1 = browser_of(&one), b2 = browser_of(&two);
    ANSWER change =
        call_raw(fx, "PATCH", fmt(fx, "/api/v1/users/%s", fx->w.user[MEMBER_A]),
                 fmt(fx, "%s%s", b1.cookie, b1.csrf), "{\"password\":\"another long password\"}");
    expect(change, 200);
    ck_assert_ptr_null(strstr(change.body, "another long"));
    ANSWER mine = call_raw(fx, "GET", "/api/v1/session", b1.cookie, NULL);
    expect(mine, 200);
    ANSWER old = call_raw(fx, "GET", "/api/v1/session", b2.cookie, NULL);
    expect(old, 401);
    ANSWER before = log_in(fx, "ann@a.example", PASSWORD);
    expect(before, 401);
    ANSWER after = log_in(fx, "ann@a.example", "another long password");
    expect(after, 200);
    fixture_free(fx);
}
END_TEST

START_TEST(a_token_works_until_it_is_deleted)
{
    struct fixture *fx = fixture_new();
    ANSWER made = call(fx, MEMBER_A, "POST", "/api/v1/tokens", "{\"name\":\"script\"}");
    expect(made, 201);
    const char *token = text_at(made.json, "token"), *id = text_at(made.json, "id");
    ck_assert_int_eq(strncmp(token, "slt_", 4), 0);
    const char *header = fmt(fx, "Authorization: Bearer %s\r\n", token);
    ANSWER me = call_raw(fx, "GET", "/api/v1/session", header, NULL);
    expect(me, 200);
    ck_assert(json_is_null(json_object_get(me.json, "csrf")));
    ANSWER list = call(fx, MEMBER_A, "GET", "/api/v1/tokens", NULL);
    ck_assert_ptr_null(strstr(list.body, token));
    ck_assert_ptr_null(strstr(list.body, "hash"));
    ANSWER del = call(fx, MEMBER_A, "DELETE", fmt(fx, "/api/v1/tokens/%s", id), NULL);
    expect(del, 204);
    ANSWER out = call_raw(fx, "GET", "/api/v1/session", header, NULL);
    expect(out, 401);
    /* A cookie's value is no bearer token, and the other way round. */
    ANSWER in = log_in(fx, "ann@a.example", PASSWORD);
    struct browser b = browser_of(&in);
    const char *value = strchr(strstr(b.cookie, "sluice_session"), '=') + 1;
    ANSWER as_bearer = call_raw(fx, "GET", "/api/v1/session",
                                fmt(fx, "Authorization: Bearer %.56s\r\n", value), NULL);
    expect(as_bearer, 401);
    ANSWER as_cookie =
        call_raw(fx, "GET", "/api/v1/session",
                 fmt(fx, "Cookie: sluice_session=%s\r\n", fx->w.token[MEMBER_A]), NULL);
    expect(as_cookie, 401);
    fixture_free(fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("control_session");
    TCase *t = tcase_create("session");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_login_gives_a_cookie_that_scripts_and_other_sites_cannot_use);
    tcase_add_test(t, a_write_by_cookie_needs_the_csrf_token);
    tcase_add_test(t, a_logout_ends_the_session);
    tcase_add_test(t, a_failed_login_tells_nothing);
    tcase_add_test(t, too_many_failed_logins_are_refused_before_hashing);
    tcase_add_test(t, a_new_password_ends_the_other_sessions);
    tcase_add_test(t, a_token_works_until_it_is_deleted);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
