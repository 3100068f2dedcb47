#ifndef SLUICE_CONTROL_LEDGER_H
#define SLUICE_CONTROL_LEDGER_H
/* ledger - usage rows, each once, for good.
 *
 * A batch is applied in one transaction: rows, sums by the hour, links of the hash chain, and how
 * far into the gateway's journal it reached. A gateway that hears nothing sends it again; rows
 * whose id is there are skipped. A row that contradicts its price is kept, flagged and logged:
 * dropping it would lose a request, mending it would hide a fault. */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"
#include "schema/resource.h"

struct txn;

#define LEDGER_FORM      1 /* of the chain's links */
#define LEDGER_UNIT_PICO INT64_C(1000000000000)
#define LEDGER_HOUR_MS   INT64_C(3600000)

struct ledger_batch {
    struct str gateway;
    int64_t segment, offset; /* its end in the gateway's journal */
    struct usage *rows;
    size_t n;
};
/* Reads the body of POST /internal/v1/usage; everything lives in `arena`. */
enum rc ledger_parse(const json_t *body, struct arena *arena, struct ledger_batch *ret,
                     struct err *err);

struct ledger_result {
    int64_t segment, offset; /* where the ledger is now with this gateway */
    int64_t added, skipped, flagged;
};
enum rc ledger_apply(struct txn *txn, const struct ledger_batch *batch, struct arena *arena,
                     struct ledger_result *ret, struct err *err);
/* {0, 0} for a gateway not seen before. */
enum rc ledger_applied(struct txn *txn, struct str gateway, int64_t *ret_segment,
                       int64_t *ret_offset, struct err *err);

/* What a row should cost; price NULL: nothing. RC_INVALID when it does not fit 63 bits. */
enum rc ledger_cost(const struct price *price, const struct usage *row, int64_t *ret_pico,
                    struct err *err);
/* What is wrong with a row, as static text; "" for nothing. */
const char *ledger_flag(const struct price *price, const struct usage *row);

/* prev and price_hash are HASH_BYTES; zeros for the first link, and for a row without a price. */
enum rc ledger_link(const uint8_t *prev, const uint8_t *price_hash, const struct usage *row,
                    uint8_t ret[HASH_BYTES], struct err *err);
void ledger_price_hash(const struct price *price, uint8_t ret[HASH_BYTES]);

#endif
