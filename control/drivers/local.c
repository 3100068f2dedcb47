/* local.c - replicas as child processes of this host: the integrated engine on a unix socket.
 *
 * A replica is ready when its socket takes a connection: the engine listens only when the weights
 * are in memory. Before that its log says "engine.loading pct=…". Slots are numbered over all
 * deployments, because pid files and logs are (run/engine-N.pid). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/drivers/driver.h"

struct slot {
    bool used, ready, ended;
    char deployment_id[40];
    int32_t index; /* of the replica in its deployment */
    int status;
    struct proc proc;
    char socket[DRIVER_ADDRESS_BYTES];
    struct local *owner; /* view */
};

struct local {
    struct driver base;
    struct driver_local_opts opts;
    char engine_path[PROC_PATH_BYTES];
    char socket_dir[PROC_PATH_BYTES];
    struct slot slots[DRIVER_REPLICAS_MAX];
};

static struct slot *slot_find(struct local *l, const char *deployment_id, int32_t index)
{
    for (size_t i = 0; i < DRIVER_REPLICAS_MAX; i++) {
        struct slot *s = &l->slots[i];
        if (s->used && s->index == index && strcmp(s->deployment_id, deployment_id) == 0)
            return s;
    }
    return NULL;
}

static struct slot *slot_take(struct local *l, const char *deployment_id, int32_t index)
{
    for (size_t i = 0; i < DRIVER_REPLICAS_MAX; i++) {
        struct slot *s = &l->slots[i];
        if (s->used)
            continue;
        memset(s, 0, sizeof *s);
        s->used = true;
        s->owner = l;
        s->index = index;
        snprintf(s->deployment_id, sizeof s->deployment_id, "%s", deployment_id);
        snprintf(s->proc.name, sizeof s->proc.name, "engine-%zu", i);
        return s;
    }
    return NULL;
}

static void on_exit_of(struct proc *p, int status)
{
    struct slot *s = p->user;
    s->ended = true;
    s->ready = false;
    s->status = status;
    unlink(s->socket);
    struct local *l = s->owner;
    if (l->opts.on_change)
        l->opts.on_change(l->opts.user);
}

static enum rc check_spec(const struct replica_spec *spec, struct err *err)
{
    if (spec->engine != ENGINE_INTEGRATED)
        return err_set(err, RC_INVALID,
                       "the local driver runs the integrated engine only; give the deployment an "
                       "endpoint on a cluster of another kind");
    struct stat st;
    if (stat(spec->source, &st) != 0)
        return err_errno(err, errno, "model file %.150s", spec->source);
    return RC_OK;
}

static enum rc local_start(struct driver *d, const struct replica_spec *spec, int32_t index,
                           struct err *err)
{
    struct local *l = (struct local *)d;
    enum rc rc = check_spec(spec, err);
    if (rc != RC_OK)
        return rc;
    struct slot *s = slot_find(l, spec->deployment_id, index);
    bool first = s == NULL;
    if (!s)
        s = slot_take(l, spec->deployment_id, index);
    if (!s)
        return err_set(err, RC_LIMIT, "this host runs %d replicas already, its maximum",
                       DRIVER_REPLICAS_MAX);
    if (proc_is_alive(&s->proc))
        return RC_OK;
    snprintf(s->socket, sizeof s->socket, "%.120s/%s.sock", l->socket_dir, s->proc.name);
    unlink(s->socket);

    char name[PROC_NAME_BYTES], listen[DRIVER_ADDRESS_BYTES + 8], pid_file[PROC_PATH_BYTES + 64];
    char threads[24], ctx[24], kv[24], seqs[24];
    snprintf(name, sizeof name, "%s", s->proc.name);
    snprintf(listen, sizeof listen, "unix:%s", s->socket);
    snprintf(pid_file, sizeof pid_file, "%s/%s.pid", l->opts.dirs.run, name);
    snprintf(threads, sizeof threads, "%lld", (long long)spec->threads);
    snprintf(ctx, sizeof ctx, "%lld", (long long)spec->context_length);
    snprintf(kv, sizeof kv, "%lld", (long long)spec->kv_mib);
    snprintf(seqs, sizeof seqs, "%lld", (long long)spec->max_seqs);
    const char *argv[24];
    size_t n = 0;
    argv[n++] = l->engine_path;
    argv[n++] = "--model", argv[n++] = spec->source;
    argv[n++] = "--listen", argv[n++] = listen;
    if (spec->threads > 0)
        argv[n++] = "--threads", argv[n++] = threads;
    if (spec->context_length > 0)
        argv[n++] = "--ctx", argv[n++] = ctx;
    if (spec->kv_mib > 0)
        argv[n++] = "--kv-mib", argv[n++] = kv;
    if (spec->max_seqs > 0)
        argv[n++] = "--max-seqs", argv[n++] = seqs;
    argv[n++] = "--pid-file", argv[n++] = pid_file;
    argv[n++] = "--die-with-parent";
    argv[n] = NULL;

    s->ready = s->ended = false;
    s->proc.on_exit = on_exit_of;
    s->proc.user = s;
    rc = proc_start(&s->proc, l->opts.loop, name, argv, &l->opts.dirs, first, err);
    if (rc == RC_OK)
        log_info("engine.start", "name=%s deployment=%s replica=%d pid=%d", name, s->deployment_id,
                 index, (int)s->proc.pid);
    else if (first)
        s->used = false;
    return rc;
}

/* A unix socket's connect is answered by the kernel at once: no wait on the loop. */
static bool takes_connections(const char *path)
{
    SCOPED_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (fd < 0 || strlen(path) >= sizeof to.sun_path)
        return false;
    memcpy(to.sun_path, path, strlen(path) + 1);
    return connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

/* The newest "engine.loading … pct=N" of this run's log. */
static int32_t loading_percent(struct slot *s)
{
    char tail[4096];
    size_t len =
        proc_log_tail(s->owner->opts.dirs.log, s->proc.name, s->proc.log_from, tail, sizeof tail);
    int64_t pct = 0;
    struct str rest = {tail, len};
    while (rest.p) {
        struct str line = str_cut(&rest, '\n');
        ptrdiff_t at = str_find(line, STR(" pct="));
        if (at < 0 || str_find(line, STR("engine.loading")) < 0)
            continue;
        struct str value = str_sub(line, (size_t)at + 5, line.len);
        str_to_i64(str_cut(&value, ' '), 0, 100, &pct);
    }
    return (int32_t)pct;
}

static void last_line(struct slot *s, char *to, size_t cap)
{
    char tail[2048];
    size_t len =
        proc_log_tail(s->owner->opts.dirs.log, s->proc.name, s->proc.log_from, tail, sizeof tail);
    struct str rest = str_trim((struct str){tail, len}), line = STR_NONE;
    while (rest.p)
        line = str_cut(&rest, '\n');
    snprintf(to, cap, STR_FMT, STR_ARG(str_sub(line, 0, cap - 1)));
}

static void local_look(struct driver *d, const char *deployment_id, int32_t index,
                       struct replica_seen *ret)
{
    struct local *l = (struct local *)d;
    *ret = (struct replica_seen){0};
    struct slot *s = slot_find(l, deployment_id, index);
    if (!s)
        return;
    ret->exists = proc_is_alive(&s->proc);
    ret->ended = s->ended;
    ret->pid = s->proc.pid;
    snprintf(ret->address, sizeof ret->address, "unix:%.150s", s->socket);
    if (ret->exists) {
        if (!s->ready)
            s->ready = takes_connections(s->socket);
        ret->ready = s->ready;
        ret->progress = s->ready ? 100 : loading_percent(s);
        proc_log_bound(l->opts.dirs.log, s->proc.name);
    } else if (s->ended) {
        char how[80], line[100];
        proc_status_text(s->status, how, sizeof how);
        last_line(s, line, sizeof line);
        snprintf(ret->reason, sizeof ret->reason, "%s%s%s", how, line[0] ? ": " : "", line);
    }
}

static void local_stop(struct driver *d, const char *deployment_id, int32_t index, bool now)
{
    struct slot *s = slot_find((struct local *)d, deployment_id, index);
    if (s)
        proc_signal(&s->proc, now ? SIGKILL : SIGTERM);
}

static void local_forget(struct driver *d, const char *deployment_id, int32_t index)
{
    struct slot *s = slot_find((struct local *)d, deployment_id, index);
    if (!s)
        return;
    proc_done(&s->proc);
    unlink(s->socket);
    s->used = false;
}

static void local_close(struct driver *d)
{
    struct local *l = (struct local *)d;
    for (size_t i = 0; l && i < DRIVER_REPLICAS_MAX; i++) {
        if (!l->slots[i].used)
            continue;
        proc_done(&l->slots[i].proc);
        unlink(l->slots[i].socket);
    }
    free(l);
}

/* A socket's path has 107 bytes. When DIR is deeper than that, sockets live in a private folder
 * under /tmp named after DIR, so that a restart finds and cleans the same one. */
static enum rc choose_socket_dir(struct local *l, struct err *err)
{
    const char *run = l->opts.dirs.run;
    snprintf(l->socket_dir, sizeof l->socket_dir, "%s", run);
    if (strlen(run) + strlen("/engine-63.sock") < sizeof((struct sockaddr_un *)0)->sun_path)
        return RC_OK;
    uint8_t hash[16];
    char hex[2 * 8 + 1];
    hash_blake2b(hash, sizeof hash, run, strlen(run), NULL, 0);
    str_to_hex(hash, 8, hex);
    snprintf(l->socket_dir, sizeof l->socket_dir, "/tmp/sluice-%u-%s", (unsigned)getuid(), hex);
    struct stat st;
    if (mkdir(l->socket_dir, 0700) != 0 && errno != EEXIST)
        return err_errno(err, errno, "cannot make %s for sockets", l->socket_dir);
    if (lstat(l->socket_dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != getuid() ||
        (st.st_mode & 077) != 0)
        return err_set(err, RC_IO, "%s belongs to somebody else; choose a shorter --data",
                       l->socket_dir);
    return RC_OK;
}

static const struct driver_ops local_ops = {
    .name = "local",
    .start = local_start,
    .look = local_look,
    .stop = local_stop,
    .forget = local_forget,
    .close = local_close,
};

enum rc driver_local_open(const struct driver_local_opts *opts, struct driver **ret,
                          struct err *err)
{
    struct local *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, RC_NO_MEMORY, "no memory for the local driver");
    l->base.ops = &local_ops;
    l->opts = *opts;
    snprintf(l->engine_path, sizeof l->engine_path, "%s", opts->engine_path);
    enum rc rc = choose_socket_dir(l, err);
    if (rc != RC_OK) {
        free(l);
        return rc;
    }
    for (int i = 0; i < DRIVER_REPLICAS_MAX; i++) {
        char name[PROC_NAME_BYTES], path[PROC_PATH_BYTES + 64];
        snprintf(name, sizeof name, "engine-%d", i);
        snprintf(path, sizeof path, "%s/%s.sock", l->socket_dir, name);
        proc_end_stale(opts->dirs.run, name, "sluice-engine");
        unlink(path);
    }
    *ret = &l->base;
    return RC_OK;
}
