#ifndef SLUICE_GATEWAY_REPLICA_H
#define SLUICE_GATEWAY_REPLICA_H
/* replica - keeps the control plane's tables fresh: the change feed by long poll, a copy on disk,
 * and single keys asked for when a request brings one that we have not seen.
 *
 * It lives on one loop (the feed's). Every change is a new snapshot (tables.h), handed to the
 * workers by a post; a gateway whose control plane is away goes on with what it has. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/http_client.h"
#include "base/loop.h"
#include "gateway/tables.h"
#include "schema/apikey.h"

#define REPLICA_ASKS_MAX    64   /* keys asked for at a time */
#define REPLICA_UNKNOWN_MAX 1024 /* keys remembered as unknown */
#define REPLICA_UNKNOWN_MS  1000
#define REPLICA_ASK_MS      2000
#define REPLICA_FILE_MAX    (512u << 20)

struct replica;

struct replica_opts {
    struct loop *loop;
    struct http_client *http; /* on the same loop */
    const char *url;          /* of the control plane; "" : none, the file is all there is */
    const char *unix_path;    /* NULL: TCP */
    const char *token;
    const char *path; /* of the copy on disk */
    int32_t wait_ms;  /* of one long poll; 0: 25 s */
    int32_t save_ms;  /* a change is on disk after so long; 0: 200 ms */
    int32_t retry_ms; /* most, after a failure; 0: 1 s */
};

/* Reads the copy on disk (one that cannot be read is logged and ignored) and starts the feed. */
enum rc replica_open(const struct replica_opts *opts, struct replica **ret, struct err *err);
void replica_close(struct replica *r); /* saves; accepts NULL */

/* The newest snapshot with a reference for the caller; NULL before the first. Thread-safe. */
struct tables *replica_get(struct replica *r);

/* Posts `post` to its loop after each change. Add before the loops run, or from the feed's loop. */
struct replica_watch {
    struct loop *loop;
    struct loop_post post;
    struct replica_watch *next;
};
void replica_watch_add(struct replica *r, struct replica_watch *w);

/* Asks the control plane for a key. on_answer runs once, in ask->loop's thread: RC_OK when it is
 * worth looking into replica_get() again, RC_NOT_FOUND, or RC_UNAVAILABLE when nobody can say. The
 * ask belongs to the caller until then. Thread-safe. */
struct replica_ask {
    struct replica *replica;
    struct loop *loop;
    char public_id[APIKEY_PUBLIC_LEN + 1];
    void (*on_answer)(struct replica_ask *a, enum rc rc);
    void *user;
    /* The replica's. */
    struct loop_post post;
    struct replica_ask *next;
    enum rc rc;
};
void replica_ask(struct replica_ask *a);

struct replica_stats {
    int64_t rev, rows, polls, failures, asks, changes;
    int64_t quiet_ms; /* since the control plane last answered; -1: never */
    bool connected;
};
void replica_stat(struct replica *r, struct replica_stats *ret); /* thread-safe */

#endif
