/* main.c - sluice-gateway: settings, the parts all workers share, start and end.
 *
 * The main thread runs the feed's loop: change feed, shipping, signals. Requests live in the
 * workers. SIGTERM: workers stop accepting and finish what runs, rows are shipped, exit 0. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "gateway/conf.h"
#include "gateway/limit_local.h"
#include "gateway/req.h"
#include "gateway/worker.h"

enum { FEED_CALLS_MAX = 256, SHIP_LAST_MS = 5000, SHIP_LOOK_MS = 10 };

struct program {
    struct gateway gate;
    struct settings set;
    struct loop *loop;
    struct http_client *http;
    char token[256];
    char journal_dir[4096], replica_path[4096];
    struct loop_timer end_timer;
    int64_t end_by_ms;
    bool ending;
};

/* ---- the end ---- */

static bool workers_are_done(const struct program *p)
{
    for (int i = 0; i < p->gate.n_workers; i++)
        if (!atomic_load(&p->gate.worker[i]->ended))
            return false;
    return true;
}

/* Once the workers are done, the ledger gets a few seconds to take the last rows. */
static void on_end_time(struct loop_timer *t)
{
    struct program *p = t->user;
    int64_t now = loop_now_ms(p->loop);
    struct ship_stats ship = {.idle = true};
    if (workers_are_done(p)) {
        if (!p->end_by_ms)
            p->end_by_ms = now + SHIP_LAST_MS;
        if (p->gate.ship)
            ship_stat(p->gate.ship, &ship);
        if (ship.idle || now >= p->end_by_ms) {
            loop_stop(p->loop);
            return;
        }
    }
    loop_timer_set(p->loop, t, now + SHIP_LOOK_MS, NULL);
}

static void on_signal(int signo, void *user)
{
    struct program *p = user;
    if (p->ending)
        return;
    p->ending = true;
    log_info("gateway.stopping", "signal=%d", signo);
    atomic_store(&p->gate.draining, true);
    for (int i = 0; i < p->gate.n_workers; i++)
        worker_drain(p->gate.worker[i]);
    loop_timer_set(p->loop, &p->end_timer, loop_now_ms(p->loop), NULL);
}

/* ---- the beginning ---- */

static enum rc make_dirs(const struct program *p, struct err *err)
{
    char path[4096];
    const char *const parts[] = {"", "/run"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        snprintf(path, sizeof path, "%s%s", p->set.data, parts[i]);
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return err_errno(err, errno, "cannot make %s", path);
    }
    return RC_OK;
}

static enum rc read_token(struct program *p, struct err *err)
{
    if (!*p->set.token_file) {
        if (!*p->set.control)
            return RC_OK;
        return err_field(err, RC_BAD_INPUT, "token-file", "--control needs --token-file");
    }
    SCOPED_FD fd = open(p->set.token_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "cannot read %s", p->set.token_file);
    ssize_t n = read(fd, p->token, sizeof p->token - 1);
    struct str t = str_trim(str_make(p->token, n > 0 ? (size_t)n : 0));
    if (t.len == 0)
        return err_set(err, RC_BAD_INPUT, "%s has no token", p->set.token_file);
    memmove(p->token, t.p, t.len);
    p->token[t.len] = '\0';
    return RC_OK;
}

static enum rc open_meter(struct program *p, struct err *err)
{
    struct gateway *g = &p->gate;
    snprintf(p->journal_dir, sizeof p->journal_dir, "%s/journal", p->set.data);
    struct journal_opts journal = {.dir = p->journal_dir, .clock = g->clock};
    enum rc rc = journal_new(&journal, &g->journal, err);
    if (rc == RC_OK)
        rc = limit_local_new(g->clock, 0, &g->limits, err);
    struct meter_opts meter = {.journal = g->journal, .limits = g->limits, .clock = g->clock};
    if (rc == RC_OK)
        rc = meter_open(&meter, &g->meter, err);
    if (rc == RC_OK) {
        struct str id =
            *p->set.gateway_id ? str_of(p->set.gateway_id) : journal_gateway(g->journal);
        snprintf(g->id, sizeof g->id, STR_FMT, STR_ARG(id));
    }
    return rc;
}

static enum rc open_feed(struct program *p, struct err *err)
{
    struct gateway *g = &p->gate;
    snprintf(p->replica_path, sizeof p->replica_path, "%s/run/replica.json", p->set.data);
    enum rc rc = loop_open(g->clock, &p->loop, err);
    if (rc == RC_OK)
        rc = http_client_open(p->loop, FEED_CALLS_MAX, &p->http, err);
    struct replica_opts replica = {.loop = p->loop,
                                   .http = p->http,
                                   .url = p->set.control,
                                   .token = p->token,
                                   .path = p->replica_path};
    if (rc == RC_OK)
        rc = replica_open(&replica, &g->replica, err);
    struct ship_opts ship = {.loop = p->loop,
                             .http = p->http,
                             .journal = g->journal,
                             .url = p->set.control,
                             .token = p->token};
    if (rc == RC_OK && *p->set.control)
        rc = ship_open(&ship, &g->ship, err);
    if (rc == RC_OK)
        rc = loop_signals(p->loop, on_signal, p, err);
    p->end_timer = (struct loop_timer){.on_time = on_end_time, .user = p};
    return rc;
}

static enum rc open_workers(struct program *p, struct err *err)
{
    struct gateway *g = &p->gate;
    enum rc rc = text_cache_new(&g->texts, err);
    if (rc == RC_OK)
        rc = seats_new(&g->seats, err);
    for (int i = 0; rc == RC_OK && i < p->set.workers; i++) {
        rc = worker_open(g, i, &g->worker[i], err);
        g->n_workers += rc == RC_OK;
    }
    return rc;
}

static enum rc write_pid(const struct program *p, struct err *err)
{
    if (!*p->set.pid_file)
        return RC_OK;
    SCOPED_FILE f = fopen(p->set.pid_file, "w");
    if (!f || fprintf(f, "%d\n", (int)getpid()) < 0)
        return err_errno(err, errno, "cannot write %s", p->set.pid_file);
    return RC_OK;
}

static void die_with_parent(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        raise(SIGTERM); /* it died before we asked */
}

static enum rc open_all(struct program *p, struct err *err)
{
    p->gate.clock = clock_system();
    p->gate.conf = p->set.gate;
    p->gate.started_ms = clock_mono_ms(p->gate.clock);
    enum rc rc = hash_init(err);
    if (rc == RC_OK)
        rc = make_dirs(p, err);
    if (rc == RC_OK)
        rc = read_token(p, err);
    if (rc == RC_OK)
        rc = conf_check_port(&p->set, err);
    if (rc == RC_OK)
        rc = open_meter(p, err);
    if (rc == RC_OK)
        rc = open_feed(p, err);
    if (rc == RC_OK)
        rc = open_workers(p, err);
    if (rc == RC_OK)
        rc = write_pid(p, err);
    return rc;
}

static enum rc run_all(struct program *p, struct err *err)
{
    enum rc rc = RC_OK;
    int started = 0;
    while (rc == RC_OK && started < p->gate.n_workers) {
        rc = worker_start(p->gate.worker[started], err);
        started += rc == RC_OK;
    }
    if (rc == RC_OK) {
        log_info("gateway.listening", "bind=%s port=%u workers=%d gateway=%s version=%s",
                 p->gate.conf.bind, p->gate.conf.port, started, p->gate.id, SLUICE_VERSION);
        rc = loop_run(p->loop, err);
    }
    for (int i = 0; i < started; i++) {
        if (!p->ending)
            worker_drain(p->gate.worker[i]);
        worker_join(p->gate.worker[i]);
    }
    return rc;
}

/* A worker that could not end its last request still has it in its memory: nothing below it may be
 * taken down then, and the journal's recovery does the rest at the next start. */
static void close_all(struct program *p)
{
    struct gateway *g = &p->gate;
    for (int i = 0; i < g->n_workers; i++)
        if (g->worker[i]->reqs) {
            log_error("gateway.unfinished", "worker=%d", i);
            _exit(1);
        }
    for (int i = 0; i < g->n_workers; i++)
        worker_close(g->worker[i]);
    ship_close(g->ship);
    replica_close(g->replica);
    http_client_close(p->http);
    loop_close(p->loop);
    meter_close(g->meter);
    limit_free(g->limits);
    journal_free(g->journal);
    seats_free(g->seats);
    text_cache_free(g->texts);
    hash_wipe(p->token, sizeof p->token);
    if (*p->set.pid_file)
        unlink(p->set.pid_file);
}

static void limit_process(void)
{
    struct rlimit none = {0, 0}, files;
    setrlimit(RLIMIT_CORE, &none); /* keys and prompts are in memory */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* before threads start; the feed's loop reads them */
}

int main(int argc, char **argv)
{
    static struct program program; /* the program's own lifetime */
    struct program *p = &program;
    struct err err = {0};
    pid_t parent = getppid();
    log_init("sluice-gateway", getenv("SLUICE_DEBUG") ? LOG_DEBUG : LOG_INFO);
    switch (conf_read(argc, argv, &p->set, &err)) {
    case RC_OK:
        break;
    case RC_AGAIN: /* --help, --version: said */
        return 0;
    default:
        fprintf(stderr, "sluice-gateway: %s\n", err.msg);
        return 2;
    }
    limit_process();
    if (p->set.die_with_parent)
        die_with_parent(parent);
    enum rc rc = open_all(p, &err);
    if (rc == RC_OK)
        rc = run_all(p, &err);
    if (rc != RC_OK)
        log_error("gateway.failed", "error=%s", LOG_STR(str_of(err.msg)));
    close_all(p);
    log_info("gateway.stopped", "rc=%s", rc_name(rc));
    return rc == RC_OK ? 0 : 1;
}
