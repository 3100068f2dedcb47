#ifndef SLUICE_ENGINE_SEQ_H
#define SLUICE_ENGINE_SEQ_H
/* seq - one request on its way through the engine.
 *
 *     QUEUED ──admit──▶ PREFILL ──logits of the last known token──▶ DECODE ──▶ DONE
 *        ▲                 │                                          │
 *        └─────preempt─────┴──────────────────preempt─────────────────┘   (any) ──abort, error──▶
 * DONE
 *
 * QUEUED   holds no page; may hold output already, when it was preempted
 * PREFILL  holds pages for all known tokens; some of them are not computed yet
 * DECODE   exactly the last known token is not computed yet
 * DONE     holds no page; it is about to be freed
 *
 * Known tokens are the prompt and what was sampled. A preempted sequence keeps them, loses its
 * pages and computes them again: same numbers, so same answer, and nothing is counted twice. */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "engine/kv/prefix.h"
#include "engine/sample.h"
#include "engine/text/detok.h"
#include "schema/frame.h"

struct tokenizer;

enum seq_state { SEQ_QUEUED, SEQ_PREFILL, SEQ_DECODE, SEQ_DONE, SEQ_STATE_COUNT };

struct seq {
    enum seq_state state;
    uint64_t conn, rid;
    uint64_t arrival;           /* place in line: smaller is earlier; kept when preempted */
    struct frame_params params; /* strings and arrays in the arena */
    uint8_t org_salt[16], request_id[16];
    uint64_t seed;

    int32_t *token; /* [max_total] prompt, then output */
    int32_t n_prompt, n_total, max_total;
    int32_t n_computed; /* leading tokens whose KV is in the pages */
    int32_t n_high;     /* the most it ever was: what lies below is computed a second time */
    int32_t *page;      /* [max_pages] */
    int32_t n_pages, max_pages;
    struct kv_hash chain; /* of the n_known leading blocks that were found or offered */
    int32_t n_known;

    struct detok *detok;
    struct buf text;            /* may be shown, not sent yet */
    struct sample_out *logprob; /* [FRAME_RUN_TOKENS_MAX] not sent yet; NULL unless asked for */
    int32_t n_logprobs;
    bool dirty; /* counts or text moved since the last TOKENS frame */

    enum frame_finish finish; /* 0 while it goes on */
    int32_t stop_index;
    struct frame_usage usage;
    int64_t arrived_ns, admitted_ns, first_ns;
    bool was_admitted;
    int32_t n_preempted;

    struct seq *next, *prev; /* the scheduler's list */
    struct arena arena;
};

/* Copies the request; limit_tok is the most tokens (prompt and output) a sequence may have.
 * RC_BAD_INPUT names the field and what is allowed. */
enum rc seq_new(const struct frame_submit *req, uint64_t conn, int32_t limit_tok,
                const struct tokenizer *tok, int64_t arrived_ns, struct seq **ret, struct err *err);
void seq_free(struct seq *q); /* accepts NULL; must hold no page */

/* The one way to change state; asserts that the move is allowed. */
void seq_move(struct seq *q, enum seq_state to);

/* Asserts the facts of its state. */
void seq_check(const struct seq *q);

/* Appends a sampled token: counts it, finds its text, sets q->finish when it ends the answer. */
enum rc seq_push(struct seq *q, const struct tokenizer *tok, const struct sample_out *out,
                 struct err *err);

/* Moves what may still be held back (an incomplete character) into q->text: the answer is over. */
void seq_flush(struct seq *q);

enum { SEQ_TEXT_FULL = 64 << 10 };

/* Whether a frame must go before the next token, even to a connection that is backed up. */
static inline bool seq_is_full(const struct seq *q)
{
    return q->n_logprobs == FRAME_RUN_TOKENS_MAX || q->text.len >= SEQ_TEXT_FULL;
}

#endif
