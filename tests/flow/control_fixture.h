#ifndef SLUICE_TESTS_CONTROL_FIXTURE_H
#define SLUICE_TESTS_CONTROL_FIXTURE_H
/* control_fixture - a control plane on a loop of its own thread, a world of two orgs in it, and a
 * plain HTTP client that shows headers. Each test has its own folder and port. */

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/units.h"
#include "control/access.h"
#include "control/api.h"
#include "control/control.h"
#include "control/db.h"
#include "control/entity.h"
#include "control/secret.h"
#include "control/txn.h"
#include "control/writer.h"

#define must(call)                                                                                 \
    do {                                                                                           \
        struct err must_err = {0};                                                                 \
        struct err *err = &must_err;                                                               \
        enum rc must_rc = (call);                                                                  \
        (void)err;                                                                                 \
        ck_assert_msg(must_rc == RC_OK, "%s: %s %s (%s:%d)", #call, rc_name(must_rc), err->msg,    \
                      err->file, err->line);                                                       \
    } while (0)

enum who { OPERATOR, ADMIN_A, MEMBER_A, MEMBER_A2, ADMIN_B, MEMBER_B, WHO_COUNT, NOBODY };

#define PASSWORD "correct horse battery"

struct world {
    char org_a[40], org_b[40];
    char user[WHO_COUNT][40], token[WHO_COUNT][ENTITY_TOKEN_BYTES];
    char key_a[40], key_a2[40], key_b[40], secret_a[APIKEY_LEN + 1];
    char provider[40], model[40], model_2[40], cluster[40], endpoint[40];
    char dep[40], dep_hidden[40], share[40], limit[40], price[40], price_hidden[40];
};

struct fixture {
    char dir[64];
    struct loop *loop;
    struct control *control;
    pthread_t thread;
    uint16_t port;
    struct world w;
    struct arena arena;
};

static void *fixture_thread(void *arg)
{
    struct fixture *fx = arg;
    struct err err = {0};
    enum rc rc = loop_run(fx->loop, &err);
    if (rc != RC_OK)
        fprintf(stderr, "loop: %s\n", err.msg);
    return NULL;
}

static void keep_id(char to[40], struct str id)
{
    ck_assert_uint_lt(id.len, 40);
    memcpy(to, id.p, id.len);
    to[id.len] = '\0';
}

struct making {
    struct fixture *fx;
    char hash[SECRET_PASSWORD_BYTES];
};

static void make(struct entity_act *act, const struct resource *res, void *row)
{
    must(entity_create(act, res, row, err));
}

static void make_people(struct entity_act *act, struct making *m)
{
    static const struct {
        const char *email;
        enum user_role role;
        int org; /* 0: none, 1: A, 2: B */
    } people[WHO_COUNT] = {
        [OPERATOR] = {"op@example.com", ROLE_OPERATOR, 0},
        [ADMIN_A] = {"admin@a.example", ROLE_ORG_ADMIN, 1},
        [MEMBER_A] = {"ann@a.example", ROLE_MEMBER, 1},
        [MEMBER_A2] = {"abe@a.example", ROLE_MEMBER, 1},
        [ADMIN_B] = {"admin@b.example", ROLE_ORG_ADMIN, 2},
        [MEMBER_B] = {"bob@b.example", ROLE_MEMBER, 2},
    };
    struct world *w = &m->fx->w;
    struct org a = {.name = STR("Org A")}, b = {.name = STR("Org B")};
    make(act, &resource_org, &a);
    make(act, &resource_org, &b);
    keep_id(w->org_a, a.id);
    keep_id(w->org_b, b.id);
    for (int i = 0; i < WHO_COUNT; i++) {
        struct user u = {.email = str_of(people[i].email), .name = STR(""), .role = people[i].role};
        u.org_id = people[i].org == 1 ? a.id : people[i].org == 2 ? b.id : STR_NONE;
        act->password_hash = i == OPERATOR || i == MEMBER_A ? str_of(m->hash) : STR_NONE;
        make(act, &resource_user, &u);
        keep_id(w->user[i], u.id);
        struct token_row t = {.user_id = u.id, .name = STR("test")};
        make(act, &resource_token, &t);
        memcpy(w->token[i], act->token, sizeof act->token);
    }
    act->password_hash = STR_NONE;
}

static void make_keys(struct entity_act *act, struct world *w)
{
    static const enum who owner[] = {MEMBER_A, MEMBER_A2, MEMBER_B};
    char *const to[] = {w->key_a, w->key_a2, w->key_b};
    for (int i = 0; i < 3; i++) {
        struct key k = {
            .user_id = str_of(w->user[owner[i]]), .name = STR("test key"), .description = STR("")};
        make(act, &resource_key, &k);
        keep_id(to[i], k.id);
        if (i == 0)
            memcpy(w->secret_a, act->key.text, sizeof w->secret_a);
    }
}

static void make_deployment(struct entity_act *act, struct world *w, const char *name,
                            const char *model, char to[40])
{
    struct deployment d = {0};
    resource_defaults(&resource_deployment, &d);
    d.name = str_of(name);
    d.model_id = str_of(model);
    d.endpoint_id = str_of(w->endpoint);
    make(act, &resource_deployment, &d);
    keep_id(to, d.id);
}

static void make_catalog(struct entity_act *act, struct world *w)
{
    struct provider p = {.name = STR("HF"), .family = STR("Llama"), .description = STR("")};
    make(act, &resource_provider, &p);
    keep_id(w->provider, p.id);
    struct model_row m = {.name = STR("tiny"),
                          .provider_id = p.id,
                          .description = STR(""),
                          .use_case = STR("chat"),
                          .source = STR("/secret/path.gguf")};
    make(act, &resource_model, &m);
    keep_id(w->model, m.id);
    struct model_row m2 = m;
    m2.id = STR_NONE;
    m2.name = STR("hidden");
    make(act, &resource_model, &m2);
    keep_id(w->model_2, m2.id);
    struct cluster c = {.name = STR("here"), .description = STR("")};
    make(act, &resource_cluster, &c);
    keep_id(w->cluster, c.id);
    struct endpoint e = {
        .name = STR("main"), .description = STR(""), .hostname = STR(""), .cluster_id = c.id};
    make(act, &resource_endpoint, &e);
    keep_id(w->endpoint, e.id);
    make_deployment(act, w, "shared", w->model, w->dep);
    make_deployment(act, w, "unshared", w->model_2, w->dep_hidden);
}

static void make_terms(struct entity_act *act, struct world *w)
{
    struct share s = {.deployment_id = str_of(w->dep), .org_id = str_of(w->org_a)};
    make(act, &resource_share, &s);
    keep_id(w->share, s.id);
    struct limit l = {0};
    resource_defaults(&resource_limit, &l);
    l.deployment_id = str_of(w->dep);
    l.requests_per_min = 100;
    make(act, &resource_limit, &l);
    keep_id(w->limit, l.id);
    char *const to[] = {w->price, w->price_hidden};
    for (int i = 0; i < 2; i++) {
        struct price p = {.deployment_id = str_of(i ? w->dep_hidden : w->dep),
                          .currency = STR("USD"),
                          .input_per_1m = 150000,
                          .cached_input_per_1m = FIELD_NULL_INT,
                          .output_per_1m = 600000};
        make(act, &resource_price, &p);
        keep_id(to[i], p.id);
    }
}

static enum rc make_world(void *user, struct txn *txn, struct err *err)
{
    struct making *m = user;
    struct entity_act act = {.txn = txn,
                             .scope = access_system(),
                             .secrets = control_secrets(m->fx->control),
                             .arena = &m->fx->arena};
    (void)err;
    make_people(&act, m);
    make_keys(&act, &m->fx->w);
    make_catalog(&act, &m->fx->w);
    make_terms(&act, &m->fx->w);
    return RC_OK;
}

static void fixture_start(struct fixture *fx, const char *console_dir)
{
    struct control_opts opts = {.data_dir = fx->dir,
                                .bind = "127.0.0.1",
                                .gateway_url = "http://127.0.0.1:8000",
                                .console_dir = console_dir};
    must(loop_open(clock_system(), &fx->loop, err));
    opts.loop = fx->loop;
    must(control_open(&opts, &fx->control, err));
    fx->port = control_port(fx->control);
}

static void fixture_run(struct fixture *fx)
{
    ck_assert_int_eq(pthread_create(&fx->thread, NULL, fixture_thread, fx), 0);
}

static void fixture_stop(struct fixture *fx)
{
    loop_stop(fx->loop);
    pthread_join(fx->thread, NULL);
    control_close(fx->control);
    loop_close(fx->loop);
    fx->control = NULL;
    fx->loop = NULL;
}

static struct fixture *fixture_new_in(const char *console_dir)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    struct making m = {.fx = fx};
    ck_assert_ptr_nonnull(fx);
    log_init("test", LOG_WARN);
    arena_init(&fx->arena, 64 * MIB);
    snprintf(fx->dir, sizeof fx->dir, "/tmp/sluice-control-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fx->dir));
    must(hash_init(err));
    must(secret_password_hash(STR(PASSWORD), m.hash, err));
    fixture_start(fx, console_dir);
    must(writer_call(control_writer(fx->control), make_world, &m, err));
    fixture_run(fx);
    return fx;
}

static inline struct fixture *fixture_new(void)
{
    return fixture_new_in(NULL);
}

static int fixture_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void fixture_free(struct fixture *fx)
{
    fixture_stop(fx);
    nftw(fx->dir, fixture_unlink, 16, FTW_DEPTH | FTW_PHYS);
    arena_done(&fx->arena);
    free(fx);
}

/* ---- a client ---------------------------------------------------------------------------------
 */

struct answer {
    int status;
    char *raw; /* headers and body; freed by answer_done */
    const char *head, *body;
    json_t *json; /* NULL when the body is not JSON */
};

static void answer_done(struct answer *a)
{
    json_decref(a->json);
    free(a->raw);
    *a = (struct answer){0};
}

#define ANSWER __attribute__((cleanup(answer_done))) struct answer

/* The value of a header, or NULL; lives in a static buffer until the next call. */
static inline const char *answer_header(const struct answer *a, const char *name)
{
    static char value[2048];
    size_t len = strlen(name);
    for (const char *line = a->head; line && *line; line = strstr(line, "\r\n")) {
        line += *line == '\r' ? 2 : 0;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            size_t n = strcspn(line + len + 2, "\r\n");
            snprintf(value, sizeof value, "%.*s", (int)n, line + len + 2);
            return value;
        }
    }
    return NULL;
}

static int client_connect(const struct fixture *fx)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(fx->port)};
    struct timeval limit = {60, 0};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static struct answer client_read(int fd)
{
    struct answer a = {0};
    size_t len = 0, cap = 1 << 16;
    a.raw = malloc(cap + 1);
    for (ssize_t n; (n = recv(fd, a.raw + len, cap - len, 0)) > 0;) {
        len += (size_t)n;
        if (len == cap)
            a.raw = realloc(a.raw, (cap *= 2) + 1);
    }
    a.raw[len] = '\0';
    ck_assert_msg(strncmp(a.raw, "HTTP/1.1 ", 9) == 0, "not an answer: %.80s", a.raw);
    a.status = atoi(a.raw + 9);
    a.head = a.raw;
    char *end = strstr(a.raw, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    end[2] = '\0';
    a.body = end + 4;
    a.json = json_loads(a.body, 0, NULL);
    return a;
}

/* headers: whole lines, each with \r\n. */
static int client_send(const struct fixture *fx, const char *method, const char *path,
                       const char *headers, const char *body)
{
    int fd = client_connect(fx);
    size_t cap = strlen(path) + strlen(headers) + strlen(body ? body : "") + 512;
    char *text = malloc(cap);
    int n = snprintf(text, cap, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method,
                     path, headers);
    if (body)
        n += snprintf(text + n, cap - (size_t)n,
                      "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    n += snprintf(text + n, cap - (size_t)n, "\r\n%s", body ? body : "");
    for (int at = 0; at < n;) {
        ssize_t sent = send(fd, text + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (sent <= 0)
            break; /* refused early; the answer says why */
        at += (int)sent;
    }
    free(text);
    return fd;
}

static struct answer call_raw(const struct fixture *fx, const char *method, const char *path,
                              const char *headers, const char *body)
{
    int fd = client_send(fx, method, path, headers, body);
    struct answer a = client_read(fd);
    close(fd);
    return a;
}

static inline struct answer call_with(const struct fixture *fx, enum who who, const char *method,
                               const char *path, const char *headers, const char *body)
{
    char all[2048];
    snprintf(all, sizeof all, "%s%s%s%s", who < WHO_COUNT ? "Authorization: Bearer " : "",
             who < WHO_COUNT ? fx->w.token[who] : "", who < WHO_COUNT ? "\r\n" : "", headers);
    return call_raw(fx, method, path, all, body);
}

static inline struct answer call(const struct fixture *fx, enum who who, const char *method,
                          const char *path, const char *body)
{
    return call_with(fx, who, method, path, "", body);
}

static const char *fmt(struct fixture *fx, const char *f, ...)
    __attribute__((format(printf, 2, 3)));
static const char *fmt(struct fixture *fx, const char *f, ...)
{
    char text[8192];
    va_list args;
    va_start(args, f);
    vsnprintf(text, sizeof text, f, args);
    va_end(args);
    const char *z = arena_zdup(&fx->arena, str_of(text));
    ck_assert_ptr_nonnull(z);
    return z;
}

static const char *text_at(const json_t *json, const char *name)
{
    const char *z = json_string_value(json_object_get(json, name));
    return z ? z : "";
}

static inline const char *error_field(const struct answer *a)
{
    return text_at(json_object_get(a->json, "error"), "field");
}

#define expect(answer, want)                                                                       \
    ck_assert_msg((answer).status == (want), "status %d, wanted %d: %s", (answer).status, (want),  \
                  (answer).body)

/* Rows on the first page of a list. */
static inline size_t count_of(struct fixture *fx, enum who who, const char *path)
{
    ANSWER a = call(fx, who, "GET", path, NULL);
    expect(a, 200);
    return json_array_size(json_object_get(a.json, "data"));
}

#endif
