#ifndef SLUICE_CONTROL_REPORT_H
#define SLUICE_CONTROL_REPORT_H
/* report - what was used, out of the ledger: rows one by one, and sums by any of their dimensions.
 * The scope decides what is seen; a filter only narrows it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/resource.h"

struct scope;
struct txn;

#define REPORT_ROWS_MAX   200   /* of one page */
#define REPORT_GROUPS_MAX 10000 /* of one summary */
#define REPORT_COST_BYTES 64

enum report_dim {
    REPORT_ORG,
    REPORT_USER,
    REPORT_KEY,
    REPORT_DEPLOYMENT,
    REPORT_MODEL,
    REPORT_OUTCOME,
    REPORT_DIMS
};
const char *report_dim_name(enum report_dim d);   /* "deployment" */
const char *report_dim_column(enum report_dim d); /* "deployment_id" */
bool report_dim_parse(struct str s, enum report_dim *ret);

/* A value with p == NULL does not filter. Times are of admission: start <= time < end. */
struct report_filter {
    struct str value[REPORT_DIMS];
    int64_t start_ms, end_ms; /* end 0: no end */
};

/* Newest first. after: *ret_next of the page before, or STR_NONE. *ret_next is STR_NONE at the end.
 * Everything lives in `arena`. */
enum rc report_requests(struct txn *txn, const struct scope *scope,
                        const struct report_filter *filter, struct str after, int64_t limit,
                        struct arena *arena, struct usage **ret_rows, size_t *ret_n,
                        struct str *ret_next, struct err *err);

enum report_bucket { REPORT_NO_BUCKET, REPORT_HOUR, REPORT_DAY, REPORT_MONTH }; /* UTC */
bool report_bucket_parse(struct str s, enum report_bucket *ret); /* "" "hour" "day" "month" */

struct report_sums {
    int64_t requests, input, cached, output;
    int64_t cost_units, cost_pico; /* whole units of the currency, and 10^-12 (0..10^12 - 1) */
};
struct report_group {
    int64_t bucket_ms;
    struct str value[REPORT_DIMS]; /* p == NULL: not grouped by */
    struct str name[REPORT_DIMS];  /* of what the id names now; p == NULL: it is gone */
    struct str currency;
    struct report_sums sums;
};
/* by: bit d for enum report_dim d. Ordered by bucket, then the values. Currencies are never added
 * up. RC_INVALID when there would be more than REPORT_GROUPS_MAX groups. */
enum rc report_summary(struct txn *txn, const struct scope *scope,
                       const struct report_filter *filter, uint32_t by, enum report_bucket bucket,
                       struct arena *arena, struct report_group **ret_groups, size_t *ret_n,
                       struct err *err);

/* "1.25", "0.0000042": at least two decimals, exact. */
void report_cost_text(const struct report_sums *sums, char ret[REPORT_COST_BYTES]);
void report_group_json(const struct report_group *g, uint32_t by, enum report_bucket bucket,
                       struct buf *to);

#endif
