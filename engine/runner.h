#ifndef SLUICE_ENGINE_RUNNER_H
#define SLUICE_ENGINE_RUNNER_H
/* runner - the thread that owns the scheduler: takes messages, makes steps, gives out bytes.
 *
 * Messages come over a ring from the I/O thread and are looked at between two steps, so a CANCEL
 * or a lost connection takes effect within one step. What a step says to a connection leaves as
 * one piece over another ring. The runner sleeps when there is neither work nor a message, and
 * never waits for a socket: a full ring makes pieces grow, and past RUNNER_OUT_MAX the connection
 * is given up. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/ring.h"
#include "engine/sched.h"
#include "schema/frame.h"

enum { RUNNER_CONNS_MAX = 256, RUNNER_RING = 4096 };
#define RUNNER_OUT_MAX (64u << 20)
#define RUNNER_IN_MAX  (256u << 20) /* bytes of requests on their way in; one may pass it */

enum runner_kind {
    RUNNER_OPEN, /* HELLO: answer with HELLO_ACK */
    RUNNER_SUBMIT,
    RUNNER_CANCEL,
    RUNNER_PING,
    RUNNER_CLOSE, /* the connection is gone */
    RUNNER_DRAIN, /* refuse new requests; DRAINED when the last one is over */
    RUNNER_ABORT_ALL,
    RUNNER_REPORT, /* a log line with the load */
    RUNNER_STOP    /* end of the thread */
};

struct runner_msg {
    enum runner_kind kind;
    uint64_t conn; /* slot in the low 8 bits, a serial number above */
    int64_t arrived_ns;
    struct frame frame; /* all it points to lives in the arena */
    struct arena arena;
};

struct runner_msg *runner_msg_new(enum runner_kind kind, uint64_t conn); /* NULL: no memory */
void runner_msg_free(struct runner_msg *m);

/* To the I/O thread, which frees it. */
struct runner_out {
    uint64_t conn;
    struct buf bytes;
    bool is_fatal; /* close the connection */
    bool is_drained;
};
void runner_out_free(struct runner_out *o);

struct runner_conn {
    uint64_t id; /* 0: free slot */
    struct buf out;
    bool is_fatal;
};

struct runner_opts {
    struct sched_opts sched;
    const struct backend_ops *ops;
    struct backend *backend;     /* view of */
    const struct tokenizer *tok; /* view of */
    const struct clock *clock;   /* view of */
    struct str path, card;       /* views of: told in HELLO_ACK */
    /* Called by the runner's thread when there is something in out, or room in `in` again. */
    void (*on_news)(void *ctx);
    void *ctx;
};

struct runner {
    struct runner_opts opts;
    struct sched sched;
    struct ring in, out;
    pthread_t thread;
    bool has_thread;
    int wake_fd; /* eventfd */
    atomic_bool is_asleep;
    atomic_size_t in_bytes; /* may wrap below 0 for a moment: added after the push */
    atomic_bool wants_room; /* the I/O thread found `in` full */
    /* Bytes queued at the socket of each slot; the I/O thread writes, the runner reads. */
    atomic_size_t backlog[RUNNER_CONNS_MAX];
    struct runner_conn conn[RUNNER_CONNS_MAX];
    bool is_late; /* the ring out was full: some pieces are still here */
    bool is_draining, told_drained, is_stopping;
};

enum rc runner_open(struct runner *r, const struct runner_opts *opts, struct err *err);
void runner_close(struct runner *r); /* stops and joins the thread; accepts a zeroed struct */

/* I/O thread. Takes the message, or returns false: full, on_news will say when to try again. */
bool runner_send(struct runner *r, struct runner_msg *m);
struct runner_out *runner_take(struct runner *r); /* NULL: nothing more */

#endif
