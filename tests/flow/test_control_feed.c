/* What a gateway hears of the control plane: everything, in order, at once, and nobody else does.
 */
#include "tests/flow/control_fixture.h"

#include "base/clock.h"
#include "control/row.h"
#include "schema/feed.h"

static struct answer internal(struct fixture *fx, const char *path)
{
    return call_raw(fx, "GET", path,
                    fmt(fx, "Authorization: Bearer %s\r\n", control_secrets(fx->control)->internal),
                    NULL);
}

static json_int_t rev_of(const struct answer *a)
{
    return json_integer_value(json_object_get(a->json, "rev"));
}

/* The last change of an id, or NULL. */
static const json_t *change_of(const struct answer *a, const char *id)
{
    const json_t *found = NULL, *one;
    size_t i;
    json_array_foreach(json_object_get(a->json, "changes"), i,
                       one) if (strcmp(text_at(one, "id"), id) == 0) found = one;
    return found;
}

START_TEST(the_first_answer_is_the_whole_state)
{
    struct fixture *fx = fixture_new();
    ANSWER a = internal(fx, FEED_PATH_CHANGES);
    expect(a, 200);
    ck_assert(json_is_true(json_object_get(a.json, "full")));
    ck_assert_uint_eq(strlen(text_at(a.json, "epoch")), 32);
    ck_assert_uint_eq(strlen(text_at(a.json, "hash_key")), 64);
    const json_t *key = change_of(&a, fx->w.key_a);
    ck_assert_str_eq(text_at(key, "kind"), "key");
    /* What the gateway checks a key with: the same hash as over the secret that was shown. */
    uint8_t hash_key[HASH_KEY_BYTES], hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    ck_assert(str_from_hex(str_of(text_at(a.json, "hash_key")), hash_key, sizeof hash_key));
    apikey_hash(str_of(fx->w.secret_a), hash_key, hash);
    str_to_hex(hash, sizeof hash, hex);
    ck_assert_str_eq(text_at(json_object_get(key, "row"), "hash"), hex);
    /* Each row reads back as what it was. */
    struct arena arena;
    arena_init(&arena, MIB);
    size_t i, n = 0;
    json_t *one;
    json_array_foreach(json_object_get(a.json, "changes"), i, one)
    {
        const struct resource *res = resource_find(str_of(text_at(one, "kind")));
        void *row = arena_alloc(&arena, 1, res->size);
        must(resource_from_json(res, json_object_get(one, "row"), RESOURCE_FEED, 0, &arena, row,
                                NULL, err));
        n++;
    }
    ck_assert_uint_eq(n, 2 + WHO_COUNT + 3 + 2 + 1 + 2 + 1 + 1 + 2);
    arena_done(&arena);
    fixture_free(fx);
}
END_TEST

START_TEST(a_revoked_key_is_in_the_feed_when_the_answer_is_out)
{
    struct fixture *fx = fixture_new();
    ANSWER before = internal(fx, FEED_PATH_CHANGES);
    ANSWER revoke = call(fx, MEMBER_A, "PATCH", fmt(fx, "/api/v1/keys/%s", fx->w.key_a),
                         "{\"status\":\"revoked\"}");
    expect(revoke, 200);
    const char *next = fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s", (long long)rev_of(&before),
                           text_at(before.json, "epoch"));
    ANSWER after = internal(fx, next);
    ck_assert(json_is_false(json_object_get(after.json, "full")));
    ck_assert_uint_eq(json_array_size(json_object_get(after.json, "changes")), 1);
    ck_assert_str_eq(text_at(json_object_get(change_of(&after, fx->w.key_a), "row"), "status"),
                     "revoked");
    ck_assert_int_gt(rev_of(&after), rev_of(&before));
    ANSWER del = call(fx, MEMBER_A, "DELETE", fmt(fx, "/api/v1/keys/%s", fx->w.key_a), NULL);
    expect(del, 204);
    ANSWER gone = internal(fx, next);
    ck_assert(json_is_null(json_object_get(change_of(&gone, fx->w.key_a), "row")));
    fixture_free(fx);
}
END_TEST

struct poll {
    struct fixture *fx;
    const char *path;
    char auth[128];
    struct answer answer;
    int64_t took_ms;
};

static void *poll_main(void *arg)
{
    struct poll *p = arg;
    int64_t from = clock_mono_ms(clock_system());
    snprintf(p->auth, sizeof p->auth, "Authorization: Bearer %s\r\n",
             control_secrets(p->fx->control)->internal);
    p->answer = call_raw(p->fx, "GET", p->path, p->auth, NULL);
    p->took_ms = clock_mono_ms(clock_system()) - from;
    return NULL;
}

START_TEST(who_waits_hears_of_a_change_at_once)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    struct poll p = {.fx = fx};
    pthread_t thread;
    p.path = fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s&wait_ms=25000",
                 (long long)rev_of(&now), text_at(now.json, "epoch"));
    ck_assert_int_eq(pthread_create(&thread, NULL, poll_main, &p), 0);
    /* The change may come before or after the poll is registered: both must answer it. */
    char body[64], path[64], auth[256];
    snprintf(path, sizeof path, "/api/v1/keys/%s", fx->w.key_b);
    snprintf(body, sizeof body, "{\"status\":\"blocked\"}");
    snprintf(auth, sizeof auth, "Authorization: Bearer %s\r\n", fx->w.token[ADMIN_B]);
    ANSWER block = call_raw(fx, "PATCH", path, auth, body);
    expect(block, 200);
    pthread_join(thread, NULL);
    expect(p.answer, 200);
    ck_assert_int_lt(p.took_ms, 5000);
    ck_assert_str_eq(text_at(json_object_get(change_of(&p.answer, fx->w.key_b), "row"), "status"),
                     "blocked");
    answer_done(&p.answer);
    fixture_free(fx);
}
END_TEST

START_TEST(a_wait_ends_with_nothing_new)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    struct poll p = {.fx = fx};
    p.path = fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s&wait_ms=200", (long long)rev_of(&now),
                 text_at(now.json, "epoch"));
    poll_main(&p);
    expect(p.answer, 200);
    ck_assert_int_ge(p.took_ms, 190);
    ck_assert_uint_eq(json_array_size(json_object_get(p.answer.json, "changes")), 0);
    ck_assert_int_eq(rev_of(&p.answer), rev_of(&now));
    answer_done(&p.answer);
    fixture_free(fx);
}
END_TEST

/* One whole request: the server has read what was sent before it. */
static void let_the_server_turn(struct fixture *fx)
{
    ANSWER a = call(fx, NOBODY, "GET", "/api/v1/session", NULL);
    expect(a, 401);
}

/* A gateway that dies while it waits must not leave a trace. */
START_TEST(a_waiter_that_hangs_up_is_forgotten)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    const char *path = fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s&wait_ms=25000",
                           (long long)rev_of(&now), text_at(now.json, "epoch"));
    const char *auth =
        fmt(fx, "Authorization: Bearer %s\r\n", control_secrets(fx->control)->internal);
    for (int i = 0; i < 20; i++) {
        int fd = client_send(fx, "GET", path, auth, NULL);
        if (i % 2) /* some are seen first, some hang up before */
            let_the_server_turn(fx);
        close(fd);
    }
    ANSWER change = call(fx, OPERATOR, "POST", "/api/v1/orgs", "{\"name\":\"Later\"}");
    expect(change, 201);
    ANSWER after = internal(fx, path);
    ck_assert_uint_eq(json_array_size(json_object_get(after.json, "changes")), 1);
    fixture_free(fx);
}
END_TEST

START_TEST(a_stop_answers_those_who_wait)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    const char *path = fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s&wait_ms=25000",
                           (long long)rev_of(&now), text_at(now.json, "epoch"));
    const char *auth =
        fmt(fx, "Authorization: Bearer %s\r\n", control_secrets(fx->control)->internal);
    int fd = client_send(fx, "GET", path, auth, NULL);
    let_the_server_turn(fx);
    fixture_free(fx); /* under the address sanitizer: nothing is used after it is freed */
    close(fd);
}
END_TEST

START_TEST(an_unknown_past_gives_the_whole_state)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    const char *epoch = text_at(now.json, "epoch");
    const char *paths[] = {
        fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s", (long long)rev_of(&now) + 1, epoch),
        fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%032d", (long long)rev_of(&now), 0),
        fmt(fx, FEED_PATH_CHANGES "?after=%lld", (long long)rev_of(&now)),
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        ANSWER a = internal(fx, paths[i]);
        ck_assert(json_is_true(json_object_get(a.json, "full")));
        ck_assert_str_eq(a.body, now.body);
    }
    fixture_free(fx);
}
END_TEST

START_TEST(many_changes_come_in_parts_and_in_order)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    for (int i = 0; i < 3; i++) { /* each only once, at its last revision */
        ANSWER a = call(fx, OPERATOR, "PATCH", fmt(fx, "/api/v1/orgs/%s", fx->w.org_a),
                        fmt(fx, "{\"name\":\"name %d\"}", i));
        expect(a, 200);
    }
    ANSWER b = call(fx, OPERATOR, "POST", "/api/v1/orgs", "{\"name\":\"C\"}");
    ANSWER a = internal(fx, fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s",
                                (long long)rev_of(&now), text_at(now.json, "epoch")));
    json_t *changes = json_object_get(a.json, "changes");
    ck_assert_uint_eq(json_array_size(changes), 2);
    ck_assert_str_eq(text_at(json_array_get(changes, 0), "id"), fx->w.org_a);
    ck_assert_str_eq(text_at(json_object_get(json_array_get(changes, 0), "row"), "name"), "name 2");
    ck_assert_str_eq(text_at(json_array_get(changes, 1), "id"), text_at(b.json, "id"));
    ck_assert_int_eq(rev_of(&a), rev_of(&now) + 4);
    fixture_free(fx);
}
END_TEST

static enum rc make_many(void *user, struct txn *txn, struct err *err)
{
    struct fixture *fx = user;
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && i < 2 * FEED_ROWS_MAX + 5; i++) {
        struct org o = {.name = str_of(fmt(fx, "many %d", i))};
        rc = row_insert(txn, access_system(), &resource_org, &fx->arena, &o, err);
    }
    return rc;
}

START_TEST(more_than_one_part_is_fetched_to_the_end_without_a_gap)
{
    struct fixture *fx = fixture_new();
    ANSWER now = internal(fx, FEED_PATH_CHANGES);
    must(writer_call(control_writer(fx->control), make_many, fx, err));
    long long at = rev_of(&now);
    size_t seen = 0, parts = 0, n = 1;
    while (n > 0 && parts < 10) {
        ANSWER a = internal(
            fx, fmt(fx, FEED_PATH_CHANGES "?after=%lld&epoch=%s", at, text_at(now.json, "epoch")));
        expect(a, 200);
        n = json_array_size(json_object_get(a.json, "changes"));
        ck_assert_uint_le(n, FEED_ROWS_MAX);
        ck_assert_int_eq(rev_of(&a), at + (long long)n);
        at = rev_of(&a);
        seen += n;
        parts++;
    }
    ck_assert_uint_eq(seen, 2 * FEED_ROWS_MAX + 5);
    ck_assert_uint_eq(parts, 4);
    fixture_free(fx);
}
END_TEST

START_TEST(a_key_not_yet_seen_can_be_asked_for)
{
    struct fixture *fx = fixture_new();
    struct str public_id = STR_NONE;
    ck_assert(apikey_parse(str_of(fx->w.secret_a), &public_id));
    ANSWER a = internal(fx, fmt(fx, FEED_PATH_KEY STR_FMT, STR_ARG(public_id)));
    expect(a, 200);
    ck_assert_str_eq(text_at(json_object_get(a.json, "row"), "id"), fx->w.key_a);
    ANSWER none = internal(fx, FEED_PATH_KEY "0000000000000000");
    expect(none, 404);
    /* An operator's token opens nothing here. */
    ANSWER op = call(fx, OPERATOR, "GET", fmt(fx, FEED_PATH_KEY STR_FMT, STR_ARG(public_id)), NULL);
    expect(op, 401);
    fixture_free(fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("control_feed");
    TCase *t = tcase_create("feed");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, the_first_answer_is_the_whole_state);
    tcase_add_test(t, a_revoked_key_is_in_the_feed_when_the_answer_is_out);
    tcase_add_test(t, who_waits_hears_of_a_change_at_once);
    tcase_add_test(t, a_wait_ends_with_nothing_new);
    tcase_add_test(t, a_waiter_that_hangs_up_is_forgotten);
    tcase_add_test(t, a_stop_answers_those_who_wait);
    tcase_add_test(t, an_unknown_past_gives_the_whole_state);
    tcase_add_test(t, many_changes_come_in_parts_and_in_order);
    tcase_add_test(t, more_than_one_part_is_fetched_to_the_end_without_a_gap);
    tcase_add_test(t, a_key_not_yet_seen_can_be_asked_for);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
