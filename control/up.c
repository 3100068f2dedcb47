/* up.c - set-up and shutdown of the one-machine system. Everything runs on one loop, but the demo,
 * which is a client of it and has a thread. */
#include "control/up.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/api_usage.h"
#include "control/cli_say.h"
#include "control/control.h"
#include "control/demo.h"
#include "control/proc.h"
#include "control/reconcile.h"
#include "control/up_gateway.h"

enum {
    PATH_BYTES = PROC_PATH_BYTES,
    GATEWAY_TERM_MS = 20000,
    ENGINES_TERM_MS = 10000,
    POLL_MS = 20,
    PORT_WAIT_MS = 3000, /* a killed gateway's port is free again when the kernel has closed it */
    LOGS_EVERY_MS = 30000,
};

struct up {
    const struct cli *cli;
    char data[PATH_BYTES], programs[PATH_BYTES];
    char api_url[128], gateway_url[128];
    struct proc_dirs dirs;
    int lock_fd;
    struct say say;

    struct loop *loop;
    struct api_table tables[1];
    struct control *control;
    struct reconcile *reconcile;
    struct up_gateway gateway;
    struct loop_timer logs_timer, stop_timer;

    struct demo demo;
    pthread_t demo_thread;
    struct loop_post demo_post;
    int stop_fd; /* readable: the demo's thread gives up */
    bool demo_running, demo_ok;
    enum rc demo_rc;
    struct err demo_err;

    bool stopping;
    int64_t engines_until_ms;
    int exit_code;
};

/* ---- before anything runs ---- */

static enum rc make_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_errno(err, errno, "cannot make %.200s", path);
    return RC_OK;
}

static enum rc make_dirs(struct up *u, struct err *err)
{
    char full[PATH_MAX];
    enum rc rc = make_dir(u->cli->data, err);
    if (rc == RC_OK && !realpath(u->cli->data, full))
        rc = err_errno(err, errno, "cannot find %.200s", u->cli->data);
    if (rc == RC_OK && strlen(full) > 400)
        rc = err_set(err, RC_BAD_INPUT, "the path of --data has %zu bytes; at most 400",
                     strlen(full));
    if (rc != RC_OK)
        return rc;
    snprintf(u->data, sizeof u->data, "%.400s", full);
    snprintf(u->dirs.run, sizeof u->dirs.run, "%.400s/run", u->data);
    snprintf(u->dirs.log, sizeof u->dirs.log, "%.400s/log", u->data);
    rc = make_dir(u->dirs.run, err);
    return rc == RC_OK ? make_dir(u->dirs.log, err) : rc;
}

/* The lock dies with the process, whatever happens to it; the pid file is for people. */
static enum rc lock_dir(struct up *u, struct err *err)
{
    char path[PATH_BYTES + 32], pid[16] = "?";
    snprintf(path, sizeof path, "%s/sluice.lock", u->dirs.run);
    u->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (u->lock_fd < 0)
        return err_errno(err, errno, "cannot open %.200s", path);
    if (flock(u->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return RC_OK;
    snprintf(path, sizeof path, "%s/sluice.pid", u->dirs.run);
    SCOPED_FILE f = fopen(path, "re");
    if (f && fgets(pid, sizeof pid, f))
        pid[strcspn(pid, "\n")] = '\0';
    return err_set(err, RC_CONFLICT,
                   "another `sluice up` (process %s) runs on %.150s; stop it, or choose another "
                   "--data",
                   pid, u->data);
}

static bool port_is_free(const char *bind_to, int64_t port, int *ret_errno)
{
    char service[16];
    snprintf(service, sizeof service, "%d", (int)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
    struct addrinfo *list = NULL;
    *ret_errno = EINVAL;
    if (getaddrinfo(bind_to, service, &hints, &list) != 0)
        return false;
    SCOPED_FD fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    bool is_free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                   bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, 1) == 0;
    *ret_errno = errno;
    freeaddrinfo(list);
    return is_free;
}

static enum rc check_port(const struct up *u, int64_t port, const char *option, struct err *err)
{
    int why = 0;
    for (int waited = 0; !port_is_free(u->cli->bind, port, &why); waited += POLL_MS) {
        if (why == EINVAL)
            return err_set(err, RC_BAD_INPUT, "--bind wants an IP address, not \"%.60s\"",
                           u->cli->bind);
        if (why != EADDRINUSE)
            return err_errno(err, why, "cannot listen on %.60s port %d (%s)", u->cli->bind,
                             (int)port, option);
        if (waited >= PORT_WAIT_MS)
            return err_set(err, RC_CONFLICT,
                           "port %d on %.60s is in use by another program; choose one with %s",
                           (int)port, u->cli->bind, option);
        poll(NULL, 0, POLL_MS);
    }
    return RC_OK;
}

static enum rc check_ports(const struct up *u, struct err *err)
{
    if (u->cli->api_port == u->cli->gateway_port)
        return err_set(err, RC_BAD_INPUT, "--api-port and --gateway-port are both %d",
                       (int)u->cli->api_port);
    enum rc rc = check_port(u, u->cli->api_port, "--api-port", err);
    return rc == RC_OK ? check_port(u, u->cli->gateway_port, "--gateway-port", err) : rc;
}

static enum rc find_programs(struct up *u, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", u->programs, sizeof u->programs - 1);
    if (n <= 0)
        return err_errno(err, errno, "cannot find my own program");
    u->programs[n] = '\0';
    *strrchr(u->programs, '/') = '\0';
    return RC_OK;
}

/* What the URL of a listening address looks like from this machine. */
static void url_of(const char *bind_to, int64_t port, char *to, size_t cap)
{
    bool is_v6 = strchr(bind_to, ':') != NULL;
    const char *host = strcmp(bind_to, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(bind_to, "::") == 0    ? "::1"
                                                       : bind_to;
    snprintf(to, cap, is_v6 ? "http://[%.60s]:%d" : "http://%.60s:%d", host, (int)port);
}

static enum rc log_to_file(const struct up *u, struct err *err)
{
    char path[PATH_BYTES + 32], old[PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/sluice.log", u->dirs.log);
    snprintf(old, sizeof old, "%s/sluice.log.1", u->dirs.log);
    rename(path, old); /* not there at the first start */
    SCOPED_FD fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, 2) < 0)
        return err_errno(err, errno, "cannot open %.200s", path);
    return RC_OK;
}

static void many_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* ---- stopping ---- */

static void set_timer(struct up *u, struct loop_timer *t, int64_t in_ms)
{
    struct err err;
    if (loop_timer_set(u->loop, t, loop_now_ms(u->loop) + in_ms, &err) != RC_OK)
        log_error("up.timer", "why=%s", err.msg);
}

static void on_stop_time(struct loop_timer *t)
{
    struct up *u = t->user;
    if (reconcile_alive(u->reconcile) == 0 || loop_now_ms(u->loop) >= u->engines_until_ms)
        loop_stop(u->loop); /* closing the driver kills the rest */
    else
        set_timer(u, &u->stop_timer, POLL_MS);
}

static void on_gateway_stopped(void *user)
{
    struct up *u = user;
    reconcile_stop(u->reconcile);
    u->engines_until_ms = loop_now_ms(u->loop) + ENGINES_TERM_MS;
    set_timer(u, &u->stop_timer, 0);
}

static void stop(struct up *u)
{
    if (u->stopping)
        return;
    u->stopping = true;
    uint64_t one = 1;
    ssize_t n = write(u->stop_fd, &one, sizeof one);
    (void)n;
    if (!u->demo_running)
        up_gateway_stop(&u->gateway, GATEWAY_TERM_MS);
}

static void on_signal(int signo, void *user)
{
    struct up *u = user;
    if (u->stopping) { /* asked twice: no more waiting */
        loop_stop(u->loop);
        return;
    }
    log_info("up.signal", "signal=%d", signo);
    if (!u->demo_running) /* else its thread is telling things; on_demo_done says it */
        say_line(&u->say, "\nstopping …");
    u->exit_code = 0; /* stopped as asked; a demo that failed at the first start stops by itself */
    stop(u);
}

/* ---- the demo ---- */

static void *demo_main(void *p)
{
    struct up *u = p;
    struct demo_opts opts = {.data_dir = u->data,
                             .api_url = u->api_url,
                             .gateway_url = u->gateway_url,
                             .model = u->cli->model,
                             .replicas = u->cli->replicas,
                             .say = &u->say,
                             .stop_fd = u->stop_fd};
    u->demo_rc = demo_run(&opts, &u->demo, &u->demo_err);
    loop_post(u->loop, &u->demo_post);
    return NULL;
}

/* With --json: demo.json itself, and nothing else on stdout. */
static void print_demo_file(const struct up *u)
{
    char path[PATH_BYTES + 32], line[1024];
    snprintf(path, sizeof path, "%s/demo.json", u->data);
    SCOPED_FILE f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        fputs(line, stdout);
    putchar('\n');
    fflush(stdout);
}

static void tell_credentials(struct up *u)
{
    const struct demo *d = &u->demo;
    if (u->cli->json) {
        print_demo_file(u);
        return;
    }
    say_line(&u->say, "\nConsole and playground  %s", d->console);
    say_line(&u->say, "  operator              %s  %s", d->operator.email, d->operator.password);
    say_line(&u->say, "  demo tenant           %s  %s", d->user.email, d->user.password);
    say_line(&u->say, "OpenAI-compatible API   %s", d->openai_base_url);
    say_line(&u->say, "  model                 %s", d->model);
    say_line(&u->say, "  key                   %s", d->api_key);
    say_line(&u->say, "All of this is in       %s/demo.json", u->data);
    if (!u->cli->once)
        say_line(&u->say, "\nCtrl-C stops everything; logs are in %s", u->dirs.log);
}

static void on_demo_done(struct loop_post *p)
{
    struct up *u = p->user;
    pthread_join(u->demo_thread, NULL);
    u->demo_running = false;
    u->demo_ok = u->demo_rc == RC_OK;
    if (u->demo_ok) {
        tell_credentials(u);
        u->exit_code = 0;
    } else if (u->demo_rc != RC_CLIENT_GONE && !u->stopping) {
        say_fail(&u->say, "%s", u->demo_err.msg);
        say_line(&u->say, "logs are in %s", u->dirs.log);
        log_error("up.demo", "rc=%s why=%s", rc_name(u->demo_rc), u->demo_err.msg);
        u->exit_code = 1;
    }
    if (u->stopping) {
        say_line(&u->say, "\nstopping …");
        up_gateway_stop(&u->gateway, GATEWAY_TERM_MS);
        return;
    }
    if (u->cli->once)
        say_line(&u->say, "\nstopping (--once) …");
    /* Later starts serve on without a demo: whoever runs this may have taken it away. */
    if (u->cli->once || (!u->demo_ok && !u->demo.made))
        stop(u);
}

static enum rc start_demo(struct up *u, struct err *err)
{
    u->demo_post = (struct loop_post){.on_post = on_demo_done, .user = u};
    u->demo_running = true;
    int failed = pthread_create(&u->demo_thread, NULL, demo_main, u);
    if (failed) {
        u->demo_running = false;
        return err_errno(err, failed, "cannot start the demo's thread");
    }
    return RC_OK;
}

/* ---- starting ---- */

static void on_logs_time(struct loop_timer *t)
{
    struct up *u = t->user;
    proc_log_bound(u->dirs.log, "sluice");
    proc_log_bound(u->dirs.log, "gateway");
    set_timer(u, t, LOGS_EVERY_MS);
}

static enum rc prepare(struct up *u, struct err *err)
{
    enum rc rc = find_programs(u, err);
    if (rc == RC_OK)
        rc = make_dirs(u, err);
    if (rc == RC_OK)
        rc = lock_dir(u, err);
    if (rc != RC_OK)
        return rc;
    demo_hide(u->data);
    proc_end_stale(u->dirs.run, "gateway", "sluice-gateway");
    url_of(u->cli->bind, u->cli->api_port, u->api_url, sizeof u->api_url);
    url_of(u->cli->bind, u->cli->gateway_port, u->gateway_url, sizeof u->gateway_url);
    rc = check_ports(u, err);
    if (rc == RC_OK)
        rc = log_to_file(u, err);
    if (rc == RC_OK)
        rc = proc_write_pid(u->dirs.run, "sluice", getpid(), err);
    return rc;
}

static enum rc read_demo(struct up *u, struct err *err)
{
    enum rc rc = demo_read(u->data, &u->demo, err);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    snprintf(u->demo.console, sizeof u->demo.console, "%s", u->api_url);
    snprintf(u->demo.openai_base_url, sizeof u->demo.openai_base_url, "%.100s/v1", u->gateway_url);
    return demo_operator(u->control, &u->demo, err);
}

static enum rc start_control(struct up *u, struct err *err)
{
    u->tables[0] = usage_table;
    struct control_opts opts = {.loop = u->loop,
                                .data_dir = u->data,
                                .bind = u->cli->bind,
                                .port = (uint16_t)u->cli->api_port,
                                .gateway_url = u->gateway_url,
                                .console_dir = u->cli->web ? u->cli->web : "web/dist",
                                .tables = u->tables,
                                .n_tables = ARRAY_LEN(u->tables)};
    enum rc rc = control_open(&opts, &u->control, err);
    return rc == RC_OK ? read_demo(u, err) : rc;
}

static enum rc start_children(struct up *u, struct err *err)
{
    char engine[PATH_BYTES + 32];
    snprintf(engine, sizeof engine, "%s/sluice-engine", u->programs);
    struct reconcile_opts opts = {
        .loop = u->loop, .control = u->control, .dirs = u->dirs, .engine_path = engine};
    enum rc rc = reconcile_open(&opts, &u->reconcile, err);
    if (rc != RC_OK)
        return rc;
    struct up_gateway *g = &u->gateway;
    g->loop = u->loop;
    g->dirs = u->dirs;
    g->port = (uint16_t)u->cli->gateway_port;
    g->on_stopped = on_gateway_stopped;
    g->user = u;
    snprintf(g->program, sizeof g->program, "%.480s/sluice-gateway", u->programs);
    snprintf(g->data_dir, sizeof g->data_dir, "%s", u->data);
    snprintf(g->token_file, sizeof g->token_file, "%s/internal.token", u->dirs.run);
    snprintf(g->control_url, sizeof g->control_url, "%s", u->api_url);
    snprintf(g->bind, sizeof g->bind, "%s", u->cli->bind);
    return up_gateway_start(g, err);
}

static enum rc start_all(struct up *u, struct err *err)
{
    say_step(&u->say, "control plane");
    enum rc rc = prepare(u, err);
    if (rc == RC_OK)
        rc = loop_open(clock_system(), &u->loop, err);
    if (rc == RC_OK)
        rc = loop_signals(u->loop, on_signal, u, err);
    if (rc == RC_OK)
        rc = start_control(u, err);
    if (rc == RC_OK)
        rc = start_children(u, err);
    if (rc == RC_OK) {
        say_done(&u->say, "%s", u->api_url);
        u->logs_timer = (struct loop_timer){.on_time = on_logs_time, .user = u};
        u->stop_timer = (struct loop_timer){.on_time = on_stop_time, .user = u};
        set_timer(u, &u->logs_timer, LOGS_EVERY_MS);
        rc = start_demo(u, err);
    }
    return rc;
}

static void end_all(struct up *u)
{
    char path[PATH_BYTES + 32];
    if (u->demo_running) /* asked twice to stop: its calls fail now that nobody serves them */
        pthread_join(u->demo_thread, NULL);
    up_gateway_done(&u->gateway);
    control_close(u->control);
    reconcile_close(u->reconcile);
    loop_close(u->loop);
    if (u->lock_fd >= 0 && u->loop) {
        snprintf(path, sizeof path, "%s/sluice.pid", u->dirs.run);
        unlink(path);
    }
    if (u->lock_fd >= 0)
        close(u->lock_fd);
    close(u->stop_fd);
}

int up_run(const struct cli *cli)
{
    struct up *u = calloc(1, sizeof *u);
    if (!u)
        return 1;
    struct err err = {0};
    u->cli = cli;
    u->lock_fd = -1;
    u->exit_code = 1;
    u->stop_fd = eventfd(0, EFD_CLOEXEC);
    /* stderr becomes the log; steps of --json go to where it was. */
    FILE *steps = cli->json ? fdopen(fcntl(2, F_DUPFD_CLOEXEC, 3), "w") : stdout;
    say_init(&u->say, steps ? steps : stdout);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    many_files();

    enum rc rc = start_all(u, &err);
    if (rc == RC_OK)
        rc = loop_run(u->loop, &err);
    if (rc != RC_OK) {
        say_fail(&u->say, "%s", err.msg);
        u->exit_code = 1;
    }
    end_all(u);
    int exit_code = u->exit_code;
    if (rc == RC_OK)
        say_line(&u->say, "stopped");
    free(u);
    return exit_code;
}
