#ifndef SLUICE_GATEWAY_ROWS_H
#define SLUICE_GATEWAY_ROWS_H
/* rows - closed usage rows out of one segment, in order. */

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "gateway/shelf.h"
#include "schema/resource.h"

struct rows_take {
    int32_t max_rows;
    size_t max_bytes; /* of packed rows; one row is always taken */
    void (*on_row)(void *user, const struct usage *row);
    void *user;
    int32_t rows; /* taken so far, over several calls */
    size_t bytes;
};

/* From *offset up to `end`; moves *offset behind the last row taken. *ret_all: `end` was reached.
 * RC_CORRUPT: a record before `end` does not check. */
enum rc rows_read(const struct shelf *shelf, uint64_t segment, uint64_t *offset, uint64_t end,
                  struct rows_take *take, bool *ret_all, struct err *err);

#endif
