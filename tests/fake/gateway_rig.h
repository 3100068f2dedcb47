#ifndef SLUICE_TESTS_GATEWAY_RIG_H
#define SLUICE_TESTS_GATEWAY_RIG_H
/* gateway_rig - the real sluice-gateway as a child, between a fake control plane and fake engines,
 * and a client that can hang up wherever it likes. */

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fake/fake_control.h"
#include "tests/fake/fake_engine.h"

enum { RIG_WAIT_MS = 30000, RIG_REPLY_MAX = 1 << 20 };

struct rig {
    char dir[64], log[96], data[96], token[96];
    struct apikey key;
    struct fake_control control;
    struct fake_engine engine[2];
    pid_t pid;
    uint16_t port;
    const char *more[16]; /* further arguments */
};

struct reply {
    int status;
    int events;  /* "data:" lines seen */
    char id[40]; /* x-request-id */
    size_t len;
    char *text; /* all of it, head and body; rig_done frees nothing: tests are short-lived forks */
};

static inline int64_t rig_ms(void)
{
    return clock_mono_ms(clock_system());
}

/* Waits until the condition holds; fails the test when it never does. */
#define RIG_UNTIL(cond)                                                                            \
    do {                                                                                           \
        int64_t by_ms = rig_ms() + RIG_WAIT_MS;                                                    \
        while (!(cond)) {                                                                          \
            ck_assert_msg(rig_ms() < by_ms, "never: %s", #cond);                                   \
            poll(NULL, 0, 2);                                                                      \
        }                                                                                          \
    } while (0)

static inline uint16_t rig_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static inline int rig_connect(const struct rig *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(r->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The tests are short-lived forks that free none of their replies. The gateway under test is a
 * process of its own: its leaks are looked for, and end it with another status than rig_stop wants.
 */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static inline int rig_count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static inline void rig_parse(struct reply *a)
{
    const char *id = strstr(a->text, "x-request-id: ");
    a->status = a->len > 12 ? atoi(a->text + 9) : 0;
    a->events = rig_count(a->text, "data: ");
    a->id[0] = '\0';
    if (id)
        snprintf(a->id, sizeof a->id, "%.*s", (int)strcspn(id + 14, "\r\n"), id + 14);
}

/* Sends bytes as they are and reads until the end, or until `cut` events have come (0: all). */
static inline struct reply rig_raw(const struct rig *r, const char *bytes, size_t len, int cut)
{
    struct reply a = {.text = calloc(1, RIG_REPLY_MAX + 1)};
    int fd = rig_connect(r);
    if (fd < 0)
        return a;
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        bytes += n;
        len -= (size_t)n;
    }
    int64_t by_ms = rig_ms() + RIG_WAIT_MS;
    while (a.len < RIG_REPLY_MAX) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_msg(rig_ms() < by_ms, "no end: %.300s", a.text);
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t n = recv(fd, a.text + a.len, RIG_REPLY_MAX - a.len, 0);
        if (n <= 0)
            break;
        a.len += (size_t)n;
        if (cut && rig_count(a.text, "data: ") >= cut)
            break;
    }
    close(fd);
    rig_parse(&a);
    return a;
}

static inline struct reply rig_ask(const struct rig *r, const char *method, const char *path,
                                   const char *key, const char *body, int cut)
{
    char *request = NULL;
    int n = asprintf(&request,
                     "%s %s HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n%s%s%s"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     method, path, key ? "Authorization: Bearer " : "", key ? key : "",
                     key ? "\r\n" : "", strlen(body), body);
    struct reply a = rig_raw(r, request, (size_t)n, cut);
    free(request);
    return a;
}

/* A chat: `more` is appended to the body's fields. */
static inline struct reply rig_chat(const struct rig *r, const char *more, int cut)
{
    char body[2048];
    snprintf(body, sizeof body,
             "{\"model\":\"tiny/model\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s}",
             more);
    return rig_ask(r, "POST", "/v1/chat/completions", r->key.text, body, cut);
}

static inline void rig_launch(struct rig *r)
{
    char port[8];
    r->port = rig_free_port();
    snprintf(port, sizeof port, "%u", r->port);
    const char *argv[40] = {"sluice-gateway",
                            "--data",
                            r->data,
                            "--control",
                            r->control.url,
                            "--token-file",
                            r->token,
                            "--port",
                            port,
                            "--workers",
                            "2"};
    int n = 11;
    for (int i = 0; i < 16 && r->more[i]; i++)
        argv[n++] = r->more[i];
    r->pid = fork();
    if (r->pid == 0) {
        int fd = open(r->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 2);
        execv(BINARY_DIR "/bin/sluice-gateway", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    struct reply a;
    do {
        a = rig_ask(r, "GET", "/health", NULL, "", 0);
        ck_assert_msg(waitpid(r->pid, NULL, WNOHANG) == 0, "the gateway ended at once");
        free(a.text);
        poll(NULL, 0, a.status == 200 ? 0 : 5);
    } while (a.status != 200);
}

/* Until the engines are greeted by both workers: a connection goes to either. */
static inline void rig_until_model(const struct rig *r)
{
    struct reply a;
    int64_t by_ms = rig_ms() + RIG_WAIT_MS;
    int ready = 0;
    do {
        a = rig_ask(r, "POST", "/tokenize", r->key.text,
                    "{\"model\":\"tiny/model\",\"prompt\":\"x\"}", 0);
        ck_assert_msg(rig_ms() < by_ms, "%s", a.text);
        free(a.text);
        ready = a.status == 200 ? ready + 1 : 0;
        poll(NULL, 0, ready ? 0 : 5);
    } while (ready < 16);
}

/* One engine, one tenant; `limits` rows may be added to rig->control.state before. */
static inline void rig_prepare(struct rig *r, int engines)
{
    char list[600];
    struct err err = {0};
    memset(r, 0, sizeof *r);
    ck_assert_int_eq(hash_init(&err), RC_OK);
    snprintf(r->dir, sizeof r->dir, "/tmp/gateway_rig.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(r->dir));
    snprintf(r->log, sizeof r->log, "%s/log", r->dir);
    snprintf(r->data, sizeof r->data, "%s/data", r->dir);
    snprintf(r->token, sizeof r->token, "%s/token", r->dir);
    FILE *f = fopen(r->token, "w");
    fputs("secret-token\n", f);
    fclose(f);
    for (int i = 0; i < engines; i++) {
        char name[] = {'e', (char)('0' + i), '\0'};
        fake_engine_start(&r->engine[i], r->dir, name);
    }
    json_t *feed = tenant_feed(&r->key, engines ? r->engine[0].address : "");
    if (engines == 2) {
        snprintf(list, sizeof list,
                 "[{\"index\":0,\"state\":\"running\",\"address\":\"%s\"},"
                 "{\"index\":1,\"state\":\"running\",\"address\":\"%s\"}]",
                 r->engine[0].address, r->engine[1].address);
        json_object_set_new(tenant_row(feed, "dep_a"), "replica_list", json_loads(list, 0, NULL));
    }
    fake_control_start(&r->control, feed);
}

static inline void rig_start(struct rig *r, int engines)
{
    rig_prepare(r, engines);
    rig_launch(r);
    if (engines)
        rig_until_model(r);
}

static inline int rig_end_gateway(struct rig *r, int signo)
{
    int status = 0;
    kill(r->pid, signo);
    ck_assert_int_eq(waitpid(r->pid, &status, 0), r->pid);
    r->pid = 0;
    return status;
}

static inline int rig_unlink(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* The gateway must end cleanly, whatever the test did to it. */
static inline void rig_stop(struct rig *r)
{
    if (r->pid) {
        int status = rig_end_gateway(r, SIGTERM);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with %x, see %s",
                      status, r->log);
    }
    fake_control_stop(&r->control);
    fake_engine_stop(&r->engine[0]);
    fake_engine_stop(&r->engine[1]);
    nftw(r->dir, rig_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* The usage row of a request, waited for. */
static inline json_t *rig_row(struct rig *r, const char *id)
{
    json_t *row = NULL;
    ck_assert_str_ne(id, "");
    RIG_UNTIL((row = control_row(&r->control, id)) != NULL);
    return row;
}

static inline int64_t rig_int(const json_t *row, const char *field)
{
    return json_integer_value(json_object_get(row, field));
}

static inline const char *rig_text(const json_t *row, const char *field)
{
    const char *z = json_string_value(json_object_get(row, field));
    return z ? z : "";
}

/* A limit on the tenant's org, before or while the gateway runs. */
static inline void rig_limit(struct rig *r, int requests, int tokens, int concurrency)
{
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:n, s:o, s:o, s:o, s:b, s:s}", "id", "lim_a", "deployment_id",
                  "dep_a", "scope", "org", "subject_id", "requests_per_min",
                  requests < 0 ? json_null() : json_integer(requests), "tokens_per_min",
                  tokens < 0 ? json_null() : json_integer(tokens), "concurrency",
                  concurrency < 0 ? json_null() : json_integer(concurrency), "enabled", 1,
                  "created_at", "2026-01-01T00:00:00Z");
    control_change(&r->control, "limit", "lim_a", row);
}

#endif
