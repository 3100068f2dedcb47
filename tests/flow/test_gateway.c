/* The gateway as its clients, its engines and its control plane see it: every way a request can
 * end, each with exactly one usage row or none, and the row says what happened. */
#include "tests/fake/gateway_rig.h"

#include "base/units.h"

/* Each test is a process of its own that ends with it, and keeps every answer until then. The
 * gateway's leaks are looked for: it is another process. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static struct rig rig;

static void stop(void)
{
    rig_stop(&rig);
}

static const char *body_of(const struct reply *a)
{
    const char *p = strstr(a->text, "\r\n\r\n");
    return p ? p + 4 : "";
}

static json_t *json_of(const struct reply *a)
{
    json_t *j = json_loads(body_of(a), 0, NULL);
    ck_assert_msg(j != NULL, "%s", a->text);
    return j;
}

static const char *error_code(const struct reply *a)
{
    const json_t *e = json_object_get(json_of(a), "error");
    ck_assert_uint_eq(json_object_size(e), 4);
    ck_assert_uint_gt(strlen(rig_text(e, "message")), 10);
    return rig_text(e, "code");
}

/* ---- answers ---- */

START_TEST(a_whole_answer_has_the_usage_of_its_row)
{
    rig_start(&rig, 1);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_msg(a.status == 200, "%s", a.text);
    json_t *j = json_of(&a), *row = rig_row(&rig, a.id);
    const json_t *usage = json_object_get(j, "usage");
    const json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
    ck_assert_str_eq(rig_text(json_object_get(choice, "message"), "content"),
                     "w0 w1 w2 w3 w4 w5 w6 ");
    ck_assert_str_eq(rig_text(choice, "finish_reason"), "stop");
    ck_assert_str_eq(rig_text(j, "model"), "tiny/model");
    ck_assert_int_eq(rig_int(usage, "prompt_tokens"),
                     rig_int(row, "input_tokens") + rig_int(row, "cached_tokens"));
    ck_assert_int_eq(rig_int(usage, "prompt_tokens"), atomic_load(&rig.engine[0].last_n_prompt));
    ck_assert_int_eq(rig_int(usage, "completion_tokens"), 8);
    ck_assert_int_eq(rig_int(row, "output_tokens"), 8);
    ck_assert_str_eq(rig_text(row, "outcome"), "stop");
    ck_assert_str_eq(rig_text(row, "price_id"), "prc_a");
    ck_assert_str_eq(rig_text(row, "org_id"), "org_a");
    ck_assert_int_eq(atomic_load(&rig.engine[0].last_max_tok), 64); /* the deployment's */
    ck_assert_ptr_null(strstr(a.text, "Access-Control"));
}
END_TEST

START_TEST(a_stream_is_in_order_and_says_usage_only_when_asked)
{
    rig_start(&rig, 1);
    struct reply a = rig_chat(&rig, ",\"stream\":true,\"max_tokens\":5", 0);
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_nonnull(strstr(a.text, "Content-Type: text/event-stream; charset=utf-8"));
    ck_assert_ptr_nonnull(strstr(a.text, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"));
    ck_assert_int_eq(a.events, 1 + 5 + 1 + 1); /* role, five tokens, finish, [DONE] */
    ck_assert_ptr_nonnull(strstr(a.text, "\"finish_reason\":\"length\""));
    ck_assert_ptr_nonnull(strstr(a.text, "data: [DONE]"));
    ck_assert_ptr_null(strstr(a.text, "usage"));
    ck_assert_ptr_null(strstr(a.text, "\"choices\":[]"));
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "outcome"), "length");
    a = rig_chat(&rig, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}", 0);
    ck_assert_int_eq(rig_count(a.text, "\"usage\":null"), a.events - 2);
    ck_assert_int_eq(rig_count(a.text, "\"choices\":[],\"usage\":{"), 1);
    a = rig_chat(&rig, ",\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":true}", 0);
    ck_assert_int_ge(rig_count(a.text, "\"completion_tokens\":3,"), 1);
}
END_TEST

START_TEST(several_prompts_and_choices_are_one_request_and_one_row)
{
    rig_start(&rig, 1);
    struct reply a = rig_ask(&rig, "POST", "/v1/completions", rig.key.text,
                             "{\"model\":\"tiny/model\",\"prompt\":[\"abc\",[65,66]],\"n\":2,"
                             "\"max_tokens\":4}",
                             0);
    ck_assert_msg(a.status == 200, "%s", a.text);
    json_t *j = json_of(&a), *row = rig_row(&rig, a.id);
    ck_assert_uint_eq(json_array_size(json_object_get(j, "choices")), 4);
    ck_assert_int_eq(rig_int(json_object_get(j, "usage"), "prompt_tokens"), 5);
    ck_assert_int_eq(rig_int(json_object_get(j, "usage"), "completion_tokens"), 16);
    ck_assert_int_eq(rig_int(row, "output_tokens"), 16);
    ck_assert_int_eq(rig_int(row, "input_tokens") + rig_int(row, "cached_tokens"), 5);
    ck_assert_int_eq(control_rows(&rig.control), 1);
    a = rig_ask(&rig, "POST", "/v1/completions", rig.key.text,
                "{\"model\":\"tiny/model\",\"prompt\":\"abc\",\"echo\":true,\"max_tokens\":1}", 0);
    ck_assert_ptr_nonnull(strstr(a.text, "\"text\":\"abcw0 \""));
}
END_TEST

START_TEST(requests_that_never_start_have_no_row)
{
    static const struct {
        const char *method, *path, *body, *code;
        int status;
    } cases[] = {
        {"POST", "/v1/chat/completions", "{", "invalid_json", 400},
        {"POST", "/v1/chat/completions",
         "{\"model\":\"nope\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
         "model_not_found", 404},
        {"POST", "/v1/chat/completions",
         "{\"model\":\"tiny/model\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
         "\"tools\":[{}]}",
         "unsupported_parameter", 400},
        {"POST", "/v1/completions", "{\"model\":\"tiny/model\",\"prompt\":[70000]}",
         "invalid_value", 400},
        {"POST", "/v1/completions", "{\"model\":\"tiny/model\",\"prompt\":\"\"}", "invalid_value",
         400},
        {"POST", "/v1/completions",
         "{\"model\":\"tiny/model\",\"prompt\":\"a\",\"stop_token_ids\":[300]}", "invalid_value",
         400},
        {"GET", "/v1/chat/completions", "", "method_not_allowed", 405},
        {"POST", "/v1/nothing", "{}", "unknown_url", 404},
        {"GET", "/v1/models/other", "", "model_not_found", 404},
    };
    rig_start(&rig, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply a =
            rig_ask(&rig, cases[i].method, cases[i].path, rig.key.text, cases[i].body, 0);
        ck_assert_msg(a.status == cases[i].status, "%zu: %s", i, a.text);
        ck_assert_str_eq(error_code(&a), cases[i].code);
    }
    char *body = NULL, filler[2000];
    memset(filler, 'a', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    ck_assert_int_gt(asprintf(&body, "{\"model\":\"tiny/model\",\"prompt\":\"%s\"}", filler), 0);
    struct reply a = rig_ask(&rig, "POST", "/v1/completions", rig.key.text, body, 0);
    ck_assert_str_eq(error_code(&a), "context_length_exceeded");
    a = rig_ask(&rig, "GET", "/v1/models/tiny%2Fmodel", rig.key.text, "", 0);
    ck_assert_int_eq(a.status, 200);
    a = rig_chat(&rig, "", 0); /* the row of this one comes after those of all others */
    json_decref(rig_row(&rig, a.id));
    ck_assert_int_eq(control_rows(&rig.control), 1);
}
END_TEST

/* ---- ends that nobody wanted ---- */

/* T04: the client pays for what was produced, and the engine stops. */
START_TEST(a_client_that_hangs_up_pays_for_what_was_produced)
{
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 5);
    atomic_store(&rig.engine[0].answer_tok, 60);
    rig_launch(&rig);
    rig_until_model(&rig);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 6);
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "outcome"), "aborted");
    ck_assert_int_ge(rig_int(row, "output_tokens"), 5);
    ck_assert_int_lt(rig_int(row, "output_tokens"), 60);
    ck_assert_int_gt(rig_int(row, "input_tokens"), 0);
    RIG_UNTIL(atomic_load(&rig.engine[0].running) == 0);
    ck_assert_int_ge(atomic_load(&rig.engine[0].cancels), 1);
}
END_TEST

START_TEST(an_engine_deaf_to_cancel_does_not_hold_the_row_back)
{
    static const char *const more[] = {"--drain-ms", "100"};
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 20);
    atomic_store(&rig.engine[0].answer_tok, 60);
    atomic_store(&rig.engine[0].deaf, 1);
    memcpy(rig.more, more, sizeof more);
    rig_launch(&rig);
    rig_until_model(&rig);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 3);
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "outcome"), "aborted");
    ck_assert_int_lt(rig_int(row, "output_tokens"), 60);
}
END_TEST

START_TEST(an_engine_that_dies_in_the_middle_leaves_an_error_and_what_was_sent)
{
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].die_after, 4);
    rig_launch(&rig);
    rig_until_model(&rig);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 0);
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_nonnull(strstr(a.text, "data: {\"error\":{"));
    ck_assert_ptr_null(strstr(a.text, "[DONE]"));
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "outcome"), "broken");
    ck_assert_int_eq(rig_int(row, "output_tokens"), 4);
    atomic_store(&rig.engine[0].die_after, -1);
    RIG_UNTIL(rig_chat(&rig, "", 0).status == 200); /* it connects again by itself */
}
END_TEST

START_TEST(before_the_first_token_another_replica_answers)
{
    rig_prepare(&rig, 2);
    atomic_store(&rig.engine[0].die_after, 0);
    rig_launch(&rig);
    rig_until_model(&rig);
    int n = 0;
    for (; n < 20; n++) {
        struct reply a = rig_chat(&rig, "", 0);
        ck_assert_msg(a.status == 200 || strstr(a.text, "model_not_ready"), "%s", a.text);
        if (a.status == 200)
            ck_assert_str_eq(rig_text(rig_row(&rig, a.id), "outcome"), "stop");
    }
    ck_assert_int_ge(atomic_load(&rig.engine[1].submits), 15);
    RIG_UNTIL(control_rows(&rig.control) >= atomic_load(&rig.engine[1].submits));
    ck_assert_int_le(control_rows(&rig.control), n);
}
END_TEST

START_TEST(an_engine_that_refuses_costs_nothing)
{
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].refuse, RC_UNAVAILABLE);
    rig_launch(&rig);
    rig_until_model(&rig);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_int_eq(a.status, 503);
    ck_assert_str_eq(error_code(&a), "overloaded");
    ck_assert_ptr_nonnull(strstr(a.text, "retry-after: "));
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "outcome"), "failed");
    ck_assert_int_eq(rig_int(row, "input_tokens") + rig_int(row, "output_tokens"), 0);
    ck_assert_int_eq(atomic_load(&rig.engine[0].submits), 2); /* tried once more */
}
END_TEST

START_TEST(every_wait_has_an_end)
{
    static const char *const more[] = {"--first-ms", "150",        "--queue-ms",
                                       "150",        "--drain-ms", "50"};
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 60000);
    memcpy(rig.more, more, sizeof more);
    rig_launch(&rig);
    rig_until_model(&rig);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_int_eq(a.status, 504);
    ck_assert_str_eq(error_code(&a), "timeout");
    ck_assert_str_eq(rig_text(rig_row(&rig, a.id), "outcome"), "timeout");
}
END_TEST

START_TEST(without_a_replica_a_model_is_not_ready_but_known)
{
    rig_start(&rig, 0);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_int_eq(a.status, 503);
    ck_assert_str_eq(error_code(&a), "model_not_ready");
    a = rig_ask(&rig, "GET", "/v1/models", rig.key.text, "", 0);
    ck_assert_ptr_nonnull(strstr(a.text, "tiny/model"));
    ck_assert_int_eq(control_rows(&rig.control), 0);
}
END_TEST

/* ---- limits ---- */

struct racer {
    pthread_t thread;
    struct reply reply;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    r->reply = rig_chat(&rig, ",\"max_tokens\":60", 0);
    return NULL;
}

/* T31: forty at once with room for three. */
START_TEST(a_budget_for_three_admits_three)
{
    enum { RACERS = 40 };
    struct racer racers[RACERS];
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 1);
    atomic_store(&rig.engine[0].answer_tok, 1000);
    rig_limit(&rig, -1, 3 * (60 + 21) + 80, -1); /* this chat's prompt has 21 tokens */
    rig_launch(&rig);
    rig_until_model(&rig);
    for (int i = 0; i < RACERS; i++)
        ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    int admitted = 0;
    for (int i = 0; i < RACERS; i++) {
        struct reply *a = &racers[i].reply;
        pthread_join(racers[i].thread, NULL);
        admitted += a->status == 200;
        ck_assert_msg(a->status == 200 || a->status == 429, "%s", a->text);
        if (a->status == 200)
            continue;
        ck_assert_str_eq(error_code(a), "rate_limit_exceeded");
        ck_assert_ptr_nonnull(strstr(a->text, "retry-after-ms: "));
        ck_assert_ptr_nonnull(strstr(a->text, "\"type\":\"tokens\""));
    }
    ck_assert_int_eq(admitted, 3);
    RIG_UNTIL(control_rows(&rig.control) == 3);
}
END_TEST

START_TEST(room_left_is_told_and_shrinks)
{
    rig_prepare(&rig, 1);
    rig_limit(&rig, 3, -1, -1);
    rig_launch(&rig);
    rig_until_model(&rig);
    for (int left = 2; left >= 0; left--) {
        char want[64];
        struct reply a = rig_chat(&rig, "", 0);
        snprintf(want, sizeof want, "x-ratelimit-remaining-requests: %d\r\n", left);
        ck_assert_msg(strstr(a.text, want) != NULL, "%s", a.text);
        ck_assert_ptr_nonnull(strstr(a.text, "x-ratelimit-limit-requests: 3\r\n"));
    }
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_int_eq(a.status, 429);
    ck_assert_ptr_nonnull(strstr(a.text, "\"type\":\"requests\""));
    ck_assert_ptr_null(strstr(a.text, rig.key.text));
    rig_limit(&rig, 100, -1, -1); /* T62: a changed limit holds from the next request on */
    RIG_UNTIL(rig_chat(&rig, "", 0).status == 200);
}
END_TEST

/* ---- keys ---- */

START_TEST(a_revoked_key_is_dead_within_a_second)
{
    rig_start(&rig, 1);
    ck_assert_int_eq(rig_chat(&rig, "", 0).status, 200);
    control_change(&rig.control, "key", "key_a",
                   control_edited(&rig.control, "key_a", "status", json_string("revoked")));
    int64_t began = rig_ms();
    RIG_UNTIL(rig_chat(&rig, "", 0).status == 401);
    ck_assert_int_lt(rig_ms() - began, 1000);
    control_change(&rig.control, "org", "org_a",
                   control_edited(&rig.control, "org_a", "status", json_string("suspended")));
    ck_assert_int_eq(rig_chat(&rig, "", 0).status, 401);
}
END_TEST

START_TEST(a_model_that_is_no_longer_shared_is_as_unknown_as_any)
{
    rig_start(&rig, 1);
    control_change(&rig.control, "share", "shr_a", NULL);
    RIG_UNTIL(rig_chat(&rig, "", 0).status == 404);
    struct reply unshared = rig_chat(&rig, "", 0);
    ck_assert_ptr_nonnull(strstr(
        unshared.text, "The model `tiny/model` does not exist or you do not have access to it."));
    struct reply a = rig_ask(&rig, "GET", "/v1/models", rig.key.text, "", 0);
    ck_assert_ptr_nonnull(strstr(a.text, "\"data\":[]"));
}
END_TEST

START_TEST(a_new_key_is_asked_for_and_an_unknown_one_not_twice)
{
    struct apikey fresh, unknown;
    static const char body[] =
        "{\"model\":\"tiny/model\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    rig_start(&rig, 1);
    json_array_append_new(rig.control.hidden_keys, tenant_key(&fresh, "new", "org_a", "usr_a"));
    json_object_set_new(json_array_get(rig.control.hidden_keys, 0), "created_at",
                        json_string("2026-01-01T00:00:00Z"));
    struct reply a = rig_ask(&rig, "POST", "/v1/chat/completions", fresh.text, body, 0);
    ck_assert_msg(a.status == 200, "%s", a.text);
    ck_assert_str_eq(rig_text(rig_row(&rig, a.id), "key_id"), "key_new");
    ck_assert_int_eq(atomic_load(&rig.control.asks), 1);
    apikey_new(&unknown);
    for (int i = 0; i < 20; i++) {
        a = rig_ask(&rig, "GET", "/v1/models", unknown.text, "", 0);
        ck_assert_int_eq(a.status, 401);
    }
    ck_assert_int_le(atomic_load(&rig.control.asks), 4); /* one a second at most */
    atomic_store(&rig.control.down, 1);
    apikey_new(&unknown); /* T59: who cannot be checked is not called a liar */
    a = rig_ask(&rig, "GET", "/v1/models", unknown.text, "", 0);
    ck_assert_int_eq(a.status, 503);
}
END_TEST

START_TEST(an_overload_of_keys_to_ask_for_leaves_good_ones_alone)
{
    struct apikey unknown;
    rig_start(&rig, 1);
    for (int i = 0; i < 50; i++) {
        apikey_new(&unknown);
        ck_assert_int_eq(rig_ask(&rig, "GET", "/v1/models", unknown.text, "", 0).status, 401);
    }
    ck_assert_int_eq(rig_chat(&rig, "", 0).status, 200);
}
END_TEST

/* ---- without the control plane; restarts ---- */

START_TEST(a_gateway_starts_and_serves_without_its_control_plane)
{
    rig_start(&rig, 1);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_int_eq(a.status, 200);
    json_decref(rig_row(&rig, a.id));
    ck_assert_int_eq(rig_end_gateway(&rig, SIGTERM), 0);
    atomic_store(&rig.control.down, 1);
    rig_launch(&rig);
    rig_until_model(&rig);
    a = rig_chat(&rig, "", 0);
    ck_assert_msg(a.status == 200, "%s", a.text);
    ck_assert_ptr_null(control_row(&rig.control, a.id));
    atomic_store(&rig.control.down, 0);
    ck_assert_str_eq(rig_text(rig_row(&rig, a.id), "outcome"), "stop"); /* shipped later */
}
END_TEST

/* T53. */
START_TEST(sigterm_lets_streams_end_and_ships_their_rows)
{
    enum { STREAMS = 8 };
    struct racer racers[STREAMS];
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 10);
    atomic_store(&rig.engine[0].answer_tok, 1000);
    rig_launch(&rig);
    rig_until_model(&rig);
    for (int i = 0; i < STREAMS; i++)
        ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    RIG_UNTIL(atomic_load(&rig.engine[0].running) == STREAMS);
    int status = rig_end_gateway(&rig, SIGTERM);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with %x", status);
    for (int i = 0; i < STREAMS; i++) {
        pthread_join(racers[i].thread, NULL);
        ck_assert_int_eq(racers[i].reply.status, 200);
        json_t *row = control_row(&rig.control, racers[i].reply.id);
        ck_assert_ptr_nonnull(row);
        ck_assert_int_eq(rig_int(row, "output_tokens"), 60);
    }
    ck_assert_int_eq(control_rows(&rig.control), STREAMS);
}
END_TEST

START_TEST(a_shutdown_that_takes_too_long_cuts_streams_but_bills_them)
{
    static const char *const more[] = {"--shutdown-ms", "100"};
    struct racer racer;
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 400);
    memcpy(rig.more, more, sizeof more);
    rig_launch(&rig);
    rig_until_model(&rig);
    ck_assert_int_eq(pthread_create(&racer.thread, NULL, race, &racer), 0);
    RIG_UNTIL(atomic_load(&rig.engine[0].running) == 1);
    int status = rig_end_gateway(&rig, SIGTERM);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with %x", status);
    pthread_join(racer.thread, NULL);
    ck_assert_int_eq(racer.reply.status, 503);
    ck_assert_str_eq(rig_text(control_row(&rig.control, racer.reply.id), "outcome"), "timeout");
}
END_TEST

/* T54, one instant of it: the others are in tests/fault. */
START_TEST(after_kill_9_each_request_has_one_row)
{
    rig_prepare(&rig, 1);
    atomic_store(&rig.engine[0].gap_ms, 10);
    atomic_store(&rig.engine[0].answer_tok, 60);
    rig_launch(&rig);
    rig_until_model(&rig);
    struct racer racer;
    ck_assert_int_eq(pthread_create(&racer.thread, NULL, race, &racer), 0);
    RIG_UNTIL(atomic_load(&rig.engine[0].running) == 1);
    poll(NULL, 0, 100); /* some tokens */
    rig_end_gateway(&rig, SIGKILL);
    pthread_join(racer.thread, NULL);
    ck_assert_int_eq(control_rows(&rig.control), 0);
    rig_launch(&rig);
    RIG_UNTIL(control_rows(&rig.control) == 1);
    rig_until_model(&rig);
    struct reply a = rig_chat(&rig, ",\"max_tokens\":2", 0);
    json_decref(rig_row(&rig, a.id));
    ck_assert_int_eq(control_rows(&rig.control), 2);
    const char *id;
    json_t *row;
    json_object_foreach(rig.control.rows, id, row) if (strcmp(id, a.id) != 0 && *id != '@')
    {
        ck_assert_str_eq(rig_text(row, "outcome"), "recovered");
        ck_assert_int_gt(rig_int(row, "output_tokens"), 0);
    }
}
END_TEST

/* ---- small things outside ---- */

START_TEST(names_that_clients_make_up_do_not_grow_the_metrics)
{
    rig_start(&rig, 1);
    for (int i = 0; i < 50; i++) {
        char body[256];
        snprintf(body, sizeof body,
                 "{\"model\":\"junk-%d\\n\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
                 i);
        ck_assert_int_eq(
            rig_ask(&rig, "POST", "/v1/chat/completions", rig.key.text, body, 0).status, 404);
    }
    ck_assert_int_eq(rig_chat(&rig, "", 0).status, 200);
    struct reply a = rig_ask(&rig, "GET", "/metrics", NULL, "", 0);
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_null(strstr(a.text, "junk"));
    ck_assert_ptr_nonnull(strstr(a.text, "model=\"tiny/model\""));
    ck_assert_ptr_nonnull(strstr(a.text, "sluice_gateway_balanced 1"));
}
END_TEST

/* T68: a key is in no log, and no answer repeats it. */
START_TEST(keys_are_in_no_log_and_no_answer)
{
    rig_start(&rig, 1);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_ptr_null(strstr(a.text, rig.key.text + 22));
    char wrong[APIKEY_LEN + 1];
    memcpy(wrong, rig.key.text, sizeof wrong);
    wrong[40] = wrong[40] == 'a' ? 'b' : 'a';
    a = rig_ask(&rig, "GET", "/v1/models", wrong, "", 0);
    ck_assert_int_eq(a.status, 401);
    ck_assert_ptr_null(strstr(a.text, wrong + 22));
    char *log = calloc(1, RIG_REPLY_MAX);
    FILE *f = fopen(rig.log, "r");
    ck_assert_uint_gt(fread(log, 1, RIG_REPLY_MAX - 1, f), 0);
    fclose(f);
    ck_assert_ptr_nonnull(strstr(log, "req.done"));
    ck_assert_ptr_null(strstr(log, rig.key.text + 22));
    ck_assert_ptr_null(strstr(log, wrong + 22));
    free(log);
}
END_TEST

START_TEST(browsers_of_other_origins_may_ask)
{
    static const char preflight[] =
        "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://console\r\n"
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
        "Connection: close\r\n\r\n";
    static const char refused[] = "GET /v1/models HTTP/1.1\r\nHost: x\r\nOrigin: http://console\r\n"
                                  "Connection: close\r\n\r\n";
    rig_start(&rig, 0);
    struct reply a = rig_raw(&rig, preflight, sizeof preflight - 1, 0);
    ck_assert_int_eq(a.status, 204);
    ck_assert_ptr_nonnull(strstr(a.text, "Access-Control-Allow-Headers: authorization"));
    a = rig_raw(&rig, refused, sizeof refused - 1, 0);
    ck_assert_int_eq(a.status, 401);
    ck_assert_ptr_nonnull(strstr(a.text, "Access-Control-Allow-Origin: *"));
}
END_TEST

/* S01: the marker request behind each of these must never run. */
START_TEST(what_hides_behind_a_doubtful_header_does_not_run)
{
    static const char *const heads[] = {"Content-Length: 4\r\nContent-Length: 0\r\n",
                                        "Content-Length: 0\r\nTransfer-Encoding: "
                                        "chunked\r\n",
                                        "Transfer-Encoding: xchunked\r\n",
                                        "Content-Length : 0\r\n",
                                        "Host: y\r\n",
                                        "Content-Length: +0\r\n",
                                        "Authorization: x\r\nAuthorization: y\r\n"};
    rig_start(&rig, 0);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        char bytes[1024];
        int n = snprintf(bytes, sizeof bytes,
                         "POST /v1/completions HTTP/1.1\r\nHost: x\r\n%s\r\n"
                         "GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                         heads[i]);
        struct reply a = rig_raw(&rig, bytes, (size_t)n, 0);
        ck_assert_msg(!strstr(a.text, "\"status\":\"live\""), "%s ran the marker:\n%s", heads[i],
                      a.text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway");
    TCase *c = tcase_create("flow");
    tcase_add_checked_fixture(c, NULL, stop);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_whole_answer_has_the_usage_of_its_row);
    tcase_add_test(c, a_stream_is_in_order_and_says_usage_only_when_asked);
    tcase_add_test(c, several_prompts_and_choices_are_one_request_and_one_row);
    tcase_add_test(c, requests_that_never_start_have_no_row);
    tcase_add_test(c, a_client_that_hangs_up_pays_for_what_was_produced);
    tcase_add_test(c, an_engine_deaf_to_cancel_does_not_hold_the_row_back);
    tcase_add_test(c, an_engine_that_dies_in_the_middle_leaves_an_error_and_what_was_sent);
    tcase_add_test(c, before_the_first_token_another_replica_answers);
    tcase_add_test(c, an_engine_that_refuses_costs_nothing);
    tcase_add_test(c, every_wait_has_an_end);
    tcase_add_test(c, without_a_replica_a_model_is_not_ready_but_known);
    tcase_add_test(c, a_budget_for_three_admits_three);
    tcase_add_test(c, room_left_is_told_and_shrinks);
    tcase_add_test(c, a_revoked_key_is_dead_within_a_second);
    tcase_add_test(c, a_model_that_is_no_longer_shared_is_as_unknown_as_any);
    tcase_add_test(c, a_new_key_is_asked_for_and_an_unknown_one_not_twice);
    tcase_add_test(c, an_overload_of_keys_to_ask_for_leaves_good_ones_alone);
    tcase_add_test(c, a_gateway_starts_and_serves_without_its_control_plane);
    tcase_add_test(c, sigterm_lets_streams_end_and_ships_their_rows);
    tcase_add_test(c, a_shutdown_that_takes_too_long_cuts_streams_but_bills_them);
    tcase_add_test(c, after_kill_9_each_request_has_one_row);
    tcase_add_test(c, names_that_clients_make_up_do_not_grow_the_metrics);
    tcase_add_test(c, keys_are_in_no_log_and_no_answer);
    tcase_add_test(c, browsers_of_other_origins_may_ask);
    tcase_add_test(c, what_hides_behind_a_doubtful_header_does_not_run);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
