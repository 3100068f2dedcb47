/* Which handler a method and a path mean. */
#include <check.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "base/units.h"
#include "gateway/route.h"

static const struct {
    const char *method, *target;
    enum rc rc;
    enum route_kind kind;
    const char *arg;
} cases[] = {
    {"POST", "/v1/chat/completions", RC_OK, ROUTE_CHAT, ""},
    {"POST", "/v1/chat/completions/", RC_OK, ROUTE_CHAT, ""},
    {"GET", "/v1/chat/completions", RC_BAD_METHOD, 0, ""},
    {"PUT", "/v1/models", RC_BAD_METHOD, 0, ""},
    {"POST", "/v1/completions", RC_OK, ROUTE_COMPLETIONS, ""},
    {"GET", "/v1/models", RC_OK, ROUTE_MODELS, ""},
    {"HEAD", "/v1/models", RC_OK, ROUTE_MODELS, ""},
    {"GET", "/v1/models/", RC_OK, ROUTE_MODELS, ""},
    {"GET", "/v1/models/a", RC_OK, ROUTE_MODEL, "a"},
    {"GET", "/v1/models/meta/Llama-3", RC_OK, ROUTE_MODEL, "meta/Llama-3"},
    {"GET", "/v1/models/meta%2FLlama%2d3", RC_OK, ROUTE_MODEL, "meta/Llama-3"},
    {"GET", "/v1/models/a%2", RC_NOT_FOUND, 0, ""},
    {"GET", "/v1/models/a%zz", RC_NOT_FOUND, 0, ""},
    {"OPTIONS", "/v1/chat/completions", RC_OK, ROUTE_OPTIONS, ""},
    {"OPTIONS", "/nowhere", RC_NOT_FOUND, 0, ""},
    {"GET", "/", RC_NOT_FOUND, 0, ""},
    {"GET", "", RC_NOT_FOUND, 0, ""},
    {"GET", "/v1/chat/completions/x", RC_NOT_FOUND, 0, ""},
    {"GET", "/health", RC_OK, ROUTE_READY, ""},
    {"GET", "/v1/health/live", RC_OK, ROUTE_LIVE, ""},
    {"GET", "/metrics", RC_OK, ROUTE_METRICS, ""},
    {"POST", "/tokenize", RC_OK, ROUTE_TOKENIZE, ""},
};

START_TEST(a_method_and_a_path_mean_one_thing)
{
    SCOPED_ARENA arena;
    struct route route = {0};
    struct err err = {0};
    arena_init(&arena, 4 * KIB);
    enum rc rc =
        route_find(str_of(cases[_i].method), str_of(cases[_i].target), &arena, &route, &err);
    ck_assert_msg(rc == cases[_i].rc, "%s %s: %s", cases[_i].method, cases[_i].target, rc_name(rc));
    if (rc == RC_OK) {
        ck_assert_int_eq(route.kind, cases[_i].kind);
        ck_assert(str_is(route.arg, cases[_i].arg));
    }
    ck_assert(rc != RC_BAD_METHOD || route.allow);
}
END_TEST

START_TEST(a_host_loses_its_port_only)
{
    ck_assert(str_is(route_host(STR("a.example:8000")), "a.example"));
    ck_assert(str_is(route_host(STR("a.example")), "a.example"));
    ck_assert(str_is(route_host(STR("[::1]:8000")), "[::1]"));
    ck_assert(str_is(route_host(STR("")), ""));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("route");
    TCase *c = tcase_create("paths");
    tcase_add_loop_test(c, a_method_and_a_path_mean_one_thing, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(c, a_host_loses_its_port_only);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
