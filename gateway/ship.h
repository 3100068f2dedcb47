#ifndef SLUICE_GATEWAY_SHIP_H
#define SLUICE_GATEWAY_SHIP_H
/* ship - carries closed rows from the journal to the control plane (schema/feed.h).
 *
 * It first asks how far the ledger is, then posts batches in order, one at a time. At least once:
 * the ledger knows a row by its id and skips what it has. A failed batch is sent again after a
 * growing, jittered wait. Rows wait in the journal, never in memory. When the ledger is too far
 * behind or the disk is nearly full, the journal is told to refuse new requests until that is over.
 *
 *   ASKING --200--> IDLE <--all sent-- SENDING
 *      ^             \______rows______^   |
 *      |___ wait ___________ failed ______|      A reply that contradicts us goes back to ASKING.
 *
 * All calls belong to the loop's thread, but ship_stat. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/http_client.h"
#include "base/loop.h"
#include "gateway/journal.h"

struct ship;

struct ship_opts {
    struct loop *loop; /* may be one of its own: reading old segments can wait for the disk */
    struct http_client *http;
    struct journal *journal;
    const char *url;                  /* of the control plane: "http://127.0.0.1:8080" */
    const char *unix_path;            /* NULL: TCP */
    const char *token;                /* of DIR/run/internal.token */
    int32_t lag_segments_max;         /* shed beyond; 0: 16 */
    int64_t disk_low_bytes;           /* shed below; 0: 256 MiB */
    int32_t wait_min_ms, wait_max_ms; /* between tries; 0: 100 ms, 10 s */
};
enum rc ship_open(const struct ship_opts *opts, struct ship **ret, struct err *err);
void ship_close(struct ship *s); /* accepts NULL; rows not yet sent stay in the journal */

struct ship_stats {
    int64_t rows, batches, failures;
    int64_t lag_segments; /* from what is applied to the journal's end */
    int64_t lag_bytes;
    bool connected; /* the last exchange went well */
    bool idle;      /* everything durable is applied */
    bool shedding;
};
void ship_stat(struct ship *s, struct ship_stats *ret); /* thread-safe */

#endif
