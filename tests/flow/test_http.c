/* The HTTP server as a hostile client sees it, over real sockets on loopback. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/http_client.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "base/scoped.h"
#include "base/units.h"

struct fixture {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    uint16_t port;
    atomic_int markers, closed, gone, requests;
    struct loop_timer tick;
    struct http_req *stream; /* one endless stream at a time */
};

static void on_tick(struct loop_timer *t)
{
    struct fixture *fx = t->user;
    if (!fx->stream)
        return;
    http_stream_write(fx->stream, STR("data: tick\n\n"));
    loop_timer_set(fx->loop, t, loop_now_ms(fx->loop) + 5, NULL);
}

static void on_stream_gone(struct http_req *r)
{
    struct fixture *fx = http_user(r);
    fx->stream = NULL;
    http_stream_cut(r);
}

static void on_wait_gone(struct http_req *r)
{
    http_reply(r, 499, "text/plain", STR("gone"));
}

static void on_request(struct http_req *r, void *user)
{
    struct fixture *fx = user;
    fx->requests++;
    http_set_user(r, fx);
    if (str_is(http_path(r), "/marker")) {
        fx->markers++;
        http_reply(r, 200, "text/plain", STR("marker"));
    } else if (str_is(http_path(r), "/stream")) {
        fx->stream = r;
        http_on_gone(r, on_stream_gone);
        http_stream_begin(r, 200, "text/event-stream");
        loop_timer_set(fx->loop, &fx->tick, loop_now_ms(fx->loop), NULL);
    } else if (str_is(http_path(r), "/flood")) {
        enum rc rc = RC_OK;
        SCOPED_BUF block;
        buf_init(&block, 64 * KIB);
        http_stream_begin(r, 200, "text/plain");
        while (block.len < 32 * KIB)
            buf_z(&block, "0123456789abcdef");
        for (int i = 0; i < 1000 && rc == RC_OK; i++)
            rc = http_stream_write(r, buf_view(&block));
        ck_assert_int_eq(rc, RC_LIMIT);
        http_stream_end(r);
    } else if (str_is(http_path(r), "/wait")) {
        http_on_gone(r, on_wait_gone); /* answers only when the client has left */
    } else {
        http_reply(r, 200, "text/plain", http_body(r).len ? http_body(r) : STR("hello"));
    }
}

static void on_close(struct http_req *r, void *user, bool gone)
{
    (void)r;
    struct fixture *fx = user;
    fx->closed++;
    fx->gone += gone;
}

static void on_error(struct http_req *r, void *user, const struct err *err, struct buf *body)
{
    (void)r;
    (void)user;
    buf_z(body, "{\"error\":");
    buf_json(body, str_of(err->msg));
    buf_z(body, "}");
}

static void *serve(void *arg)
{
    struct fixture *fx = arg;
    loop_run(fx->loop, NULL);
    http_server_close(fx->server);
    return NULL;
}

static struct fixture *start(void)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    struct err err = {0};
    struct http_server_opts o = {.bind = "127.0.0.1",
                                 .max_conns = 2000,
                                 .max_body = 1000,
                                 .arena_cap = MIB,
                                 .stream_max = 16 * MIB,
                                 .head_ms = 1500,
                                 .body_ms = 1500,
                                 .idle_ms = 5000,
                                 .write_stall_ms = 1500,
                                 .on_request = on_request,
                                 .on_close = on_close,
                                 .on_error = on_error,
                                 .user = fx};
    fx->tick = (struct loop_timer){.on_time = on_tick, .user = fx};
    ck_assert_int_eq(loop_open(clock_system(), &fx->loop, &err), RC_OK);
    ck_assert_msg(http_server_open(fx->loop, &o, &fx->server, &err) == RC_OK, "%s", err.msg);
    fx->port = http_server_port(fx->server);
    pthread_create(&fx->thread, NULL, serve, fx);
    return fx;
}

static void stop(struct fixture *fx)
{
    loop_stop(fx->loop);
    pthread_join(fx->thread, NULL);
    loop_close(fx->loop);
    free(fx);
}

static int dial(const struct fixture *fx)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(fx->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Reads until the peer closes or nothing came for wait_ms. */
static size_t drain(int fd, char *to, size_t cap, int wait_ms)
{
    size_t n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (n + 1 < cap && poll(&p, 1, wait_ms) > 0) {
        ssize_t got = read(fd, to + n, cap - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    to[n] = '\0';
    return n;
}

static bool wait_for(atomic_int *value, int want)
{
    for (int i = 0; i < 600 && atomic_load(value) < want; i++)
        poll(NULL, 0, 10);
    return atomic_load(value) >= want;
}

#define MARKER "GET /marker HTTP/1.1\r\nHost: x\r\n\r\n"

START_TEST(nothing_hides_behind_an_ambiguous_request)
{
    static const struct {
        const char *head, *body;
    } evil[] = {
        {"Content-Length: 0\r\nContent-Length: 34\r\n", MARKER},
        {"Content-Length: 34\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" MARKER},
        {"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n" MARKER},
        {"Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" MARKER},
        {"Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n" MARKER},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n" MARKER},
        {"Transfer-Encoding: chunked\r\n", "0\r\n\r\n" MARKER},
        {"Transfer-Encoding: chunked\r\n", "0\n\n" MARKER},
        {"Content-Length : 0\r\n", MARKER},
        {"Content-Length: +0\r\n", MARKER},
        {"Content-Length: 0x0\r\n", MARKER},
        {"Content-Length: -1\r\n", MARKER},
        {"Content-Length: 99999999999999999999\r\n", MARKER},
        {"X: a\r\n b\r\nContent-Length: 0\r\nContent-Length: 0\r\n", MARKER},
        {"Host: y\r\nContent-Length: 0\r\n", MARKER},
        {"Authorization: a\r\nAuthorization: b\r\nContent-Length: 0\r\n", MARKER},
        {"X: a\x01z\r\nContent-Length: 0\r\n", MARKER},
        {"X: a\rz\r\nContent-Length: 0\r\n", MARKER},
        {"X(y): a\r\nContent-Length: 0\r\n", MARKER},
        {": x\r\nContent-Length: 0\r\n", MARKER},
        {"Content-Length: 0\r\n: x\r\n", MARKER},
        {"Content-Length: 0\r\n:\r\n", MARKER},
        {"Content-Length: 0\r\n: x\r\n" MARKER, ""},
        {"X: a\r\n b\r\nContent-Length: 0\r\n", MARKER},
        {"Content-Length: 0\r\nX: a\r\n\tb\r\n", MARKER},
        {"X: a\nContent-Length: 0\r\n", MARKER},
        {"Content-Length: 0\n", MARKER},
        {"Content-Length: 0\r\n\n" MARKER, ""},
    };
    struct fixture *fx = start();
    for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
        char text[1024], got[4096];
        int fd = dial(fx);
        int n = snprintf(text, sizeof text, "POST /x HTTP/1.1\r\nHost: x\r\n%s\r\n%s", evil[i].head,
                         evil[i].body);
        ck_assert_int_eq(write(fd, text, (size_t)n), n);
        drain(fd, got, sizeof got, 700);
        ck_assert_msg(atomic_load(&fx->markers) == 0, "case %zu ran the marker; answer: %s", i,
                      got);
        close(fd);
    }
    stop(fx);
}
END_TEST

START_TEST(a_header_value_with_a_nul_is_refused)
{
    static const char *const names[] = {"X-Any: a", "Authorization: Bearer a", "Content-Length: 0"};
    struct fixture *fx = start();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[512], got[4096];
        int n = snprintf(text, sizeof text, "GET /x HTTP/1.1\r\nHost: x\r\n%s", names[i]);
        int fd = dial(fx);
        memcpy(text + n, "\0z\r\n\r\n" MARKER, sizeof "\0z\r\n\r\n" MARKER);
        n += (int)sizeof "\0z\r\n\r\n" MARKER - 1;
        ck_assert_int_eq(write(fd, text, (size_t)n), n);
        drain(fd, got, sizeof got, 700);
        ck_assert_msg(strncmp(got, "HTTP/1.1 400 ", 13) == 0, "%s: %s", names[i], got);
        ck_assert_int_eq(atomic_load(&fx->markers), 0);
        close(fd);
    }
    stop(fx);
}
END_TEST

/* The guard looks at where each header lies in the library's buffer: however a head arrives, and
 * whatever went over the connection before, an honest one must lie right. */
START_TEST(honest_headers_pass_in_whatever_pieces_they_come)
{
    struct fixture *fx = start();
    char head[12 * 1024], got[4096];
    int fd = dial(fx), served = 0;
    for (int round = 0; round < 12; round++) {
        size_t piece = (const size_t[]){1, 7, 64, 1000, 4096, sizeof head}[round % 6];
        int n =
            snprintf(head, sizeof head,
                     "POST /x?a=b&c=%%20d HTTP/1.1\r\nHost: x\r\nX:a\r\nEmpty:\r\nSpaces:   b  \r\n"
                     "Cookie: a=b; c=\"d\"\r\nColons: a:b: c\r\nContent-Length: 3\r\n");
        for (int i = 0; i < 60; i++)
            n += snprintf(head + n, sizeof head - (size_t)n, "X-%d: %0*d\r\n", i,
                          1 + (i * 37 + round) % 120, i);
        n += snprintf(head + n, sizeof head - (size_t)n, "\r\nabc");
        for (size_t at = 0; at < (size_t)n; at += piece) {
            size_t len = (size_t)n - at < piece ? (size_t)n - at : piece;
            ck_assert_int_eq(write(fd, head + at, len), (ssize_t)len);
            if (piece < 100 && at % 512 == 0)
                poll(NULL, 0, 1);
        }
        ck_assert(wait_for(&fx->requests, ++served));
        drain(fd, got, sizeof got, 50);
        ck_assert_msg(strncmp(got, "HTTP/1.1 200 ", 13) == 0, "round %d: %s", round, got);
    }
    close(fd);
    stop(fx);
}
END_TEST

START_TEST(an_honest_pair_of_requests_is_served_on_one_connection)
{
    struct fixture *fx = start();
    char got[4096];
    int fd = dial(fx);
    const char text[] = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" MARKER;
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    ck_assert(wait_for(&fx->markers, 1));
    drain(fd, got, sizeof got, 200);
    ck_assert_ptr_nonnull(strstr(got, "abcde"));
    ck_assert_ptr_nonnull(strstr(got, "marker"));
    close(fd);
    stop(fx);
}
END_TEST

START_TEST(a_body_over_the_maximum_is_413_with_our_json)
{
    struct fixture *fx = start();
    char got[4096];
    int fd = dial(fx);
    const char text[] = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    drain(fd, got, sizeof got, 1000);
    ck_assert_ptr_nonnull(strstr(got, " 413 "));
    ck_assert_ptr_nonnull(strstr(got, "at most 1000"));
    close(fd);
    stop(fx);
}
END_TEST

/* A little too much is read and answered; who never stops is cut off. */
START_TEST(a_chunked_body_without_end_is_not_read_for_ever)
{
    struct fixture *fx = start();
    char got[4096];
    const char head[] = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    char chunk[110] = "64\r\n";
    memset(chunk + 4, 'a', 100);
    memcpy(chunk + 104, "\r\n", 3);
    for (int chunks = 11; chunks <= 100000; chunks += 99989) {
        int fd = dial(fx), sent = 0;
        ck_assert_int_eq(write(fd, head, sizeof head - 1), sizeof head - 1);
        while (sent < chunks && send(fd, chunk, 106, MSG_NOSIGNAL) == 106)
            sent++;
        if (chunks == 11) {
            ck_assert_int_eq(send(fd, "0\r\n\r\n", 5, MSG_NOSIGNAL), 5);
            drain(fd, got, sizeof got, 1000);
            ck_assert_ptr_nonnull(strstr(got, " 413 "));
        } else {
            ck_assert_int_lt(sent, chunks);
        }
        close(fd);
    }
    stop(fx);
}
END_TEST

START_TEST(a_stream_ends_when_its_client_leaves)
{
    struct fixture *fx = start();
    char got[4096];
    int fd = dial(fx);
    const char text[] = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    drain(fd, got, 400, 200);
    ck_assert_ptr_nonnull(strstr(got, "data: tick"));
    close(fd);
    ck_assert(wait_for(&fx->gone, 1));
    stop(fx);
}
END_TEST

START_TEST(a_waiting_request_notices_the_hang_up_before_it_answers)
{
    struct fixture *fx = start();
    int fd = dial(fx);
    const char text[] = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    ck_assert(wait_for(&fx->requests, 1));
    close(fd);
    ck_assert(wait_for(&fx->gone, 1));
    stop(fx);
}
END_TEST

START_TEST(a_reader_that_stops_reading_is_cut)
{
    struct fixture *fx = start();
    int fd = dial(fx), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    const char text[] = "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    ck_assert(wait_for(&fx->closed, 1));
    ck_assert_int_eq(fx->gone, 1);
    close(fd);
    stop(fx);
}
END_TEST

START_TEST(slow_headers_are_cut)
{
    struct fixture *fx = start();
    char got[256];
    int fd = dial(fx);
    const char text[] = "GET /x HTTP/1.1\r\nHost: x\r\nA: ";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ck_assert_int_gt(poll(&p, 1, 5000), 0);
    drain(fd, got, sizeof got, 100);
    ck_assert_int_eq(fx->requests, 0);
    close(fd);
    stop(fx);
}
END_TEST

/* Exact multiples of 128 ready sockets stop the library's own epoll thread (LIMITS 1). */
START_TEST(multiples_of_128_connections_are_all_served)
{
    static const int sizes[] = {127, 128, 256, 512};
    struct fixture *fx = start();
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        static int fd[512];
        const char text[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
        for (int i = 0; i < sizes[k]; i++)
            fd[i] = dial(fx);
        for (int round = 0; round < 5; round++) {
            for (int i = 0; i < sizes[k]; i++)
                ck_assert_int_eq(write(fd[i], text, sizeof text - 1), sizeof text - 1);
            for (int i = 0; i < sizes[k]; i++) {
                char got[1024];
                struct pollfd p = {.fd = fd[i], .events = POLLIN};
                ck_assert_msg(poll(&p, 1, 10000) == 1, "%d of %d stalls", i, sizes[k]);
                ck_assert_int_gt(read(fd[i], got, sizeof got), 0);
            }
        }
        for (int i = 0; i < sizes[k]; i++)
            close(fd[i]);
    }
    stop(fx);
}
END_TEST

START_TEST(the_client_reads_what_the_server_says)
{
    struct fixture *fx = start();
    struct err err = {0};
    char url[64];
    int status = 0;
    SCOPED_BUF body;
    buf_init(&body, 1000);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/echo", fx->port);
    struct http_call_opts o = {.method = "POST", .url = url, .body = STR("ping")};
    ck_assert_msg(http_call_wait(&o, &status, &body, &err) == RC_OK, "%s", err.msg);
    ck_assert_int_eq(status, 200);
    ck_assert(str_is(buf_view(&body), "ping"));
    o.url = "http://127.0.0.1:1/";
    ck_assert_int_eq(http_call_wait(&o, &status, &body, &err), RC_UNAVAILABLE);
    o.url = "file:///etc/passwd";
    ck_assert_int_ne(http_call_wait(&o, &status, &body, &err), RC_OK);
    stop(fx);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    hash_init(NULL);
    Suite *s = suite_create("http");
    TCase *t = tcase_create("http");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, nothing_hides_behind_an_ambiguous_request);
    tcase_add_test(t, an_honest_pair_of_requests_is_served_on_one_connection);
    tcase_add_test(t, a_header_value_with_a_nul_is_refused);
    tcase_add_test(t, honest_headers_pass_in_whatever_pieces_they_come);
    tcase_add_test(t, a_body_over_the_maximum_is_413_with_our_json);
    tcase_add_test(t, a_chunked_body_without_end_is_not_read_for_ever);
    tcase_add_test(t, a_stream_ends_when_its_client_leaves);
    tcase_add_test(t, a_waiting_request_notices_the_hang_up_before_it_answers);
    tcase_add_test(t, a_reader_that_stops_reading_is_cut);
    tcase_add_test(t, slow_headers_are_cut);
    tcase_add_test(t, multiples_of_128_connections_are_all_served);
    tcase_add_test(t, the_client_reads_what_the_server_says);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
