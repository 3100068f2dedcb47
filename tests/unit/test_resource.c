/* The field tables: JSON in and out, every refusal with the field at fault, and the packed form. */
#include <check.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "base/units.h"
#include "schema/resource.h"

static struct arena arena;
static struct err err;

static void set_up(void)
{
    arena_init(&arena, MIB);
    err = (struct err){0};
}

static void tear_down(void)
{
    arena_done(&arena);
}

static enum rc read_row(const struct resource *res, const char *text, enum resource_mode mode,
                        uint32_t who, void *row, uint64_t *ret_set)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    ck_assert_msg(json != NULL, "the test's own JSON: %s", text);
    enum rc rc = resource_from_json(res, json, mode, who, &arena, row, ret_set, &err);
    json_decref(json);
    return rc;
}

#define EXTERNAL                                                                                   \
    "{\"name\":\"d\",\"model_id\":\"mdl_00000000000000000000000000\","                             \
    "\"endpoint_id\":\"end_00000000000000000000000000\""

START_TEST(a_new_row_takes_its_defaults)
{
    struct deployment d = {0};
    uint64_t set = 0;
    ck_assert_int_eq(
        read_row(&resource_deployment, EXTERNAL "}", RESOURCE_CREATE, FIELD_W_OPERATOR, &d, &set),
        RC_OK);
    ck_assert(str_is(d.name, "d"));
    ck_assert(str_is(d.description, ""));
    ck_assert_ptr_null(d.served_name.p);
    ck_assert_int_eq(d.engine, ENGINE_INTEGRATED);
    ck_assert_int_eq(d.state, DEPLOY_PENDING);
    ck_assert_int_eq(d.replicas, 1);
    ck_assert_int_eq(d.max_output, 4096);
    ck_assert(str_is(d.replica_list, "[]"));
    ck_assert_int_eq(__builtin_popcountll(set), 3);
    struct limit l = {0};
    ck_assert_int_eq(read_row(&resource_limit, "{\"scope\":\"user\"}", RESOURCE_CREATE,
                              FIELD_W_OPERATOR, &l, &set),
                     RC_OK);
    ck_assert_int_eq(l.requests_per_min, FIELD_NULL_INT);
    ck_assert_int_eq(l.scope, LIMIT_USER);
    ck_assert(l.enabled);
}
END_TEST

START_TEST(every_refusal_names_the_field_and_what_is_allowed)
{
    static const struct {
        const struct resource *res;
        const char *json, *field, *says;
    } rows[] = {
        {&resource_org, "[]", "", "object"},
        {&resource_org, "5", "", "object"},
        {&resource_org, "{}", "name", "required"},
        {&resource_org, "{\"name\":null}", "name", "not null"},
        {&resource_org, "{\"name\":\"\"}", "name", "1 to 100"},
        {&resource_org, "{\"name\":\"   \"}", "name", "blank"},
        {&resource_org, "{\"name\":\"a\\u001bb\"}", "name", "control"},
        {&resource_org, "{\"name\":\"a\\nb\"}", "name", "control"},
        {&resource_org, "{\"name\":7}", "name", "a string"},
        {&resource_org, "{\"name\":\"a\",\"colour\":1}", "colour", "no field"},
        {&resource_org, "{\"name\":\"a\",\"id\":\"org_1\"}", "id", "server"},
        {&resource_org, "{\"name\":\"a\",\"status\":\"odd\"}", "status", "active|suspended"},
        {&resource_org, "{\"name\":\"a\",\"status\":0}", "status", "string"},
        {&resource_share, "{\"deployment_id\":\"org_00000000000000000000000000\"}", "deployment_id",
         "dep_"},
        {&resource_share, "{\"deployment_id\":\"dep_short\"}", "deployment_id", "dep_"},
        {&resource_limit, "{\"scope\":\"org\",\"requests_per_min\":-1}", "requests_per_min",
         "from 0"},
        {&resource_limit, "{\"scope\":\"org\",\"requests_per_min\":1.5}", "requests_per_min",
         "whole"},
        {&resource_limit, "{\"scope\":\"org\",\"requests_per_min\":\"5\"}", "requests_per_min",
         "whole"},
        {&resource_limit, "{\"scope\":\"org\",\"enabled\":1}", "enabled", "true or false"},
        {&resource_key, "{\"name\":\"k\",\"expires_at\":\"tomorrow\"}", "expires_at", "RFC 3339"},
        {&resource_key, "{\"name\":\"k\",\"hash\":\"00\"}", "hash", "server"},
        {&resource_user, "{\"email\":\"a@b\",\"password\":\"short\"}", "password", "10 to 200"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        union {
            struct org o;
            struct share s;
            struct limit l;
            struct key k;
            struct user u;
        } row;
        memset(&row, 0, sizeof row);
        enum rc rc =
            read_row(rows[i].res, rows[i].json, RESOURCE_CREATE, FIELD_W_OPERATOR, &row, NULL);
        ck_assert_msg(rc == RC_BAD_INPUT, "row %zu: %s", i, rc_name(rc));
        ck_assert_msg(strcmp(err.field, rows[i].field) == 0, "row %zu: field %s", i, err.field);
        ck_assert_msg(strstr(err.msg, rows[i].says) != NULL, "row %zu: %s", i, err.msg);
    }
}
END_TEST

START_TEST(a_role_writes_only_its_own_fields)
{
    struct key k = {0};
    const char *for_other = "{\"name\":\"k\",\"user_id\":\"usr_00000000000000000000000000\"}";
    ck_assert_int_eq(read_row(&resource_key, for_other, RESOURCE_CREATE, FIELD_W_ADMIN, &k, NULL),
                     RC_OK);
    ck_assert_int_eq(read_row(&resource_key, for_other, RESOURCE_CREATE, FIELD_W_MEMBER, &k, NULL),
                     RC_BAD_INPUT);
    ck_assert_str_eq(err.field, "user_id");
    ck_assert_int_eq(read_row(&resource_key, for_other, RESOURCE_UPDATE, FIELD_W_ADMIN, &k, NULL),
                     RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "cannot be changed"));
}
END_TEST

START_TEST(an_update_changes_what_it_names_and_nothing_else)
{
    struct deployment d = {.name = STR("old"), .replicas = 3, .served_name = STR("s")};
    uint64_t set = 0;
    ck_assert_int_eq(read_row(&resource_deployment, "{\"replicas\":0,\"served_name\":null}",
                              RESOURCE_UPDATE, FIELD_W_OPERATOR, &d, &set),
                     RC_OK);
    ck_assert_int_eq(d.replicas, 0);
    ck_assert_ptr_null(d.served_name.p);
    ck_assert(str_is(d.name, "old"));
    ck_assert_int_eq(__builtin_popcountll(set), 2);
}
END_TEST

static void print(const struct resource *res, const void *row, enum resource_view view,
                  struct buf *to)
{
    buf_init(to, MIB);
    resource_to_json(res, row, view, to);
    buf_byte(to, '\0');
    ck_assert(!to->failed);
}

START_TEST(each_view_shows_what_it_may)
{
    struct user u = {.id = STR("usr_1"), .email = STR("a@b"), .password = STR("hunter2hunter2")};
    struct key k = {.id = STR("key_1"), .hash = STR("cafe")};
    struct model_row m = {.id = STR("mdl_1"), .source = STR("/path")};
    SCOPED_BUF b1, b2, b3, b4, b5;
    print(&resource_user, &u, VIEW_FEED, &b1);
    ck_assert_ptr_null(strstr(b1.p, "hunter2"));
    print(&resource_key, &k, VIEW_OPERATOR, &b2);
    ck_assert_ptr_null(strstr(b2.p, "cafe"));
    print(&resource_key, &k, VIEW_FEED, &b3);
    ck_assert_ptr_nonnull(strstr(b3.p, "cafe"));
    print(&resource_model, &m, VIEW_PUBLIC, &b4);
    ck_assert_ptr_null(strstr(b4.p, "/path"));
    print(&resource_model, &m, VIEW_OPERATOR, &b5);
    ck_assert_ptr_nonnull(strstr(b5.p, "/path"));
}
END_TEST

/* ---- rows of random values, through JSON and through the packed form ---- */

static uint64_t rng = 42;
static uint64_t rnd(uint64_t below)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (rng >> 11) % below;
}

static struct str random_text(void)
{
    static const char *const texts[] = {"", "a", "\"quoted\" \\ back", "é中😀", "a\nb\tc", "x y z"};
    return str_of(texts[rnd(ARRAY_LEN(texts))]);
}

static int64_t random_number(const struct field *f)
{
    static const int64_t edges[] = {0, 1, 127, 128, 1000000, INT64_MAX};
    size_t len;
    int64_t n = 0;
    if (f->type == FIELD_ENUM) {
        while (resource_enum_text(f, n, &len))
            n++;
        return (int64_t)rnd((uint64_t)n);
    }
    if ((f->flags & FIELD_NULL) && rnd(3) == 0)
        return f->type == FIELD_TIME ? 0 : FIELD_NULL_INT;
    if (f->type == FIELD_TIME)
        return 1 + (int64_t)rnd(4102444800000);
    int64_t v = edges[rnd(ARRAY_LEN(edges))];
    return v < f->lo ? f->lo : v > f->hi ? f->hi : v;
}

static void random_row(const struct resource *res, char *row)
{
    memset(row, 0, res->size);
    for (size_t i = 0; i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        void *at = row + f->offset;
        if (f->flags & FIELD_SECRET)
            continue;
        if (f->type == FIELD_BOOL)
            *(bool *)at = rnd(2);
        else if (f->type == FIELD_JSON)
            *(struct str *)at = rnd(2) ? STR("{\"a\":[1,2]}") : STR("[]");
        else if (f->type == FIELD_ID || f->type == FIELD_REF || f->type == FIELD_TEXT)
            *(struct str *)at = (f->flags & FIELD_NULL) && rnd(3) == 0 ? STR_NONE : random_text();
        else
            *(int64_t *)at = random_number(f);
    }
}

#define X(name) &resource_##name,
static const struct resource *const all[] = {RESOURCES(X)};
#undef X

static void must_be_equal(const struct resource *res, const char *a, const char *b)
{
    SCOPED_BUF ja, jb;
    print(res, a, VIEW_FEED, &ja);
    print(res, b, VIEW_FEED, &jb);
    ck_assert_str_eq(ja.p, jb.p);
}

START_TEST(what_the_feed_prints_it_reads_back)
{
    char a[1024], b[1024];
    for (int round = 0; round < 2000; round++) {
        const struct resource *res = all[rnd(ARRAY_LEN(all))];
        ck_assert_uint_le(res->size, sizeof a);
        random_row(res, a);
        SCOPED_BUF json;
        print(res, a, VIEW_FEED, &json);
        memset(b, 0, sizeof b);
        arena_reset(&arena);
        enum rc rc = read_row(res, json.p, RESOURCE_FEED, 0, b, NULL);
        ck_assert_msg(rc == RC_OK, "%s: %s: %s", res->name, err.msg, json.p);
        must_be_equal(res, a, b);
    }
}
END_TEST

START_TEST(a_newer_programs_field_is_skipped_in_the_feed)
{
    struct org o = {0};
    ck_assert_int_eq(read_row(&resource_org,
                              "{\"id\":\"org_1\",\"name\":\"n\",\"status\":\"active\","
                              "\"created_at\":\"2026-01-01T00:00:00Z\",\"version\":1,\"new\":{}}",
                              RESOURCE_FEED, 0, &o, NULL),
                     RC_OK);
    ck_assert(str_is(o.name, "n"));
}
END_TEST

START_TEST(packed_rows_come_back_whole_and_broken_ones_do_not)
{
    char a[1024], b[1024];
    for (int round = 0; round < 500; round++) {
        const struct resource *res = all[rnd(ARRAY_LEN(all))];
        SCOPED_BUF packed;
        buf_init(&packed, MIB);
        random_row(res, a);
        resource_pack(res, a, &packed);
        memset(b, 0, sizeof b);
        arena_reset(&arena);
        ck_assert_int_eq(resource_unpack(res, buf_view(&packed), &arena, b, &err), RC_OK);
        must_be_equal(res, a, b);
        for (size_t cut = 0; cut < packed.len; cut++) { /* never less than the whole */
            struct str part = str_sub(buf_view(&packed), 0, cut);
            ck_assert_int_eq(resource_unpack(res, part, &arena, b, &err), RC_CORRUPT);
        }
        buf_byte(&packed, 'x');
        ck_assert_int_eq(resource_unpack(res, buf_view(&packed), &arena, b, &err), RC_CORRUPT);
    }
}
END_TEST

START_TEST(an_older_programs_row_takes_defaults_for_the_rest)
{
    struct usage u = {.id = STR("req_1"), .time = 5, .org_id = STR("org_1")}, back;
    SCOPED_BUF packed;
    buf_init(&packed, MIB);
    resource_pack(&resource_usage, &u, &packed);
    /* count, then id (1 + 5), time (1), org (1 + 5): what a table of three fields would write */
    packed.p[0] = 3;
    memset(&back, 0, sizeof back);
    struct str part = str_sub(buf_view(&packed), 0, 1 + 6 + 1 + 6);
    ck_assert_int_eq(resource_unpack(&resource_usage, part, &arena, &back, &err), RC_OK);
    ck_assert(str_is(back.org_id, "org_1"));
    ck_assert_int_eq(back.time, 5);
    ck_assert_int_eq(back.ttft_ms, FIELD_NULL_INT);
    ck_assert(str_is(back.currency, "USD"));
}
END_TEST

START_TEST(money_is_exact_both_ways)
{
    static const struct {
        const char *text;
        int64_t micro;
        const char *back;
    } rows[] = {{"0.15", 150000, "0.15"},
                {"3", 3000000, "3.00"},
                {"0", 0, "0.00"},
                {"0.000001", 1, "0.000001"},
                {"1000000", 1000000000000, "1000000.00"},
                {"-1.5", -1500000, "-1.50"},
                {"9223372036854.775807", INT64_MAX, "9223372036854.775807"}};
    static const char *const bad[] = {"",
                                      ".",
                                      "1.",
                                      ".1",
                                      "1e3",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1,5",
                                      "--1",
                                      "1.0000001",
                                      "9223372036854.775808",
                                      "NaN",
                                      "-",
                                      "1.-1"};
    char text[MONEY_TEXT_BYTES];
    int64_t v;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ck_assert(money_price_parse(str_of(rows[i].text), &v));
        ck_assert_int_eq(v, rows[i].micro);
        money_price_text(v, text);
        ck_assert_str_eq(text, rows[i].back);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!money_price_parse(str_of(bad[i]), &v), "%s was taken", bad[i]);
    for (int i = 0; i < 100000; i++) {
        int64_t pico = (int64_t)(rnd(UINT64_MAX) >> rnd(60)) * (rnd(2) ? 1 : -1), back;
        money_cost_text(pico, text);
        ck_assert(money_cost_parse(str_of(text), &back));
        ck_assert_int_eq(back, pico);
    }
    money_cost_text(INT64_MIN, text);
    ck_assert_str_eq(text, "-9223372.036854775808");
}
END_TEST

START_TEST(a_resource_is_found_by_either_name)
{
    ck_assert_ptr_eq(resource_find(STR("orgs")), &resource_org);
    ck_assert_ptr_eq(resource_find(STR("org")), &resource_org);
    ck_assert_ptr_null(resource_find(STR("or")));
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        /* feed.c and others rely on it */
        ck_assert_str_eq(all[i]->fields[0].name, "id");
        ck_assert_uint_eq(all[i]->fields[0].offset, 0);
        for (size_t k = 0; k < all[i]->n_fields; k++)
            if (all[i]->fields[k].type == FIELD_REF)
                ck_assert_ptr_nonnull(resource_find(str_of(all[i]->fields[k].values)));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("resource");
    TCase *t = tcase_create("resource");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_new_row_takes_its_defaults);
    tcase_add_test(t, every_refusal_names_the_field_and_what_is_allowed);
    tcase_add_test(t, a_role_writes_only_its_own_fields);
    tcase_add_test(t, an_update_changes_what_it_names_and_nothing_else);
    tcase_add_test(t, each_view_shows_what_it_may);
    tcase_add_test(t, what_the_feed_prints_it_reads_back);
    tcase_add_test(t, a_newer_programs_field_is_skipped_in_the_feed);
    tcase_add_test(t, packed_rows_come_back_whole_and_broken_ones_do_not);
    tcase_add_test(t, an_older_programs_row_takes_defaults_for_the_rest);
    tcase_add_test(t, money_is_exact_both_ways);
    tcase_add_test(t, a_resource_is_found_by_either_name);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
