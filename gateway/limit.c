/* limit.c - what every store does the same way: nothing happens twice. */
#include "gateway/limit.h"

enum rc limit_reserve(struct limit_store *s, const struct limit_ask *ask,
                      struct limit_hold *ret_hold, struct limit_refusal *reterr, struct err *err)
{
    return s->ops->reserve(s, ask, ret_hold, reterr, err);
}

static void end(struct limit_store *s, struct limit_hold *hold, int64_t used_tok, bool cancel)
{
    if (!hold->store)
        return;
    ASSERT(hold->store == s && used_tok >= 0);
    hold->store = NULL;
    s->ops->settle(s, hold, used_tok, cancel);
}

void limit_settle(struct limit_store *s, struct limit_hold *hold, int64_t used_tok)
{
    end(s, hold, used_tok, false);
}

void limit_cancel(struct limit_store *s, struct limit_hold *hold)
{
    end(s, hold, 0, true);
}

enum rc limit_restore(struct limit_store *s, const struct limit_claim *claim, int64_t age_ms,
                      int64_t requests, int64_t tok, struct err *err)
{
    ASSERT(requests >= 0 && tok >= 0);
    return s->ops->restore(s, claim, age_ms, requests, tok, err);
}

struct limit_count limit_peek(struct limit_store *s, enum limit_scope scope, struct str subject,
                              struct str deployment)
{
    return s->ops->peek(s, scope, subject, deployment);
}

struct limit_sums limit_total(struct limit_store *s)
{
    return s->ops->total(s);
}

void limit_free(struct limit_store *s)
{
    if (s)
        s->ops->free(s);
}
