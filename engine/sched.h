#ifndef SLUICE_ENGINE_SCHED_H
#define SLUICE_ENGINE_SCHED_H
/* sched - decides which rows the next forward pass computes, and carries the outcome to each
 * sequence. One owner thread, a virtual clock, no knowledge of models or sockets.
 *
 * A step has a budget of max_batch rows. Decodes come first, one row each, oldest request first;
 * then chunks of prompts; then new requests in order of arrival, as long as their pages are to be
 * had. When a decode finds no page, the youngest running request gives up its pages and goes back
 * to its place in line.
 *
 * Invariants (sched_check):
 *   every running request arrived before every waiting one, so the oldest always gets on;
 *   nothing running and something waiting: the next step admits the head, for it fits an empty
 * pool; references on pages are exactly the entries of the running requests' page tables; every
 * request leaves by one DONE or ERROR frame, or silently when its connection is gone. */

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "engine/answer.h"
#include "engine/kv/pool.h"
#include "engine/kv/prefix.h"
#include "engine/ops.h"
#include "engine/sample.h"
#include "engine/seq_list.h"
#include "schema/frame.h"

struct seq;
struct tokenizer;

struct sched_opts {
    int32_t n_ctx, n_vocab, n_pages;
    int32_t max_batch;   /* rows a step */
    int32_t max_seqs;    /* running at once; <= max_batch */
    int32_t max_waiting; /* beyond: RC_UNAVAILABLE */
    int32_t max_chunk;   /* most prompt rows of one request in a step; 0: the step's budget */
    bool no_prefix;      /* recompute every prompt */
    uint8_t fingerprint[16];
};

struct sched_stats {
    int64_t steps, rows, prefill_tok, decode_tok, recomputed_tok, cached_tok, preempted;
    int64_t finished[FINISH_ERROR + 1];
};

struct plan_item;

struct sched {
    struct sched_opts opts;
    int32_t limit_tok; /* a sequence's most tokens: the context, or the pool if that is smaller */
    const struct backend_ops *ops;
    struct backend *backend;     /* view of */
    const struct tokenizer *tok; /* view of */
    const struct clock *clock;   /* view of */
    struct answer answer;
    struct kv_pool pool;
    struct kv_prefix prefix;
    struct sampler sampler;
    struct seq_list waiting, running; /* by arrival */
    uint64_t next_arrival;
    bool is_draining;
    int32_t *end_id, n_end; /* the model's end-of-generation tokens */
    struct sched_stats stats;

    /* The step being made, sized at open. */
    struct plan_item *item; /* [max_seqs] */
    int32_t n_items;
    int32_t n_rows, n_out;
    int32_t *row_token, *row_pos, *row_seq; /* [max_batch] */
    const int32_t **page_of;                /* [max_seqs] */
    int32_t *out_row;                       /* [max_seqs] */
    float *logits;                          /* [max_seqs, n_vocab] */

    /* The head that did not fit, and how many pages were to be had then: no second try before
     * there are more. */
    uint64_t blocked_arrival;
    int32_t blocked_slack;
};

enum rc sched_open(struct sched *s, const struct sched_opts *opts, const struct backend_ops *ops,
                   struct backend *backend, const struct tokenizer *tok, const struct clock *clock,
                   const struct answer_sink *sink, struct err *err);
void sched_close(struct sched *s); /* drops what is there, silently; accepts a zeroed struct */

/* Takes the request or refuses it with nothing left behind: RC_BAD_INPUT, RC_CONFLICT (rid in
 * use), RC_UNAVAILABLE (full or draining), RC_NO_MEMORY. */
enum rc sched_submit(struct sched *s, uint64_t conn, const struct frame_submit *req,
                     int64_t arrived_ns, struct err *err);
/* Frees pages at once and answers DONE(abort); unknown ids are ignored (it may be over already). */
void sched_cancel(struct sched *s, uint64_t conn, uint64_t rid);
void sched_drop_conn(struct sched *s,
                     uint64_t conn); /* the same for all of them, without answers */
void sched_drain(struct sched *s);   /* refuse from now on */
void sched_abort_all(struct sched *s);

bool sched_has_work(const struct sched *s);
/* One forward pass and its consequences. RC_OK also when requests failed: they were told. */
void sched_step(struct sched *s);

struct frame_load sched_load(const struct sched *s);
void sched_check(const struct sched *s);

#endif
