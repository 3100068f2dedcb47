#ifndef SLUICE_GATEWAY_LIMIT_H
#define SLUICE_GATEWAY_LIMIT_H
/* limit - what a scope may use in any 60 seconds, and how many requests at a time.
 *
 * One interface, several stores. A store answers at once and never blocks on a network: a shared
 * one works from leases that it renews beside the request path. All calls are thread-safe.
 *
 * A request brings one claim for each limit row that matches it. The reservation is all or nothing
 * over every claim and every kind. The window slides over one-second slots and is conservative: a
 * token stays counted for at least 60 s, at most 61 s, after the moment of its admission. What a
 * hold gives back goes back to the slot it came from. A refusal writes nothing, so asking again
 * never makes anybody wait longer. Limits come with the claims: a changed limit holds from the
 * next request on. A scope is counted from the first request that brings a claim for it. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "base/str.h"
#include "schema/resource.h"

#define LIMIT_NONE       (-1)
#define LIMIT_CLAIMS_MAX 12
#define LIMIT_NEVER      (-1) /* retry_ms: waiting does not help */
#define LIMIT_WINDOW_MS  60000
#define LIMIT_TOK_MAX    (INT64_MAX / 4) /* most tokens of one hold */

enum limit_kind { LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_CONCURRENCY };

struct limit_claim {
    enum limit_scope scope;
    struct str subject;    /* id of the org, user or key; at most 40 bytes */
    struct str deployment; /* its id; empty: counted over all deployments */
    int64_t requests_per_min, tokens_per_min, concurrency; /* LIMIT_NONE: only counted */
};

/* tok_min..tok_max: as much as fits is granted, never less than tok_min. A client that named its
 * max_tokens gets tok_min == tok_max. Claims of the same scope, subject and deployment count once,
 * with the lowest of their numbers. */
struct limit_ask {
    const struct limit_claim *claims; /* [n_claims], at most LIMIT_CLAIMS_MAX; may be none */
    int32_t n_claims;
    int64_t tok_min, tok_max;
};

/* For x-ratelimit-*: the scope with the least left. limit is LIMIT_NONE when none applies. */
struct limit_room {
    int64_t limit, remaining;
    int64_t reset_ms; /* until everything counted now has left the window */
};

/* Why not: of all limits in the way, the one that takes longest to clear. */
struct limit_refusal {
    enum limit_kind kind;
    enum limit_scope scope;
    struct id subject;
    bool one_deployment; /* false: counted over all */
    int64_t limit, used, asked;
    int64_t retry_ms; /* when it is worth asking again, > 0; or LIMIT_NEVER */
    struct limit_room requests, tokens;
};

struct limit_store;

/* Belongs to the request and must not move between reserve and settle. */
struct limit_hold {
    int64_t granted_tok;
    struct limit_room requests, tokens; /* after this admission */
    /* The rest is the store's. */
    struct limit_store *store; /* NULL: nothing held */
    int64_t slot;
    int32_t n_scopes;
    void *scopes[LIMIT_CLAIMS_MAX];
};

/* RC_LIMIT: refused, *reterr says by what. RC_UNAVAILABLE: the store is full. RC_BAD_INPUT: the
 * numbers are out of range or a name is too long. */
enum rc limit_reserve(struct limit_store *s, const struct limit_ask *ask,
                      struct limit_hold *ret_hold, struct limit_refusal *reterr, struct err *err);

/* Ends the hold: what was really used replaces it in its own slot, and the place among the
 * concurrent requests is free. More than was granted is debt: it is counted from now on, so it
 * blocks others for a whole window instead of vanishing with an old slot. A second call does
 * nothing. */
void limit_settle(struct limit_store *s, struct limit_hold *hold, int64_t used_tok);
/* Ends the hold as if the request had never been: tokens and the request itself go back. */
void limit_cancel(struct limit_store *s, struct limit_hold *hold);

/* What a scope has in its window now, for tests and for people. Zeros when it is not known. */
struct limit_count {
    int64_t requests, tokens, running;
};
struct limit_count limit_peek(struct limit_store *s, enum limit_scope scope, struct str subject,
                              struct str deployment);

/* Sums since the start, over all scopes: admitted == settled + held, at any time. */
struct limit_sums {
    int64_t admitted_tok; /* granted, corrected at settle to what was used */
    int64_t settled_tok, held_tok;
    int64_t holds;  /* open now */
    int64_t scopes; /* known now */
    int64_t refused;
};
struct limit_sums limit_total(struct limit_store *s);

/* Counts what was admitted age_ms ago, before this process began, so that windows outlive a
 * restart. Older than a window: nothing happens. A full table is RC_UNAVAILABLE. */
enum rc limit_restore(struct limit_store *s, const struct limit_claim *claim, int64_t age_ms,
                      int64_t requests, int64_t tok, struct err *err);

void limit_free(struct limit_store *s); /* accepts NULL; no hold may be open */

/* How a store is made: the first member of its own struct. */
struct limit_ops {
    const char *name; /* "local" */
    enum rc (*reserve)(struct limit_store *s, const struct limit_ask *ask, struct limit_hold *ret,
                       struct limit_refusal *reterr, struct err *err);
    void (*settle)(struct limit_store *s, struct limit_hold *hold, int64_t used_tok, bool cancel);
    enum rc (*restore)(struct limit_store *s, const struct limit_claim *claim, int64_t age_ms,
                       int64_t requests, int64_t tok, struct err *err);
    struct limit_count (*peek)(struct limit_store *s, enum limit_scope scope, struct str subject,
                               struct str deployment);
    struct limit_sums (*total)(struct limit_store *s);
    void (*free)(struct limit_store *s);
};
struct limit_store {
    const struct limit_ops *ops;
};

#endif
