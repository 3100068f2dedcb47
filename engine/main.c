/* main.c - sluice-engine: load, warm up, listen, serve, drain. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/units.h"
#include "engine/model/weights.h"
#include "engine/ops.h"
#include "engine/options.h"
#include "engine/server.h"
#include "engine/text/card.h"
#include "engine/text/tokenizer.h"

enum { CARD_MAX_BYTES = FRAME_BODY_MAX, CONTEXTS_WANTED = 4, FREE_SHARE = 4 };

struct program {
    struct options opt;
    struct model *model;
    struct tokenizer *tok;
    struct backend *backend;
    const struct backend_ops *ops;
    struct buf card;
    char path[64]; /* "cpu/avx2 x2" */
    int32_t n_ctx, n_pages;
    struct loop *loop;
    struct server *server;
    struct loop_io usr1;
};

static void progress(int pct, const char *what)
{
    log_info("engine.loading", "pct=%d what=%s", pct, what);
}

/* ---- how much memory ---- */

static int64_t available_bytes(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    int64_t kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %" SCNd64, &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * (int64_t)KIB;
}

/* Bytes of a page when each of its numbers takes `size` bytes. */
static int64_t page_bytes_of(const struct config *c, int64_t size)
{
    return (int64_t)c->n_layers * 2 * c->n_kv_heads * KV_PAGE_TOKENS * c->head_dim * size;
}

static int64_t kv_budget(const struct program *p, int64_t page_bytes)
{
    const int64_t context = ((int64_t)p->n_ctx + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS * page_bytes;
    if (p->opt.kv_mib > 0)
        return (int64_t)p->opt.kv_mib * (int64_t)MIB;
    return MAX_OF(MIN_OF(CONTEXTS_WANTED * context, available_bytes() / FREE_SHARE), context);
}

static enum rc set_pages(struct program *p, int64_t n, struct err *err)
{
    if (n < 2 || n > KV_PAGES_MAX)
        return err_set(err, RC_BAD_INPUT,
                       "KV memory would be %" PRId64 " pages of 16 tokens, 2 to %d are allowed", n,
                       KV_PAGES_MAX);
    p->n_pages = (int32_t)n;
    return RC_OK;
}

/* Only the open backend knows how large its pages are. So it is opened with as many as there can
 * be, at half precision; the pool is memory that costs nothing until it is written, and the
 * scheduler is given no more than the budget pays for (trim_pages). */
static enum rc choose_pages(struct program *p, struct err *err)
{
    int64_t least = page_bytes_of(&p->model->config, 2);
    return set_pages(p, p->opt.pages ? p->opt.pages : kv_budget(p, 2 * least) / least, err);
}

static enum rc trim_pages(struct program *p, struct err *err)
{
    int64_t page = (int64_t)p->ops->page_bytes(p->backend);
    if (p->opt.pages)
        return RC_OK;
    return set_pages(p, MIN_OF((int64_t)p->n_pages, kv_budget(p, page) / page), err);
}

/* ---- loading ---- */

static enum rc load_model(struct program *p, struct err *err)
{
    progress(0, "model");
    enum rc rc = model_open(p->opt.model, &p->model, err);
    if (rc != RC_OK)
        return rc;
    const struct card *card = model_card(p->model);
    if (p->opt.ctx > card->n_ctx)
        return err_set(err, RC_BAD_INPUT, "--ctx is %d, the model was trained for %d", p->opt.ctx,
                       card->n_ctx);
    p->n_ctx = p->opt.ctx ? p->opt.ctx : card->n_ctx;
    progress(20, "tokenizer");
    buf_init(&p->card, CARD_MAX_BYTES);
    rc = card_pack(card, &p->card, err);
    if (rc == RC_OK)
        rc = tokenizer_open(card, &p->tok, err);
    return rc;
}

static enum rc load_backend(struct program *p, struct err *err)
{
    progress(30, "weights");
    const struct options *o = &p->opt;
    const struct backend_opts opts = {.n_threads = o->threads,
                                      .path = o->path,
                                      .n_pages = p->n_pages,
                                      .max_batch = o->max_batch,
                                      .max_out = o->max_seqs};
    p->ops = &backend_cpu;
    enum rc rc = p->ops->open(p->model, &opts, &p->backend, err);
    if (rc == RC_OK)
        snprintf(p->path, sizeof p->path, "%s/%s x%d", p->ops->name, p->ops->path(p->backend),
                 p->ops->n_threads(p->backend));
    return rc;
}

/* A step as large as any will be: what does not fit in memory shows now, not under load. */
static enum rc warm_up(struct program *p, struct err *err)
{
    progress(90, "warm_up");
    int32_t n = MIN_OF(MIN_OF(p->opt.max_batch, p->n_pages * KV_PAGE_TOKENS), p->n_ctx);
    size_t rows = (size_t)n;
    int32_t *table = calloc(rows * 4, sizeof *table);
    float *logits = calloc((size_t)model_card(p->model)->n_vocab, sizeof *logits);
    enum rc rc = RC_NO_MEMORY;
    if (table && logits) {
        int32_t *token = table, *pos = table + rows, *seq = table + 2 * rows,
                *page = table + 3 * rows;
        for (int32_t i = 0; i < n; i++)
            page[i] = pos[i] = i;
        const int32_t last = n - 1, *page_of = page;
        const struct batch batch = {.n_rows = n,
                                    .token = token,
                                    .pos = pos,
                                    .seq = seq,
                                    .n_seqs = 1,
                                    .page_of = &page_of,
                                    .n_out = 1,
                                    .out_row = &last,
                                    .logits = logits};
        int64_t start = clock_mono_ns(clock_system());
        rc = p->ops->forward(p->backend, &batch, err);
        int64_t us = (clock_mono_ns(clock_system()) - start) / 1000;
        log_info("engine.warm_up", "rows=%d us=%" PRId64, n, us);
    } else {
        err_set(err, rc, "no memory for the warm-up step");
    }
    free(table);
    free(logits);
    return rc;
}

static enum rc load(struct program *p, struct err *err)
{
    enum rc rc = load_model(p, err);
    if (rc == RC_OK)
        rc = choose_pages(p, err);
    if (rc == RC_OK)
        rc = load_backend(p, err);
    if (rc == RC_OK)
        rc = trim_pages(p, err);
    if (rc == RC_OK)
        rc = warm_up(p, err);
    return rc;
}

/* ---- serving ---- */

static void on_signal(int signo, void *user)
{
    log_info("engine.signal", "name=%s", strsignal(signo));
    server_stop(((struct program *)user)->server);
}

static void on_usr1(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo info;
    if (read(io->fd, &info, sizeof info) == sizeof info)
        server_report(((struct program *)io->user)->server);
}

static enum rc watch_usr1(struct program *p, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "signalfd");
    p->usr1 = (struct loop_io){.fd = fd, .on_ready = on_usr1, .user = p};
    return loop_io_add(p->loop, &p->usr1, EPOLLIN, err);
}

static enum rc write_pid_file(const char *path, struct err *err)
{
    FILE *f = path ? fopen(path, "we") : NULL;
    if (path && (!f || fprintf(f, "%d\n", (int)getpid()) < 0))
        return err_errno(err, errno, "cannot write %s", path);
    if (f && fclose(f) != 0)
        return err_errno(err, errno, "cannot write %s", path);
    return RC_OK;
}

static void announce(const struct program *p)
{
    const struct card *card = model_card(p->model);
    size_t page = p->ops->page_bytes(p->backend);
    printf("sluice-engine: " STR_FMT " on %s, context %d, %d KV pages of 16 tokens (%zu MiB), "
           "ready on %s\n",
           STR_ARG(card->name), p->path, p->n_ctx, p->n_pages, page * (size_t)p->n_pages / MIB,
           p->opt.listen);
    fflush(stdout);
    log_info("engine.ready",
             "model=%s path=%s ctx=%d pages=%d page_bytes=%zu max_batch=%d "
             "max_seqs=%d max_waiting=%d",
             LOG_STR(card->name), LOG_STR(str_of(p->path)), p->n_ctx, p->n_pages, page,
             p->opt.max_batch, p->opt.max_seqs, p->opt.max_waiting);
}

static enum rc serve(struct program *p, struct err *err)
{
    const struct options *o = &p->opt;
    const struct card *card = model_card(p->model);
    struct server_opts opts = {.listen = str_of(o->listen),
                               .drain_ms = o->drain_ms,
                               .runner = {.sched = {.n_ctx = p->n_ctx,
                                                    .n_vocab = card->n_vocab,
                                                    .n_pages = p->n_pages,
                                                    .max_batch = o->max_batch,
                                                    .max_seqs = o->max_seqs,
                                                    .max_waiting = o->max_waiting,
                                                    .max_chunk = o->max_chunk,
                                                    .no_prefix = o->no_prefix_cache},
                                          .ops = p->ops,
                                          .backend = p->backend,
                                          .tok = p->tok,
                                          .clock = clock_system(),
                                          .path = str_of(p->path),
                                          .card = buf_view(&p->card)}};
    memcpy(opts.runner.sched.fingerprint, card->fingerprint, sizeof card->fingerprint);
    enum rc rc = loop_open(clock_system(), &p->loop, err);
    if (rc == RC_OK)
        rc = loop_signals(p->loop, on_signal, p, err);
    if (rc == RC_OK)
        rc = watch_usr1(p, err);
    if (rc == RC_OK)
        rc = server_open(p->loop, &opts, &p->server, err);
    if (rc == RC_OK)
        rc = write_pid_file(o->pid_file, err);
    if (rc != RC_OK)
        return rc;
    announce(p);
    rc = loop_run(p->loop, err);
    if (o->pid_file)
        unlink(o->pid_file);
    return rc;
}

static void program_done(struct program *p)
{
    server_close(p->server);
    if (p->loop && p->usr1.added) {
        loop_io_del(p->loop, &p->usr1);
        close(p->usr1.fd);
    }
    loop_close(p->loop);
    if (p->backend)
        p->ops->close(p->backend);
    tokenizer_close(p->tok);
    buf_done(&p->card);
    model_close(p->model);
}

/* Before any thread exists, so that all inherit it; the loop reads them from descriptors. */
static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct program p = {0};
    struct err err = {0};
    pid_t parent = getppid();
    log_init("engine", LOG_INFO);
    enum rc rc = options_read(argc, argv, &p.opt, &err);
    if (rc != RC_OK) {
        fprintf(stderr, "sluice-engine: %s\nTry sluice-engine --help\n", err.msg);
        return 2;
    }
    if (p.opt.help) {
        options_help(stdout);
        return 0;
    }
    if (p.opt.version) {
        printf("sluice-engine %s\n", SLUICE_VERSION);
        return 0;
    }
    block_signals();
    /* The parent may be gone before the kernel was asked to watch it. */
    if (p.opt.die_with_parent && (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent))
        return 1;
    rc = hash_init(&err);
    if (rc == RC_OK)
        rc = load(&p, &err);
    if (rc == RC_OK)
        rc = serve(&p, &err);
    program_done(&p);
    if (rc == RC_OK)
        return 0;
    log_error("engine.failed", "rc=%s msg=%s", rc_name(rc), err.msg);
    fprintf(stderr, "sluice-engine: %s\n", err.msg);
    return 1;
}
