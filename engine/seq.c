/* seq.c - one request: its tokens, its text, its end. */
#include "engine/seq.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/units.h"
#include "engine/ops.h"
#include "engine/text/tokenizer.h"

enum { TEXT_MAX_BYTES = 1 << 20, ARENA_MAX_BYTES = 64 << 20 };

static const bool seq_moves[SEQ_STATE_COUNT][SEQ_STATE_COUNT] = {
    [SEQ_QUEUED] = {[SEQ_PREFILL] = true, [SEQ_DONE] = true},
    [SEQ_PREFILL] = {[SEQ_QUEUED] = true, [SEQ_DECODE] = true, [SEQ_DONE] = true},
    [SEQ_DECODE] = {[SEQ_QUEUED] = true, [SEQ_DONE] = true},
};

void seq_move(struct seq *q, enum seq_state to)
{
    ASSERT(seq_moves[q->state][to]);
    q->state = to;
}

void seq_check(const struct seq *q)
{
    ASSERT(q->n_prompt >= 1 && q->n_prompt <= q->n_total && q->n_total <= q->max_total);
    ASSERT(q->usage.output == q->n_total - q->n_prompt);
    ASSERT(q->usage.cached <= q->usage.input && q->usage.input <= q->n_prompt);
    ASSERT(q->n_pages <= q->max_pages && q->n_known <= q->n_pages);
    ASSERT(q->n_computed <= q->n_pages * KV_PAGE_TOKENS && q->n_computed <= q->n_high);
    ASSERT(!q->finish);
    switch (q->state) {
    case SEQ_QUEUED:
        ASSERT(q->n_pages == 0 && q->n_computed == 0);
        break;
    case SEQ_PREFILL:
        ASSERT(q->n_computed < q->n_total && q->n_pages * KV_PAGE_TOKENS >= q->n_total);
        break;
    case SEQ_DECODE:
        ASSERT(q->n_computed == q->n_total - 1);
        break;
    case SEQ_DONE:
    case SEQ_STATE_COUNT:
        ASSERT(!"a finished sequence is in no list");
    }
}

static enum rc copy_params(struct seq *q, const struct frame_params *from, struct err *err)
{
    q->params = *from;
    struct frame_bias *bias = NULL;
    if (from->n_bias) {
        bias = ARENA_ARRAY(&q->arena, struct frame_bias, (size_t)from->n_bias);
        if (!bias)
            return err_set(err, RC_NO_MEMORY, "no memory for logit_bias");
        memcpy(bias, from->bias, (size_t)from->n_bias * sizeof *bias);
    }
    q->params.bias = bias;
    for (int32_t i = 0; i < from->n_stop; i++) {
        q->params.stop[i] = arena_dup(&q->arena, from->stop[i]);
        if (!q->params.stop[i].p)
            return err_set(err, RC_NO_MEMORY, "no memory for stop strings");
    }
    if (from->logprobs) {
        q->logprob = ARENA_ARRAY(&q->arena, struct sample_out, FRAME_RUN_TOKENS_MAX);
        if (!q->logprob)
            return err_set(err, RC_NO_MEMORY, "no memory for logprobs");
    }
    return RC_OK;
}

static enum rc alloc_tables(struct seq *q, const struct frame_submit *req, int32_t limit_tok,
                            struct err *err)
{
    q->n_prompt = q->n_total = req->n_prompt;
    q->max_total =
        (int32_t)MIN_OF((int64_t)req->n_prompt + req->params.max_tok, (int64_t)limit_tok);
    q->max_pages = (q->max_total + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    q->token = ARENA_ARRAY(&q->arena, int32_t, (size_t)q->max_total);
    q->page = ARENA_ARRAY(&q->arena, int32_t, (size_t)q->max_pages);
    if (!q->token || !q->page)
        return err_set(err, RC_NO_MEMORY, "no memory for %d tokens", q->max_total);
    memcpy(q->token, req->prompt, (size_t)req->n_prompt * sizeof *q->token);
    return RC_OK;
}

enum rc seq_new(const struct frame_submit *req, uint64_t conn, int32_t limit_tok,
                const struct tokenizer *tok, int64_t arrived_ns, struct seq **ret, struct err *err)
{
    struct seq *q = calloc(1, sizeof *q);
    if (!q)
        return err_set(err, RC_NO_MEMORY, "no memory for a request");
    arena_init(&q->arena, ARENA_MAX_BYTES);
    buf_init(&q->text, TEXT_MAX_BYTES);
    q->conn = conn;
    q->rid = req->rid;
    q->arrived_ns = arrived_ns;
    q->stop_index = -1;
    q->seed = req->params.has_seed ? req->params.seed : random_u64();
    memcpy(q->org_salt, req->org_salt, sizeof q->org_salt);
    memcpy(q->request_id, req->request_id, sizeof q->request_id);
    enum rc rc = alloc_tables(q, req, limit_tok, err);
    if (rc == RC_OK)
        rc = copy_params(q, &req->params, err);
    if (rc == RC_OK)
        rc = detok_open(tok, q->params.stop, q->params.n_stop, &q->detok, err);
    if (rc != RC_OK) {
        seq_free(q);
        return rc;
    }
    *ret = q;
    return RC_OK;
}

void seq_free(struct seq *q)
{
    if (!q)
        return;
    ASSERT(q->n_pages == 0);
    detok_close(q->detok);
    buf_done(&q->text);
    arena_done(&q->arena);
    free(q);
}

static bool ends(const struct seq *q, const struct tokenizer *tok, int32_t id)
{
    for (int32_t i = 0; i < q->params.n_stop_ids; i++)
        if (q->params.stop_id[i] == id)
            return true;
    return !q->params.ignore_eos && tokenizer_is_end(tok, id);
}

static enum rc push_text(struct seq *q, const struct sample_out *out, struct err *err)
{
    if (q->logprob) {
        ASSERT(q->n_logprobs < FRAME_RUN_TOKENS_MAX);
        q->logprob[q->n_logprobs++] = *out;
    }
    return detok_push(q->detok, out->chosen.id, &q->text, err);
}

enum rc seq_push(struct seq *q, const struct tokenizer *tok, const struct sample_out *out,
                 struct err *err)
{
    ASSERT(q->state == SEQ_DECODE && q->n_total < q->max_total && !q->finish);
    q->token[q->n_total++] = out->chosen.id;
    q->usage.output++;
    q->dirty = true;
    if (ends(q, tok, out->chosen.id)) { /* counted, for it was computed; not shown */
        q->finish = FINISH_STOP;
        return RC_OK;
    }
    enum rc rc = push_text(q, out, err);
    if (rc != RC_OK)
        return rc;
    q->stop_index = detok_stop(q->detok);
    if (q->stop_index >= 0)
        q->finish = FINISH_STOP;
    else if (q->n_total == q->max_total)
        q->finish = FINISH_LENGTH;
    return RC_OK;
}

void seq_flush(struct seq *q)
{
    size_t before = q->text.len;
    if (q->stop_index < 0)
        detok_flush(q->detok, &q->text);
    q->dirty |= q->text.len != before;
}
