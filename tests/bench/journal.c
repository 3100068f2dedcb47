/* journal.c - the usage journal against a bare write + fdatasync on the same disk in the same run.
 * Usage: bench_journal [FOLDER [SECONDS]]
 *
 * One event loop keeps N requests going: OPEN, one count, CLOSE, and the next one begins when the
 * row is durable. `of probe` compares commits with the probe's syncs, `x` says how many requests
 * one commit carried. */
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/loop.h"
#include "base/units.h"
#include "gateway/journal.h"

enum { PROBE_RECORD = 160, PROBE_FILE = 64 << 20, SAMPLES_MAX = 1 << 21, REQUESTS_MAX = 1000 };

static const struct rate rate = {100, 10, 1000};

static int64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

static int by_size(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

struct samples {
    int32_t *ns;
    size_t n;
};

static void samples_add(struct samples *s, int64_t ns)
{
    if (s->n < SAMPLES_MAX)
        s->ns[s->n++] = (int32_t)MIN_OF(ns, (int64_t)INT32_MAX);
}

static double samples_us(struct samples *s, double part)
{
    if (s->n == 0)
        return 0;
    qsort(s->ns, s->n, sizeof *s->ns, by_size);
    return (double)s->ns[(size_t)((double)(s->n - 1) * part)] / 1000;
}

/* Groups of records, pwrite of the group and fdatasync, on a file that is allocated and zeroed. */
static double probe(const char *dir, int group, double seconds, struct samples *s)
{
    char path[4096];
    static char zeros[1 << 20], record[PROBE_RECORD * 1000];
    snprintf(path, sizeof path, "%s/probe.tmp", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int at = 0; fd >= 0 && at < PROBE_FILE; at += (int)sizeof zeros)
        if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros)
            fd = -1;
    if (fd < 0 || fdatasync(fd) < 0) {
        fprintf(stderr, "bench_journal: cannot write in %s\n", dir);
        exit(EXIT_FAILURE);
    }
    memset(record, 7, sizeof record);
    size_t bytes = (size_t)group * PROBE_RECORD;
    int64_t begin = now_ns(), end = begin + (int64_t)(seconds * 1e9), commits = 0, t = begin;
    off_t at = 0;
    s->n = 0;
    while (t < end) {
        if (at + (off_t)bytes > PROBE_FILE)
            at = 0;
        if (pwrite(fd, record, bytes, at) != (ssize_t)bytes || fdatasync(fd) < 0)
            exit(EXIT_FAILURE);
        at += (off_t)bytes;
        int64_t done = now_ns();
        samples_add(s, done - t);
        t = done;
        commits++;
    }
    close(fd);
    unlink(path);
    return (double)commits * 1e9 / (double)(t - begin);
}

struct bench;
struct request {
    struct bench *b;
    struct journal_wait wait;
    char id[40];
    int64_t closed_ns;
};

struct bench {
    struct journal *j;
    struct loop *loop;
    struct request requests[REQUESTS_MAX];
    struct samples *samples;
    int64_t done, refused, end_ns;
    int running;
};

static void begin(struct request *r);

static void on_durable(struct journal_wait *w, enum rc rc)
{
    struct request *r = w->user;
    struct bench *b = r->b;
    if (rc != RC_OK)
        exit(EXIT_FAILURE);
    samples_add(b->samples, now_ns() - r->closed_ns);
    b->done++;
    b->running--;
    if (now_ns() < b->end_ns)
        begin(r);
    else if (b->running == 0)
        loop_stop(b->loop);
}

static void begin(struct request *r)
{
    struct bench *b = r->b;
    struct journal_entry e;
    snprintf(r->id, sizeof r->id, "req_%026" PRId64, b->done);
    struct usage row = {.id = str_of(r->id),
                        .time = 1790000000000,
                        .org_id = STR("org_01hzzzzzzzzzzzzzzzzzzzzzzz"),
                        .user_id = STR("usr_01hzzzzzzzzzzzzzzzzzzzzzzz"),
                        .key_id = STR("key_01hzzzzzzzzzzzzzzzzzzzzzzz"),
                        .deployment_id = STR("dep_01hzzzzzzzzzzzzzzzzzzzzzzz"),
                        .model = STR("smollm2-135m-instruct"),
                        .route = STR("chat.completions"),
                        .outcome = OUTCOME_RECOVERED,
                        .currency = STR("USD"),
                        .gateway = journal_gateway(b->j)};
    /* The keeper makes 64 MiB at a time; a bench may outrun it, a gateway sheds then. */
    while (journal_open(b->j, &row, &rate, &e, NULL) != RC_OK) {
        b->refused++;
        usleep(1000);
    }
    journal_count(b->j, &e, &(struct token_count){200, 0, 50});
    row.outcome = OUTCOME_STOP;
    row.input_tokens = 200;
    row.output_tokens = 50;
    row.cost = 200 * 100 + 50 * 1000;
    r->wait = (struct journal_wait){.loop = b->loop, .on_durable = on_durable, .user = r};
    r->closed_ns = now_ns();
    b->running++;
    if (journal_close(b->j, &e, &row, &r->wait, NULL) != RC_OK)
        exit(EXIT_FAILURE);
}

static void run(struct bench *b, int n, double seconds, double probe_commits, double probe_p50)
{
    struct journal_stats before, after;
    struct err err;
    journal_stat(b->j, &before);
    b->samples->n = 0;
    b->done = b->refused = 0;
    int64_t start = now_ns();
    b->end_ns = start + (int64_t)(seconds * 1e9);
    for (int i = 0; i < n; i++) {
        b->requests[i].b = b;
        begin(&b->requests[i]);
    }
    if (loop_run(b->loop, &err) != RC_OK)
        exit(EXIT_FAILURE);
    double s = (double)(now_ns() - start) / 1e9;
    journal_stat(b->j, &after);
    double commits = (double)(after.commits - before.commits) / s;
    double p50 = samples_us(b->samples, 0.5), p99 = samples_us(b->samples, 0.99);
    printf("%5d requests: %8.0f commits/s (%.2f of probe) %9.0f records/s, x%.1f, close to durable "
           "p50 %.0f p99 %.0f us (%.1f of one sync), waited for a segment %" PRId64 " ms\n",
           n, commits, commits / probe_commits, (double)(after.records - before.records) / s,
           (double)b->done / s / commits, p50, p99, p99 / probe_p50, b->refused);
    journal_applied(b->j, after.durable);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : ".";
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    struct samples samples = {.ns = malloc(sizeof(int32_t) * SAMPLES_MAX)};
    static struct bench b;
    struct err err = {0};
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/bench-journal-XXXXXX", dir);
    if (!samples.ns || hash_init(&err) != RC_OK || !mkdtemp(folder)) {
        fprintf(stderr, "bench_journal: cannot start in %s\n", dir);
        return EXIT_FAILURE;
    }
    double commits = probe(folder, 1, seconds, &samples);
    double p50 = samples_us(&samples, 0.5), p99 = samples_us(&samples, 0.99);
    printf("probe, 1 record:    %8.0f commits/s, p50 %.0f p99 %.0f us\n", commits, p50, p99);
    double grouped = probe(folder, 100, seconds, &samples);
    printf("probe, 100 records: %8.0f commits/s, %9.0f records/s\n", grouped, grouped * 100);

    struct journal_opts opts = {.dir = folder, .clock = clock_system()};
    b.samples = &samples;
    if (journal_new(&opts, &b.j, &err) != RC_OK ||
        loop_open(clock_system(), &b.loop, &err) != RC_OK) {
        fprintf(stderr, "bench_journal: %s\n", err.msg);
        return EXIT_FAILURE;
    }
    static const int counts[] = {1, 10, 100, 1000};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        run(&b, counts[i], seconds, commits, p50);
    journal_free(b.j);
    loop_close(b.loop);
    free(samples.ns);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return EXIT_SUCCESS;
}
