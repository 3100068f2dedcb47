#ifndef SLUICE_GATEWAY_PRICE_H
#define SLUICE_GATEWAY_PRICE_H
/* price - what tokens cost, exactly.
 *
 * A price is whole micro-units of its currency per 1M tokens; so the same number is the price of
 * one token in pico-units (10^-6 / 10^6 = 10^-12), and a cost is a sum of whole products: nothing
 * is ever rounded here. Sums are made in 128 bits. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "schema/resource.h"

/* Disjoint classes: cached is no part of input. */
struct token_count {
    int64_t input, cached, output;
};

/* The numbers of a price version that a request was admitted under. */
struct rate {
    int64_t input_pico, cached_pico, output_pico; /* for each token */
};

struct rate rate_of(const struct price *p); /* NULL: free. No cached price: the input's */

/* RC_INVALID when the cost does not fit 63 bits or a count is negative. */
enum rc price_cost(const struct rate *rate, const struct token_count *tok, int64_t *ret_pico,
                   struct err *err);
/* The same for a request that is over already: the most a row can hold when it does not fit, which
 * price_fits keeps from happening to counts within the hold. Counts must not be negative. */
int64_t price_cost_capped(const struct rate *rate, const struct token_count *tok);
/* Whether up to max_tok tokens of any class can be paid for: RC_BAD_INPUT when not. */
enum rc price_fits(const struct rate *rate, int64_t max_tok, struct err *err);

/* Adds class by class; a sum that would pass 63 bits stays at the top. */
void tokens_add(struct token_count *sum, const struct token_count *more);
bool tokens_sum(const struct token_count *tok, int64_t *ret); /* false: overflow or negative */

#endif
