#include "gateway/meter.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/units.h"

enum { UNAVAILABLE_RETRY_MS = 1000, DEGRADED_MAX = 100 };

struct meter {
    struct journal *journal;
    struct limit_store *limits;
    const struct clock *clock;
    pthread_mutex_t lock;
    struct meter_sums sums;
};

/* ---- the billing rule ---- */

static const struct meter_rule rules[] = {
    {OUTCOME_STOP, true, true, "the answer is complete"},
    {OUTCOME_LENGTH, true, true, "the answer is as long as was asked for"},
    {OUTCOME_ABORTED, true, true, "the client left: what was computed until then was for it"},
    {OUTCOME_TIMEOUT, true, true, "what was computed until the deadline was sent"},
    {OUTCOME_FAILED, false, true, "no token came: nothing is paid for"},
    {OUTCOME_BROKEN, true, true, "what was sent before the engine failed can be used"},
    {OUTCOME_REFUSED, false, false, "no work was begun: not even the request counts"},
    {OUTCOME_RECOVERED, true, true, "the gateway died: what was counted until then was sent"},
};

const struct meter_rule *meter_rule_of(enum usage_outcome outcome)
{
    ASSERT((size_t)outcome < ARRAY_LEN(rules) && rules[outcome].outcome == outcome);
    return &rules[outcome];
}

/* ---- windows that outlive a restart ---- */

struct restore {
    struct meter *m;
    int64_t now_ms;
    struct err err;
    enum rc rc;
};

static void restore_row(void *user, const struct usage *row)
{
    struct restore *r = user;
    const struct token_count used = {row->input_tokens, row->cached_tokens, row->output_tokens};
    const struct str subject[] = {row->org_id, row->user_id, row->key_id};
    int64_t age_ms = r->now_ms - row->time, tok = 0;
    if (age_ms > LIMIT_WINDOW_MS + MS_PER_SEC || !tokens_sum(&used, &tok))
        return;
    int64_t requests = meter_rule_of((enum usage_outcome)row->outcome)->keeps_request;
    for (int scope = LIMIT_ORG; scope <= LIMIT_KEY; scope++)
        for (int one = 0; one < 2 && r->rc == RC_OK; one++) {
            struct limit_claim claim = {.scope = (enum limit_scope)scope,
                                        .subject = subject[scope],
                                        .deployment = one ? row->deployment_id : STR_NONE,
                                        .requests_per_min = LIMIT_NONE,
                                        .tokens_per_min = LIMIT_NONE,
                                        .concurrency = LIMIT_NONE};
            r->rc = limit_restore(r->m->limits, &claim, age_ms, requests, tok, &r->err);
        }
}

/* The last minute's rows are still in the journal (segments of a busier minute than one segment
 * holds may be gone already): without them a restart would hand every tenant a fresh window. What
 * cannot be counted is no reason to serve nobody. */
static void restore_windows(struct meter *m)
{
    struct restore r = {.m = m, .now_ms = clock_wall_ms(m->clock)};
    struct journal_pos at = {0}, next = {0};
    do {
        at = next;
        if (journal_read(m->journal, at, 10000, 64 * MIB, restore_row, &r, &next, &r.err) != RC_OK)
            r.rc = r.err.rc;
    } while (r.rc == RC_OK && journal_pos_cmp(next, at) != 0);
    if (r.rc != RC_OK)
        log_warn("meter.restore", "error=%s", LOG_STR(str_of(r.err.msg)));
}

/* ---- three moves ---- */

enum rc meter_open(const struct meter_opts *opts, struct meter **ret, struct err *err)
{
    struct meter *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, RC_NO_MEMORY, "no memory for the meter");
    m->journal = opts->journal;
    m->limits = opts->limits;
    m->clock = opts->clock;
    pthread_mutex_init(&m->lock, NULL);
    restore_windows(m);
    *ret = m;
    return RC_OK;
}

void meter_close(struct meter *m)
{
    if (!m)
        return;
    if (m->sums.open)
        log_error("meter.unsettled", "holds=%" PRId64 " tok=%" PRId64, m->sums.open,
                  m->sums.held_tok);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void row_begin(const struct meter *m, const struct meter_ask *ask, struct meter_hold *h)
{
    h->row = ask->who;
    h->row.time = clock_wall_ms(m->clock);
    h->row.outcome = OUTCOME_RECOVERED; /* what it is until CLOSE says otherwise */
    h->row.http_status = 0;
    h->row.input_tokens = h->row.cached_tokens = h->row.output_tokens = h->row.cost = 0;
    h->row.price_id = ask->price ? ask->price->id : STR_NONE;
    h->row.currency = ask->price ? ask->price->currency : STR("USD");
    h->row.ttft_ms = -1;
    h->row.duration_ms = 0;
    h->row.gateway = journal_gateway(m->journal);
    h->rate = rate_of(ask->price);
    h->began_ns = clock_mono_ns(m->clock);
}

enum rc meter_reserve(struct meter *m, const struct meter_ask *ask, struct meter_hold *ret_hold,
                      struct limit_refusal *reterr, struct err *err)
{
    struct meter_hold *h = ret_hold;
    *h = (struct meter_hold){0};
    *reterr = (struct limit_refusal){.retry_ms = UNAVAILABLE_RETRY_MS};
    row_begin(m, ask, h);
    enum rc rc = price_fits(&h->rate, ask->limits.tok_max, err);
    if (rc == RC_OK)
        rc = limit_reserve(m->limits, &ask->limits, &h->limit, reterr, err);
    if (rc == RC_OK) {
        rc = journal_open(m->journal, &h->row, &h->rate, &h->entry, err);
        if (rc != RC_OK)
            limit_cancel(m->limits, &h->limit);
    }
    if (rc != RC_OK) {
        *h = (struct meter_hold){0};
        return rc;
    }
    h->state = METER_HELD;
    pthread_mutex_lock(&m->lock);
    m->sums.reserved++;
    m->sums.open++;
    m->sums.held_tok += h->limit.granted_tok;
    pthread_mutex_unlock(&m->lock);
    return RC_OK;
}

struct token_count tokens_of_engine(const struct frame_usage *u)
{
    int64_t cached = MIN_OF(u->cached, u->input);
    return (struct token_count){u->input - cached, cached, u->output};
}

/* Input may move between its two classes while a prompt is read; together they only grow. */
static bool grows(const struct token_count *from, const struct token_count *to)
{
    int64_t sum;
    return tokens_sum(to, &sum) && to->input + to->cached >= from->input + from->cached &&
           to->output >= from->output;
}

bool meter_count(struct meter *m, struct meter_hold *hold, const struct token_count *total)
{
    if (hold->state != METER_HELD || !grows(&hold->used, total))
        return false;
    hold->used = *total;
    journal_count(m->journal, &hold->entry, total);
    return true;
}

/* The row's text must fit what journal_open checked. */
static struct str degraded_text(struct str s)
{
    while (s.len > DEGRADED_MAX || !str_is_utf8(s))
        s.len--;
    return s;
}

/* Whether a failure came before or after the first token is what the bill turns on: count, do not
 * ask. */
static enum usage_outcome outcome_of(const struct meter_hold *h, enum usage_outcome said)
{
    if (said != OUTCOME_FAILED && said != OUTCOME_BROKEN)
        return said;
    return h->used.output > 0 ? OUTCOME_BROKEN : OUTCOME_FAILED;
}

static void row_end(const struct meter *m, struct meter_hold *h, const struct meter_end *end)
{
    enum usage_outcome outcome = outcome_of(h, end->outcome);
    const struct meter_rule *rule = meter_rule_of(outcome);
    struct token_count billed = rule->bills_counted ? h->used : (struct token_count){0};
    h->row.outcome = outcome;
    if (end->estimated)
        h->row.source = SOURCE_ESTIMATED;
    h->row.http_status = end->http_status;
    h->row.ttft_ms = end->ttft_ms;
    h->row.duration_ms = (clock_mono_ns(m->clock) - h->began_ns) / NS_PER_MS;
    h->row.input_tokens = billed.input;
    h->row.cached_tokens = billed.cached;
    h->row.output_tokens = billed.output;
    h->row.cost = price_cost_capped(&h->rate, &billed);
    if (end->degraded.len)
        h->row.degraded = degraded_text(end->degraded);
    h->used = billed;
}

static void limits_end(struct meter *m, struct meter_hold *h)
{
    int64_t used = 0;
    bool ok = tokens_sum(&h->used, &used);
    ASSERT(ok); /* meter_count took nothing else */
    if (meter_rule_of((enum usage_outcome)h->row.outcome)->keeps_request)
        limit_settle(m->limits, &h->limit, used);
    else
        limit_cancel(m->limits, &h->limit);
}

enum rc meter_settle(struct meter *m, struct meter_hold *hold, const struct meter_end *end,
                     struct journal_wait *wait, struct usage *ret_row, struct err *err)
{
    if (hold->state != METER_HELD)
        return err_set(err, RC_INVALID, "nothing is held, or it was settled already");
    ASSERT(end->outcome != OUTCOME_RECOVERED);
    hold->state = METER_SETTLED;
    row_end(m, hold, end);
    enum rc rc = journal_close(m->journal, &hold->entry, &hold->row, wait, err);
    limits_end(m, hold);
    if (ret_row)
        *ret_row = hold->row;

    pthread_mutex_lock(&m->lock);
    m->sums.settled++;
    m->sums.open--;
    m->sums.held_tok -= hold->limit.granted_tok;
    tokens_add(&m->sums.used, &hold->used);
    m->sums.cost_pico += hold->row.cost;
    pthread_mutex_unlock(&m->lock);
    return rc;
}

/* ---- conservation ---- */

static enum rc differ(const char *what, int64_t a, int64_t b, struct err *err)
{
    if (a == b)
        return RC_OK;
    return err_set(err, RC_CORRUPT, "%s: %" PRId64 " and %" PRId64, what, a, b);
}

enum rc meter_check(struct meter *m, struct meter_sums *ret, struct err *err)
{
    struct journal_stats journal;
    journal_stat(m->journal, &journal);
    struct limit_sums limit = limit_total(m->limits);
    pthread_mutex_lock(&m->lock);
    struct meter_sums s = m->sums;
    pthread_mutex_unlock(&m->lock);
    int64_t used = INT64_MAX;
    (void)tokens_sum(&s.used, &used); /* at the top: as the limits' own sum is */

    enum rc rc = differ("requests reserved, settled + open", s.reserved, s.settled + s.open, err);
    if (rc == RC_OK)
        rc = differ("requests open: meter, journal", s.open, journal.open, err);
    if (rc == RC_OK)
        rc = differ("holds open: meter, limits", s.open, limit.holds, err);
    if (rc == RC_OK)
        rc = differ("tokens held: meter, limits", s.held_tok, limit.held_tok, err);
    if (rc == RC_OK)
        rc = differ("tokens used: meter, limits", used, limit.settled_tok, err);
    if (rc == RC_OK)
        rc = differ("tokens admitted, settled + held", limit.admitted_tok,
                    limit.settled_tok + limit.held_tok, err);
    if (rc == RC_OK)
        rc = differ("input: meter, journal", s.used.input, journal.closed.input, err);
    if (rc == RC_OK)
        rc = differ("cached: meter, journal", s.used.cached, journal.closed.cached, err);
    if (rc == RC_OK)
        rc = differ("output: meter, journal", s.used.output, journal.closed.output, err);
    *ret = s;
    return rc;
}
