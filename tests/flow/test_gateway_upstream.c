/* Deployments of engine `external`: an OpenAI-compatible server that answers as it pleases, and a
 * bill that is right all the same (T04-T18). */
#include "tests/fake/gateway_rig.h"

#include "base/units.h"

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0"; /* see test_gateway.c */
}

/* What it sends back, whole, before it closes; what it was asked last. */
static struct {
    const char *head, *body;
    bool no_end; /* the connection is cut before the chunked end */
    int delay_ms;
    char asked[8192];
    int fd;
    uint16_t port;
    atomic_int requests;
    pthread_t thread;
} up;

static struct rig rig;

#define SSE_HEAD  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define JSON_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
#define CHUNK(text)                                                                                \
    "data: {\"id\":\"u\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,"          \
    "\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}\n\n"
#define FINISH(why)                                                                                \
    "data: {\"id\":\"u\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" why          \
    "\"}]}\n\n"
#define USAGE(in, cached, out)                                                                     \
    "data: {\"id\":\"u\",\"choices\":[],\"usage\":{\"prompt_tokens\":" in                          \
    ",\"completion_tokens\":" out ",\"prompt_tokens_details\":{\"cached_tokens\":" cached          \
    "}}}\n\n"
#define DONE "data: [DONE]\n\n"

static void serve_one(int fd)
{
    size_t n = 0;
    memset(up.asked, 0, sizeof up.asked);
    while (n < sizeof up.asked - 1) { /* our body is short: it ends with the last brace */
        ssize_t got = recv(fd, up.asked + n, sizeof up.asked - 1 - n, 0);
        if (got <= 0)
            return;
        n += (size_t)got;
        const char *length = strstr(up.asked, "Content-Length: ");
        const char *body = strstr(up.asked, "\r\n\r\n");
        if (body && length && strlen(body + 4) >= (size_t)atoi(length + 16))
            break;
    }
    atomic_fetch_add(&up.requests, 1);
    poll(NULL, 0, up.delay_ms);
    send(fd, up.head, strlen(up.head), MSG_NOSIGNAL);
    /* In odd pieces, so that events and characters arrive cut. */
    for (const char *p = up.body; *p;) {
        size_t piece = MIN_OF(strlen(p), (size_t)13);
        if (send(fd, p, piece, MSG_NOSIGNAL) <= 0)
            return;
        p += piece;
    }
    if (up.no_end) {
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        poll(NULL, 0, 50);
    }
}

static void *serve(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = accept(up.fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        serve_one(fd);
        close(fd);
    }
}

static void start(const char *head, const char *body)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    char url[64];
    up.head = head;
    up.body = body;
    up.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(up.fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(up.fd, 16), 0);
    ck_assert_int_eq(getsockname(up.fd, (struct sockaddr *)&a, &len), 0);
    ck_assert_int_eq(pthread_create(&up.thread, NULL, serve, NULL), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", ntohs(a.sin_port));
    rig_prepare(&rig, 0);
    json_t *dep = tenant_row(rig.control.state, "dep_a");
    json_object_set_new(dep, "engine", json_string("external"));
    json_object_set_new(dep, "upstream_url", json_string(url));
    json_object_set_new(dep, "upstream_model", json_string("their-name"));
    rig_launch(&rig);
}

static void stop(void)
{
    rig_stop(&rig);
    shutdown(up.fd, SHUT_RDWR);
    close(up.fd);
    pthread_join(up.thread, NULL);
}

static void expect_row(const char *id, const char *outcome, int input, int cached, int output,
                       const char *source)
{
    json_t *row = rig_row(&rig, id);
    ck_assert_str_eq(rig_text(row, "outcome"), outcome);
    ck_assert_int_eq(rig_int(row, "input_tokens"), input);
    ck_assert_int_eq(rig_int(row, "cached_tokens"), cached);
    ck_assert_int_eq(rig_int(row, "output_tokens"), output);
    ck_assert_str_eq(rig_text(row, "source"), source);
    json_decref(row);
}

/* T15: the usage that we asked for is ours; the client sees what it asked for. */
START_TEST(usage_is_asked_for_and_hidden_from_who_did_not_ask)
{
    start(SSE_HEAD,
          CHUNK("a") CHUNK("\xc3\xa9") ": ping\n\n" FINISH("length") USAGE("40", "8", "2") DONE);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 0);
    ck_assert_int_eq(a.status, 200);
    ck_assert_int_eq(a.events, 4);
    ck_assert_ptr_null(strstr(a.text, "usage"));
    ck_assert_ptr_nonnull(strstr(a.text, "data: [DONE]"));
    ck_assert_ptr_nonnull(strstr(up.asked, "\"include_usage\":true"));
    ck_assert_ptr_nonnull(strstr(up.asked, "\"model\":\"their-name\""));
    ck_assert_ptr_nonnull(strstr(up.asked, "\"max_tokens\":64"));
    ck_assert_ptr_null(strstr(up.asked, "slk_"));
    expect_row(a.id, "length", 32, 8, 2, "upstream");
    a = rig_chat(&rig, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}", 0);
    ck_assert_int_eq(rig_count(a.text, "\"prompt_tokens\":40"), 1);
}
END_TEST

/* T13, T17: cumulative numbers are not summed. */
START_TEST(usage_in_every_chunk_is_taken_once)
{
    start(SSE_HEAD, USAGE("10", "0", "0") CHUNK("a") USAGE("10", "0", "1") CHUNK("b")
                        USAGE("10", "0", "2") FINISH("stop") USAGE("10", "0", "2") DONE);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 0);
    ck_assert_int_eq(a.status, 200);
    expect_row(a.id, "stop", 10, 0, 2, "upstream");
}
END_TEST

/* T09: never nothing, never the hold. T18: numbers that cannot be are as none. */
START_TEST(without_usable_usage_the_row_is_an_estimate_and_says_so)
{
    static const char *const bodies[] = {
        CHUNK("a") CHUNK("b") CHUNK("c") FINISH("stop") DONE,
        CHUNK("a") CHUNK("b") CHUNK("c") FINISH("stop") USAGE("-5", "0", "3") DONE,
        CHUNK("a") CHUNK("b") CHUNK("c") FINISH("stop") USAGE("5", "0", "1.5") DONE,
        CHUNK("a") CHUNK("b") CHUNK("c") FINISH("stop") USAGE("\"5\"", "0", "3") DONE,
        CHUNK("a") CHUNK("b") CHUNK("c") FINISH("stop") USAGE("5", "0", "9007199254740993") DONE};
    start(SSE_HEAD, bodies[_i]);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 0);
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "source"), "estimated");
    ck_assert_str_eq(rig_text(row, "degraded"), "usage-estimated");
    ck_assert_int_eq(rig_int(row, "output_tokens"), 3);
    ck_assert_int_gt(rig_int(row, "input_tokens"), 0);
    ck_assert_int_lt(rig_int(row, "input_tokens"), 34);
    json_decref(row);
}
END_TEST

/* T08: what was seen is kept, and the error is in the stream. */
START_TEST(a_stream_that_breaks_is_billed_for_what_came)
{
    start(SSE_HEAD, CHUNK("a") CHUNK("b"));
    struct reply a = rig_chat(&rig, ",\"stream\":true", 0);
    ck_assert_ptr_nonnull(strstr(a.text, "data: {\"error\":{"));
    ck_assert_ptr_null(strstr(a.text, "[DONE]"));
    json_t *row = rig_row(&rig, a.id);
    ck_assert_str_eq(rig_text(row, "outcome"), "broken");
    ck_assert_int_eq(rig_int(row, "output_tokens"), 2);
    json_decref(row);
}
END_TEST

/* T10, T22: a 200 with an error in it is no success and bills nothing. */
START_TEST(an_error_event_before_content_is_a_failure)
{
    start(SSE_HEAD, "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n" DONE);
    struct reply a = rig_chat(&rig, ",\"stream\":true", 0);
    ck_assert_int_eq(a.status, 502);
    expect_row(a.id, "failed", 0, 0, 0, "upstream");
}
END_TEST

START_TEST(a_whole_answer_passes_through_with_its_usage)
{
    static const char body[] =
        "{\"id\":\"u\",\"object\":\"chat.completion\",\"choices\":[{\"index\""
        ":0,\"message\":{\"role\":\"assistant\",\"content\":\"hey\"},"
        "\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":9,"
        "\"completion_tokens\":4,\"total_tokens\":13}}";
    start(JSON_HEAD, body);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_nonnull(strstr(a.text, body));
    expect_row(a.id, "length", 9, 0, 4, "upstream");
}
END_TEST

START_TEST(an_upstreams_refusal_is_told_apart_from_its_failure)
{
    static const struct {
        const char *head, *body, *outcome;
        int status;
    } cases[] = {
        {"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n",
         "{\"error\":{\"message\":\"their own words\"}}", "their own words", 400},
        {"HTTP/1.1 401 No\r\nConnection: close\r\n\r\n", "{}", "answered 401", 502},
        {"HTTP/1.1 429 Slow\r\nConnection: close\r\n\r\n", "{}", "overloaded", 503},
        {"HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\n", "<html>", "answered 500", 502},
        {JSON_HEAD, "{\"choices\":7}", "failed", 502},
        {JSON_HEAD, "not json", "failed", 502},
    };
    start(cases[_i].head, cases[_i].body);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_msg(a.status == cases[_i].status, "%s", a.text);
    ck_assert_msg(strstr(a.text, cases[_i].outcome) != NULL, "%s", a.text);
    expect_row(a.id, "failed", 0, 0, 0, "upstream");
}
END_TEST

/* T06. */
START_TEST(a_client_that_leaves_is_one_row)
{
    start(SSE_HEAD, CHUNK("a") CHUNK("b") CHUNK("c"));
    up.no_end = true;
    struct reply a = rig_chat(&rig, ",\"stream\":true", 2);
    json_t *row = rig_row(&rig, a.id);
    ck_assert_int_ge(rig_int(row, "output_tokens"), 2);
    json_decref(row);
    ck_assert_int_eq(control_rows(&rig.control), 1);
}
END_TEST

START_TEST(an_upstream_that_is_not_there_is_unavailable)
{
    start(SSE_HEAD, "");
    shutdown(up.fd, SHUT_RDWR);
    struct reply a = rig_chat(&rig, "", 0);
    ck_assert_msg(a.status == 503 || a.status == 502, "%s", a.text);
    expect_row(a.id, "failed", 0, 0, 0, "upstream");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway_upstream");
    TCase *c = tcase_create("upstream");
    tcase_add_checked_fixture(c, NULL, stop);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, usage_is_asked_for_and_hidden_from_who_did_not_ask);
    tcase_add_test(c, usage_in_every_chunk_is_taken_once);
    tcase_add_loop_test(c, without_usable_usage_the_row_is_an_estimate_and_says_so, 0, 5);
    tcase_add_test(c, a_stream_that_breaks_is_billed_for_what_came);
    tcase_add_test(c, an_error_event_before_content_is_a_failure);
    tcase_add_test(c, a_whole_answer_passes_through_with_its_usage);
    tcase_add_loop_test(c, an_upstreams_refusal_is_told_apart_from_its_failure, 0, 6);
    tcase_add_test(c, a_client_that_leaves_is_one_row);
    tcase_add_test(c, an_upstream_that_is_not_there_is_unavailable);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
