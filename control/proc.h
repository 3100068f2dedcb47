#ifndef SLUICE_CONTROL_PROC_H
#define SLUICE_CONTROL_PROC_H
/* proc - one child process: started, watched, stopped, reaped; never left behind.
 *
 * The child dies when we die (PR_SET_PDEATHSIG), its stderr goes to LOG_DIR/NAME.log, its id to
 * RUN_DIR/NAME.pid. The kernel's process handle (pidfd) is used for signals, so an id that was used
 * again by somebody else is never hit. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"

#define PROC_NAME_BYTES 32
#define PROC_PATH_BYTES 512
#define PROC_LOG_MAX    (INT64_C(64) << 20)

struct proc_dirs {
    char run[PROC_PATH_BYTES], log[PROC_PATH_BYTES];
};

struct proc {
    char name[PROC_NAME_BYTES];
    struct proc_dirs dirs;
    pid_t pid;                                   /* 0: none is running */
    int64_t log_from;                            /* size of the log when this run began */
    void (*on_exit)(struct proc *p, int status); /* status as of waitpid; pid is 0 by then */
    void *user;
    struct loop *loop;
    struct loop_io io; /* on the pidfd */
};

/* argv[0] is a path; NULL-terminated. An earlier log is kept as NAME.log.1 when `fresh_log`. */
enum rc proc_start(struct proc *p, struct loop *l, const char *name, const char *const *argv,
                   const struct proc_dirs *dirs, bool fresh_log, struct err *err);
bool proc_is_alive(const struct proc *p);
void proc_signal(struct proc *p, int signo); /* nothing when none is running */
/* Kills and waits; on_exit is not called. Accepts a zeroed struct and one that has ended. */
void proc_done(struct proc *p);

/* "exited with code 3", "was killed by signal 9 (Killed)". */
void proc_status_text(int status, char *to, size_t cap);

/* Copies a log that passed PROC_LOG_MAX to NAME.log.1 and empties it. The writer keeps its
 * descriptor (opened for append); lines written in between may be lost. */
void proc_log_bound(const char *log_dir, const char *name);
/* The last bytes of a log after `from`, cut to cap - 1. */
size_t proc_log_tail(const char *log_dir, const char *name, int64_t from, char *to, size_t cap);

/* Ends what an earlier life left: a process named in run/NAME.pid whose program is `program`. Waits
 * for its end. The pid file goes. */
void proc_end_stale(const char *run_dir, const char *name, const char *program);
bool proc_runs_program(pid_t pid, const char *program); /* by the name of its file */
/* Writes RUN_DIR/NAME.pid, whole or not at all. */
enum rc proc_write_pid(const char *run_dir, const char *name, pid_t pid, struct err *err);

#endif
