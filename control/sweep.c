#include "control/sweep.h"

#include "control/access.h"
#include "control/row.h"

/* Seen with the system's eyes: a member that deletes a key cannot see an operator's limit on it,
 * yet the limit has to go. The audit names the one who acts. */
enum rc sweep_rows(struct entity_act *act, const struct resource *res, const char *field,
                   struct str id, struct err *err)
{
    struct row_query q = {.n_filters = 1};
    void *rows;
    size_t n;
    q.filter[0] = (struct row_filter){resource_field(res, str_of(field)), id};
    enum rc rc = row_list(act->txn, access_system(), res, &q, act->arena, &rows, &n, err);
    const size_t id_at = resource_field(res, STR("id"))->offset;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        const char *row = (const char *)rows + i * res->size;
        rc = row_remove(act->txn, act->scope, res, *(const struct str *)(const void *)(row + id_at),
                        err);
    }
    return rc;
}
