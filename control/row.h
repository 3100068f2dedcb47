#ifndef SLUICE_CONTROL_ROW_H
#define SLUICE_CONTROL_ROW_H
/* row - rows of any resource, driven by its field table: select, insert, update, delete.
 *
 * A change writes the row, its entry in the change feed and its entry in the audit log in the same
 * transaction. What the scope cannot see is RC_NOT_FOUND. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/resource.h"

struct scope;
struct txn;
struct stmt;

#define ROW_FILTERS_MAX 8
#define ROW_LIMIT_MAX   200

struct row_filter {
    const struct field *field; /* REF, ENUM, ID or TEXT */
    struct str value;          /* p == NULL: IS NULL */
};

struct row_query {
    struct row_filter filter[ROW_FILTERS_MAX];
    size_t n_filters;
    struct str after; /* id of the last row of the page before; p == NULL: from the start */
    bool newest_first;
    int64_t limit; /* 1..; 0: all */
};

/* Rows in the order of their ids. *ret_rows is an array of the resource's struct in `arena`. */
enum rc row_list(struct txn *txn, const struct scope *scope, const struct resource *res,
                 const struct row_query *q, struct arena *arena, void **ret_rows, size_t *ret_n,
                 struct err *err);
enum rc row_get(struct txn *txn, const struct scope *scope, const struct resource *res,
                struct str id, struct arena *arena, void *ret_row, struct err *err);
/* The first row whose field has this value. */
enum rc row_find(struct txn *txn, const struct scope *scope, const struct resource *res,
                 const char *field, struct str value, struct arena *arena, void *ret_row,
                 struct err *err);
enum rc row_count(struct txn *txn, const struct scope *scope, const struct resource *res,
                  const char *field, struct str value, int64_t *ret, struct err *err);

/* Fills in id (unless set), created_at and version. Strings set in the row live in `arena`. */
enum rc row_insert(struct txn *txn, const struct scope *scope, const struct resource *res,
                   struct arena *arena, void *row, struct err *err);
/* Writes all columns and counts the version up. Updates by the system (a deployment's state) are
 * fed but not audited. */
enum rc row_update(struct txn *txn, const struct scope *scope, const struct resource *res,
                   void *row, struct err *err);
/* Leaves a tombstone (id, kind, name, org) so that usage rows can still be named. */
enum rc row_delete(struct txn *txn, const struct scope *scope, const struct resource *res,
                   struct str id, struct err *err);
/* The same for a row that follows from one the scope may delete: seen with the system's eyes, noted
 * under the scope's name. */
enum rc row_remove(struct txn *txn, const struct scope *scope, const struct resource *res,
                   struct str id, struct err *err);

/* The bare insert: no scope, feed, or audit. For the ledger's rows. *ret_inserted false: the id was
 * there already. */
enum rc row_put(struct txn *txn, const struct resource *res, const void *row, bool *ret_inserted,
                struct err *err);
/* "t.id, t.name, …" of all columns in the table's order, for statements of one's own; row_read then
 * fills a struct from columns first…, copying text into `arena`. */
enum rc row_columns(const struct resource *res, struct arena *arena, const char **ret,
                    struct err *err);
enum rc row_read(struct stmt *s, int first, const struct resource *res, struct arena *arena,
                 void *ret_row, struct err *err);

#endif
