#ifndef SLUICE_TESTS_FAKE_ENGINE_H
#define SLUICE_TESTS_FAKE_ENGINE_H
/* fake_engine - an engine's side of the socket with a model that says "w0 w1 w2 …": as slow, as
 * small and as unreliable as a test wants. One thread, one loop. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/loop.h"
#include "engine/text/card.h"
#include "schema/frame.h"
#include "tests/fake/must.h"

enum { FAKE_CONNS = 16, FAKE_RUNS = 256, FAKE_VOCAB = 259 };

struct fake_engine;

struct fake_run {
    bool busy;
    struct fake_conn *conn;
    uint64_t rid;
    int32_t n_prompt, max_tok, said;
    int64_t next_ms;
};

struct fake_conn {
    struct fake_engine *e;
    struct loop_io io;
    struct buf in, out;
};

struct fake_engine {
    char path[104], address[120];
    struct loop *loop;
    pthread_t thread;
    int listen_fd;
    struct loop_io accept_io;
    struct loop_timer tick;
    struct loop_post stop_post;
    struct fake_conn conn[FAKE_CONNS];
    struct fake_run run[FAKE_RUNS];
    /* What it does; set at any time. */
    atomic_int gap_ms;     /* between tokens */
    atomic_int answer_tok; /* then it stops by itself */
    atomic_int die_after;  /* tokens of a request until its connection is cut; -1: never */
    atomic_int deaf;       /* 1: CANCEL is not heard */
    atomic_int refuse;     /* enum rc of an ERROR to each SUBMIT; 0: none */
    atomic_int max_seqs;   /* told at HELLO */
    atomic_int submits, cancels, running; /* what happened */
    atomic_int last_max_tok, last_n_prompt;
    atomic_ullong salts; /* sum of the first bytes of the org salts seen */
};

/* The alphabet of byte-level vocabularies: printable bytes stand for themselves. */
static inline uint32_t fake_alphabet(int byte)
{
    bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    uint32_t next = 256;
    for (int b = 0; !plain && b < byte; b++)
        next += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
    return plain ? (uint32_t)byte : next;
}

static inline void fake_card(struct buf *to)
{
    static struct str token[FAKE_VOCAB];
    static uint8_t type[FAKE_VOCAB];
    static char text[256][3];
    for (int b = 0; b < 256; b++) {
        uint32_t cp = fake_alphabet(b);
        text[b][0] = cp < 128 ? (char)cp : (char)(0xc0 | cp >> 6);
        text[b][1] = (char)(0x80 | (cp & 63));
        token[b] = str_make(text[b], cp < 128 ? 1 : 2);
        type[b] = CARD_NORMAL;
    }
    token[256] = STR("<|im_start|>");
    token[257] = STR("<|im_end|>");
    token[258] = STR("<|endoftext|>");
    type[256] = type[257] = type[258] = CARD_CONTROL;
    struct card card = {.name = STR("tiny"),
                        .arch = STR("llama"),
                        .n_ctx = 1024,
                        .n_vocab = FAKE_VOCAB,
                        .tok_model = STR("gpt2"),
                        .tok_pre = STR("gpt-2"),
                        .chat_template =
                            STR("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                                "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
                                "<|im_start|>assistant\n{% endif %}"),
                        .bos = -1,
                        .eos = 257,
                        .eot = -1,
                        .pad = -1,
                        .unk = -1,
                        .token = token,
                        .type = type};
    struct err err = {0};
    MUST(card_pack(&card, to, &err) == RC_OK);
}

static inline void fake_close(struct fake_conn *c)
{
    if (c->io.fd < 0)
        return;
    loop_io_del(c->e->loop, &c->io);
    close(c->io.fd);
    c->io.fd = -1;
    for (int i = 0; i < FAKE_RUNS; i++)
        if (c->e->run[i].busy && c->e->run[i].conn == c) {
            c->e->run[i].busy = false;
            atomic_fetch_sub(&c->e->running, 1);
        }
    buf_clear(&c->in);
    buf_clear(&c->out);
}

static inline void fake_flush(struct fake_conn *c)
{
    while (c->io.fd >= 0 && c->out.len) {
        ssize_t n = send(c->io.fd, c->out.p, c->out.len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* tests stay small: what does not fit waits for the next tick */
        buf_drop(&c->out, (size_t)n);
    }
}

static inline void fake_say(struct fake_conn *c, const struct frame *f)
{
    struct err err = {0};
    MUST(frame_write(&c->out, f, &err) == RC_OK);
}

static inline struct frame_usage fake_usage(const struct fake_run *r)
{
    return (struct frame_usage){.input = r->n_prompt, .cached = r->n_prompt / 2, .output = r->said};
}

static inline void fake_end(struct fake_run *r, enum frame_finish finish)
{
    struct frame f = {
        .type = FRAME_DONE,
        .done = {.rid = r->rid, .finish = finish, .usage = fake_usage(r), .stop_index = -1}};
    fake_say(r->conn, &f);
    r->busy = false;
    atomic_fetch_sub(&r->conn->e->running, 1);
}

static inline void fake_step(struct fake_engine *e, struct fake_run *r, int64_t now)
{
    int die = atomic_load(&e->die_after);
    while (r->busy && r->next_ms <= now) {
        if (die >= 0 && r->said >= die) {
            fake_flush(r->conn);
            fake_close(r->conn);
            return;
        }
        if (r->said >= r->max_tok) {
            fake_end(r, FINISH_LENGTH);
            break;
        }
        char text[16];
        snprintf(text, sizeof text, "w%d ", r->said++);
        bool last = r->said >= atomic_load(&e->answer_tok);
        struct frame f = {.type = FRAME_TOKENS,
                          .tokens = {.rid = r->rid,
                                     .usage = fake_usage(r),
                                     .text = last ? STR("") : str_of(text)}};
        fake_say(r->conn, &f);
        if (last)
            fake_end(r, FINISH_STOP);
        r->next_ms += atomic_load(&e->gap_ms);
    }
}

static inline void fake_tick(struct loop_timer *t)
{
    struct fake_engine *e = t->user;
    int64_t now = loop_now_ms(e->loop);
    for (int i = 0; i < FAKE_RUNS; i++)
        if (e->run[i].busy)
            fake_step(e, &e->run[i], now);
    for (int i = 0; i < FAKE_CONNS; i++)
        fake_flush(&e->conn[i]);
    loop_timer_set(e->loop, t, now + 1, NULL);
}

static inline void fake_submit(struct fake_conn *c, const struct frame_submit *s)
{
    struct fake_engine *e = c->e;
    atomic_fetch_add(&e->submits, 1);
    atomic_store(&e->last_max_tok, s->params.max_tok);
    atomic_store(&e->last_n_prompt, s->n_prompt);
    atomic_fetch_add(&e->salts, s->org_salt[0]);
    int rc = atomic_load(&e->refuse);
    if (rc) {
        struct frame f = {.type = FRAME_ERROR,
                          .error = {.rid = s->rid,
                                    .rc = (enum rc)rc,
                                    .message = STR("This engine has no room.")}};
        fake_say(c, &f);
        return;
    }
    for (int i = 0; i < FAKE_RUNS; i++)
        if (!e->run[i].busy) {
            e->run[i] =
                (struct fake_run){.busy = true,
                                  .conn = c,
                                  .rid = s->rid,
                                  .n_prompt = s->n_prompt,
                                  .max_tok = s->params.max_tok,
                                  .next_ms = loop_now_ms(e->loop) + atomic_load(&e->gap_ms)};
            atomic_fetch_add(&e->running, 1);
            if (atomic_load(&e->gap_ms) == 0)
                fake_step(e, &e->run[i], loop_now_ms(e->loop));
            return;
        }
}

static inline void fake_frame(struct fake_conn *c, const struct frame *f)
{
    struct fake_engine *e = c->e;
    struct frame out = {0};
    struct buf card;
    switch (f->type) {
    case FRAME_HELLO:
        buf_init(&card, 1 << 20);
        fake_card(&card);
        out.type = FRAME_HELLO_ACK;
        out.hello_ack = (struct frame_hello_ack){.n_ctx = 1024,
                                                 .n_vocab = FAKE_VOCAB,
                                                 .max_seqs = atomic_load(&e->max_seqs),
                                                 .max_waiting = 0,
                                                 .path = STR("fake"),
                                                 .card = buf_view(&card)};
        fake_say(c, &out);
        buf_done(&card);
        break;
    case FRAME_SUBMIT:
        fake_submit(c, &f->submit);
        break;
    case FRAME_CANCEL:
        atomic_fetch_add(&e->cancels, 1);
        for (int i = 0; !atomic_load(&e->deaf) && i < FAKE_RUNS; i++)
            if (e->run[i].busy && e->run[i].conn == c && e->run[i].rid == f->cancel.rid)
                fake_end(&e->run[i], FINISH_ABORT);
        break;
    case FRAME_PING:
        out.type = FRAME_STATUS;
        out.status.nonce = f->ping.nonce;
        fake_say(c, &out);
        break;
    default:
        fake_close(c);
    }
}

static inline void fake_ready(struct loop_io *io, uint32_t events)
{
    struct fake_conn *c = io->user;
    (void)events;
    char *to = buf_reserve(&c->in, 65536);
    ssize_t n = to ? recv(io->fd, to, 65536, 0) : 0;
    if (n <= 0) {
        fake_close(c);
        return;
    }
    c->in.len += (size_t)n;
    for (;;) {
        struct arena arena;
        struct frame f;
        struct err err = {0};
        size_t used = 0;
        arena_init(&arena, 64u << 20);
        enum rc rc = frame_read(buf_view(&c->in), &arena, &f, &used, &err);
        if (rc == RC_OK)
            fake_frame(c, &f);
        arena_done(&arena);
        if (rc != RC_OK || io->fd < 0)
            break;
        buf_drop(&c->in, used);
    }
    fake_flush(c);
}

static inline void fake_accept(struct loop_io *io, uint32_t events)
{
    struct fake_engine *e = io->user;
    (void)events;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (int i = 0; fd >= 0 && i < FAKE_CONNS; i++) {
        struct fake_conn *c = &e->conn[i];
        if (c->io.fd >= 0)
            continue;
        c->io = (struct loop_io){.fd = fd, .on_ready = fake_ready, .user = c};
        loop_io_add(e->loop, &c->io, EPOLLIN, NULL);
        return;
    }
    if (fd >= 0)
        close(fd);
}

static inline void *fake_run_loop(void *arg)
{
    struct fake_engine *e = arg;
    struct err err = {0};
    loop_run(e->loop, &err);
    return NULL;
}

static inline void fake_engine_start(struct fake_engine *e, const char *dir, const char *name)
{
    struct err err = {0};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memset(e, 0, sizeof *e);
    atomic_store(&e->answer_tok, 8);
    atomic_store(&e->die_after, -1);
    atomic_store(&e->max_seqs, 8);
    char path[sizeof e->path];
    snprintf(path, sizeof path, "%s/%s.sock", dir, name);
    snprintf(e->address, sizeof e->address, "unix:%s", path);
    memcpy(e->path, path, sizeof e->path);
    MUST(loop_open(clock_system(), &e->loop, &err) == RC_OK);
    memcpy(a.sun_path, e->path, strlen(e->path) + 1);
    unlink(e->path);
    e->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    MUST(bind(e->listen_fd, (struct sockaddr *)&a, sizeof a) == 0);
    MUST(listen(e->listen_fd, 16) == 0);
    for (int i = 0; i < FAKE_CONNS; i++) {
        e->conn[i].e = e;
        e->conn[i].io.fd = -1;
        buf_init(&e->conn[i].in, 64u << 20);
        buf_init(&e->conn[i].out, 64u << 20);
    }
    e->accept_io = (struct loop_io){.fd = e->listen_fd, .on_ready = fake_accept, .user = e};
    e->tick = (struct loop_timer){.on_time = fake_tick, .user = e};
    loop_io_add(e->loop, &e->accept_io, EPOLLIN, &err);
    loop_timer_set(e->loop, &e->tick, loop_now_ms(e->loop), &err);
    MUST(pthread_create(&e->thread, NULL, fake_run_loop, e) == 0);
}

static inline void fake_engine_stop(struct fake_engine *e)
{
    if (!e->loop)
        return;
    loop_stop(e->loop);
    pthread_join(e->thread, NULL);
    for (int i = 0; i < FAKE_CONNS; i++) {
        fake_close(&e->conn[i]);
        buf_done(&e->conn[i].in);
        buf_done(&e->conn[i].out);
    }
    loop_io_del(e->loop, &e->accept_io);
    loop_timer_clear(e->loop, &e->tick);
    close(e->listen_fd);
    loop_close(e->loop);
    e->loop = NULL;
}

#endif
