#include "control/up_gateway.h"

#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "base/units.h"
#include "control/life.h"

/* Shorter than an engine's: while the only door is shut nobody is served, and a start is cheap. */
enum { BACKOFF_MAX_MS = 1000 };

static void timer_set(struct up_gateway *g, int64_t in_ms)
{
    struct err err;
    if (loop_timer_set(g->loop, &g->timer, loop_now_ms(g->loop) + in_ms, &err) != RC_OK)
        log_error("gateway.timer", "why=%s", err.msg);
}

static enum rc spawn(struct up_gateway *g, bool first, struct err *err)
{
    char port[16], pid_file[PROC_PATH_BYTES + 32];
    snprintf(port, sizeof port, "%u", g->port);
    snprintf(pid_file, sizeof pid_file, "%s/gateway.pid", g->dirs.run);
    const char *argv[] = {g->program,
                          "--data",
                          g->data_dir,
                          "--control",
                          g->control_url,
                          "--token-file",
                          g->token_file,
                          "--bind",
                          g->bind,
                          "--port",
                          port,
                          "--pid-file",
                          pid_file,
                          "--die-with-parent",
                          NULL};
    g->started_ms = loop_now_ms(g->loop);
    enum rc rc = proc_start(&g->proc, g->loop, "gateway", argv, &g->dirs, first, err);
    if (rc == RC_OK)
        log_info("gateway.start", "pid=%d restarts=%lld", (int)g->proc.pid, (long long)g->restarts);
    return rc;
}

static void start_later(struct up_gateway *g)
{
    if (loop_now_ms(g->loop) - g->started_ms >= LIFE_STABLE_MS)
        g->failures = 0;
    g->failures++;
    g->restarts++;
    timer_set(g, MIN_OF(life_backoff_ms(g->failures), BACKOFF_MAX_MS));
}

static void on_time(struct loop_timer *t)
{
    struct up_gateway *g = t->user;
    struct err err;
    if (g->stopping) {
        proc_signal(&g->proc, SIGKILL);
    } else if (spawn(g, false, &err) != RC_OK) {
        log_error("gateway.start", "why=%s", err.msg);
        start_later(g);
    }
}

static void on_exit_of(struct proc *p, int status)
{
    struct up_gateway *g = p->user;
    char how[100];
    proc_status_text(status, how, sizeof how);
    log_warn("gateway.end", "how=%s", LOG_STR(str_of(how)));
    if (!g->stopping) {
        start_later(g);
        return;
    }
    loop_timer_clear(g->loop, &g->timer);
    g->on_stopped(g->user);
}

enum rc up_gateway_start(struct up_gateway *g, struct err *err)
{
    g->timer = (struct loop_timer){.on_time = on_time, .user = g};
    g->proc.on_exit = on_exit_of;
    g->proc.user = g;
    return spawn(g, true, err);
}

void up_gateway_stop(struct up_gateway *g, int64_t term_ms)
{
    if (g->stopping)
        return;
    g->stopping = true;
    if (!proc_is_alive(&g->proc)) {
        loop_timer_clear(g->loop, &g->timer);
        g->on_stopped(g->user);
        return;
    }
    proc_signal(&g->proc, SIGTERM);
    timer_set(g, term_ms);
}

void up_gateway_done(struct up_gateway *g)
{
    if (g->loop)
        loop_timer_clear(g->loop, &g->timer);
    proc_done(&g->proc);
}
