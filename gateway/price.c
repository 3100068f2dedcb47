#include "gateway/price.h"

#include <inttypes.h>

struct rate rate_of(const struct price *p)
{
    if (!p)
        return (struct rate){0};
    /* Per 1M tokens in micro-units is per token in pico-units: the same number. */
    return (struct rate){.input_pico = p->input_per_1m,
                         .cached_pico =
                             p->cached_input_per_1m >= 0 ? p->cached_input_per_1m : p->input_per_1m,
                         .output_pico = p->output_per_1m};
}

bool tokens_sum(const struct token_count *tok, int64_t *ret)
{
    int64_t sum;
    if (tok->input < 0 || tok->cached < 0 || tok->output < 0 ||
        __builtin_add_overflow(tok->input, tok->cached, &sum) ||
        __builtin_add_overflow(sum, tok->output, &sum))
        return false;
    *ret = sum;
    return true;
}

static int64_t add_capped(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

void tokens_add(struct token_count *sum, const struct token_count *more)
{
    sum->input = add_capped(sum->input, more->input);
    sum->cached = add_capped(sum->cached, more->cached);
    sum->output = add_capped(sum->output, more->output);
}

enum rc price_cost(const struct rate *rate, const struct token_count *tok, int64_t *ret_pico,
                   struct err *err)
{
    if (tok->input < 0 || tok->cached < 0 || tok->output < 0 || rate->input_pico < 0 ||
        rate->cached_pico < 0 || rate->output_pico < 0)
        return err_set(err, RC_INVALID, "a count or a price is negative");
    /* Three products below 2^126 each: the sum stays below 2^128. */
    unsigned __int128 sum = (unsigned __int128)tok->input * (uint64_t)rate->input_pico;
    sum += (unsigned __int128)tok->cached * (uint64_t)rate->cached_pico;
    sum += (unsigned __int128)tok->output * (uint64_t)rate->output_pico;
    if (sum > INT64_MAX)
        return err_set(err, RC_INVALID, "the cost is more than one row can hold");
    *ret_pico = (int64_t)sum;
    return RC_OK;
}

int64_t price_cost_capped(const struct rate *rate, const struct token_count *tok)
{
    int64_t pico;
    return price_cost(rate, tok, &pico, NULL) == RC_OK ? pico : INT64_MAX;
}

enum rc price_fits(const struct rate *rate, int64_t max_tok, struct err *err)
{
    int64_t dearest = rate->input_pico;
    if (rate->cached_pico > dearest)
        dearest = rate->cached_pico;
    if (rate->output_pico > dearest)
        dearest = rate->output_pico;
    const struct rate flat = {.output_pico = dearest};
    const struct token_count tok = {.output = max_tok};
    int64_t cost;
    if (price_cost(&flat, &tok, &cost, NULL) == RC_OK)
        return RC_OK;
    return err_field(err, RC_BAD_INPUT, "max_tokens",
                     "%" PRId64 " tokens at this price cost more than one request may", max_tok);
}
