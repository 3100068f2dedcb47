#ifndef SLUICE_GATEWAY_REPLAY_H
#define SLUICE_GATEWAY_REPLAY_H
/* replay - settles what the last process left open, at start-up and never again: each OPEN without
 * a CLOSE gets one. Dying here is fine too: the next start goes on with what is left. */

#include "gateway/cells.h"
#include "gateway/shelf.h"
#include "gateway/tail.h"

/* Fills an empty tail with the shelf's segments and a current one, and appends. Nothing is synced
 * yet but the old segments. RC_CORRUPT: see recover.h; RC_IO: no room on the disk. */
enum rc replay_run(const struct shelf *shelf, const struct cells *cells, struct tail *tail,
                   int64_t *ret_recovered, struct token_count *ret_closed, struct err *err);

#endif
