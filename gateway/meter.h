#ifndef SLUICE_GATEWAY_METER_H
#define SLUICE_GATEWAY_METER_H
/* meter - pays for tokens while they are on the wire.
 *
 * Three moves: reserve the most a request could cost, count what really passes, settle the
 * difference. If we die between moves, start-up finds the OPEN record and settles it.
 *
 *   (nothing) --meter_reserve--> HELD --meter_count*--> HELD --meter_settle--> SETTLED
 *        \______ refused: nothing was written ______
 *
 * A hold that was reserved must be settled, on every path; settling twice has one effect. Calls are
 * thread-safe, but a hold belongs to one thread at a time. */

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "gateway/journal.h"
#include "gateway/limit.h"
#include "gateway/price.h"
#include "schema/frame.h"
#include "schema/resource.h"

struct meter;

struct meter_opts {
    struct journal *journal; /* both outlive the meter */
    struct limit_store *limits;
    const struct clock *clock;
};
/* Counts the last minute's rows of the journal into the windows of `limits`, so that a restart
 * gives nobody a fresh one. */
enum rc meter_open(const struct meter_opts *opts, struct meter **ret, struct err *err);
void meter_close(struct meter *m); /* accepts NULL; complains about holds that nobody settled */

/* What a request brings. */
struct meter_ask {
    /* id, org_id, user_id, key_id, deployment_id, model, route, stream, source, degraded are the
     * caller's; the meter fills in the rest. The text must outlive the hold (the request's arena).
     */
    struct usage who;
    const struct price *price; /* of its deployment, now; NULL: free */
    struct limit_ask limits;   /* tok_min, tok_max: prompt + answer, see limit.h */
};

/* Lives in the request, and does not move. All zero: nothing held. */
struct meter_hold {
    struct limit_hold limit; /* .granted_tok, and .requests and .tokens for the headers */
    /* The meter's. */
    struct journal_entry entry;
    struct usage row;
    struct rate rate;
    struct token_count used;
    int64_t began_ns;
    enum { METER_NOTHING, METER_HELD, METER_SETTLED } state;
};

/* RC_OK: the request may start; granted_tok is the most it may use, prompt included.
 * RC_LIMIT: *reterr says which limit and when to come back; err.msg is fit for the client.
 * RC_UNAVAILABLE: the journal or the limit store cannot take more; reterr->retry_ms is set.
 * RC_BAD_INPUT: it could cost more than 63 bits of pico-units, or numbers are out of range.
 * Except for RC_OK nothing was written and *ret_hold is all zero. */
enum rc meter_reserve(struct meter *m, const struct meter_ask *ask, struct meter_hold *ret_hold,
                      struct limit_refusal *reterr, struct err *err);

/* Running totals of the request, before the bytes they stand for are written: a client that hangs
 * up has still cost us these tokens. Totals never go down: a count that is lower than the last one,
 * or negative, is not taken, and false says so. */
bool meter_count(struct meter *m, struct meter_hold *hold, const struct token_count *total);
/* The engine's cached is a part of its input; ours are disjoint. */
struct token_count tokens_of_engine(const struct frame_usage *u);

struct meter_end {
    /* Not OUTCOME_RECOVERED. FAILED after an output token was counted is taken as BROKEN, and
     * BROKEN before one as FAILED. */
    enum usage_outcome outcome;
    int http_status;     /* what the client was (or would have been) answered */
    int64_t ttft_ms;     /* -1: no token came */
    bool estimated;      /* the counts are: source becomes SOURCE_ESTIMATED */
    struct str degraded; /* replaces the one of meter_ask when not empty; see I9 */
};
/* Exactly once: applies the billing rule to what was counted, writes CLOSE, ends the hold in the
 * limits. *wait (may be NULL) is told when the row is durable; the last bytes of an answer wait for
 * that. ret_row (may be NULL) is the row as written, text as in meter_ask.
 * RC_INVALID: not held, or settled already; nothing happens, wait is not called.
 * RC_IO: the journal has failed; the limits are settled all the same, wait is not called. */
enum rc meter_settle(struct meter *m, struct meter_hold *hold, const struct meter_end *end,
                     struct journal_wait *wait, struct usage *ret_row, struct err *err);

/* The billing rule, one row for each outcome; docs/metering.md prints the same table. */
struct meter_rule {
    enum usage_outcome outcome;
    bool bills_counted; /* what was counted is billed; else nothing is */
    bool keeps_request; /* counts against requests per minute */
    const char *why;
};
const struct meter_rule *meter_rule_of(enum usage_outcome outcome);

/* Conservation: what the meter, the journal and the limits each say was used since the start.
 * RC_CORRUPT names the first difference. Balanced whenever no call is under way. */
struct meter_sums {
    int64_t reserved, settled, open; /* requests; reserved == settled + open */
    int64_t held_tok;                /* granted to open holds */
    struct token_count used;         /* billed by settled ones */
    __int128 cost_pico;
};
enum rc meter_check(struct meter *m, struct meter_sums *ret, struct err *err);

#endif
