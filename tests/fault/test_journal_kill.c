/* T54: a process that opens, counts and closes requests in several threads is killed at 100 random
 * instants. What it told the world before (through a pipe: opened, counted, durable) must be found
 * in the journal again: one row for each request, the same row ever after. */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/units.h"
#include "gateway/journal.h"

enum { KILLS = 100, THREADS = 4, EACH = 500, COUNTS = 12, SMALL = 128 * 1024 };

/* What the world was told, and what the journal says. */
struct fate {
    int16_t counted, answered; /* output tokens; answered 0: was not */
    int16_t output;
    int8_t opened, outcome;
    int8_t known; /* a row was read after some kill */
    int8_t now;   /* rows read after this kill */
};
static struct fate fates[KILLS][THREADS][EACH];

struct told {
    int32_t kill, thread, number;
    int32_t what; /* 0: opened; 1..: counted; negative: durable with so many */
};

static const struct rate rate = {3, 1, 7};

static struct journal *journal_at(const char *dir)
{
    struct journal_opts opts = {
        .dir = dir, .clock = clock_system(), .segment_bytes = SMALL, .open_max = 32};
    struct journal *j = NULL;
    struct err err = {0};
    enum rc rc = journal_new(&opts, &j, &err);
    ck_assert_msg(rc == RC_OK, "%s", err.msg);
    return j;
}

/* ---- the one that is killed ---- */

struct worker {
    struct journal *j;
    int pipe_fd;
    int32_t kill, thread;
    pthread_mutex_t lock;
    pthread_cond_t durable_now;
    bool durable;
};

static void tell(const struct worker *w, int32_t number, int32_t what)
{
    struct told t = {w->kill, w->thread, number, what};
    if (write(w->pipe_fd, &t, sizeof t) != sizeof t) /* one message, never cut: < PIPE_BUF */
        _exit(3);
}

static void on_durable(struct journal_wait *wait, enum rc rc)
{
    struct worker *w = wait->user;
    pthread_mutex_lock(&w->lock);
    w->durable = rc == RC_OK;
    pthread_cond_signal(&w->durable_now);
    pthread_mutex_unlock(&w->lock);
}

static void one_request(struct worker *w, int32_t number)
{
    char id[40];
    snprintf(id, sizeof id, "req_%03d_%d_%05d", w->kill, w->thread, number);
    struct usage row = {.id = str_of(id),
                        .org_id = STR("org_a"),
                        .user_id = STR("usr_a"),
                        .deployment_id = STR("dep_a"),
                        .model = STR("m"),
                        .route = STR("completions"),
                        .outcome = OUTCOME_RECOVERED,
                        .currency = STR("USD")};
    struct journal_entry e;
    while (journal_open(w->j, &row, &rate, &e, NULL) != RC_OK)
        usleep(200);
    tell(w, number, 0);
    int32_t n = 1 + (number * 7 + w->kill) % COUNTS;
    for (int32_t i = 1; i <= n; i++) {
        journal_count(w->j, &e, &(struct token_count){10, 0, i});
        tell(w, number, i);
        if (w->thread % 2)
            usleep(200); /* as a token takes time: kills must meet open requests too */
    }
    row.outcome = OUTCOME_STOP;
    row.input_tokens = 10;
    row.output_tokens = n;
    struct journal_wait wait = {.on_durable = on_durable, .user = w};
    w->durable = false;
    if (journal_close(w->j, &e, &row, &wait, NULL) != RC_OK)
        _exit(4);
    pthread_mutex_lock(&w->lock);
    while (!w->durable)
        pthread_cond_wait(&w->durable_now, &w->lock);
    pthread_mutex_unlock(&w->lock);
    tell(w, number, -n);
}

static void *work(void *arg)
{
    for (int32_t i = 0; i < EACH; i++)
        one_request(arg, i);
    return NULL;
}

_Noreturn static void live_and_die(const char *dir, int pipe_fd, int32_t kill_number)
{
    struct journal *j = journal_at(dir);
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.j = j, .pipe_fd = pipe_fd, .kill = kill_number, .thread = i};
        pthread_mutex_init(&workers[i].lock, NULL);
        pthread_cond_init(&workers[i].durable_now, NULL);
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (;;)
        pause();
}

/* ---- the one that kills ---- */

static void take_told(int fd)
{
    struct told t;
    while (read(fd, &t, sizeof t) == sizeof t) {
        struct fate *f = &fates[t.kill][t.thread][t.number];
        if (t.what == 0)
            f->opened = 1;
        else if (t.what > 0)
            f->counted = (int16_t)t.what;
        else
            f->answered = (int16_t)-t.what;
    }
}

static void run_and_kill(const char *dir, int32_t kill_number, int64_t after_us)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(ends[0]);
        live_and_die(dir, ends[1], kill_number);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    /* Half of them die from their start on, while they read what the last one left; the others
     * when they are at work, however slow this machine and build are. */
    if (kill_number % 2) {
        struct pollfd p = {.fd = ends[0], .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 60000), 1);
    }
    int64_t end = clock_mono_ns(clock_system()) + after_us * 1000;
    for (int64_t now; (now = clock_mono_ns(clock_system())) < end;) {
        struct pollfd p = {.fd = ends[0], .events = POLLIN};
        poll(&p, 1, (int)((end - now) / NS_PER_MS));
        take_told(ends[0]);
    }
    kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    take_told(ends[0]);
    close(ends[0]);
}

static void on_row(void *user, const struct usage *u)
{
    int kill_number, thread, number;
    char id[40];
    snprintf(id, sizeof id, STR_FMT, STR_ARG(u->id));
    ck_assert_int_eq(sscanf(id, "req_%d_%d_%d", &kill_number, &thread, &number), 3);
    struct fate *f = &fates[kill_number][thread][number];
    if (f->known) { /* seen after an earlier kill: a row never changes */
        ck_assert_int_eq(f->output, u->output_tokens);
        ck_assert_int_eq(f->outcome, u->outcome);
    }
    f->output = (int16_t)u->output_tokens;
    f->outcome = (int8_t)u->outcome;
    ck_assert_int_eq(u->input_tokens, u->output_tokens ? 10 : 0);
    ck_assert(u->outcome == OUTCOME_STOP || u->outcome == OUTCOME_RECOVERED);
    if (u->outcome == OUTCOME_RECOVERED)
        ck_assert_int_eq(u->cost, u->input_tokens * 3 + u->output_tokens * 7);
    f->known = 1;
    ck_assert_int_eq(++f->now, 1);
    ++*(int *)user;
}

static int rows_check(struct journal *j)
{
    struct journal_pos at = {0}, next = {0};
    struct err err = {0};
    int rows = 0;
    for (int k = 0; k < KILLS; k++)
        for (int t = 0; t < THREADS; t++)
            for (int i = 0; i < EACH; i++)
                fates[k][t][i].now = 0;
    for (int before = -1; before != rows;) {
        before = rows;
        ck_assert_int_eq(journal_read(j, at, 1000, 1 << 20, on_row, &rows, &next, &err), RC_OK);
        at = next;
    }
    return rows;
}

static void fates_check(int32_t kill_number, int *answered, int *recovered)
{
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < EACH; i++) {
            const struct fate *f = &fates[kill_number][t][i];
            if (!f->opened)
                continue;
            ck_assert_msg(f->known, "kill %d: request %d.%d has no row", kill_number, t, i);
            ck_assert_int_ge(f->output, f->counted);
            ck_assert_int_le(f->output, f->counted + 1); /* counted, then killed before telling */
            if (f->answered) {
                ck_assert_int_eq(f->outcome, OUTCOME_STOP);
                ck_assert_int_eq(f->output, f->answered);
                ++*answered;
            } else if (f->outcome == OUTCOME_RECOVERED) {
                ++*recovered;
            }
        }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

START_TEST(after_a_hundred_kills_each_request_has_one_row)
{
    char dir[] = "/tmp/sluice-kill-XXXXXX";
    struct err err;
    ck_assert_int_eq(hash_init(&err), RC_OK);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    srand48(20261121);
    int answered = 0, recovered = 0, rows = 0;
    struct journal_stats s;
    for (int32_t k = 0; k < KILLS; k++) {
        run_and_kill(dir, k, 1000 + lrand48() % 40000);
        struct journal *j = journal_at(dir);
        rows += rows_check(j);
        fates_check(k, &answered, &recovered);
        journal_stat(j, &s);
        journal_applied(j, s.durable); /* the ledger has them all: old segments may go */
        journal_free(j);
    }
    printf("%d kills: %d answered, %d recovered, %d rows read, last segment %d\n", KILLS, answered,
           recovered, rows, (int)s.end.segment);
    ck_assert_int_gt(answered, 100);
    ck_assert_int_gt(recovered, 20);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

int main(void)
{
    log_init("test", LOG_ERROR + 1);
    Suite *suite = suite_create("journal_kill");
    TCase *tc = tcase_create("kill");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, after_a_hundred_kills_each_request_has_one_row);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
