#ifndef SLUICE_CONTROL_FEED_H
#define SLUICE_CONTROL_FEED_H
/* feed - the change feed for gateways (schema/feed.h): each row's last revision, written in the
 * same transaction as the change, and the long poll that hands the changes out. */

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "control/api.h"
#include "schema/resource.h"

struct feed;
struct loop;

/* Called by row.c for every change. Kinds that gateways have no use for are only counted in
 * txn->n_fed. */
enum rc feed_record(struct txn *txn, const struct resource *res, struct str id, struct err *err);
/* The current revision; 0 in an empty database. */
enum rc feed_revision(struct txn *txn, int64_t *ret, struct err *err);

/* Gives a new database its epoch. Once at start. */
enum rc feed_begin(void *unused, struct txn *txn, struct err *err);

/* Those who wait. */
enum rc feed_open(struct loop *loop, struct feed **ret, struct err *err);
void feed_wake(struct feed *f);  /* after a commit: answers everybody that has something to hear */
void feed_close(struct feed *f); /* answers those who still wait; accepts NULL */

/* GET changes, GET keys/{public_id}. The table's user is the struct feed. */
extern const struct api_route feed_routes[];
extern const size_t feed_n_routes;

#endif
