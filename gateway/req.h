#ifndef SLUICE_GATEWAY_REQ_H
#define SLUICE_GATEWAY_REQ_H
/* req - one metered request: its states, its memory, its one exit.
 *
 *   BEGUN ──▶ ASKING ──▶ BEGUN            the key is new to us: the control plane is asked
 *     │──▶ LINED ──▶ SENT ──▶ STREAMING   reserved; in line; at a replica; tokens come
 *     │      │         │ ▲       │
 *     │      │         └─┘       │        the replica was lost before the first token: once more
 *     │      │         └───▶ DRAINING     given up (client gone, deadline): the engine's last word
 *     ▼      ▼         ▼         ▼
 *   SETTLING ──────────────────────▶ OVER
 *
 * Facts, asserted in req_check():
 *   - a hold exists from LINED on, and is settled on entering SETTLING, whatever happened;
 *   - calls to an engine are under way only in SENT, STREAMING and DRAINING;
 *   - the HTTP reply is complete only in OVER, after which nobody may look at the request. */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/http_server.h"
#include "base/id.h"
#include "gateway/auth.h"
#include "gateway/be_engine.h"
#include "gateway/count.h"
#include "gateway/fault.h"
#include "gateway/meter.h"
#include "gateway/pick.h"
#include "gateway/replica.h"
#include "gateway/tables.h"
#include "gateway/worker.h"
#include "schema/chat.h"
#include "schema/chat_reply.h"

#define REQ_CHOICES_MAX  64 /* prompts x n of one request */
#define REQ_ATTEMPTS_MAX 2

enum req_state {
    REQ_BEGUN,
    REQ_ASKING,
    REQ_LINED,
    REQ_SENT,
    REQ_STREAMING,
    REQ_DRAINING,
    REQ_SETTLING,
    REQ_OVER,
    REQ_STATE_COUNT
};

struct req;

/* One answer to one prompt: one SUBMIT. */
struct choice {
    struct engine_call call;
    struct req *req;
    int32_t index, prompt;
    bool leads; /* the first of its prompt: pays for the input */
    bool live, opened /* its first chunk is out */;
    struct frame_usage usage;
    enum frame_finish finish;
    struct buf text; /* of a whole answer */
    struct reply_logprobs logprobs;
};

/* How it ends. fault.rc == RC_OK: well. */
struct req_end {
    enum usage_outcome outcome;
    struct fault fault;
};

struct upstream; /* be_http.h: a request to an OpenAI-compatible server */

struct req {
    struct req *next, *prev; /* the worker's */
    struct worker *worker;
    struct http_req *http;
    struct arena *arena;
    enum req_state state;
    struct id id;
    int64_t began_ns, first_ns, last_ns; /* monotonic; 0: not yet */

    /* Who and what; views of `tables`. */
    struct tables *tables;
    struct replica_ask ask;
    bool asked;
    struct str key_text, key_public;
    struct auth auth;
    const struct tables_dep *dep;
    struct pool *pool;
    struct text_model *text; /* owned reference */
    struct chat chat;
    struct prompt *prompt;      /* [chat.n_prompts] */
    int64_t input_tok, max_tok; /* all prompts; each choice's most */

    struct meter_hold hold;
    struct journal_wait wait;
    struct token_count used;
    const char *degraded; /* "" : nothing */

    struct pool_item item;
    struct choice *choice; /* [n_choices] */
    int32_t n_choices, n_live, attempts;
    struct upstream *upstream;

    struct loop_timer timer;
    int64_t phase_at_ms, total_at_ms, ping_at_ms;
    struct reply_head head;
    bool streaming;                /* the reply has begun as a stream */
    bool gone;                     /* the client */
    struct req_end end;            /* from DRAINING on */
    struct metrics_model *metrics; /* NULL before the route is known */
};

/* Takes over an HTTP request: reads, checks, admits and answers it. */
void req_begin(struct worker *w, struct http_req *http, enum chat_route route);

/* The only way to another state; checks the table of moves. */
void req_move(struct req *r, enum req_state to);
void req_check(const struct req *r);

/* The one exit. Settles what is held, waits until the row is durable, then lets the last bytes of
 * the answer go. r is not to be touched after this. */
void req_finish(struct req *r, const struct req_end *end);
/* Ends a request that has no hold or never began. */
void req_fail(struct req *r, const struct fault *f);
/* Gives it up: engines stop, and their last word decides what is billed. */
void req_give_up(struct req *r, const struct req_end *end);

/* The time limit of what it is doing now. */
void req_deadline(struct req *r, int64_t in_ms);

/* Headers that every answer of the gateway has. */
void req_common_headers(struct http_req *http);

/* ---- admit.c: from BEGUN to LINED ---- */
void req_admit(struct req *r);
/* ---- answer.c: engines' words into the client's stream ---- */
void answer_send(struct req *r, struct engine_link *link);
/* The stream's headers, once. */
void answer_open(struct req *r);
/* The last bytes: finish reasons, usage, [DONE]; or the whole answer. */
void answer_end(struct req *r);
void answer_fault(struct req *r, const struct fault *f);

#endif
