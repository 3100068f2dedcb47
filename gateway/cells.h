#ifndef SLUICE_GATEWAY_CELLS_H
#define SLUICE_GATEWAY_CELLS_H
/* cells - running token counts of open requests, updated in place in a mapped file.
 *
 * A count per token must be safe against kill -9 and cost next to nothing; appended to the journal
 * it would fill a segment in seconds on a fast engine. A cell is 64 bytes with two halves, written
 * in turn, each with its own number and checksum: a write that was cut short leaves the other half.
 * Each half names the OPEN record it belongs to, so a cell can be reused without being cleared. The
 * kernel writes the file back in its own time: after a power cut the counts may be some 30 s old.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "gateway/price.h"

struct cells {
    int32_t n;
    uint8_t *map; /* n cells */
};

/* Opens or makes the file, which must be on a disk with room for n cells. A longer one stays so. */
enum rc cells_open(int dir_fd, const char *name, int32_t n, struct cells *ret, struct err *err);
void cells_close(struct cells *c);

/* One writer for each cell at a time. `owner` is not 0; `turn` counts up from 1. */
void cells_put(struct cells *c, int32_t i, uint64_t owner, uint32_t turn,
               const struct token_count *tok);

/* What is left in cell i: for each owner found there, 0 to 2 of them, its newest good counts. */
struct cells_found {
    uint64_t owner;
    uint32_t turn;
    struct token_count tok;
};
int cells_get(const struct cells *c, int32_t i, struct cells_found ret[2]);

#endif
