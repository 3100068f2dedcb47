#ifndef SLUICE_TESTS_SCHED_FIXTURE_H
#define SLUICE_TESTS_SCHED_FIXTURE_H
/* sched_fixture - a scheduler over the fake backend, a clock that tests move, and a notebook of
 * every frame that came out. */

#include <check.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "engine/sched.h"
#include "engine/seq.h"
#include "engine/text/card.h"
#include "engine/text/tokenizer.h"
#include "tests/fake/fake_backend.h"
#include "tests/unit/text_fixture.h"

enum { CONN = 5, END_ID = TOY_CONTROL_END, NOTES_MAX = 65536, IDS_MAX = 256 };

struct note { /* what one request was told; index is its rid */
    int32_t n_tokens_frames, n_done, n_error;
    enum frame_finish finish;
    enum rc rc;
    int32_t stop_index;
    struct frame_usage usage;
    int32_t id[IDS_MAX], n_ids; /* from log-probability entries */
    float logprob[IDS_MAX];
    char text[1024];
    size_t text_len;
};

struct sched_fixture {
    struct sched s;
    struct fake_backend fake;
    struct tokenizer *tok;
    struct clock clock;
    int64_t now_ns;
    struct note *note; /* [n_notes] */
    uint64_t n_notes;
    bool is_backed_up;
    struct err err;
};

static inline int64_t fixture_mono(void *ctx)
{
    return ((struct sched_fixture *)ctx)->now_ns;
}

static inline void note_tokens(struct note *n, const struct frame_tokens *t)
{
    ck_assert_int_eq(n->n_done + n->n_error, 0);
    ck_assert_int_ge(t->usage.output, n->usage.output); /* running totals never fall */
    ck_assert_int_ge(t->usage.input, n->usage.input);
    n->n_tokens_frames++;
    n->usage = t->usage;
    for (int32_t i = 0; i < t->n_tokens && n->n_ids < IDS_MAX; i++) {
        n->logprob[n->n_ids] = t->token[i].chosen.logprob;
        n->id[n->n_ids++] = t->token[i].chosen.id;
    }
    if (n->text_len + t->text.len < sizeof n->text) {
        if (t->text.len)
            memcpy(n->text + n->text_len, t->text.p, t->text.len);
        n->text_len += t->text.len;
    }
}

static inline void fixture_on_frame(void *ctx, uint64_t conn, const struct frame *f)
{
    struct sched_fixture *fx = ctx;
    uint64_t rid = f->type == FRAME_TOKENS ? f->tokens.rid
                   : f->type == FRAME_DONE ? f->done.rid
                                           : f->error.rid;
    ck_assert(rid < fx->n_notes && conn != 0);
    struct note *n = &fx->note[rid];
    if (f->type == FRAME_TOKENS) {
        note_tokens(n, &f->tokens);
    } else if (f->type == FRAME_DONE) {
        n->n_done++;
        n->finish = f->done.finish;
        n->stop_index = f->done.stop_index;
        n->usage = f->done.usage;
    } else {
        ck_assert_int_eq(f->type, FRAME_ERROR);
        n->n_error++;
        n->rc = f->error.rc;
        n->usage = f->error.usage;
    }
}

static inline bool fixture_is_ready(void *ctx, uint64_t conn)
{
    (void)conn;
    return !((struct sched_fixture *)ctx)->is_backed_up;
}

static inline struct sched_opts small_opts(void)
{
    return (struct sched_opts){.n_ctx = 128,
                               .n_pages = 32,
                               .max_batch = 32,
                               .max_seqs = 4,
                               .max_waiting = 16,
                               .fingerprint = "a model"};
}

static inline struct sched_fixture *fixture_open(struct sched_opts opts, uint64_t n_notes)
{
    struct sched_fixture *fx = calloc(1, sizeof *fx);
    ck_assert_ptr_nonnull(fx);
    ck_assert_int_eq(hash_init(&fx->err), RC_OK);
    log_init("test", (enum log_level)(LOG_ERROR + 1)); /* faults here are made on purpose */
    fx->tok = toy_tokenizer("smollm");
    fx->note = calloc(n_notes, sizeof *fx->note);
    fx->n_notes = n_notes;
    fx->clock = (struct clock){.mono_ns = fixture_mono, .ctx = fx};
    opts.n_vocab = tokenizer_vocab(fx->tok);
    fake_init(&fx->fake, opts.n_vocab, opts.n_pages, opts.max_batch, opts.max_seqs, END_ID);
    const struct answer_sink sink = {
        .ctx = fx, .on_frame = fixture_on_frame, .is_ready = fixture_is_ready};
    enum rc rc =
        sched_open(&fx->s, &opts, &fake_ops, &fx->fake.base, fx->tok, &fx->clock, &sink, &fx->err);
    ck_assert_msg(rc == RC_OK, "%s", fx->err.msg);
    return fx;
}

static inline void fixture_close(struct sched_fixture *fx)
{
    sched_close(&fx->s);
    fake_done(&fx->fake);
    tokenizer_close(fx->tok);
    free(fx->note);
    free(fx);
}

/* A request of n tokens that are the same for the same n and `kind`; log-probabilities on, so that
 * the notebook sees ids. */
struct ask {
    struct frame_submit f;
    int32_t token[512];
};

static inline struct ask *ask_init(struct ask *a, uint64_t rid, int32_t n, uint32_t kind)
{
    *a = (struct ask){.f = {.rid = rid, .org_salt = "org", .n_prompt = n}};
    for (int32_t i = 0; i < n; i++)
        a->token[i] = (int32_t)(fake_mix(kind, (uint64_t)i) % 256);
    a->f.prompt = a->token;
    a->f.params = (struct frame_params){
        .max_tok = 10, .top_p = 1, .repetition = 1, .logprobs = true, .has_seed = true};
    return a;
}

static inline enum rc submit(struct sched_fixture *fx, const struct ask *a)
{
    return sched_submit(&fx->s, CONN, &a->f, fx->now_ns, &fx->err);
}

static inline void must_submit(struct sched_fixture *fx, const struct ask *a)
{
    ck_assert_msg(submit(fx, a) == RC_OK, "%s", fx->err.msg);
}

static inline void step(struct sched_fixture *fx)
{
    fx->now_ns += 1000000;
    sched_step(&fx->s);
    sched_check(&fx->s);
}

static inline int run_dry(struct sched_fixture *fx)
{
    int n = 0;
    for (; sched_has_work(&fx->s); n++) {
        ck_assert_int_lt(n, 20000);
        step(fx);
    }
    return n;
}

/* The answer that the fake model must give to this request, whatever its neighbours. */
static inline void answer_is_right(struct sched_fixture *fx, const struct ask *a)
{
    const struct note *n = &fx->note[a->f.rid];
    int32_t want[IDS_MAX];
    int32_t room = fx->s.limit_tok - a->f.n_prompt;
    int32_t max = a->f.params.max_tok < room ? a->f.params.max_tok : room;
    int32_t n_want = fake_answer(&fx->fake, a->token, a->f.n_prompt, max, want);
    bool ended = n_want && want[n_want - 1] == END_ID;
    ck_assert_int_eq(n->n_done, 1);
    ck_assert_int_eq(n->n_error, 0);
    ck_assert_int_eq(n->finish, ended ? FINISH_STOP : FINISH_LENGTH);
    ck_assert_int_eq(n->usage.output, n_want);
    ck_assert_int_eq(n->usage.input, a->f.n_prompt);
    ck_assert_int_eq(n->n_ids, n_want - ended);
    for (int32_t i = 0; i < n->n_ids; i++)
        ck_assert_msg(n->id[i] == want[i], "token %d is %d, not %d", i, n->id[i], want[i]);
}

static inline void pool_is_whole(struct sched_fixture *fx)
{
    struct frame_load l = sched_load(&fx->s);
    ck_assert_int_eq(l.pages_free, l.pages_total);
    kv_pool_check(&fx->s.pool, 0);
}

#endif
