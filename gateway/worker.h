#ifndef SLUICE_GATEWAY_WORKER_H
#define SLUICE_GATEWAY_WORKER_H
/* worker - one thread: its loop, its HTTP server, its connections to replicas.
 *
 * A request is born, lives and ends in one worker. What workers share is read-only or has a lock of
 * its own: the tables (swapped whole), the tokenizers, the meter, the seats. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/http_client.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "gateway/count.h"
#include "gateway/meter.h"
#include "gateway/metrics.h"
#include "gateway/pick.h"
#include "gateway/replica.h"
#include "gateway/ship.h"
#include "gateway/tables.h"

#define WORKERS_MAX 64

/* Deadlines and bounds; every wait has one. */
struct gate_conf {
    const char *bind;
    uint16_t port;
    int32_t max_conns;   /* of one worker */
    size_t max_body;     /* bytes of a request */
    size_t arena_cap;    /* of one request */
    size_t stream_max;   /* unsent bytes of one stream: a slower client is cut off */
    int32_t queue_ms;    /* in line */
    int32_t first_ms;    /* from a replica's seat to the first token */
    int32_t idle_ms;     /* between tokens */
    int32_t total_ms;    /* from admission to the last token */
    int32_t drain_ms;    /* for the engine's last word on a request that was given up */
    int32_t ping_ms;     /* a stream without a byte for so long gets a comment */
    int32_t shutdown_ms; /* for running requests after SIGTERM */
};

struct gateway { /* the program; made in main before the workers */
    struct gate_conf conf;
    const struct clock *clock;
    char id[40];
    struct journal *journal;
    struct limit_store *limits;
    struct meter *meter;
    struct replica *replica;
    struct ship *ship;
    struct text_cache *texts;
    struct seats *seats;
    struct worker *worker[WORKERS_MAX];
    int n_workers;
    int64_t started_ms;
    atomic_bool draining;
};

struct worker {
    struct gateway *gate;
    int index;
    pthread_t thread;
    struct loop *loop;
    struct http_server *server;
    struct http_client *http; /* to OpenAI-compatible upstreams */
    struct pools *pools;
    struct replica_watch watch;
    struct tables *tables; /* the newest; NULL before the first */
    struct metrics *metrics;
    struct req *reqs;   /* all that are not over */
    struct buf scratch; /* for one event or one answer; empty between calls */
    struct loop_post drain_post;
    struct loop_timer drain_timer;
    int64_t drain_until_ms;
    enum rc rc; /* how its loop ended */
    atomic_bool ended;
};

/* Opens everything but does not run. The port in `gate->conf` is set by the first worker. */
enum rc worker_open(struct gateway *gate, int index, struct worker **ret, struct err *err);
enum rc worker_start(struct worker *w, struct err *err); /* its thread */
/* No new connections; ends when the last request has, or at the deadline. Thread-safe. */
void worker_drain(struct worker *w);
void worker_join(struct worker *w);
void worker_close(struct worker *w); /* after worker_join; accepts NULL */

#endif
