#ifndef SLUICE_CONTROL_WRITER_H
#define SLUICE_CONTROL_WRITER_H
/* writer - the one thread that writes the database.
 *
 * Jobs wait in a queue; the thread takes all that are there (at most 64), runs each inside a
 * savepoint of one transaction and commits once: one fsync for many. A job that fails is undone
 * alone. Nobody hears of success before the commit. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "control/txn.h"

#define WRITER_QUEUE_MAX 1024
#define WRITER_GROUP_MAX 64

struct writer;

/* Lives in its owner until on_done. */
struct writer_job {
    /* In the writer's thread. Anything but RC_OK undoes what it wrote. */
    enum rc (*run)(struct writer_job *job, struct txn *txn, struct err *err);
    /* In the loop's thread, after the commit, exactly once. May free the job. */
    void (*on_done)(struct writer_job *job, enum rc rc, const struct err *err);
    void *user;

    /* The writer's own. */
    struct writer_job *next;
    bool waited; /* by writer_call: no on_done */
    bool finished;
    enum rc rc;
    struct err err;
};

/* on_commit (may be NULL) is called in the loop's thread after a commit that fed changes. */
enum rc writer_open(struct db *db, struct loop *loop, void (*on_commit)(void *user), void *user,
                    struct writer **ret, struct err *err);
/* Finishes what is queued, and calls every on_done that is still due, from the caller's thread: the
 * loop's. The loop must not be run again after it. Accepts NULL. */
void writer_close(struct writer *w);

/* From the loop's thread. RC_UNAVAILABLE when the queue is full; on_done is then not called. */
enum rc writer_post(struct writer *w, struct writer_job *job, struct err *err);

/* Runs and waits. For start-up, command lines and tests: never from inside a running loop's
 * callback while others wait on that loop. */
enum rc writer_call(struct writer *w, enum rc (*run)(void *user, struct txn *txn, struct err *err),
                    void *user, struct err *err);

#endif
