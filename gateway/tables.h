#ifndef SLUICE_GATEWAY_TABLES_H
#define SLUICE_GATEWAY_TABLES_H
/* tables - the control plane's rows as a gateway needs them: one immutable snapshot.
 *
 * A change makes a new snapshot that shares all unchanged rows with the old one. Whoever looks
 * something up holds a reference while it uses what it found. Thread-safe throughout. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"
#include "gateway/limit.h"
#include "schema/resource.h"

#define TABLES_ROWS_MAX     1000000
#define TABLES_REPLICAS_MAX 64
#define TABLES_EPOCH_BYTES  65

struct tables;

/* A deployment with all that a request needs of it; lives as long as its snapshot. */
struct tables_dep {
    const struct deployment *row;
    const struct endpoint *endpoint; /* NULL: not (yet) known */
    struct str name;                 /* what clients write as `model` */
    bool shared_with_all;
    const struct share *const *shares; /* [n_shares] with one org each */
    const struct price *const *prices; /* [n_prices] newest effective_from first */
    int32_t n_shares, n_prices;
    struct str address[TABLES_REPLICAS_MAX]; /* of the running replicas */
    int32_t n_addresses;
};

/* Applies one reply of the feed (schema/feed.h) to `old` (NULL: nothing yet). A row that is older
 * than the one we have, by its version, does not replace it. RC_CORRUPT leaves everything as it
 * was. */
enum rc tables_apply(struct tables *old, const json_t *reply, struct tables **ret, struct err *err);
/* One row that was asked for, known at revision `rev`. RC_CONFLICT: we know better already. */
enum rc tables_apply_key(struct tables *old, const json_t *row, int64_t rev, struct tables **ret,
                         struct err *err);
/* The whole as a reply of the feed, for the disk. */
void tables_to_json(const struct tables *t, struct buf *to);

struct tables *tables_ref(struct tables *t);
void tables_unref(struct tables *t); /* accepts NULL */

int64_t tables_rev(const struct tables *t);
const char *tables_epoch(const struct tables *t);
const uint8_t *tables_hash_key(const struct tables *t);
size_t tables_rows(const struct tables *t);

const struct org *tables_org(const struct tables *t, struct str id);
const struct user *tables_user(const struct tables *t, struct str id);
const struct key *tables_key(const struct tables *t, struct str public_id);

int32_t tables_deps(const struct tables *t, const struct tables_dep **ret);
/* By host (an endpoint's host name, or none) and name, among those shared with the org. NULL: none;
 * *ret_exists is not told apart on purpose. */
const struct tables_dep *tables_route(const struct tables *t, struct str host, struct str model,
                                      struct str org_id);
bool tables_is_shared(const struct tables_dep *d, struct str org_id);
/* The price version that holds at wall_ms; NULL: none. */
const struct price *tables_price(const struct tables_dep *d, int64_t wall_ms);
/* The limits that such a request must meet; returns how many. */
int32_t tables_claims(const struct tables *t, const struct tables_dep *d, const struct key *key,
                      struct limit_claim ret[LIMIT_CLAIMS_MAX]);

#endif
