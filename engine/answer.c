/* answer.c - TOKENS, DONE and ERROR frames of one sequence. */
#include "engine/answer.h"

#include <stdlib.h>

#include "engine/seq.h"
#include "engine/text/tokenizer.h"

enum rc answer_open(struct answer *a, const struct answer_sink *sink, const struct tokenizer *tok,
                    struct err *err)
{
    *a = (struct answer){.sink = *sink, .tok = tok};
    a->token = calloc(FRAME_RUN_TOKENS_MAX, sizeof *a->token);
    a->top_bytes =
        calloc((size_t)FRAME_RUN_TOKENS_MAX * FRAME_TOP_LOGPROBS_MAX, sizeof *a->top_bytes);
    if (a->token && a->top_bytes)
        return RC_OK;
    answer_close(a);
    return err_set(err, RC_NO_MEMORY, "no memory for answers");
}

void answer_close(struct answer *a)
{
    free(a->token);
    free(a->top_bytes);
    *a = (struct answer){0};
}

static void describe(struct answer *a, const struct sample_out *out, int32_t i)
{
    struct str *bytes = a->top_bytes + (size_t)i * FRAME_TOP_LOGPROBS_MAX;
    for (int32_t k = 0; k < out->n_top; k++)
        bytes[k] = tokenizer_piece(a->tok, out->top[k].id);
    a->token[i] = (struct frame_token){.chosen = out->chosen,
                                       .bytes = tokenizer_piece(a->tok, out->chosen.id),
                                       .n_top = out->n_top,
                                       .top = out->top,
                                       .top_bytes = bytes};
}

void answer_tokens(struct answer *a, struct seq *q, bool now)
{
    if (!q->dirty)
        return;
    if (!now && !seq_is_full(q) && a->sink.is_ready && !a->sink.is_ready(a->sink.ctx, q->conn))
        return;
    for (int32_t i = 0; i < q->n_logprobs; i++)
        describe(a, &q->logprob[i], i);
    const struct frame f = {.type = FRAME_TOKENS,
                            .tokens = {.rid = q->rid,
                                       .usage = q->usage,
                                       .text = buf_view(&q->text),
                                       .n_tokens = q->n_logprobs,
                                       .token = a->token}};
    a->sink.on_frame(a->sink.ctx, q->conn, &f);
    buf_clear(&q->text);
    q->n_logprobs = 0;
    q->dirty = false;
}

static void last_tokens(struct answer *a, struct seq *q)
{
    q->dirty = q->text.len > 0 || q->n_logprobs > 0; /* DONE carries the counts */
    answer_tokens(a, q, true);
}

void answer_done(struct answer *a, struct seq *q, enum frame_finish finish)
{
    last_tokens(a, q);
    const struct frame f = {
        .type = FRAME_DONE,
        .done = {.rid = q->rid, .finish = finish, .usage = q->usage, .stop_index = q->stop_index}};
    a->sink.on_frame(a->sink.ctx, q->conn, &f);
}

void answer_error(struct answer *a, struct seq *q, const struct err *why)
{
    last_tokens(a, q);
    const struct frame f = {
        .type = FRAME_ERROR,
        .error = {.rid = q->rid, .rc = why->rc, .usage = q->usage, .message = str_of(why->msg)}};
    a->sink.on_frame(a->sink.ctx, q->conn, &f);
}
