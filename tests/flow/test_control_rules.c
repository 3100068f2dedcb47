/* The rules between resources, over real HTTP. */
#include "tests/flow/control_fixture.h"

START_TEST(what_is_in_use_is_not_deleted)
{
    struct fixture *fx = fixture_new();
    const struct world *w = &fx->w;
    const struct {
        const char *path, *says;
    } used[] = {
        {fmt(fx, "/api/v1/orgs/%s", w->org_a), "3 users"},
        {fmt(fx, "/api/v1/models/%s", w->model), "1 deployment"},
        {fmt(fx, "/api/v1/endpoints/%s", w->endpoint), "2 deployments"},
        {fmt(fx, "/api/v1/clusters/%s", w->cluster), "1 endpoint"},
        {fmt(fx, "/api/v1/providers/%s", w->provider), "2 models"},
        {fmt(fx, "/api/v1/users/%s", w->user[OPERATOR]), "yourself"},
    };
    for (size_t i = 0; i < ARRAY_LEN(used); i++) {
        ANSWER a = call(fx, OPERATOR, "DELETE", used[i].path, NULL);
        expect(a, 409);
        ck_assert_msg(strstr(a.body, used[i].says) != NULL, "%s: %s", used[i].path, a.body);
    }
    /* A deployment takes its shares and limits with it and leaves its prices: they were billed. */
    ANSWER del = call(fx, OPERATOR, "DELETE", fmt(fx, "/api/v1/deployments/%s", w->dep), NULL);
    expect(del, 204);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/shares"), 0);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/limits"), 0);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/prices"), 2);
    fixture_free(fx);
}
END_TEST

START_TEST(deleting_a_user_takes_keys_and_tokens_along)
{
    struct fixture *fx = fixture_new();
    ANSWER lim = call(
        fx, OPERATOR, "POST", "/api/v1/limits",
        fmt(fx, "{\"scope\":\"key\",\"subject_id\":\"%s\",\"requests_per_min\":5}", fx->w.key_a));
    expect(lim, 201);
    ANSWER del =
        call(fx, ADMIN_A, "DELETE", fmt(fx, "/api/v1/users/%s", fx->w.user[MEMBER_A]), NULL);
    expect(del, 204);
    ANSWER key = call(fx, OPERATOR, "GET", fmt(fx, "/api/v1/keys/%s", fx->w.key_a), NULL);
    expect(key, 404);
    ANSWER me = call(fx, MEMBER_A, "GET", "/api/v1/session", NULL);
    expect(me, 401);
    ANSWER gone =
        call(fx, OPERATOR, "GET", fmt(fx, "/api/v1/limits/%s", text_at(lim.json, "id")), NULL);
    expect(gone, 404);
    fixture_free(fx);
}
END_TEST

START_TEST(a_blocked_user_and_a_suspended_org_are_out_at_once)
{
    struct fixture *fx = fixture_new();
    ANSWER block = call(fx, ADMIN_A, "PATCH", fmt(fx, "/api/v1/users/%s", fx->w.user[MEMBER_A]),
                        "{\"status\":\"blocked\"}");
    expect(block, 200);
    ANSWER me = call(fx, MEMBER_A, "GET", "/api/v1/session", NULL);
    expect(me, 401);
    ANSWER stop = call(fx, OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", fx->w.org_b),
                       "{\"status\":\"suspended\"}");
    expect(stop, 200);
    ANSWER b = call(fx, MEMBER_B, "GET", "/api/v1/keys", NULL);
    expect(b, 403);
    fixture_free(fx);
}
END_TEST

START_TEST(prices_are_versions_and_never_edited)
{
    struct fixture *fx = fixture_new();
    const char *path = fmt(fx, "/api/v1/prices/%s", fx->w.price);
    ANSWER patch = call(fx, OPERATOR, "PATCH", path, "{\"input_per_1m\":\"0.01\"}");
    expect(patch, 405);
    ANSWER del = call(fx, OPERATOR, "DELETE", path, NULL);
    expect(del, 405);
    ANSWER made = call(fx, OPERATOR, "POST", "/api/v1/prices",
                       fmt(fx,
                           "{\"deployment_id\":\"%s\",\"input_per_1m\":\"0.150001\","
                           "\"output_per_1m\":\"3\",\"currency\":\"EUR\"}",
                           fx->w.dep));
    expect(made, 201);
    ck_assert_str_eq(text_at(made.json, "input_per_1m"), "0.150001");
    ck_assert_str_eq(text_at(made.json, "output_per_1m"), "3.00");
    ck_assert(json_is_null(json_object_get(made.json, "cached_input_per_1m")));
    static const char *const bad[] = {"0.1500001", "-1", "1e3", "1000001", "0x1", "", ".5", "5."};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ANSWER a = call(fx, OPERATOR, "POST", "/api/v1/prices",
                        fmt(fx,
                            "{\"deployment_id\":\"%s\",\"input_per_1m\":\"%s\","
                            "\"output_per_1m\":\"3\"}",
                            fx->w.dep, bad[i]));
        ck_assert_msg(a.status == 400, "%s: %d", bad[i], a.status);
    }
    ANSWER past = call(fx, OPERATOR, "POST", "/api/v1/prices",
                       fmt(fx,
                           "{\"deployment_id\":\"%s\",\"input_per_1m\":\"1\",\"output_per_1m\":"
                           "\"1\",\"effective_from\":\"2020-01-01T00:00:00Z\"}",
                           fx->w.dep));
    expect(past, 422);
    ck_assert_uint_eq(count_of(fx, OPERATOR, fmt(fx, "/api/v1/prices?deployment_id=%s", fx->w.dep)),
                      2);
    fixture_free(fx);
}
END_TEST

START_TEST(resources_are_checked_against_each_other)
{
    struct fixture *fx = fixture_new();
    const struct world *w = &fx->w;
    const struct {
        const char *path, *body;
        int want;
        const char *field;
    } rows[] = {
        {"/api/v1/deployments",
         fmt(fx,
             "{\"name\":\"d\",\"model_id\":\"mdl_00000000000000000000000000\","
             "\"endpoint_id\":\"%s\"}",
             w->endpoint),
         422, "model_id"},
        {"/api/v1/deployments",
         fmt(fx, "{\"name\":\"d\",\"model_id\":\"%s\",\"endpoint_id\":\"%s\"}", w->endpoint,
             w->endpoint),
         400, "model_id"},
        {"/api/v1/deployments",
         fmt(fx, "{\"name\":\"d\",\"model_id\":\"%s\",\"endpoint_id\":\"%s\"}", w->model,
             w->endpoint),
         409, "served_name"},
        {"/api/v1/deployments",
         fmt(fx,
             "{\"name\":\"d\",\"model_id\":\"%s\",\"endpoint_id\":\"%s\",\"served_name\":\"d\","
             "\"engine\":\"external\"}",
             w->model, w->endpoint),
         422, "upstream_url"},
        {"/api/v1/deployments",
         fmt(fx,
             "{\"name\":\"shared\",\"model_id\":\"%s\",\"endpoint_id\":\"%s\","
             "\"served_name\":\"d\"}",
             w->model, w->endpoint),
         409, "name"},
        {"/api/v1/shares",
         fmt(fx, "{\"deployment_id\":\"%s\",\"org_id\":\"org_00000000000000000000000000\"}",
             w->dep),
         422, "org_id"},
        {"/api/v1/shares",
         fmt(fx, "{\"deployment_id\":\"%s\",\"org_id\":\"%s\"}", w->dep, w->org_a), 409, ""},
        {"/api/v1/limits", fmt(fx, "{\"scope\":\"org\",\"subject_id\":\"%s\"}", w->user[MEMBER_A]),
         422, "subject_id"},
        {"/api/v1/limits", "{\"scope\":\"galaxy\"}", 400, "scope"},
        {"/api/v1/users", "{\"email\":\"x@y.example\"}", 422, "org_id"},
        {"/api/v1/users", "{\"email\":\"not an address\"}", 400, "email"},
        {"/api/v1/users", fmt(fx, "{\"email\":\"ANN@A.example\",\"org_id\":\"%s\"}", w->org_a), 409,
         "email"},
        {"/api/v1/users",
         "{\"email\":\"z@z.example\",\"role\":\"operator\",\"password\":\"short\"}", 400,
         "password"},
        {"/api/v1/orgs", "{\"name\":\"Org A\"}", 409, "name"},
        {"/api/v1/keys",
         fmt(fx, "{\"name\":\"k\",\"user_id\":\"%s\",\"expires_at\":\"2020-01-01T00:00:00Z\"}",
             w->user[MEMBER_A]),
         422, "expires_at"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ANSWER a = call(fx, OPERATOR, "POST", rows[i].path, rows[i].body);
        ck_assert_msg(a.status == rows[i].want, "row %zu %s: %d %s", i, rows[i].path, a.status,
                      a.body);
        ck_assert_msg(strcmp(error_field(&a), rows[i].field) == 0, "row %zu: %s", i, a.body);
    }
    fixture_free(fx);
}
END_TEST

START_TEST(a_revoked_key_stays_revoked)
{
    struct fixture *fx = fixture_new();
    const char *path = fmt(fx, "/api/v1/keys/%s", fx->w.key_a);
    ANSWER block = call(fx, MEMBER_A, "PATCH", path, "{\"status\":\"blocked\"}");
    expect(block, 200);
    ANSWER back = call(fx, MEMBER_A, "PATCH", path, "{\"status\":\"active\"}");
    expect(back, 200);
    ANSWER revoke = call(fx, MEMBER_A, "PATCH", path, "{\"status\":\"revoked\"}");
    expect(revoke, 200);
    ANSWER again = call(fx, MEMBER_A, "PATCH", path, "{\"status\":\"active\"}");
    expect(again, 422);
    ANSWER del = call(fx, MEMBER_A, "DELETE", path, NULL);
    expect(del, 204);
    ANSWER gone = call(fx, MEMBER_A, "GET", path, NULL);
    expect(gone, 404);
    fixture_free(fx);
}
END_TEST

START_TEST(a_key_is_shown_once_and_only_its_hash_is_kept)
{
    struct fixture *fx = fixture_new();
    ANSWER made = call(fx, MEMBER_A, "POST", "/api/v1/keys", "{\"name\":\"n\"}");
    expect(made, 201);
    struct str public_id = STR_NONE;
    const char *secret = text_at(made.json, "key");
    ck_assert(apikey_parse(str_of(secret), &public_id));
    ck_assert(str_is(public_id, text_at(made.json, "public_id")));
    ck_assert_str_eq(answer_header(&made, "location"),
                     fmt(fx, "/api/v1/keys/%s", text_at(made.json, "id")));
    ck_assert_str_eq(text_at(made.json, "org_id"), fx->w.org_a);
    ANSWER got =
        call(fx, MEMBER_A, "GET", fmt(fx, "/api/v1/keys/%s", text_at(made.json, "id")), NULL);
    ck_assert_ptr_null(json_object_get(got.json, "key"));
    char path[128];
    static const char *const files[] = {"sluice.db", "sluice.db-wal"};
    for (int i = 0; i < 2; i++) { /* the secret is nowhere on disk */
        snprintf(path, sizeof path, "%s/%s", fx->dir, files[i]);
        FILE *f = fopen(path, "rb");
        ck_assert_ptr_nonnull(f);
        char *all = malloc(16 << 20);
        size_t n = fread(all, 1, 16 << 20, f);
        ck_assert_ptr_null(memmem(all, n, secret + 21, 52));
        free(all);
        fclose(f);
        struct stat st;
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_mode & 0777, 0600);
    }
    fixture_free(fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("control_rules");
    TCase *t = tcase_create("rules");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, what_is_in_use_is_not_deleted);
    tcase_add_test(t, deleting_a_user_takes_keys_and_tokens_along);
    tcase_add_test(t, a_blocked_user_and_a_suspended_org_are_out_at_once);
    tcase_add_test(t, prices_are_versions_and_never_edited);
    tcase_add_test(t, resources_are_checked_against_each_other);
    tcase_add_test(t, a_revoked_key_stays_revoked);
    tcase_add_test(t, a_key_is_shown_once_and_only_its_hash_is_kept);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
