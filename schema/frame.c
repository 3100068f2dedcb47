/* frame.c - bytes to frames and back.
 *
 * Each body is described once, by a function over a `struct wire` that either writes the fields or
 * reads them, and checks their bounds on both sides. So the two directions cannot drift apart, and
 * what one side could not read the other cannot send. */
#include "schema/frame.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are copied as little-endian");

enum {
    STOP_MAX_BYTES = 256,
    TOKEN_MAX_BYTES = 4096,
    TEXT_MAX_BYTES = 1 << 20,
    MESSAGE_MAX_BYTES = 4096,
    NAME_MAX_BYTES = 256,
    WIRE_SALT_BYTES = 16,
    WIRE_BIAS_BYTES = 8,
    WIRE_TOP_BYTES = 12,  /* id, log-probability, length of bytes */
    WIRE_TOKEN_BYTES = 16 /* the same and n_top */
};
static const uint32_t FRAME_MAGIC = 0x31464c53; /* "SLF1" */
static const float PENALTY_MAX = 100.0f, BIAS_MAX = 1000.0f, LOGPROB_MAX = 0.001f;

struct wire {
    struct buf *to; /* writing: where to; reading: NULL */
    struct str in;  /* reading: what is left of the body */
    struct arena *arena;
    struct err *err;
    enum rc rc; /* the first failure; all later moves do nothing */
};

static void refuse(struct wire *w, const char *field, const char *why)
{
    if (w->rc == RC_OK)
        w->rc =
            err_field(w->err, w->to ? RC_BAD_INPUT : RC_CORRUPT, field, "frame: %s %s", field, why);
}

static void raw(struct wire *w, void *p, size_t n, const char *field)
{
    if (w->rc != RC_OK)
        return;
    if (w->to) {
        if (!buf_add(w->to, p, n))
            w->rc = err_set(w->err, RC_TOO_LARGE, "frame: no room for %s", field);
    } else if (w->in.len < n) {
        refuse(w, field, "is cut off");
    } else {
        memcpy(p, w->in.p, n);
        w->in = str_sub(w->in, n, w->in.len);
    }
}

static void num32(struct wire *w, int32_t *v, int32_t lo, int32_t hi, const char *field)
{
    int32_t x = w->to ? *v : 0;
    raw(w, &x, sizeof x, field);
    if (w->rc == RC_OK && (x < lo || x > hi))
        refuse(w, field, "is out of range");
    *v = w->rc == RC_OK ? x : 0;
}

static void num64(struct wire *w, int64_t *v, const char *field)
{
    int64_t x = w->to ? *v : 0;
    raw(w, &x, sizeof x, field);
    if (w->rc == RC_OK && x < 0)
        refuse(w, field, "is negative");
    *v = w->rc == RC_OK ? x : 0;
}

static void real(struct wire *w, float *v, float lo, float hi, const char *field)
{
    float x = w->to ? *v : 0;
    raw(w, &x, sizeof x, field);
    if (w->rc == RC_OK && !(isfinite(x) && x >= lo && x <= hi))
        refuse(w, field, "is out of range");
    *v = w->rc == RC_OK ? x : 0;
}

static void flag(struct wire *w, bool *v, const char *field)
{
    uint8_t x = w->to && *v;
    raw(w, &x, 1, field);
    if (w->rc == RC_OK && x > 1)
        refuse(w, field, "is neither 0 nor 1");
    *v = w->rc == RC_OK && x;
}

static void text(struct wire *w, struct str *v, size_t max, const char *field)
{
    uint32_t len = 0;
    if (w->to) {
        if (v->len > max)
            refuse(w, field, "is too long");
        else
            len = (uint32_t)v->len;
    }
    raw(w, &len, sizeof len, field);
    if (w->rc == RC_OK && len > max)
        refuse(w, field, "is too long");
    if (w->to) {
        if (w->rc == RC_OK && len && !buf_add(w->to, v->p, len))
            w->rc = err_set(w->err, RC_TOO_LARGE, "frame: no room for %s", field);
        return;
    }
    if (w->rc == RC_OK && w->in.len < len)
        refuse(w, field, "is cut off");
    *v = STR_NONE;
    if (w->rc == RC_OK) {
        *v = str_sub(w->in, 0, len);
        w->in = str_sub(w->in, len, w->in.len);
    }
}

/* The n elements to walk: the caller's own when writing, new ones when reading. wire_bytes is the
 * least that one element takes, so a count that the body cannot hold allocates nothing. */
static void *array(struct wire *w, const void *have, int32_t n, size_t size, size_t wire_bytes,
                   const char *field)
{
    if (w->rc != RC_OK || n == 0)
        return NULL;
    if (w->to) {
        if (!have)
            refuse(w, field, "is missing");
        return (void *)(uintptr_t)have;
    }
    if ((size_t)n > w->in.len / wire_bytes) {
        refuse(w, field, "is cut off");
        return NULL;
    }
    void *p = arena_alloc(w->arena, (size_t)n, size);
    if (!p)
        w->rc = err_set(w->err, RC_NO_MEMORY, "frame: no memory for %s", field);
    return p;
}

static void usage(struct wire *w, struct frame_usage *u)
{
    num32(w, &u->input, 0, INT32_MAX, "usage.input");
    num32(w, &u->cached, 0, u->input, "usage.cached");
    num32(w, &u->output, 0, INT32_MAX, "usage.output");
    num64(w, &u->queue_us, "usage.queue_us");
    num64(w, &u->prefill_us, "usage.prefill_us");
    num64(w, &u->decode_us, "usage.decode_us");
}

static void load(struct wire *w, struct frame_load *l)
{
    num32(w, &l->running, 0, INT32_MAX, "load.running");
    num32(w, &l->waiting, 0, INT32_MAX, "load.waiting");
    num32(w, &l->pages_total, 0, INT32_MAX, "load.pages_total");
    num32(w, &l->pages_free, 0, l->pages_total, "load.pages_free");
    num64(w, &l->steps, "load.steps");
}

static void rid(struct wire *w, uint64_t *v, bool zero_too)
{
    raw(w, v, sizeof *v, "rid");
    if (w->rc == RC_OK && *v == 0 && !zero_too)
        refuse(w, "rid", "is 0");
}

static void hello_ack(struct wire *w, struct frame_hello_ack *a)
{
    num32(w, &a->n_ctx, 1, INT32_MAX, "n_ctx");
    num32(w, &a->n_vocab, 1, INT32_MAX, "n_vocab");
    num32(w, &a->max_seqs, 1, INT32_MAX, "max_seqs");
    num32(w, &a->max_waiting, 0, INT32_MAX, "max_waiting");
    load(w, &a->load);
    text(w, &a->path, NAME_MAX_BYTES, "path");
    text(w, &a->card, FRAME_BODY_MAX, "card");
}

static void params(struct wire *w, struct frame_params *p)
{
    num32(w, &p->max_tok, 0, INT32_MAX, "max_tok");
    num32(w, &p->min_tok, 0, INT32_MAX, "min_tok");
    real(w, &p->temperature, 0, FLT_MAX, "temperature");
    real(w, &p->top_p, FLT_TRUE_MIN, 1, "top_p");
    num32(w, &p->top_k, 0, INT32_MAX, "top_k");
    real(w, &p->min_p, 0, 1, "min_p");
    real(w, &p->presence, -PENALTY_MAX, PENALTY_MAX, "presence");
    real(w, &p->frequency, -PENALTY_MAX, PENALTY_MAX, "frequency");
    real(w, &p->repetition, FLT_MIN, PENALTY_MAX, "repetition");
    flag(w, &p->has_seed, "has_seed");
    flag(w, &p->ignore_eos, "ignore_eos");
    flag(w, &p->logprobs, "logprobs");
    flag(w, &p->prompt_logprobs, "prompt_logprobs");
    if (p->prompt_logprobs)
        refuse(w, "prompt_logprobs", "is reserved");
    num32(w, &p->top_logprobs, 0, FRAME_TOP_LOGPROBS_MAX, "top_logprobs");
    raw(w, &p->seed, sizeof p->seed, "seed");
    num32(w, &p->n_stop, 0, FRAME_STOP_MAX, "n_stop");
    for (int32_t i = 0; i < p->n_stop; i++) {
        text(w, &p->stop[i], STOP_MAX_BYTES, "stop");
        if (w->rc == RC_OK && p->stop[i].len == 0)
            refuse(w, "stop", "is empty");
    }
    num32(w, &p->n_stop_ids, 0, FRAME_STOP_IDS_MAX, "n_stop_ids");
    for (int32_t i = 0; i < p->n_stop_ids; i++)
        num32(w, &p->stop_id[i], 0, INT32_MAX, "stop_id");
    num32(w, &p->n_bias, 0, FRAME_BIAS_MAX, "n_bias");
    struct frame_bias *bias = array(w, p->bias, p->n_bias, sizeof *bias, WIRE_BIAS_BYTES, "bias");
    for (int32_t i = 0; bias && i < p->n_bias; i++) {
        struct frame_bias b = bias[i];
        num32(w, &b.id, 0, INT32_MAX, "bias.id");
        real(w, &b.bias, -BIAS_MAX, BIAS_MAX, "bias.bias");
        if (!w->to)
            bias[i] = b;
    }
    p->bias = bias;
}

static void submit(struct wire *w, struct frame_submit *s)
{
    rid(w, &s->rid, false);
    raw(w, s->org_salt, WIRE_SALT_BYTES, "org_salt");
    raw(w, s->request_id, WIRE_SALT_BYTES, "request_id");
    params(w, &s->params);
    num32(w, &s->n_prompt, 1, FRAME_BODY_MAX / 4, "n_prompt");
    int32_t *prompt = array(w, s->prompt, s->n_prompt, sizeof *prompt, sizeof *prompt, "prompt");
    if (!prompt)
        return;
    if (w->to)
        for (int32_t i = 0; i < s->n_prompt; i++)
            if (prompt[i] < 0)
                refuse(w, "prompt", "has a negative id");
    raw(w, prompt, (size_t)s->n_prompt * sizeof *prompt, "prompt");
    for (int32_t i = 0; !w->to && i < s->n_prompt; i++)
        if (prompt[i] < 0)
            refuse(w, "prompt", "has a negative id");
    s->prompt = prompt;
}

static void logprob(struct wire *w, struct frame_logprob *l)
{
    num32(w, &l->id, 0, INT32_MAX, "token.id");
    real(w, &l->logprob, -FLT_MAX, LOGPROB_MAX, "token.logprob");
}

static void token(struct wire *w, struct frame_token *t)
{
    logprob(w, &t->chosen);
    text(w, &t->bytes, TOKEN_MAX_BYTES, "token.bytes");
    num32(w, &t->n_top, 0, FRAME_TOP_LOGPROBS_MAX, "token.n_top");
    struct frame_logprob *top =
        array(w, t->top, t->n_top, sizeof *top, WIRE_TOP_BYTES, "token.top");
    struct str *bytes =
        array(w, t->top_bytes, t->n_top, sizeof *bytes, WIRE_TOP_BYTES, "token.top_bytes");
    for (int32_t i = 0; top && bytes && i < t->n_top; i++) {
        struct frame_logprob l = top[i];
        struct str b = bytes[i];
        logprob(w, &l);
        text(w, &b, TOKEN_MAX_BYTES, "token.top_bytes");
        if (!w->to) {
            top[i] = l;
            bytes[i] = b;
        }
    }
    t->top = top;
    t->top_bytes = bytes;
}

static void tokens(struct wire *w, struct frame_tokens *t)
{
    rid(w, &t->rid, false);
    usage(w, &t->usage);
    text(w, &t->text, TEXT_MAX_BYTES, "text");
    num32(w, &t->n_tokens, 0, FRAME_RUN_TOKENS_MAX, "n_tokens");
    struct frame_token *list =
        array(w, t->token, t->n_tokens, sizeof *list, WIRE_TOKEN_BYTES, "token");
    for (int32_t i = 0; list && i < t->n_tokens; i++) {
        struct frame_token one = list[i];
        token(w, &one);
        if (!w->to)
            list[i] = one;
    }
    t->token = list;
}

static void done(struct wire *w, struct frame_done *d)
{
    rid(w, &d->rid, false);
    int32_t finish = (int32_t)d->finish;
    num32(w, &finish, FINISH_STOP, FINISH_ERROR, "finish");
    d->finish = (enum frame_finish)finish;
    usage(w, &d->usage);
    num32(w, &d->stop_index, -1, FRAME_STOP_MAX - 1, "stop_index");
}

static void error(struct wire *w, struct frame_error *e)
{
    rid(w, &e->rid, true);
    int32_t rc = (int32_t)e->rc;
    num32(w, &rc, 1, RC_COUNT - 1, "rc");
    e->rc = (enum rc)rc;
    usage(w, &e->usage);
    text(w, &e->message, MESSAGE_MAX_BYTES, "message");
}

static void body(struct wire *w, struct frame *f)
{
    switch (f->type) {
    case FRAME_HELLO:
        text(w, &f->hello.gateway, NAME_MAX_BYTES, "gateway");
        break;
    case FRAME_HELLO_ACK:
        hello_ack(w, &f->hello_ack);
        break;
    case FRAME_SUBMIT:
        submit(w, &f->submit);
        break;
    case FRAME_TOKENS:
        tokens(w, &f->tokens);
        break;
    case FRAME_DONE:
        done(w, &f->done);
        break;
    case FRAME_ERROR:
        error(w, &f->error);
        break;
    case FRAME_CANCEL:
        rid(w, &f->cancel.rid, false);
        break;
    case FRAME_PING:
        raw(w, &f->ping.nonce, sizeof f->ping.nonce, "nonce");
        break;
    case FRAME_STATUS:
        raw(w, &f->status.nonce, sizeof f->status.nonce, "nonce");
        load(w, &f->status.load);
        break;
    case FRAME_TYPE_COUNT:
    default:
        refuse(w, "type", "is unknown");
    }
}

struct header {
    uint32_t magic;
    uint8_t type, version;
    uint16_t reserved;
    uint32_t body_len, crc;
};
_Static_assert(sizeof(struct header) == FRAME_HEADER_BYTES, "header has no padding");

enum rc frame_write(struct buf *to, const struct frame *f, struct err *err)
{
    if (to->failed)
        return err_set(err, RC_TOO_LARGE, "frame: the buffer has overflowed before");
    struct header h = {.magic = FRAME_MAGIC, .type = (uint8_t)f->type, .version = FRAME_VERSION};
    struct frame copy = *f; /* the walk wants lvalues; it changes nothing when it writes */
    struct wire w = {.to = to, .err = err};
    size_t start = to->len;
    raw(&w, &h, sizeof h, "header");
    body(&w, &copy);
    size_t len = to->len - start;
    if (w.rc == RC_OK && len > FRAME_HEADER_BYTES + (size_t)FRAME_BODY_MAX)
        w.rc = err_set(err, RC_TOO_LARGE, "frame: body has %zu bytes, at most %u are allowed",
                       len - FRAME_HEADER_BYTES, FRAME_BODY_MAX);
    if (w.rc != RC_OK) {
        to->len = start;
        to->failed = false;
        return w.rc;
    }
    h.body_len = (uint32_t)(len - FRAME_HEADER_BYTES);
    h.crc = crc32c(0, to->p + start + FRAME_HEADER_BYTES, h.body_len);
    memcpy(to->p + start, &h, sizeof h);
    return RC_OK;
}

/* A stranger (a browser, a port scan) is known by its first bytes: do not wait for sixteen. */
static bool magic_is_wrong(struct str in)
{
    size_t n = in.len < sizeof FRAME_MAGIC ? in.len : sizeof FRAME_MAGIC;
    return n && memcmp(in.p, &FRAME_MAGIC, n) != 0;
}

enum rc frame_read(struct str in, struct arena *arena, struct frame *ret, size_t *ret_used,
                   struct err *err)
{
    if (magic_is_wrong(in))
        return err_set(err, RC_CORRUPT, "frame: wrong magic, the peer speaks another protocol");
    struct header h;
    if (in.len < sizeof h)
        return RC_AGAIN;
    memcpy(&h, in.p, sizeof h);
    if (h.version != FRAME_VERSION)
        return err_set(err, RC_CORRUPT, "frame: version %d, this side speaks %d", h.version,
                       FRAME_VERSION);
    if (h.reserved != 0 || h.type == 0 || h.type >= FRAME_TYPE_COUNT)
        return err_set(err, RC_CORRUPT, "frame: type %d is unknown", h.type);
    if (h.body_len > FRAME_BODY_MAX)
        return err_set(err, RC_CORRUPT, "frame: body of %u bytes, at most %u are allowed",
                       h.body_len, FRAME_BODY_MAX);
    if (in.len - sizeof h < h.body_len)
        return RC_AGAIN;
    struct wire w = {.in = str_sub(in, sizeof h, h.body_len), .arena = arena, .err = err};
    if (crc32c(0, w.in.p, w.in.len) != h.crc)
        return err_set(err, RC_CORRUPT, "frame: checksum of type %d does not match", h.type);
    struct frame f = {.type = (enum frame_type)h.type};
    body(&w, &f);
    if (w.rc == RC_OK && w.in.len != 0)
        refuse(&w, "body", "has bytes after its end");
    if (w.rc != RC_OK)
        return w.rc;
    *ret = f;
    *ret_used = sizeof h + h.body_len;
    return RC_OK;
}
