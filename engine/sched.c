/* sched.c - the line of requests, the pages they hold, and the step. */
#include "engine/sched.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/units.h"
#include "engine/seq.h"
#include "engine/seq_list.h"
#include "engine/text/tokenizer.h"

/* One sequence's part of a step: rows [n_computed, n_computed + n_rows). */
struct plan_item {
    struct seq *q;
    int32_t n_rows;
    int32_t out; /* index of its logits, or -1 */
};

static int32_t pages_for(int32_t n_tokens)
{
    return (n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

/* ---- the two lists, by arrival ---- */

static struct seq_list *list_of(struct sched *s, const struct seq *q)
{
    return q->state == SEQ_QUEUED ? &s->waiting : &s->running;
}

static struct seq *find(const struct sched *s, uint64_t conn, uint64_t rid)
{
    struct seq *q = seq_list_find(&s->running, conn, rid);
    return q ? q : seq_list_find(&s->waiting, conn, rid);
}

/* ---- life ---- */

static enum rc check_opts(const struct sched_opts *o, struct err *err)
{
    if (o->max_seqs < 1 || o->max_seqs > o->max_batch)
        return err_field(err, RC_BAD_INPUT, "max-seqs",
                         "max-seqs is %d, 1 to max-batch (%d) are "
                         "allowed, so that a prompt always gets a row",
                         o->max_seqs, o->max_batch);
    if (o->max_waiting < 1)
        return err_field(err, RC_BAD_INPUT, "max-waiting",
                         "max-waiting is %d, at least 1 is needed", o->max_waiting);
    if (o->n_ctx < 2 || o->n_vocab < 1)
        return err_set(err, RC_BAD_INPUT, "context of %d tokens, vocabulary of %d", o->n_ctx,
                       o->n_vocab);
    return RC_OK;
}

static enum rc find_end_ids(struct sched *s, struct err *err)
{
    s->end_id = calloc((size_t)s->opts.n_vocab, sizeof *s->end_id);
    if (!s->end_id)
        return err_set(err, RC_NO_MEMORY, "no memory for the scheduler");
    for (int32_t id = 0; id < s->opts.n_vocab; id++)
        if (tokenizer_is_end(s->tok, id))
            s->end_id[s->n_end++] = id;
    return RC_OK;
}

static enum rc alloc_step(struct sched *s, struct err *err)
{
    size_t rows = (size_t)s->opts.max_batch, seqs = (size_t)s->opts.max_seqs;
    s->item = calloc(seqs, sizeof *s->item);
    s->row_token = calloc(rows, sizeof *s->row_token);
    s->row_pos = calloc(rows, sizeof *s->row_pos);
    s->row_seq = calloc(rows, sizeof *s->row_seq);
    s->page_of = calloc(seqs, sizeof *s->page_of);
    s->out_row = calloc(seqs, sizeof *s->out_row);
    s->logits = calloc(seqs * (size_t)s->opts.n_vocab, sizeof *s->logits);
    if (s->item && s->row_token && s->row_pos && s->row_seq && s->page_of && s->out_row &&
        s->logits)
        return RC_OK;
    return err_set(err, RC_NO_MEMORY, "no memory for steps of %zu rows and %zu sequences", rows,
                   seqs);
}

enum rc sched_open(struct sched *s, const struct sched_opts *opts, const struct backend_ops *ops,
                   struct backend *backend, const struct tokenizer *tok, const struct clock *clock,
                   const struct answer_sink *sink, struct err *err)
{
    *s = (struct sched){.opts = *opts, .ops = ops, .backend = backend, .tok = tok, .clock = clock};
    enum rc rc = check_opts(opts, err);
    if (rc == RC_OK)
        rc = kv_pool_open(&s->pool, opts->n_pages, err);
    if (rc == RC_OK)
        rc = kv_prefix_open(&s->prefix, &s->pool, opts->fingerprint, err);
    if (rc == RC_OK)
        rc = sampler_open(&s->sampler, opts->n_vocab, err);
    if (rc == RC_OK)
        rc = answer_open(&s->answer, sink, tok, err);
    if (rc == RC_OK)
        rc = find_end_ids(s, err);
    if (rc == RC_OK)
        rc = alloc_step(s, err);
    if (rc == RC_OK)
        s->limit_tok =
            (int32_t)MIN_OF((int64_t)opts->n_ctx, (int64_t)opts->n_pages * KV_PAGE_TOKENS);
    else
        sched_close(s);
    return rc;
}

static void release_pages(struct sched *s, struct seq *q)
{
    /* From the end: among pages of one age, the cache should lose tails before heads. */
    while (q->n_pages > 0)
        kv_page_unref(&s->pool, q->page[--q->n_pages]);
    q->n_computed = 0;
    q->n_known = 0;
}

static void drop(struct sched *s, struct seq *q)
{
    seq_list_remove(list_of(s, q), q);
    release_pages(s, q);
    seq_move(q, SEQ_DONE);
    seq_free(q);
}

static void drop_list(struct sched *s, struct seq_list *l)
{
    while (l->first)
        drop(s, l->first);
}

void sched_close(struct sched *s)
{
    drop_list(s, &s->running);
    drop_list(s, &s->waiting);
    answer_close(&s->answer);
    sampler_close(&s->sampler);
    kv_prefix_close(&s->prefix);
    kv_pool_close(&s->pool);
    free(s->end_id);
    free(s->item);
    free(s->row_token);
    free(s->row_pos);
    free(s->row_seq);
    free(s->page_of);
    free(s->out_row);
    free(s->logits);
    *s = (struct sched){0};
}

/* ---- requests in and out ---- */

static enum rc check_ids(const struct frame_submit *req, int32_t n_vocab, struct err *err)
{
    for (int32_t i = 0; i < req->n_prompt; i++)
        if (req->prompt[i] >= n_vocab)
            return err_field(err, RC_BAD_INPUT, "prompt",
                             "token %d of the prompt is %d, the "
                             "vocabulary has %d",
                             i, req->prompt[i], n_vocab);
    for (int32_t i = 0; i < req->params.n_bias; i++)
        if (req->params.bias[i].id >= n_vocab)
            return err_field(err, RC_BAD_INPUT, "logit_bias",
                             "logit_bias names token %d, the "
                             "vocabulary has %d",
                             req->params.bias[i].id, n_vocab);
    for (int32_t i = 0; i < req->params.n_stop_ids; i++)
        if (req->params.stop_id[i] >= n_vocab)
            return err_field(err, RC_BAD_INPUT, "stop_token_ids",
                             "stop token id %d, the "
                             "vocabulary has %d",
                             req->params.stop_id[i], n_vocab);
    return RC_OK;
}

static enum rc check_fits(const struct sched *s, const struct frame_submit *req, struct err *err)
{
    int32_t room = s->limit_tok - (req->params.max_tok > 0);
    if (req->n_prompt <= room)
        return RC_OK;
    if (s->limit_tok < s->opts.n_ctx)
        return err_field(err, RC_BAD_INPUT, "prompt",
                         "prompt has %d tokens, this engine's KV memory allows at most %d",
                         req->n_prompt, room);
    return err_field(err, RC_BAD_INPUT, "prompt",
                     "prompt has %d tokens, the context of %d allows at most %d", req->n_prompt,
                     s->opts.n_ctx, room);
}

enum rc sched_submit(struct sched *s, uint64_t conn, const struct frame_submit *req,
                     int64_t arrived_ns, struct err *err)
{
    enum rc rc = check_ids(req, s->opts.n_vocab, err);
    if (rc == RC_OK)
        rc = check_fits(s, req, err);
    if (rc != RC_OK)
        return rc;
    if (s->is_draining)
        return err_set(err, RC_UNAVAILABLE, "engine is stopping");
    if (find(s, conn, req->rid))
        return err_field(err, RC_CONFLICT, "rid", "request %" PRIu64 " is running already",
                         req->rid);
    if (s->waiting.n >= s->opts.max_waiting)
        return err_set(err, RC_UNAVAILABLE, "engine is full: %d requests run and %d wait",
                       s->running.n, s->waiting.n);
    struct seq *q;
    rc = seq_new(req, conn, s->limit_tok, s->tok, arrived_ns, &q, err);
    if (rc != RC_OK)
        return rc;
    q->arrival = ++s->next_arrival;
    seq_list_insert(&s->waiting, q);
    return RC_OK;
}

static void stamp(const struct sched *s, struct seq *q)
{
    int64_t now = clock_mono_ns(s->clock);
    int64_t admitted = q->was_admitted ? q->admitted_ns : now;
    int64_t first = q->first_ns ? q->first_ns : now;
    q->usage.queue_us = MAX_OF(admitted - q->arrived_ns, 0) / 1000;
    q->usage.prefill_us = MAX_OF(first - admitted, 0) / 1000;
    q->usage.decode_us = MAX_OF(now - first, 0) / 1000;
}

static void log_end(const struct seq *q, const char *how)
{
    char id[33];
    str_to_hex(q->request_id, sizeof q->request_id, id);
    log_info("seq.done",
             "req=%s rid=%" PRIu64 " end=%s in_tok=%d cached_tok=%d out_tok=%d "
             "queue_us=%" PRId64 " prefill_us=%" PRId64 " decode_us=%" PRId64 " preempted=%d",
             id, q->rid, how, q->usage.input, q->usage.cached, q->usage.output, q->usage.queue_us,
             q->usage.prefill_us, q->usage.decode_us, q->n_preempted);
}

static void finish(struct sched *s, struct seq *q, enum frame_finish how)
{
    static const char *const name[] = {"", "stop", "length", "abort", "error"};
    stamp(s, q);
    seq_flush(q);
    s->stats.finished[how]++;
    log_end(q, name[how]);
    answer_done(&s->answer, q, how);
    drop(s, q);
}

static void fail(struct sched *s, struct seq *q, const struct err *why)
{
    stamp(s, q);
    s->stats.finished[FINISH_ERROR]++;
    log_end(q, rc_name(why->rc));
    answer_error(&s->answer, q, why);
    drop(s, q);
}

void sched_cancel(struct sched *s, uint64_t conn, uint64_t rid)
{
    struct seq *q = find(s, conn, rid);
    if (q)
        finish(s, q, FINISH_ABORT);
}

static void drop_conn_from(struct sched *s, struct seq_list *l, uint64_t conn)
{
    for (struct seq *q = l->first, *next; q; q = next) {
        next = q->next;
        if (q->conn != conn)
            continue;
        stamp(s, q);
        s->stats.finished[FINISH_ABORT]++;
        log_end(q, "conn_gone");
        drop(s, q);
    }
}

void sched_drop_conn(struct sched *s, uint64_t conn)
{
    drop_conn_from(s, &s->running, conn);
    drop_conn_from(s, &s->waiting, conn);
}

void sched_drain(struct sched *s)
{
    s->is_draining = true;
}

void sched_abort_all(struct sched *s)
{
    while (s->running.first)
        finish(s, s->running.first, FINISH_ABORT);
    while (s->waiting.first)
        finish(s, s->waiting.first, FINISH_ABORT);
}

bool sched_has_work(const struct sched *s)
{
    return s->running.n > 0 || s->waiting.n > 0;
}

/* ---- planning a step ---- */

static void preempt(struct sched *s, struct seq *q)
{
    log_info("seq.preempted", "rid=%" PRIu64 " known_tok=%d pages=%d", q->rid, q->n_total,
             q->n_pages);
    seq_list_remove(&s->running, q);
    release_pages(s, q);
    seq_move(q, SEQ_QUEUED);
    q->n_preempted++;
    s->stats.preempted++;
    seq_list_insert(&s->waiting, q);
}

static void plan_rows(struct sched *s, struct seq *q, int32_t n_rows)
{
    bool is_last = q->n_computed + n_rows == q->n_total;
    bool wants_logits = is_last && q->params.max_tok > 0;
    int32_t at = s->n_items++;
    s->item[at] = (struct plan_item){q, n_rows, wants_logits ? s->n_out : -1};
    s->page_of[at] = q->page;
    for (int32_t i = 0; i < n_rows; i++) {
        int32_t row = s->n_rows++, pos = q->n_computed + i;
        s->row_token[row] = q->token[pos];
        s->row_pos[row] = pos;
        s->row_seq[row] = at;
    }
    if (wants_logits)
        s->out_row[s->n_out++] = s->n_rows - 1;
}

/* A page for the token to compute, taken from the youngest when the pool is empty. False when q
 * was the youngest itself and had to go. */
static bool grow(struct sched *s, struct seq *q)
{
    while (q->n_pages < pages_for(q->n_total)) {
        int32_t page = kv_page_alloc(&s->pool);
        if (page != KV_NO_PAGE) {
            q->page[q->n_pages++] = page;
            continue;
        }
        struct seq *youngest = s->running.last;
        preempt(s, youngest);
        if (youngest == q)
            return false;
    }
    return true;
}

static void plan_decodes(struct sched *s)
{
    for (struct seq *q = s->running.first, *next; q; q = next) {
        /* The next one may be preempted while q grows; then q is the last of the list. */
        bool is_planned = q->state == SEQ_DECODE && grow(s, q);
        next = q->state == SEQ_QUEUED ? NULL : q->next;
        if (is_planned)
            plan_rows(s, q, 1);
    }
}

static int32_t rows_left(const struct sched *s)
{
    return s->opts.max_batch - s->n_rows;
}

static void plan_prefill(struct sched *s, struct seq *q)
{
    int32_t n = MIN_OF(q->n_total - q->n_computed, rows_left(s));
    if (s->opts.max_chunk > 0)
        n = MIN_OF(n, s->opts.max_chunk);
    if (n > 0)
        plan_rows(s, q, n);
}

/* Pages for all known tokens, shared ones first. The last known token is always computed, for
 * its logits are what is wanted. One page for each that runs is left alone: they will grow soon,
 * and to admit only to preempt would be work for nothing. */
static bool take_pages(struct sched *s, struct seq *q)
{
    int32_t slack = kv_pool_available(&s->pool) - s->running.n;
    if (s->blocked_arrival == q->arrival && slack <= s->blocked_slack && s->running.n > 0)
        return false;
    if (!s->opts.no_prefix)
        q->n_pages = kv_prefix_take(&s->prefix, q->org_salt, q->token,
                                    (q->n_total - 1) / KV_PAGE_TOKENS, q->page, &q->chain);
    else
        q->chain = kv_prefix_root(&s->prefix, q->org_salt);
    int32_t need = pages_for(q->n_total) - q->n_pages;
    if (need + s->running.n > kv_pool_available(&s->pool)) {
        release_pages(s, q);
        ASSERT(s->running.n > 0); /* an empty pool holds any request that was let in */
        s->blocked_arrival = q->arrival;
        s->blocked_slack = slack;
        return false;
    }
    q->n_known = q->n_pages;
    q->n_computed = q->n_pages * KV_PAGE_TOKENS;
    for (; need > 0; need--)
        q->page[q->n_pages++] = kv_page_alloc(&s->pool);
    return true;
}

static void admit(struct sched *s, struct seq *q)
{
    seq_list_remove(&s->waiting, q);
    seq_move(q, SEQ_PREFILL);
    seq_list_insert(&s->running, q);
    if (q->was_admitted)
        return;
    q->was_admitted = true;
    q->admitted_ns = clock_mono_ns(s->clock);
    q->n_high = q->n_computed;
    q->usage.cached = q->n_computed;
    q->usage.input = q->n_computed;
    s->stats.cached_tok += q->n_computed;
}

static void plan(struct sched *s)
{
    s->n_items = s->n_rows = s->n_out = 0;
    plan_decodes(s);
    for (struct seq *q = s->running.first; q && rows_left(s) > 0; q = q->next)
        if (q->state == SEQ_PREFILL)
            plan_prefill(s, q);
    while (s->waiting.first && s->running.n < s->opts.max_seqs && rows_left(s) > 0) {
        struct seq *q = s->waiting.first;
        if (!take_pages(s, q))
            break;
        admit(s, q);
        plan_prefill(s, q);
    }
}

/* ---- after the forward pass ---- */

static void publish(struct sched *s, struct seq *q)
{
    for (; q->n_known < q->n_computed / KV_PAGE_TOKENS; q->n_known++)
        kv_prefix_publish(&s->prefix, q->org_salt, &q->chain,
                          q->token + (size_t)q->n_known * KV_PAGE_TOKENS, q->page[q->n_known]);
}

static enum rc sample(struct sched *s, struct seq *q, const float *logits, struct err *err)
{
    const struct sample_in in = {.logits = logits,
                                 .params = &q->params,
                                 .seed = q->seed,
                                 .token = q->token,
                                 .n_prompt = q->n_prompt,
                                 .n_total = q->n_total,
                                 .end_id = s->end_id,
                                 .n_end = s->n_end};
    struct sample_out out;
    enum rc rc = sample_next(&s->sampler, &in, &out, err);
    if (rc == RC_OK)
        rc = seq_push(q, s->tok, &out, err);
    return rc;
}

static void settle(struct sched *s, const struct plan_item *item)
{
    struct seq *q = item->q;
    s->stats.decode_tok += q->state == SEQ_DECODE;
    s->stats.prefill_tok += q->state == SEQ_DECODE ? 0 : item->n_rows;
    s->stats.recomputed_tok += MIN_OF(MAX_OF(q->n_high - q->n_computed, 0), item->n_rows);
    q->n_computed += item->n_rows;
    q->n_high = MAX_OF(q->n_high, q->n_computed);
    q->usage.input = MIN_OF(q->n_high, q->n_prompt);
    if (!s->opts.no_prefix)
        publish(s, q);
    if (q->n_computed < q->n_total)
        return;
    if (!q->first_ns)
        q->first_ns = clock_mono_ns(s->clock);
    if (item->out < 0) { /* max_tok is 0: the prompt was all */
        finish(s, q, FINISH_LENGTH);
        return;
    }
    struct err err;
    if (q->state == SEQ_PREFILL)
        seq_move(q, SEQ_DECODE);
    if (sample(s, q, s->logits + (size_t)item->out * (size_t)s->opts.n_vocab, &err) != RC_OK) {
        fail(s, q, &err);
    } else if (q->finish) {
        finish(s, q, q->finish);
    } else {
        stamp(s, q);
        answer_tokens(&s->answer, q, false);
    }
}

void sched_step(struct sched *s)
{
    plan(s);
    if (s->n_rows == 0)
        return;
    const struct batch batch = {.n_rows = s->n_rows,
                                .token = s->row_token,
                                .pos = s->row_pos,
                                .seq = s->row_seq,
                                .n_seqs = s->n_items,
                                .page_of = s->page_of,
                                .n_out = s->n_out,
                                .out_row = s->out_row,
                                .logits = s->logits};
    struct err err;
    enum rc rc = s->ops->forward(s->backend, &batch, &err);
    s->stats.steps++;
    s->stats.rows += s->n_rows;
    if (rc != RC_OK)
        log_error("sched.forward_failed", "rc=%s rows=%d msg=%s", rc_name(rc), s->n_rows, err.msg);
    for (int32_t i = 0; i < s->n_items; i++) {
        if (rc == RC_OK)
            settle(s, &s->item[i]);
        else
            fail(s, s->item[i].q, &err);
    }
}

struct frame_load sched_load(const struct sched *s)
{
    return (struct frame_load){.running = s->running.n,
                               .waiting = s->waiting.n,
                               .pages_free = kv_pool_available(&s->pool),
                               .pages_total = s->pool.n_pages,
                               .steps = s->stats.steps};
}

void sched_check(const struct sched *s)
{
    int64_t refs = 0;
    int32_t n = 0;
    uint64_t before = 0;
    for (const struct seq *q = s->running.first; q; before = q->arrival, q = q->next, n++) {
        ASSERT(q->state == SEQ_PREFILL || q->state == SEQ_DECODE);
        ASSERT(q->arrival > before);
        seq_check(q);
        refs += q->n_pages;
    }
    ASSERT(n == s->running.n && n <= s->opts.max_seqs);
    n = 0;
    for (const struct seq *q = s->waiting.first; q; before = q->arrival, q = q->next, n++) {
        ASSERT(q->state == SEQ_QUEUED && q->arrival > before);
        seq_check(q);
    }
    ASSERT(n == s->waiting.n);
    kv_pool_check(&s->pool, refs);
    kv_prefix_check(&s->prefix);
}
