#ifndef SLUICE_SCHEMA_MONEY_H
#define SLUICE_SCHEMA_MONEY_H
/* money - whole numbers inside, decimal text outside, exact both ways.
 *
 * A price is micro-units (10^-6) of its currency per 1M tokens: "0.15" is 150000. So one token
 * costs a whole number of pico-units (10^-12), and a cost is a whole number of those. */

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define MONEY_TEXT_BYTES     40
#define MONEY_PRICE_DECIMALS 6
#define MONEY_COST_DECIMALS  12

/* At least two decimals, no further zeros at the end: "0.15", "3.00", "0.000001". */
void money_price_text(int64_t micro, char ret[MONEY_TEXT_BYTES]);
void money_cost_text(int64_t pico, char ret[MONEY_TEXT_BYTES]);

/* "[-]digits[.digits]", at most 6 (12) decimals; no exponent, no blanks. False: not that, or more
 * than fits. */
bool money_price_parse(struct str s, int64_t *ret_micro);
bool money_cost_parse(struct str s, int64_t *ret_pico);

#endif
