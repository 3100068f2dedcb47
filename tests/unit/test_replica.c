/* The control plane's tables in a gateway: snapshots, changes, look-ups, limits and prices. */
#include <check.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "base/units.h"
#include "gateway/tables.h"
#include "tests/fake/tenant.h"

static struct apikey key;
static struct err err;
static json_t *feed;
static struct tables *now;

static void set_up(void)
{
    feed = tenant_feed(&key, "unix:/run/engine-0.sock");
    now = NULL;
    ck_assert_msg(tables_apply(NULL, feed, &now, &err) == RC_OK, "%s", err.msg);
}

static void tear_down(void)
{
    tables_unref(now);
    json_decref(feed);
}

static enum rc apply(json_t *reply)
{
    struct tables *next = NULL;
    enum rc rc = tables_apply(now, reply, &next, &err);
    json_decref(reply);
    if (rc == RC_OK) {
        tables_unref(now);
        now = next;
    }
    return rc;
}

static json_t *edited(const char *id, const char *field, json_t *value)
{
    json_t *row = json_deep_copy(tenant_row(feed, id));
    json_object_set_new(row, field, value);
    return row;
}

static struct str public_of(const struct apikey *k)
{
    return str_make(k->text + 4, APIKEY_PUBLIC_LEN);
}

START_TEST(everything_is_found)
{
    ck_assert_ptr_nonnull(tables_key(now, public_of(&key)));
    ck_assert_ptr_nonnull(tables_org(now, STR("org_a")));
    ck_assert_ptr_nonnull(tables_user(now, STR("usr_a")));
    ck_assert_ptr_null(tables_org(now, STR("org_z")));
    ck_assert_ptr_null(tables_user(now, STR("org_a")));
    const struct tables_dep *d = tables_route(now, STR("x"), STR("tiny/model"), STR("org_a"));
    ck_assert_ptr_nonnull(d);
    ck_assert_int_eq(d->n_addresses, 1);
    ck_assert(str_is(d->address[0], "unix:/run/engine-0.sock"));
}
END_TEST

START_TEST(a_model_is_seen_only_by_those_it_is_shared_with)
{
    ck_assert_ptr_null(tables_route(now, STR(""), STR("tiny/model"), STR("org_b")));
    ck_assert_int_eq(apply(tenant_reply(2, "share", "shr_b",
                                        json_pack("{s:s, s:s, s:n}", "id", "shr_b", "deployment_id",
                                                  "dep_a", "org_id"))),
                     RC_OK);
    ck_assert_ptr_nonnull(tables_route(now, STR(""), STR("tiny/model"), STR("org_b")));
    ck_assert_int_eq(apply(tenant_reply(3, "share", "shr_b", NULL)), RC_OK);
    ck_assert_int_eq(apply(tenant_reply(4, "share", "shr_a", NULL)), RC_OK);
    ck_assert_ptr_null(tables_route(now, STR(""), STR("tiny/model"), STR("org_a")));
}
END_TEST

START_TEST(a_change_leaves_old_snapshots_as_they_were)
{
    struct tables *old = tables_ref(now);
    const struct key *before = tables_key(old, public_of(&key));
    json_t *row = edited("key_a", "status", json_string("revoked"));
    json_object_set_new(row, "version", json_integer(2));
    ck_assert_int_eq(apply(tenant_reply(2, "key", "key_a", row)), RC_OK);
    ck_assert_int_eq(tables_key(now, public_of(&key))->status, KEY_REVOKED);
    ck_assert_int_eq(before->status, KEY_ACTIVE);
    ck_assert_int_eq(tables_rev(old), 1);
    ck_assert_ptr_eq(tables_org(old, STR("org_a")), tables_org(now, STR("org_a")));
    tables_unref(old);
}
END_TEST

/* T63: what is on its way cannot bring back what was taken away. */
START_TEST(an_older_row_does_not_replace_a_newer_one)
{
    json_t *revoked = edited("key_a", "status", json_string("revoked"));
    json_object_set_new(revoked, "version", json_integer(5));
    ck_assert_int_eq(apply(tenant_reply(9, "key", "key_a", revoked)), RC_OK);
    ck_assert_int_eq(
        apply(tenant_reply(10, "key", "key_a", json_deep_copy(tenant_row(feed, "key_a")))), RC_OK);
    ck_assert_int_eq(tables_key(now, public_of(&key))->status, KEY_REVOKED);
    struct tables *next = NULL;
    ck_assert_int_eq(tables_apply_key(now, tenant_row(feed, "key_a"), 10, &next, &err),
                     RC_CONFLICT);
    ck_assert_int_eq(tables_apply_key(now, tenant_row(feed, "key_a"), 11, &next, &err), RC_OK);
    ck_assert_int_eq(tables_key(next, public_of(&key))->status, KEY_REVOKED);
    tables_unref(next);
}
END_TEST

START_TEST(a_full_reply_drops_what_is_not_in_it)
{
    struct apikey other;
    json_t *fresh = tenant_feed(&other, "");
    json_object_set_new(fresh, "epoch", json_string("e2"));
    ck_assert_int_eq(apply(fresh), RC_OK);
    ck_assert_ptr_null(tables_key(now, public_of(&key)));
    ck_assert_ptr_nonnull(tables_key(now, public_of(&other)));
    ck_assert_str_eq(tables_epoch(now), "e2");
}
END_TEST

START_TEST(a_broken_reply_changes_nothing)
{
    static const char *const broken[] = {
        "{}", "{\"rev\":2}", "{\"epoch\":\"e\",\"rev\":2,\"hash_key\":\"00\",\"changes\":[]}",
        "{\"epoch\":1,\"rev\":2,\"hash_key\":\"\",\"changes\":[]}"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        ck_assert_int_eq(apply(json_loads(broken[i], 0, NULL)), RC_CORRUPT);
    ck_assert_int_ne(apply(tenant_reply(2, "org", "org_a", json_pack("{s:i}", "id", 7))), RC_OK);
    ck_assert_int_eq(tables_rev(now), 1);
    ck_assert_int_eq(apply(tenant_reply(2, "hat", "hat_1", json_pack("{s:s}", "id", "hat_1"))),
                     RC_OK); /* kinds of newer control planes are skipped */
}
END_TEST

START_TEST(a_copy_on_disk_reads_back_the_same)
{
    SCOPED_BUF one, two;
    struct tables *again = NULL;
    buf_init(&one, 1 * MIB);
    buf_init(&two, 1 * MIB);
    tables_to_json(now, &one);
    json_t *json = json_loadb(one.p, one.len, 0, NULL);
    ck_assert_msg(tables_apply(NULL, json, &again, &err) == RC_OK, "%s %s", err.field, err.msg);
    ck_assert_uint_eq(tables_rows(again), tables_rows(now));
    ck_assert_ptr_nonnull(tables_key(again, public_of(&key)));
    tables_to_json(again, &two);
    ck_assert_uint_eq(one.len, two.len);
    json_decref(json);
    tables_unref(again);
}
END_TEST

START_TEST(the_price_that_holds_is_the_newest_that_has_begun)
{
    for (int i = 1; i <= 3; i++) {
        char id[16], from[40];
        snprintf(id, sizeof id, "prc_%d", i);
        snprintf(from, sizeof from, "1970-01-01T00:00:%02dZ", 10 * i);
        ck_assert_int_eq(
            apply(tenant_reply(1 + i, "price", id,
                               json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "deployment_id",
                                         "dep_a", "input_per_1m", "1.00", "output_per_1m", "1.00",
                                         "effective_from", from))),
            RC_OK);
    }
    const struct tables_dep *d = tables_route(now, STR(""), STR("tiny/model"), STR("org_a"));
    ck_assert(str_is(tables_price(d, 9999)->id, "prc_a"));
    ck_assert(str_is(tables_price(d, 10000)->id, "prc_1"));
    ck_assert(str_is(tables_price(d, 25000)->id, "prc_2"));
    ck_assert(str_is(tables_price(d, 1000000)->id, "prc_3"));
}
END_TEST

static void add_limit(int rev, const char *id, const char *dep, const char *scope,
                      const char *subject, int tokens, bool on)
{
    ck_assert_int_eq(
        apply(tenant_reply(rev, "limit", id,
                           json_pack("{s:s, s:o, s:s, s:o, s:i, s:n, s:n, s:b}", "id", id,
                                     "deployment_id", dep ? json_string(dep) : json_null(), "scope",
                                     scope, "subject_id",
                                     subject ? json_string(subject) : json_null(), "tokens_per_min",
                                     tokens, "requests_per_min", "concurrency", "enabled", on))),
        RC_OK);
}

START_TEST(a_subjects_own_limit_replaces_the_general_one)
{
    struct limit_claim claims[LIMIT_CLAIMS_MAX];
    const struct tables_dep *d;
    const struct key *k;
    add_limit(2, "lim_1", "dep_a", "org", NULL, 100, true);
    add_limit(3, "lim_2", "dep_a", "org", "org_a", 500, true);
    add_limit(4, "lim_3", NULL, "key", NULL, 70, true);
    add_limit(5, "lim_4", "dep_a", "user", "usr_z", 1, true);
    add_limit(6, "lim_5", "dep_a", "key", NULL, 1, false);
    d = tables_route(now, STR(""), STR("tiny/model"), STR("org_a"));
    k = tables_key(now, public_of(&key));
    ck_assert_int_eq(tables_claims(now, d, k, claims), 2);
    ck_assert(claims[0].scope == LIMIT_ORG && claims[0].tokens_per_min == 500);
    ck_assert(str_is(claims[0].subject, "org_a") && str_is(claims[0].deployment, "dep_a"));
    ck_assert_int_eq(claims[0].requests_per_min, LIMIT_NONE);
    ck_assert(claims[1].scope == LIMIT_KEY && claims[1].tokens_per_min == 70);
    ck_assert_uint_eq(claims[1].deployment.len, 0);
    ck_assert(str_is(claims[1].subject, "key_a"));
}
END_TEST

START_TEST(only_replicas_that_run_have_an_address)
{
    static const char list[] =
        "[{\"state\":\"loading\",\"address\":\"unix:/a\"},{\"state\":\"running\"},"
        "{\"state\":\"running\",\"address\":\"tcp:127.0.0.1:9\"},7]";
    ck_assert_int_eq(
        apply(tenant_reply(2, "deployment", "dep_a",
                           edited("dep_a", "replica_list", json_loads(list, 0, NULL)))),
        RC_OK);
    const struct tables_dep *d = tables_route(now, STR(""), STR("tiny/model"), STR("org_a"));
    ck_assert_int_eq(d->n_addresses, 1);
    ck_assert(str_is(d->address[0], "tcp:127.0.0.1:9"));
}
END_TEST

START_TEST(a_host_name_chooses_its_endpoint)
{
    ck_assert_int_eq(apply(tenant_reply(2, "endpoint", "end_a",
                                        edited("end_a", "hostname", json_string("llm.test")))),
                     RC_OK);
    json_t *other = json_pack("{s:s, s:s, s:s, s:s}", "id", "end_b", "name", "f", "hostname",
                              "other.test", "cluster_id", "clu_a");
    ck_assert_int_eq(apply(tenant_reply(3, "endpoint", "end_b", other)), RC_OK);
    json_t *dep = edited("dep_a", "endpoint_id", json_string("end_b"));
    json_object_set_new(dep, "id", json_string("dep_b"));
    json_object_set_new(dep, "served_name", json_string("only-b"));
    ck_assert_int_eq(apply(tenant_reply(4, "deployment", "dep_b", dep)), RC_OK);
    ck_assert_int_eq(apply(tenant_reply(5, "share", "shr_c",
                                        json_pack("{s:s, s:s, s:s}", "id", "shr_c", "deployment_id",
                                                  "dep_b", "org_id", "org_a"))),
                     RC_OK);
    ck_assert_ptr_nonnull(tables_route(now, STR("any"), STR("only-b"), STR("org_a")));
    ck_assert_ptr_nonnull(tables_route(now, STR("OTHER.test"), STR("only-b"), STR("org_a")));
    ck_assert_ptr_null(tables_route(now, STR("llm.test"), STR("only-b"), STR("org_a")));
    ck_assert_ptr_nonnull(tables_route(now, STR("llm.test"), STR("tiny/model"), STR("org_a")));
}
END_TEST

int main(void)
{
    if (hash_init(&err) != RC_OK)
        return 1;
    Suite *s = suite_create("replica");
    TCase *c = tcase_create("tables");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, everything_is_found);
    tcase_add_test(c, a_model_is_seen_only_by_those_it_is_shared_with);
    tcase_add_test(c, a_change_leaves_old_snapshots_as_they_were);
    tcase_add_test(c, an_older_row_does_not_replace_a_newer_one);
    tcase_add_test(c, a_full_reply_drops_what_is_not_in_it);
    tcase_add_test(c, a_broken_reply_changes_nothing);
    tcase_add_test(c, a_copy_on_disk_reads_back_the_same);
    tcase_add_test(c, the_price_that_holds_is_the_newest_that_has_begun);
    tcase_add_test(c, a_subjects_own_limit_replaces_the_general_one);
    tcase_add_test(c, only_replicas_that_run_have_an_address);
    tcase_add_test(c, a_host_name_chooses_its_endpoint);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
