#ifndef SLUICE_CONTROL_AUDIT_H
#define SLUICE_CONTROL_AUDIT_H
/* audit - who changed what: rows that are only ever added, each holding the hash of the one before,
 * so that a row taken out or altered shows. */

#include "base/err.h"
#include "base/str.h"
#include "schema/resource.h"

struct scope;
struct txn;

struct audit_entry {
    enum audit_action action;
    const struct resource *res;
    struct str object_id, org_id; /* org_id.p == NULL: none */
    struct str detail;            /* JSON */
};

enum rc audit_add(struct txn *txn, const struct scope *scope, const struct audit_entry *e,
                  struct err *err);
/* Walks the chain. RC_CORRUPT names the first row that does not fit. */
enum rc audit_check(struct txn *txn, int64_t *ret_rows, struct err *err);

#endif
