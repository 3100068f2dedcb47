#ifndef SLUICE_TESTS_FRAME_CLIENT_H
#define SLUICE_TESTS_FRAME_CLIENT_H
/* frame_client - a gateway as far as an engine can tell: blocking, one connection, one notebook of
 * what each request was told. */

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "schema/frame.h"

enum { CLIENT_RIDS = 512, CLIENT_IDS = 1024, CLIENT_WAIT_MS = 60000 };

struct heard { /* by rid */
    int32_t n_tokens_frames, n_done, n_error;
    enum frame_finish finish;
    enum rc rc;
    char message[256];
    int32_t stop_index;
    struct frame_usage usage;
    int32_t id[CLIENT_IDS], n_ids;
    float logprob[CLIENT_IDS];
    struct buf text;
};

struct client {
    int fd;
    struct buf in, out;
    struct arena arena;
    struct frame_hello_ack ack; /* strings are not kept */
    struct buf card;
    struct frame_load load; /* of the last STATUS */
    uint64_t pong;
    bool is_closed;
    struct frame_error refused; /* an ERROR with rid 0 */
    struct heard heard[CLIENT_RIDS];
    struct err err;
};

static inline struct client *client_open(const char *path)
{
    struct client *c = calloc(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_msg(connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0, "connect %s: %s", path,
                  strerror(errno));
    buf_init(&c->in, 2 * (size_t)FRAME_BODY_MAX);
    buf_init(&c->out, 2 * (size_t)FRAME_BODY_MAX);
    buf_init(&c->card, FRAME_BODY_MAX);
    arena_init(&c->arena, 64u << 20);
    for (size_t i = 0; i < CLIENT_RIDS; i++)
        buf_init(&c->heard[i].text, 1 << 20);
    return c;
}

static inline void client_hang_up(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static inline void client_close(struct client *c)
{
    client_hang_up(c);
    buf_done(&c->in);
    buf_done(&c->out);
    buf_done(&c->card);
    arena_done(&c->arena);
    for (size_t i = 0; i < CLIENT_RIDS; i++)
        buf_done(&c->heard[i].text);
    free(c);
}

static inline void client_send_bytes(struct client *c, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(c->fd, (const char *)p + at, n - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* the engine has hung up: the reader will see it */
        at += (size_t)sent;
    }
}

static inline void client_send(struct client *c, const struct frame *f)
{
    buf_clear(&c->out);
    ck_assert_msg(frame_write(&c->out, f, &c->err) == RC_OK, "%s", c->err.msg);
    client_send_bytes(c, c->out.p, c->out.len);
}

static inline void client_hear_tokens(struct heard *h, const struct frame_tokens *t)
{
    ck_assert_int_eq(h->n_done + h->n_error, 0);
    ck_assert_int_ge(t->usage.output, h->usage.output);
    h->n_tokens_frames++;
    h->usage = t->usage;
    buf_str(&h->text, t->text);
    for (int32_t i = 0; i < t->n_tokens && h->n_ids < CLIENT_IDS; i++) {
        h->logprob[h->n_ids] = t->token[i].chosen.logprob;
        h->id[h->n_ids++] = t->token[i].chosen.id;
    }
}

static inline void client_hear_error(struct client *c, const struct frame_error *e)
{
    if (e->rid == 0) {
        c->refused = *e;
        return;
    }
    struct heard *h = &c->heard[e->rid];
    h->n_error++;
    h->rc = e->rc;
    h->usage = e->usage;
    snprintf(h->message, sizeof h->message, STR_FMT, STR_ARG(e->message));
}

static inline void client_hear(struct client *c, const struct frame *f)
{
    if (f->type == FRAME_HELLO_ACK) {
        c->ack = f->hello_ack;
        buf_clear(&c->card);
        buf_str(&c->card, f->hello_ack.card);
    } else if (f->type == FRAME_TOKENS) {
        client_hear_tokens(&c->heard[f->tokens.rid], &f->tokens);
    } else if (f->type == FRAME_DONE) {
        struct heard *h = &c->heard[f->done.rid];
        h->n_done++;
        h->finish = f->done.finish;
        h->stop_index = f->done.stop_index;
        h->usage = f->done.usage;
    } else if (f->type == FRAME_ERROR) {
        client_hear_error(c, &f->error);
    } else {
        ck_assert_int_eq(f->type, FRAME_STATUS);
        c->load = f->status.load;
        c->pong = f->status.nonce;
    }
}

/* Takes in what comes within wait_ms; false when nothing came or the engine hung up. */
static inline bool client_read(struct client *c, int wait_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->is_closed || poll(&p, 1, wait_ms) <= 0)
        return false;
    char *to = buf_reserve(&c->in, 1 << 20);
    ck_assert_ptr_nonnull(to);
    ssize_t n = recv(c->fd, to, 1 << 20, 0);
    if (n <= 0) {
        c->is_closed = true;
        return false;
    }
    c->in.len += (size_t)n;
    size_t at = 0, used;
    struct frame f;
    enum rc rc;
    while ((rc = frame_read(str_sub(buf_view(&c->in), at, c->in.len), &c->arena, &f, &used,
                            &c->err)) == RC_OK) {
        client_hear(c, &f);
        arena_reset(&c->arena);
        at += used;
    }
    ck_assert_msg(rc == RC_AGAIN, "%s", c->err.msg);
    buf_drop(&c->in, at);
    return true;
}

/* Reads until `cond` holds; fails the test after a minute of silence. */
#define CLIENT_UNTIL(c, cond)                                                                      \
    while (!(cond))                                                                                \
    ck_assert_msg(client_read((c), CLIENT_WAIT_MS), "%s: closed or silent", #cond)

static inline void client_hello(struct client *c)
{
    const struct frame f = {.type = FRAME_HELLO, .hello = {.gateway = STR("a test")}};
    client_send(c, &f);
    CLIENT_UNTIL(c, c->ack.n_ctx > 0);
}

static inline void client_submit(struct client *c, const struct frame_submit *s)
{
    const struct frame f = {.type = FRAME_SUBMIT, .submit = *s};
    client_send(c, &f);
}

static inline void client_cancel(struct client *c, uint64_t rid)
{
    const struct frame f = {.type = FRAME_CANCEL, .cancel = {.rid = rid}};
    client_send(c, &f);
}

static inline void client_ping(struct client *c, uint64_t nonce)
{
    const struct frame f = {.type = FRAME_PING, .ping = {.nonce = nonce}};
    client_send(c, &f);
    CLIENT_UNTIL(c, c->pong == nonce);
}

static inline bool client_is_over(const struct client *c, uint64_t rid)
{
    return c->heard[rid].n_done + c->heard[rid].n_error > 0;
}

#endif
