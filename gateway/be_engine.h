#ifndef SLUICE_GATEWAY_BE_ENGINE_H
#define SLUICE_GATEWAY_BE_ENGINE_H
/* be_engine - one connection of one worker to one replica of the integrated engine.
 *
 *   DOWN --timer--> CONNECTING --> GREETING (HELLO sent) --HELLO_ACK--> READY
 *     ^________________ any fault; backoff doubles up to 2 s ______________|
 *
 * A call that was submitted ends exactly once: with on_done or on_fail, unless it is forgotten.
 * When the connection breaks, all its calls fail with RC_UPSTREAM, after the state has changed, so
 * that a callback may send them elsewhere. All of it belongs to one loop. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "gateway/count.h"
#include "schema/frame.h"

#define ENGINE_CALLS_MAX   1024 /* on one connection */
#define ENGINE_OUT_MAX     (64u << 20)
#define ENGINE_HELLO_MS    15000
#define ENGINE_PING_MS     1000
#define ENGINE_SILENCE_MS  20000 /* without any frame though pinged: the engine hangs */
#define ENGINE_BACKOFF_MIN 50
#define ENGINE_BACKOFF_MAX 2000

struct engine_link;

struct engine_call { /* lives in the request; must not move while it is under way */
    void (*on_tokens)(struct engine_call *c, const struct frame_tokens *t);
    void (*on_done)(struct engine_call *c, const struct frame_done *d);
    /* usage: NULL when the engine did not say. message is for the client. */
    void (*on_fail)(struct engine_call *c, enum rc rc, const struct frame_usage *usage,
                    struct str message);
    void *user;
    /* The link's. */
    struct engine_link *link; /* NULL: not under way */
    uint64_t rid;
};

struct engine_link_opts {
    struct loop *loop;
    struct str address; /* "unix:/path" or "tcp:host:port", the host in numbers or "localhost" */
    struct str gateway;
    struct text_cache *texts;
    /* Became ready, was lost, or has room again. */
    void (*on_change)(struct engine_link *l, void *user);
    void *user;
};

enum rc engine_link_open(const struct engine_link_opts *opts, struct engine_link **ret,
                         struct err *err);
/* Calls under way fail first. Accepts NULL. Not from inside a callback of this link. */
void engine_link_close(struct engine_link *l);

struct str engine_link_address(const struct engine_link *l);
bool engine_link_ready(const struct engine_link *l);
struct text_model *engine_link_text(const struct engine_link *l); /* lent; NULL before READY */

struct engine_link_state {
    int32_t calls; /* of this worker under way */
    int32_t n_ctx, max_seqs, max_waiting;
    struct frame_load load; /* as of the last STATUS */
    int64_t reconnects;
};
const struct engine_link_state *engine_link_state(const struct engine_link *l);

/* Sends at the end of the loop's turn. s->rid is filled in here. RC_UNAVAILABLE: not ready or too
 * many calls; RC_TOO_LARGE: the prompt does not fit a frame. Nothing is under way then. */
enum rc engine_call_submit(struct engine_link *l, struct engine_call *c, struct frame_submit *s,
                           struct err *err);
void engine_call_cancel(struct engine_call *c); /* the end still comes, with its counts */
void engine_call_forget(struct engine_call *c); /* and cancel: no callback follows */

#endif
