/* The REST API over real HTTP: who may do what, and that nothing else happens. */
#include "tests/flow/control_fixture.h"

#include "control/audit.h"

/* Each role against each kind of route. Ids are those of the world; "%s" is filled with one. */
START_TEST(each_role_may_do_what_its_row_says)
{
    struct fixture *fx = fixture_new();
    const struct world *w = &fx->w;
    const struct {
        const char *method, *path, *body;
        int want[WHO_COUNT +
                 2]; /* operator, admin A, member A, member A2, admin B, member B, -, nobody */
    } rows[] = {
        {"GET", "/api/v1/session", NULL, {200, 200, 200, 200, 200, 200, 0, 401}},
        {"GET", "/api/v1/orgs", NULL, {200, 200, 200, 200, 200, 200, 0, 401}},
        {"GET", fmt(fx, "/api/v1/orgs/%s", w->org_a), NULL, {200, 200, 200, 200, 404, 404, 0, 401}},
        {"PATCH",
         fmt(fx, "/api/v1/orgs/%s", w->org_a),
         "{\"name\":\"Org A\"}",
         {200, 403, 403, 403, 403, 403, 0, 401}},
        {"POST", "/api/v1/orgs", "{\"name\":\"New\"}", {201, 403, 403, 403, 403, 403, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
         NULL,
         {200, 200, 200, 404, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/users/%s", w->user[OPERATOR]),
         NULL,
         {200, 404, 404, 404, 404, 404, 0, 401}},
        {"PATCH",
         fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
         "{\"name\":\"Ann\"}",
         {200, 200, 200, 404, 404, 404, 0, 401}},
        {"DELETE",
         fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
         NULL,
         {0, 0, 403, 403, 404, 403, 0, 401}},
        {"GET", fmt(fx, "/api/v1/keys/%s", w->key_a), NULL, {200, 200, 200, 404, 404, 404, 0, 401}},
        {"PATCH",
         fmt(fx, "/api/v1/keys/%s", w->key_a),
         "{\"name\":\"k\"}",
         {200, 200, 200, 404, 404, 404, 0, 401}},
        {"POST", "/api/v1/keys", "{\"name\":\"mine\"}", {422, 201, 201, 201, 201, 201, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/models/%s", w->model),
         NULL,
         {200, 200, 200, 200, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/models/%s", w->model_2),
         NULL,
         {200, 404, 404, 404, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/providers/%s", w->provider),
         NULL,
         {200, 200, 200, 200, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/endpoints/%s", w->endpoint),
         NULL,
         {200, 200, 200, 200, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/deployments/%s", w->dep),
         NULL,
         {200, 200, 200, 200, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/deployments/%s", w->dep_hidden),
         NULL,
         {200, 404, 404, 404, 404, 404, 0, 401}},
        {"PATCH",
         fmt(fx, "/api/v1/deployments/%s", w->dep),
         "{\"replicas\":1}",
         {200, 403, 403, 403, 403, 403, 0, 401}},
        {"DELETE",
         fmt(fx, "/api/v1/deployments/%s", w->dep),
         NULL,
         {0, 403, 403, 403, 403, 403, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/prices/%s", w->price),
         NULL,
         {200, 200, 200, 200, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/prices/%s", w->price_hidden),
         NULL,
         {200, 404, 404, 404, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/limits/%s", w->limit),
         NULL,
         {200, 200, 200, 200, 404, 404, 0, 401}},
        {"GET",
         fmt(fx, "/api/v1/shares/%s", w->share),
         NULL,
         {200, 403, 403, 403, 403, 403, 0, 401}},
        {"GET", "/api/v1/clusters", NULL, {200, 403, 403, 403, 403, 403, 0, 401}},
        {"GET", "/api/v1/audit", NULL, {200, 403, 403, 403, 403, 403, 0, 401}},
        {"GET", "/api/v1/tokens", NULL, {200, 200, 200, 200, 200, 200, 0, 401}},
        {"GET", "/openapi.json", NULL, {200, 200, 200, 200, 200, 200, 0, 200}},
        {"GET", "/api/v1/nothing", NULL, {404, 404, 404, 404, 404, 404, 0, 404}},
        {"GET", "/internal/v1/changes", NULL, {401, 401, 401, 401, 401, 401, 0, 401}},
        {"GET", "/internal/v1/nothing", NULL, {401, 401, 401, 401, 401, 401, 0, 401}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int who = 0; who <= NOBODY; who++) {
            if (rows[i].want[who] == 0)
                continue;
            ANSWER a = call(fx, (enum who)who, rows[i].method, rows[i].path, rows[i].body);
            ck_assert_msg(a.status == rows[i].want[who], "%s %s by %d: %d, wanted %d: %s",
                          rows[i].method, rows[i].path, who, a.status, rows[i].want[who], a.body);
        }
    fixture_free(fx);
}
END_TEST

START_TEST(lists_hold_only_what_the_caller_may_see)
{
    struct fixture *fx = fixture_new();
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/keys"), 3);
    ck_assert_uint_eq(count_of(fx, ADMIN_A, "/api/v1/keys"), 2);
    ck_assert_uint_eq(count_of(fx, MEMBER_A, "/api/v1/keys"), 1);
    ck_assert_uint_eq(count_of(fx, ADMIN_B, "/api/v1/keys"), 1);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/users"), WHO_COUNT);
    ck_assert_uint_eq(count_of(fx, ADMIN_A, "/api/v1/users"), 3);
    ck_assert_uint_eq(count_of(fx, MEMBER_A, "/api/v1/users"), 1);
    ck_assert_uint_eq(count_of(fx, MEMBER_A, "/api/v1/deployments"), 1);
    ck_assert_uint_eq(count_of(fx, MEMBER_B, "/api/v1/deployments"), 0);
    ck_assert_uint_eq(count_of(fx, MEMBER_B, "/api/v1/models"), 0);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/models"), 2);
    /* A filter cannot widen a view. */
    ck_assert_uint_eq(count_of(fx, MEMBER_A, fmt(fx, "/api/v1/keys?org_id=%s", fx->w.org_b)), 0);
    ck_assert_uint_eq(
        count_of(fx, MEMBER_A, fmt(fx, "/api/v1/keys?user_id=%s", fx->w.user[MEMBER_B])), 0);
    ck_assert_uint_eq(count_of(fx, OPERATOR, fmt(fx, "/api/v1/keys?org_id=%s", fx->w.org_b)), 1);
    ck_assert_uint_eq(count_of(fx, OPERATOR, fmt(fx, "/api/v1/prices?deployment_id=%s", fx->w.dep)),
                      1);
    fixture_free(fx);
}
END_TEST

START_TEST(tenants_do_not_see_what_is_the_operators)
{
    struct fixture *fx = fixture_new();
    static const char *const hidden[] = {"upstream_url", "replica_list", "threads", "kv_mib"};
    ANSWER mine = call(fx, OPERATOR, "GET", fmt(fx, "/api/v1/deployments/%s", fx->w.dep), NULL);
    ANSWER theirs = call(fx, MEMBER_A, "GET", fmt(fx, "/api/v1/deployments/%s", fx->w.dep), NULL);
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        ck_assert_ptr_nonnull(json_object_get(mine.json, hidden[i]));
        ck_assert_ptr_null(json_object_get(theirs.json, hidden[i]));
    }
    ANSWER model = call(fx, MEMBER_A, "GET", fmt(fx, "/api/v1/models/%s", fx->w.model), NULL);
    ck_assert_ptr_null(strstr(model.body, "/secret/path"));
    ANSWER key = call(fx, OPERATOR, "GET", fmt(fx, "/api/v1/keys/%s", fx->w.key_a), NULL);
    ck_assert_ptr_null(json_object_get(key.json, "hash"));
    ck_assert_ptr_null(json_object_get(key.json, "key"));
    /* A filter on a hidden field would be an oracle for it. */
    ck_assert_uint_eq(
        count_of(fx, MEMBER_A, fmt(fx, "/api/v1/endpoints?cluster_id=%s", fx->w.cluster)), 1);
    fixture_free(fx);
}
END_TEST

/* S06: another org's ids, on every verb. The answer is the same as for an id that never was, and
 * nothing changes. */
START_TEST(another_orgs_things_do_not_exist)
{
    struct fixture *fx = fixture_new();
    const struct world *w = &fx->w;
    static const char *const verbs[] = {"GET", "PATCH", "DELETE"};
    const char *theirs[] = {fmt(fx, "/api/v1/keys/%s", w->key_b),
                            fmt(fx, "/api/v1/users/%s", w->user[MEMBER_B]),
                            fmt(fx, "/api/v1/users/%s", w->user[OPERATOR])};
    const char *never[] = {"/api/v1/keys/key_00000000000000000000000000",
                           "/api/v1/users/usr_00000000000000000000000000",
                           "/api/v1/users/usr_00000000000000000000000000"};
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
        for (size_t v = 0; v < ARRAY_LEN(verbs); v++) {
            const char *body = strcmp(verbs[v], "PATCH") == 0 ? "{\"name\":\"taken\"}" : NULL;
            ANSWER before = call(fx, OPERATOR, "GET", theirs[i], NULL);
            ANSWER a = call(fx, ADMIN_A, verbs[v], theirs[i], body);
            ANSWER b = call(fx, ADMIN_A, verbs[v], never[i], body);
            ANSWER after = call(fx, OPERATOR, "GET", theirs[i], NULL);
            expect(a, 404);
            expect(b, 404);
            ck_assert_str_eq(a.body, b.body);
            ck_assert_str_eq(before.body, after.body);
        }
    /* Making things for, or in, another org. */
    ANSWER key = call(fx, ADMIN_A, "POST", "/api/v1/keys",
                      fmt(fx, "{\"name\":\"x\",\"user_id\":\"%s\"}", w->user[MEMBER_B]));
    expect(key, 422);
    ANSWER none = call(fx, ADMIN_A, "POST", "/api/v1/keys",
                       "{\"name\":\"x\",\"user_id\":\"usr_00000000000000000000000000\"}");
    expect(none, 422);
    ck_assert_uint_eq(count_of(fx, ADMIN_B, "/api/v1/keys"), 1);
    ANSWER token = call(fx, ADMIN_B, "GET", "/api/v1/tokens", NULL);
    const char *id = text_at(json_array_get(json_object_get(token.json, "data"), 0), "id");
    ANSWER stolen = call(fx, ADMIN_A, "DELETE", fmt(fx, "/api/v1/tokens/%s", id), NULL);
    expect(stolen, 404);
    fixture_free(fx);
}
END_TEST

/* S07: fields that the caller may not set are refused, not dropped in silence. */
START_TEST(fields_that_are_not_the_callers_to_set_are_refused)
{
    struct fixture *fx = fixture_new();
    const struct world *w = &fx->w;
    const struct {
        enum who who;
        const char *method, *path, *body, *field;
    } rows[] = {
        {ADMIN_A, "POST", "/api/v1/users",
         fmt(fx, "{\"email\":\"x@a.example\",\"org_id\":\"%s\"}", w->org_b), "org_id"},
        {MEMBER_A, "PATCH", fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
         "{\"role\":\"org_admin\"}", "role"},
        {MEMBER_A, "PATCH", fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
         "{\"role\":\"operator\"}", "role"},
        {MEMBER_A, "PATCH", fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
         fmt(fx, "{\"org_id\":\"%s\"}", w->org_b), "org_id"},
        {MEMBER_A, "POST", "/api/v1/keys",
         fmt(fx, "{\"name\":\"k\",\"user_id\":\"%s\"}", w->user[ADMIN_A]), "user_id"},
        {MEMBER_A, "POST", "/api/v1/keys", "{\"name\":\"k\",\"hash\":\"00\"}", "hash"},
        {MEMBER_A, "POST", "/api/v1/keys", "{\"name\":\"k\",\"id\":\"key_1\"}", "id"},
        {MEMBER_A, "POST", "/api/v1/keys", "{\"name\":\"k\",\"public_id\":\"abc\"}", "public_id"},
        {MEMBER_A, "POST", "/api/v1/keys", "{\"name\":\"k\",\"is_admin\":true}", "is_admin"},
        {MEMBER_A, "POST", "/api/v1/keys", "{\"name\":\"k\",\"spend\":0}", "spend"},
        {OPERATOR, "POST", "/api/v1/deployments",
         fmt(fx,
             "{\"name\":\"d\",\"model_id\":\"%s\",\"endpoint_id\":\"%s\",\"state\":\"running\"}",
             w->model, w->endpoint),
         "state"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/deployments/%s", w->dep),
         fmt(fx, "{\"model_id\":\"%s\"}", w->model_2), "model_id"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", w->org_a), "{\"version\":9}", "version"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", w->org_a),
         "{\"created_at\":\"2020-01-01T00:00:00Z\"}", "created_at"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", w->org_a), "{\"name\":5}", "name"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", w->org_a), "{\"name\":\"\"}", "name"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", w->org_a), "{\"name\":\"a\\nb\"}", "name"},
        {OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", w->org_a), "{\"status\":\"odd\"}", "status"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ANSWER a = call(fx, rows[i].who, rows[i].method, rows[i].path, rows[i].body);
        ck_assert_msg(a.status == 400, "row %zu: %d %s", i, a.status, a.body);
        ck_assert_str_eq(error_field(&a), rows[i].field);
    }
    ANSWER up = call(fx, ADMIN_A, "PATCH", fmt(fx, "/api/v1/users/%s", w->user[MEMBER_A]),
                     "{\"role\":\"operator\"}");
    expect(up, 403);
    ANSWER me = call(fx, MEMBER_A, "GET", "/api/v1/session", NULL);
    ck_assert_str_eq(text_at(json_object_get(me.json, "user"), "role"), "member");
    ck_assert_uint_eq(count_of(fx, MEMBER_A, "/api/v1/keys"), 1);
    fixture_free(fx);
}
END_TEST

/* S08: what means something to SQL means nothing here. */
START_TEST(sql_in_a_value_is_only_a_value)
{
    struct fixture *fx = fixture_new();
    static const char *const nasty[] = {
        "'; DROP TABLE orgs; --",
        "\\\" OR 1=1 --",
        "%' OR name LIKE '%",
        "_____",
        "a%_b",
        "Robert'); DELETE FROM keys;--",
        "\\u00e9\\u4e2d\\ud83d\\ude00",
        "\\\\'\\\\\\\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(nasty); i++) {
        ANSWER made =
            call(fx, OPERATOR, "POST", "/api/v1/orgs", fmt(fx, "{\"name\":\"%s\"}", nasty[i]));
        expect(made, 201);
        ANSWER got =
            call(fx, OPERATOR, "GET", fmt(fx, "/api/v1/orgs/%s", text_at(made.json, "id")), NULL);
        ck_assert_str_eq(text_at(got.json, "name"), text_at(made.json, "name"));
        json_t *want = json_loads(fmt(fx, "[\"%s\"]", nasty[i]), 0, NULL);
        ck_assert_str_eq(text_at(got.json, "name"), json_string_value(json_array_get(want, 0)));
        json_decref(want);
    }
    static const char *const paths[] = {
        "/api/v1/keys/'%20OR%20'1'='1",
        "/api/v1/keys/%25",
        "/api/v1/keys/key_%25",
        "/api/v1/orgs/org_'%3B%20DROP%20TABLE%20orgs%3B--",
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        ANSWER a = call(fx, OPERATOR, "GET", paths[i], NULL);
        expect(a, 404);
    }
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/orgs?name=%25"), 0);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/orgs?name=Org%20A'%20OR%20'1'%3D'1"), 0);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/orgs?name=Org%20A"), 1);
    ANSWER after = call(fx, OPERATOR, "GET", "/api/v1/orgs?after=org_'%20OR%201=1", NULL);
    expect(after, 400);
    ANSWER order = call(fx, OPERATOR, "GET", "/api/v1/orgs?order=name;DROP", NULL);
    expect(order, 400);
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/orgs"), 2 + ARRAY_LEN(nasty));
    fixture_free(fx);
}
END_TEST

START_TEST(a_change_needs_the_version_it_saw)
{
    struct fixture *fx = fixture_new();
    const char *path = fmt(fx, "/api/v1/orgs/%s", fx->w.org_a);
    ANSWER got = call(fx, OPERATOR, "GET", path, NULL);
    ck_assert_str_eq(answer_header(&got, "etag"), "\"1\"");
    ANSWER one = call_with(fx, OPERATOR, "PATCH", path, "If-Match: \"1\"\r\n", "{\"name\":\"A1\"}");
    expect(one, 200);
    ck_assert_str_eq(answer_header(&one, "etag"), "\"2\"");
    ANSWER late =
        call_with(fx, OPERATOR, "PATCH", path, "If-Match: \"1\"\r\n", "{\"name\":\"A2\"}");
    expect(late, 412);
    ANSWER odd = call_with(fx, OPERATOR, "PATCH", path, "If-Match: one\r\n", "{\"name\":\"A2\"}");
    expect(odd, 412);
    ANSWER any = call_with(fx, OPERATOR, "PATCH", path, "If-Match: *\r\n", "{\"name\":\"A3\"}");
    expect(any, 200);
    ANSWER del = call_with(fx, OPERATOR, "DELETE", path, "If-Match: \"1\"\r\n", NULL);
    expect(del, 412);
    ANSWER now = call(fx, OPERATOR, "GET", path, NULL);
    ck_assert_str_eq(text_at(now.json, "name"), "A3");
    fixture_free(fx);
}
END_TEST

START_TEST(an_idempotency_key_makes_one_thing_once)
{
    struct fixture *fx = fixture_new();
    const char *header = "Idempotency-Key: abc-1\r\n";
    ANSWER one = call_with(fx, MEMBER_A, "POST", "/api/v1/keys", header, "{\"name\":\"once\"}");
    ANSWER two = call_with(fx, MEMBER_A, "POST", "/api/v1/keys", header, "{\"name\":\"once\"}");
    expect(one, 201);
    expect(two, 201);
    ck_assert_str_eq(one.body, two.body); /* the secret too */
    ck_assert_uint_eq(strlen(text_at(one.json, "key")), APIKEY_LEN);
    ck_assert_uint_eq(count_of(fx, MEMBER_A, "/api/v1/keys"), 2);
    ANSWER other = call_with(fx, MEMBER_A, "POST", "/api/v1/keys", header, "{\"name\":\"twice\"}");
    expect(other, 422);
    /* Another user's key of the same text is another key. */
    ANSWER theirs = call_with(fx, MEMBER_B, "POST", "/api/v1/keys", header, "{\"name\":\"once\"}");
    expect(theirs, 201);
    ck_assert_str_ne(text_at(theirs.json, "id"), text_at(one.json, "id"));
    /* A refusal is not kept: the same key may be used to try again. */
    ANSWER bad = call_with(fx, MEMBER_A, "POST", "/api/v1/keys", "Idempotency-Key: b\r\n", "{}");
    expect(bad, 400);
    ANSWER good = call_with(fx, MEMBER_A, "POST", "/api/v1/keys", "Idempotency-Key: b\r\n",
                            "{\"name\":\"n\"}");
    expect(good, 201);
    fixture_free(fx);
}
END_TEST

START_TEST(pages_hold_every_row_once)
{
    struct fixture *fx = fixture_new();
    for (int i = 0; i < 23; i++) {
        ANSWER a = call(fx, MEMBER_A, "POST", "/api/v1/keys", fmt(fx, "{\"name\":\"k%d\"}", i));
        expect(a, 201);
    }
    static const char *const orders[] = {"asc", "desc"};
    for (int o = 0; o < 2; o++) {
        char last[40] = "", next[40] = "";
        size_t seen = 0, pages = 0;
        do {
            ANSWER a = call(fx, MEMBER_A, "GET",
                            fmt(fx, "/api/v1/keys?limit=10&order=%s%s%s", orders[o],
                                next[0] ? "&after=" : "", next),
                            NULL);
            expect(a, 200);
            json_t *data = json_object_get(a.json, "data");
            for (size_t i = 0; i < json_array_size(data); i++) {
                const char *id = text_at(json_array_get(data, i), "id");
                if (last[0])
                    ck_assert(o == 0 ? strcmp(last, id) < 0 : strcmp(last, id) > 0);
                snprintf(last, sizeof last, "%s", id);
                seen++;
            }
            snprintf(next, sizeof next, "%s", text_at(a.json, "next"));
            pages++;
        } while (next[0] && pages < 10);
        ck_assert_uint_eq(seen, 24);
        ck_assert_uint_eq(pages, 3);
    }
    ANSWER many = call(fx, OPERATOR, "GET", "/api/v1/keys?limit=201", NULL);
    expect(many, 400);
    ck_assert_str_eq(error_field(&many), "limit");
    ANSWER zero = call(fx, OPERATOR, "GET", "/api/v1/keys?limit=0", NULL);
    expect(zero, 400);
    fixture_free(fx);
}
END_TEST

START_TEST(a_body_that_is_not_a_json_object_is_refused)
{
    struct fixture *fx = fixture_new();
    char *deep = malloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = '\0';
    const char *bodies[] = {"",
                            "{",
                            "[]",
                            "null",
                            "{\"name\":\"a\",\"name\":\"b\"}",
                            "{} {}",
                            "{a:1}",
                            "{\"name\":\"\xff\"}",
                            "{\"name\":\"\\u0000\"}",
                            deep};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        ANSWER a = call(fx, OPERATOR, "POST", "/api/v1/orgs", bodies[i]);
        ck_assert_msg(a.status == 400, "body %zu: %d %s", i, a.status, a.body);
        ck_assert_str_eq(text_at(json_object_get(a.json, "error"), "code"), "bad_input");
    }
    free(deep);
    char *large = malloc((2 << 20) + 1);
    memset(large, ' ', 2 << 20);
    large[2 << 20] = '\0';
    ANSWER big = call(fx, OPERATOR, "POST", "/api/v1/orgs", large);
    expect(big, 413);
    free(large);
    ANSWER form =
        call_with(fx, OPERATOR, "POST", "/api/v1/orgs",
                  "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n{\"name\":\"f\"}", NULL);
    expect(form, 400);
    fixture_free(fx);
}
END_TEST

START_TEST(every_change_is_in_the_audit_log_and_the_chain_holds)
{
    struct fixture *fx = fixture_new();
    ANSWER made = call(fx, OPERATOR, "POST", "/api/v1/users",
                       fmt(fx,
                           "{\"email\":\"n@a.example\",\"org_id\":\"%s\",\"password\":"
                           "\"very secret words\"}",
                           fx->w.org_a));
    expect(made, 201);
    ck_assert_ptr_null(strstr(made.body, "very secret"));
    const char *id = text_at(made.json, "id");
    ANSWER patch =
        call(fx, ADMIN_A, "PATCH", fmt(fx, "/api/v1/users/%s", id), "{\"name\":\"Nora\"}");
    expect(patch, 200);
    ANSWER log = call(fx, OPERATOR, "GET", fmt(fx, "/api/v1/audit?object_id=%s", id), NULL);
    expect(log, 200);
    json_t *data = json_object_get(log.json, "data");
    ck_assert_uint_eq(json_array_size(data), 2);
    const json_t *change = json_array_get(data, 1);
    ck_assert_str_eq(text_at(change, "actor_id"), fx->w.user[ADMIN_A]);
    ck_assert_str_eq(text_at(change, "action"), "update");
    const json_t *name = json_object_get(json_object_get(change, "detail"), "name");
    ck_assert_str_eq(json_string_value(json_array_get(name, 1)), "Nora");
    ck_assert_ptr_null(strstr(log.body, "very secret"));
    SCOPED_TXN txn = {0};
    int64_t rows = 0;
    must(txn_begin_read(control_db(fx->control), &txn, err));
    must(audit_check(&txn, &rows, err));
    ck_assert_int_gt(rows, 20);
    txn_end(&txn);
    fixture_free(fx);
}
END_TEST

struct crowd {
    struct fixture *fx;
    int first, made;
};

static void *crowd_main(void *arg)
{
    struct crowd *c = arg;
    for (int i = 0; i < 25; i++) {
        char body[64];
        snprintf(body, sizeof body, "{\"name\":\"crowd %d\"}", c->first + i);
        ANSWER a = call(c->fx, OPERATOR, "POST", "/api/v1/orgs", body);
        c->made += a.status == 201;
    }
    return NULL;
}

START_TEST(writes_at_the_same_time_are_all_kept)
{
    struct fixture *fx = fixture_new();
    struct crowd crowd[8];
    pthread_t thread[8];
    for (int i = 0; i < 8; i++) {
        crowd[i] = (struct crowd){fx, i * 100, 0};
        pthread_create(&thread[i], NULL, crowd_main, &crowd[i]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(crowd[i].made, 25);
    }
    ck_assert_uint_eq(count_of(fx, OPERATOR, "/api/v1/orgs?limit=200"), 200);
    ANSWER a = call(fx, OPERATOR, "GET", "/api/v1/orgs?limit=200", NULL);
    ANSWER b = call(fx, OPERATOR, "GET",
                    fmt(fx, "/api/v1/orgs?limit=200&after=%s", text_at(a.json, "next")), NULL);
    ck_assert_uint_eq(json_array_size(json_object_get(b.json, "data")), 2);
    fixture_free(fx);
}
END_TEST

START_TEST(everything_is_there_after_a_restart)
{
    struct fixture *fx = fixture_new();
    ANSWER before = call(fx, OPERATOR, "GET", "/api/v1/deployments", NULL);
    fixture_stop(fx);
    fixture_start(fx, NULL);
    fixture_run(fx);
    ANSWER after = call(fx, OPERATOR, "GET", "/api/v1/deployments", NULL);
    ck_assert_str_eq(before.body, after.body);
    fixture_free(fx);
}
END_TEST

START_TEST(the_console_has_a_strict_policy_and_the_api_never_answers_html)
{
    struct fixture *fx = fixture_new();
    ANSWER page = call(fx, NOBODY, "GET", "/", NULL);
    expect(page, 200);
    ck_assert_ptr_nonnull(
        strstr(answer_header(&page, "content-security-policy"), "default-src 'self'"));
    ANSWER post = call(fx, NOBODY, "POST", "/", "{}");
    expect(post, 405);
    static const char *const paths[] = {"/api", "/api/v2/orgs", "/api/v1/orgs/x/y", "/internal"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        ANSWER a = call(fx, OPERATOR, "GET", paths[i], NULL);
        ck_assert_msg(a.json != NULL, "%s: %s", paths[i], a.body);
    }
    fixture_free(fx);
}
END_TEST

START_TEST(the_web_app_is_served_from_memory)
{
    char dir[] = "/tmp/sluice-web-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/assets", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/index.html", dir);
    FILE *f = fopen(path, "w");
    fputs("<!doctype html>app", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/assets/a-1234.js", dir);
    f = fopen(path, "w");
    fputs("let x", f);
    fclose(f);
    struct fixture *fx = fixture_new_in(dir);
    ANSWER root = call(fx, NOBODY, "GET", "/", NULL);
    ck_assert_str_eq(root.body, "<!doctype html>app");
    ANSWER deep = call(fx, NOBODY, "GET", "/usage/by-key", NULL);
    ck_assert_str_eq(deep.body, "<!doctype html>app");
    ck_assert_str_eq(answer_header(&deep, "cache-control"), "no-cache");
    ANSWER asset = call(fx, NOBODY, "GET", "/assets/a-1234.js", NULL);
    ck_assert_str_eq(asset.body, "let x");
    ck_assert_ptr_nonnull(strstr(answer_header(&asset, "cache-control"), "immutable"));
    ANSWER none = call(fx, NOBODY, "GET", "/assets/b.js", NULL);
    expect(none, 404);
    ANSWER up = call(fx, NOBODY, "GET", "/../../etc/passwd", NULL);
    ck_assert_ptr_null(strstr(up.body, "root:"));
    fixture_free(fx);
    nftw(dir, fixture_unlink, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("control_api");
    TCase *t = tcase_create("api");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, each_role_may_do_what_its_row_says);
    tcase_add_test(t, lists_hold_only_what_the_caller_may_see);
    tcase_add_test(t, tenants_do_not_see_what_is_the_operators);
    tcase_add_test(t, another_orgs_things_do_not_exist);
    tcase_add_test(t, fields_that_are_not_the_callers_to_set_are_refused);
    tcase_add_test(t, sql_in_a_value_is_only_a_value);
    tcase_add_test(t, a_change_needs_the_version_it_saw);
    tcase_add_test(t, an_idempotency_key_makes_one_thing_once);
    tcase_add_test(t, pages_hold_every_row_once);
    tcase_add_test(t, a_body_that_is_not_a_json_object_is_refused);
    tcase_add_test(t, every_change_is_in_the_audit_log_and_the_chain_holds);
    tcase_add_test(t, writes_at_the_same_time_are_all_kept);
    tcase_add_test(t, everything_is_there_after_a_restart);
    tcase_add_test(t, the_console_has_a_strict_policy_and_the_api_never_answers_html);
    tcase_add_test(t, the_web_app_is_served_from_memory);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
