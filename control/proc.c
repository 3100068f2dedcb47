/* proc.c - fork, exec, pidfd. fork and not posix_spawn, because the death signal and the check for
 * a parent that died in between must happen in the child before the program starts; between the
 * two the child makes only async-signal-safe calls. */
#include "control/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"

enum { STALE_WAIT_MS = 5000, PATH_BYTES = PROC_PATH_BYTES + PROC_NAME_BYTES + 16 };

static void path_of(char *to, const char *dir, const char *name, const char *end)
{
    snprintf(to, PATH_BYTES, "%s/%s%s", dir, name, end);
}

/* Copy, not rename: the child holds the file open. */
static void keep_log(const char *log_dir, const char *name)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    path_of(from, log_dir, name, ".log");
    path_of(to, log_dir, name, ".log.1");
    SCOPED_FD in = open(from, O_RDWR | O_CLOEXEC);
    SCOPED_FD out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in < 0 || out < 0)
        return;
    char block[64 * 1024];
    for (;;) {
        ssize_t n = read(in, block, sizeof block);
        if (n <= 0 || write(out, block, (size_t)n) != n)
            break;
    }
    if (ftruncate(in, 0) != 0)
        log_warn("proc.log", "name=%s why=%s", name, strerror(errno));
}

static int64_t log_size(const char *log_dir, const char *name)
{
    char path[PATH_BYTES];
    path_of(path, log_dir, name, ".log");
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

void proc_log_bound(const char *log_dir, const char *name)
{
    if (log_size(log_dir, name) > PROC_LOG_MAX)
        keep_log(log_dir, name);
}

size_t proc_log_tail(const char *log_dir, const char *name, int64_t from, char *to, size_t cap)
{
    char path[PATH_BYTES];
    path_of(path, log_dir, name, ".log");
    SCOPED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t size = log_size(log_dir, name);
    int64_t most = (int64_t)cap - 1;
    if (size < from) /* emptied since */
        from = 0;
    if (size - from > most)
        from = size - most;
    ssize_t n = fd < 0 ? 0 : pread(fd, to, (size_t)most, from);
    to[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

enum rc proc_write_pid(const char *run_dir, const char *name, pid_t pid, struct err *err)
{
    char path[PATH_BYTES], fresh[PATH_BYTES + 8];
    path_of(path, run_dir, name, ".pid");
    snprintf(fresh, sizeof fresh, "%s.new", path);
    SCOPED_FILE f = fopen(fresh, "we");
    if (!f || fprintf(f, "%d\n", (int)pid) < 0 || fflush(f) != 0 || rename(fresh, path) != 0)
        return err_errno(err, errno, "cannot write %s", path);
    return RC_OK;
}

/* In the child, after fork: async-signal-safe calls only. */
static _Noreturn void become(const char *const *argv, int log_fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    int null_fd = open("/dev/null", O_RDWR);
    dup2(null_fd, 0);
    dup2(log_fd, 1);
    dup2(log_fd, 2);
    setpgid(0, 0); /* Ctrl-C in the terminal is for us; we stop the child in our own order */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    static const char why[] = "cannot start the program: execv failed\n";
    ssize_t n = write(2, why, sizeof why - 1);
    (void)n;
    _exit(126);
}

static void forget(struct proc *p)
{
    char path[PATH_BYTES];
    path_of(path, p->dirs.run, p->name, ".pid");
    unlink(path);
    if (p->io.added)
        loop_io_del(p->loop, &p->io);
    if (p->io.fd > 0)
        close(p->io.fd);
    p->io.fd = 0;
    p->pid = 0;
}

static void on_pidfd(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct proc *p = io->user;
    int status = 0;
    if (waitpid(p->pid, &status, WNOHANG) != p->pid)
        return;
    forget(p);
    if (p->on_exit)
        p->on_exit(p, status);
}

enum rc proc_start(struct proc *p, struct loop *l, const char *name, const char *const *argv,
                   const struct proc_dirs *dirs, bool fresh_log, struct err *err)
{
    ASSERT(p->pid == 0);
    if (access(argv[0], X_OK) != 0)
        return err_errno(err, errno, "cannot run %s", argv[0]);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->dirs = *dirs;
    p->loop = l;
    if (fresh_log && log_size(dirs->log, name) > 0)
        keep_log(dirs->log, name);
    char path[PATH_BYTES];
    path_of(path, dirs->log, name, ".log");
    SCOPED_FD log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    p->log_from = log_size(dirs->log, name);

    pid_t self = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, errno, "cannot start %s", name);
    if (pid == 0)
        become(argv, log_fd, self);
    p->pid = pid;
    p->io = (struct loop_io){.fd = pidfd_open(pid, 0), .on_ready = on_pidfd, .user = p};
    enum rc rc = p->io.fd < 0 ? err_errno(err, errno, "cannot watch %s", name)
                              : loop_io_add(l, &p->io, EPOLLIN, err);
    if (rc == RC_OK)
        rc = proc_write_pid(dirs->run, name, pid, err);
    if (rc != RC_OK)
        proc_done(p);
    return rc;
}

bool proc_is_alive(const struct proc *p)
{
    return p->pid > 0;
}

void proc_signal(struct proc *p, int signo)
{
    if (p->pid > 0 && pidfd_send_signal(p->io.fd, signo, NULL, 0) != 0)
        log_warn("proc.signal", "name=%s signal=%d why=%s", p->name, signo, strerror(errno));
}

void proc_done(struct proc *p)
{
    if (p->pid <= 0)
        return;
    kill(p->pid, SIGKILL); /* ours and not yet reaped: the id cannot be another's */
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    forget(p);
}

void proc_status_text(int status, char *to, size_t cap)
{
    if (WIFSIGNALED(status))
        snprintf(to, cap, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(to, cap, "exited with code %d", WEXITSTATUS(status));
}

bool proc_runs_program(pid_t pid, const char *program)
{
    char link[64], exe[PATH_BYTES];
    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t n = readlink(link, exe, sizeof exe - 1);
    if (n <= 0)
        return false;
    struct str path = {exe, (size_t)n};
    if (str_ends(path, STR(" (deleted)")))
        path.len -= strlen(" (deleted)");
    return str_ends(path, str_of(program)) && path.len > strlen(program) &&
           path.p[path.len - strlen(program) - 1] == '/';
}

void proc_end_stale(const char *run_dir, const char *name, const char *program)
{
    char path[PATH_BYTES], text[32] = "";
    path_of(path, run_dir, name, ".pid");
    SCOPED_FILE f = fopen(path, "re");
    int64_t pid = 0;
    if (f && fgets(text, sizeof text, f))
        str_to_i64(str_trim(str_of(text)), 2, INT32_MAX, &pid);
    SCOPED_FD fd = pid > 0 ? pidfd_open((pid_t)pid, 0) : -1;
    /* The handle first, the check after: from here on it cannot become somebody else. */
    if (fd >= 0 && pid != getpid() && proc_runs_program((pid_t)pid, program)) {
        log_warn("proc.stale", "name=%s pid=%d", name, (int)pid);
        pidfd_send_signal(fd, SIGKILL, NULL, 0);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        poll(&wait, 1, STALE_WAIT_MS);
    }
    unlink(path);
}
