/* The engine as a program, with the real model, through its socket. Needs SLUICE_TEST_MODEL. */
#include "tests/fake/frame_client.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/hash.h"
#include "base/units.h"
#include "engine/text/card.h"
#include "engine/text/tokenizer.h"

enum { START_MS = 120000, ARGS_MAX = 32, PROMPT_MAX = 1024 };

struct engine {
    pid_t pid;
    char dir[64], sock[80], pid_file[80], log[80];
    struct client *client;
    struct tokenizer *tok;
};

static const char *model_path(void)
{
    const char *path = getenv("SLUICE_TEST_MODEL");
    if (path && access(path, R_OK) == 0)
        return path;
    printf("skipped: SLUICE_TEST_MODEL %s\n", path ? "names no file" : "is not set");
    return NULL;
}

/* The programs under test: those of SLUICE_TEST_BIN (ops/test names the release build: sanitized
 * kernels take 100 times as long), else of this build. */
static const char *program(void)
{
    static char path[4096];
    const char *bin = getenv("SLUICE_TEST_BIN");
    snprintf(path, sizeof path, "%s/sluice-engine", bin ? bin : BINARY_DIR "/bin");
    return path;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* One compute thread unless `more` says otherwise: tests share the machine, and two threads that
 * wait for each other at barriers crawl when they do not both have a core. */
static void exec_engine(struct engine *e, const char *model, const char *const *more)
{
    char listen[100];
    snprintf(listen, sizeof listen, "unix:%s", e->sock);
    const char *argv[ARGS_MAX] = {"sluice-engine", "--model",    model,       "--listen",
                                  listen,          "--pid-file", e->pid_file, "--die-with-parent",
                                  "--threads",     "1"};
    size_t n = 10;
    while (*more && n < ARGS_MAX - 1)
        argv[n++] = *more++;
    int fd = open(e->log, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    dup2(fd, STDOUT_FILENO);
    execv(program(), (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void open_tokenizer(struct engine *e)
{
    struct card card;
    struct err err = {0};
    ck_assert_msg(card_unpack(buf_view(&e->client->card), &card, &err) == RC_OK, "%s", err.msg);
    ck_assert_msg(tokenizer_open(&card, &e->tok, &err) == RC_OK, "%s", err.msg);
    card_done(&card);
}

/* The pid file is written after listen(): when it is there, connect() works. */
static struct engine *start(const char *const *more)
{
    const char *model = model_path();
    if (!model)
        return NULL;
    struct err err;
    ck_assert_int_eq(hash_init(&err), RC_OK);
    struct engine *e = calloc(1, sizeof *e);
    ck_assert_ptr_nonnull(e);
    snprintf(e->dir, sizeof e->dir, "/tmp/sluice-engine-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(e->dir));
    snprintf(e->sock, sizeof e->sock, "%s/e.sock", e->dir);
    snprintf(e->pid_file, sizeof e->pid_file, "%s/e.pid", e->dir);
    snprintf(e->log, sizeof e->log, "%s/e.log", e->dir);
    e->pid = fork();
    ck_assert_int_ge(e->pid, 0);
    if (e->pid == 0)
        exec_engine(e, model, more);
    for (int waited = 0; access(e->pid_file, F_OK) != 0; waited += 20) {
        ck_assert_msg(waited < START_MS && waitpid(e->pid, NULL, WNOHANG) == 0,
                      "the engine did not start, see %s", e->log);
        pause_ms(20);
    }
    e->client = client_open(e->sock);
    client_hello(e->client);
    open_tokenizer(e);
    return e;
}

static void stop(struct engine *e)
{
    int status;
    ck_assert_int_eq(kill(e->pid, SIGTERM), 0);
    ck_assert_int_eq(waitpid(e->pid, &status, 0), e->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x, see %s", status,
                  e->log);
    ck_assert(access(e->pid_file, F_OK) != 0 && access(e->sock, F_OK) != 0);
    unlink(e->log);
    rmdir(e->dir);
    client_close(e->client);
    tokenizer_close(e->tok);
    free(e);
}

/* ---- requests ---- */

struct ask {
    struct frame_submit f;
    int32_t token[PROMPT_MAX];
};

static void add_special(const struct engine *e, struct tokens *v, const char *text)
{
    struct err err;
    int32_t id = tokenizer_find_special(e->tok, str_of(text));
    ck_assert_int_ge(id, 0);
    ck_assert_int_eq(tokens_push(v, id, &err), RC_OK);
}

static void add_text(const struct engine *e, struct tokens *v, const char *text)
{
    struct err err;
    ck_assert_int_eq(tokenizer_encode(e->tok, str_of(text), v, &err), RC_OK);
}

static struct ask *ask_tokens(struct ask *a, uint64_t rid, const struct tokens *v)
{
    *a = (struct ask){.f = {.rid = rid, .org_salt = "first org", .n_prompt = (int32_t)v->n}};
    ck_assert_uint_le(v->n, PROMPT_MAX);
    memcpy(a->token, v->id, v->n * sizeof *v->id);
    a->f.prompt = a->token;
    a->f.params = (struct frame_params){.max_tok = 24,
                                        .top_p = 1,
                                        .repetition = 1,
                                        .logprobs = true,
                                        .top_logprobs = 3,
                                        .has_seed = true};
    return a;
}

static struct ask *ask_text(const struct engine *e, struct ask *a, uint64_t rid, const char *text)
{
    struct tokens v;
    tokens_init(&v, PROMPT_MAX);
    add_text(e, &v, text);
    ask_tokens(a, rid, &v);
    tokens_done(&v);
    return a;
}

static struct ask *ask_chat(const struct engine *e, struct ask *a, uint64_t rid, const char *text)
{
    struct tokens v;
    tokens_init(&v, PROMPT_MAX);
    add_special(e, &v, "<|im_start|>");
    add_text(e, &v, "system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face");
    add_special(e, &v, "<|im_end|>");
    add_text(e, &v, "\n");
    add_special(e, &v, "<|im_start|>");
    add_text(e, &v, "user\n");
    add_text(e, &v, text);
    add_special(e, &v, "<|im_end|>");
    add_text(e, &v, "\n");
    add_special(e, &v, "<|im_start|>");
    add_text(e, &v, "assistant\n");
    ask_tokens(a, rid, &v);
    tokens_done(&v);
    return a;
}

static const struct heard *wait_for(struct engine *e, uint64_t rid)
{
    CLIENT_UNTIL(e->client, client_is_over(e->client, rid));
    return &e->client->heard[rid];
}

static const struct heard *answer(struct engine *e, const struct ask *a)
{
    client_submit(e->client, &a->f);
    return wait_for(e, a->f.rid);
}

/* To the bit: ids, log-probabilities, text. */
static void same_answer(const struct heard *a, const struct heard *b)
{
    ck_assert_int_eq(a->n_ids, b->n_ids);
    ck_assert_mem_eq(a->id, b->id, sizeof(int32_t) * (size_t)a->n_ids);
    ck_assert_mem_eq(a->logprob, b->logprob, sizeof(float) * (size_t)a->n_ids);
    ck_assert(str_eq(buf_view(&a->text), buf_view(&b->text)));
    ck_assert_int_eq(a->finish, b->finish);
    ck_assert_int_eq(a->usage.output, b->usage.output);
}

static void nothing_is_held(struct engine *e)
{
    static uint64_t nonce;
    client_ping(e->client, ++nonce);
    ck_assert_int_eq(e->client->load.running + e->client->load.waiting, 0);
    ck_assert_int_eq(e->client->load.pages_free, e->client->load.pages_total);
}

static bool log_has(const struct engine *e, const char *event)
{
    char line[2048];
    bool found = false;
    FILE *f = fopen(e->log, "re");
    ck_assert_ptr_nonnull(f);
    while (!found && fgets(line, sizeof line, f))
        found = strstr(line, event) != NULL;
    fclose(f);
    return found;
}

static const char *const QUESTIONS[] = {"What is the capital of France?",
                                        "Write a haiku about the sea.",
                                        "Count from one to ten in words.",
                                        "Explain in two sentences why the sky is blue.",
                                        "Name three animals that live in Africa.",
                                        "Translate 'good morning' into Spanish.",
                                        "What is 7 times 8? Show the steps, please.",
                                        "Tell me a story about a lighthouse keeper."};
enum { N_QUESTIONS = (int)ARRAY_LEN(QUESTIONS) };

static const char *const PLAIN[] = {"--ctx", "512", "--max-batch", "64", NULL};

/* ---- tests ---- */

START_TEST(it_knows_the_capital_of_france)
{
    struct engine *e = start(PLAIN);
    if (!e)
        return;
    struct ask a;
    const struct heard *h = answer(e, ask_chat(e, &a, 1, QUESTIONS[0]));
    ck_assert_msg(str_is(buf_view(&h->text), "The capital of France is Paris."), STR_FMT,
                  STR_ARG(buf_view(&h->text)));
    ck_assert_int_eq(h->finish, FINISH_STOP);
    ck_assert_int_eq(h->stop_index, -1);
    ck_assert_int_eq(h->usage.input, a.f.n_prompt);
    ck_assert_int_eq(h->usage.output, h->n_ids + 1); /* <|im_end|> is counted, not shown */
    ck_assert(h->usage.prefill_us > 0 && h->usage.decode_us > 0);
    nothing_is_held(e);
    stop(e);
}
END_TEST

START_TEST(company_prefix_and_org_change_no_bit)
{
    struct engine *e = start(PLAIN);
    if (!e)
        return;
    struct ask a;
    for (uint64_t i = 0; i < N_QUESTIONS;
         i++) { /* alone; the system turn is shared after the first */
        ask_chat(e, &a, 1 + i, QUESTIONS[i]);
        a.f.org_salt[15] = (uint8_t)i; /* each its own org: nothing is shared */
        ck_assert_int_eq(answer(e, &a)->usage.cached, 0);
    }
    for (uint64_t i = 0; i < N_QUESTIONS; i++) { /* together, and from the cache */
        ask_chat(e, &a, 101 + i, QUESTIONS[i]);
        a.f.org_salt[15] = (uint8_t)i;
        client_submit(e->client, &a.f);
    }
    for (uint64_t i = 0; i < N_QUESTIONS; i++) {
        ck_assert_int_ge(wait_for(e, 101 + i)->usage.cached, 16);
        same_answer(&e->client->heard[1 + i], &e->client->heard[101 + i]);
    }
    for (uint64_t i = 0; i < N_QUESTIONS;
         i++) { /* together, one org, nothing cached at the start */
        ask_chat(e, &a, 201 + i, QUESTIONS[i]);
        a.f.org_salt[0] = 'Z';
        client_submit(e->client, &a.f);
    }
    for (uint64_t i = 0; i < N_QUESTIONS; i++) {
        wait_for(e, 201 + i);
        same_answer(&e->client->heard[1 + i], &e->client->heard[201 + i]);
    }
    nothing_is_held(e);
    stop(e);
}
END_TEST

START_TEST(chunks_and_preemption_change_no_bit)
{
    static const char *const how[][9] = {
        {"--ctx", "512", "--no-prefix-cache", NULL},
        {"--ctx", "512", "--no-prefix-cache", "--prefill-chunk", "16", NULL},
        {"--ctx", "512", "--prefill-chunk", "7", "--max-batch", "64", NULL},
        {"--ctx", "512", "--pages", "12", NULL}, /* 192 tokens for all: they take turns */
        {"--ctx", "512", "--threads", "2", NULL}};
    struct client *kept = NULL;
    for (size_t k = 0; k < ARRAY_LEN(how); k++) {
        struct engine *e = start(how[k]);
        if (!e)
            return;
        struct ask a;
        for (uint64_t i = 0; i < N_QUESTIONS; i++) {
            ask_chat(e, &a, 1 + i, QUESTIONS[i])->f.params.max_tok = 60;
            client_submit(e->client, &a.f);
        }
        for (uint64_t i = 0; i < N_QUESTIONS; i++) {
            wait_for(e, 1 + i);
            if (kept)
                same_answer(&kept->heard[1 + i], &e->client->heard[1 + i]);
        }
        nothing_is_held(e);
        ck_assert_int_eq(log_has(e, "seq.preempted"), k == 3);
        if (!kept) { /* the first engine's answers are the measure of the others */
            kept = e->client;
            e->client = client_open(e->sock);
        }
        stop(e);
    }
    client_close(kept);
}
END_TEST

START_TEST(an_answer_stops_where_it_was_told_to)
{
    struct engine *e = start(PLAIN);
    if (!e)
        return;
    struct ask a;
    ask_chat(e, &a, 1, QUESTIONS[0])->f.params.n_stop = 2;
    a.f.params.stop[0] = STR("never seen");
    a.f.params.stop[1] = STR("France is"); /* spans tokens */
    const struct heard *h = answer(e, &a);
    ck_assert(str_is(buf_view(&h->text), "The capital of "));
    ck_assert_int_eq(h->finish, FINISH_STOP);
    ck_assert_int_eq(h->stop_index, 1);
    ck_assert_int_eq(h->usage.output, h->n_ids); /* hidden, but computed */

    for (int32_t max = 0; max <= 2; max++) {
        ask_chat(e, &a, 10 + (uint64_t)max, QUESTIONS[0])->f.params.max_tok = max;
        h = answer(e, &a);
        ck_assert_int_eq(h->finish, FINISH_LENGTH);
        ck_assert_int_eq(h->usage.output, max);
        ck_assert_int_eq(h->usage.input, a.f.n_prompt);
    }
    ask_chat(e, &a, 20, QUESTIONS[0])->f.params.n_stop_ids = 1;
    a.f.params.stop_id[0] = e->client->heard[1].id[1];
    h = answer(e, &a);
    ck_assert_int_eq(h->usage.output, 2);
    ck_assert_int_eq(h->finish, FINISH_STOP);
    ck_assert(str_is(buf_view(&h->text), "The"));
    ask_chat(e, &a, 21, QUESTIONS[0])->f.params.ignore_eos = true;
    h = answer(e, &a);
    ck_assert_int_eq(h->usage.output, 24);
    ck_assert_int_eq(h->finish, FINISH_LENGTH);
    ask_chat(e, &a, 22, QUESTIONS[0])->f.params.min_tok = 20;
    h = answer(e, &a);
    ck_assert_int_ge(h->usage.output, 20);
    nothing_is_held(e);
    stop(e);
}
END_TEST

START_TEST(a_full_context_ends_with_length_and_a_longer_prompt_is_refused)
{
    static const char *const tight[] = {"--ctx", "64", NULL};
    struct engine *e = start(tight);
    if (!e)
        return;
    struct ask a;
    ask_text(e, &a, 1, "Once upon a time there was")->f.params.max_tok = 1000;
    a.f.params.ignore_eos = true;
    const struct heard *h = answer(e, &a);
    ck_assert_int_eq(h->finish, FINISH_LENGTH);
    ck_assert_int_eq(h->usage.input + h->usage.output, 64);
    struct tokens v;
    tokens_init(&v, PROMPT_MAX);
    for (int i = 0; i < 10; i++)
        add_text(e, &v, "one two three four five six seven ");
    h = answer(e, ask_tokens(&a, 2, &v));
    tokens_done(&v);
    ck_assert_int_eq(h->n_error, 1);
    ck_assert_int_eq(h->rc, RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(h->message, "at most 63"));
    ck_assert_int_eq(h->usage.input, 0);
    stop(e);
}
END_TEST

START_TEST(a_seed_fixes_the_answer_and_a_bias_bends_it)
{
    struct engine *e = start(PLAIN);
    if (!e)
        return;
    struct ask a;
    for (uint64_t rid = 1; rid <= 3; rid++) {
        ask_chat(e, &a, rid, QUESTIONS[7])->f.params.temperature = 1.2f;
        a.f.params.top_p = 0.95f;
        a.f.params.seed = rid == 3 ? 4321 : 1234;
        answer(e, &a);
    }
    same_answer(&e->client->heard[1], &e->client->heard[2]);
    ck_assert(!str_eq(buf_view(&e->client->heard[1].text), buf_view(&e->client->heard[3].text)));
    struct frame_bias bias = {e->client->heard[1].id[5], 100};
    ask_chat(e, &a, 4, QUESTIONS[0])->f.params.bias = &bias;
    a.f.params.n_bias = 1;
    const struct heard *h = answer(e, &a);
    for (int32_t i = 0; i < h->n_ids; i++)
        ck_assert_int_eq(h->id[i], bias.id);
    ck_assert_int_eq(h->n_ids, 24);
    stop(e);
}
END_TEST

START_TEST(cancel_and_hang_up_give_the_pages_back)
{
    struct engine *e = start(PLAIN);
    if (!e)
        return;
    struct ask a;
    ask_chat(e, &a, 1, QUESTIONS[7])->f.params.max_tok = 400;
    a.f.params.ignore_eos = true;
    client_submit(e->client, &a.f);
    CLIENT_UNTIL(e->client, e->client->heard[1].usage.output >= 5);
    client_cancel(e->client, 1);
    const struct heard *h = wait_for(e, 1);
    ck_assert_int_eq(h->finish, FINISH_ABORT);
    ck_assert_int_eq(h->usage.output, h->n_ids);
    ck_assert_int_lt(h->usage.output, 100);
    nothing_is_held(e);

    struct client *other = client_open(e->sock);
    client_hello(other);
    for (uint64_t rid = 1; rid <= 5; rid++) {
        a.f.rid = rid;
        client_submit(other, &a.f);
    }
    CLIENT_UNTIL(other, other->heard[5].usage.output >= 2);
    client_close(other);
    pause_ms(500); /* a step or two; the answers would take many seconds */
    nothing_is_held(e);
    stop(e);
}
END_TEST

START_TEST(a_wrong_start_says_what_is_wrong)
{
    static const char *const bad[][6] = {
        {"--listen", "unix:/tmp/x", NULL},
        {"--model", "/nonexistent.gguf", "--listen", "unix:/tmp/sluice-x.sock", NULL},
        {"--model", "m", "--listen", "l", "--max-seqs=0", NULL},
        {"--model", "m", "--listen", "l", "--frobnicate", NULL}};
    static const char *const says[] = {"--model PATH is required", "/nonexistent.gguf",
                                       "--max-seqs is 0, a number from 1 to 1024 is allowed",
                                       "unknown option --frobnicate"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char line[512], text[4096] = "";
        int n = snprintf(line, sizeof line, "%s", program());
        for (const char *const *arg = bad[i]; *arg; arg++)
            n += snprintf(line + n, sizeof line - (size_t)n, " %s", *arg);
        snprintf(line + n, sizeof line - (size_t)n, " 2>&1");
        FILE *f = popen(line, "re");
        ck_assert_ptr_nonnull(f);
        size_t got = fread(text, 1, sizeof text - 1, f);
        int status = pclose(f);
        ck_assert(got > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 0);
        ck_assert_msg(strstr(text, says[i]) != NULL, "%s", text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine");
    TCase *first = tcase_create("start"), *t = tcase_create("answers");
    tcase_set_timeout(first, 300);
    tcase_set_timeout(t, 500);
    tcase_add_test(first, it_knows_the_capital_of_france);
    tcase_add_test(first, a_wrong_start_says_what_is_wrong);
    tcase_add_test(t, company_prefix_and_org_change_no_bit);
    tcase_add_test(t, chunks_and_preemption_change_no_bit);
    tcase_add_test(t, an_answer_stops_where_it_was_told_to);
    tcase_add_test(t, a_full_context_ends_with_length_and_a_longer_prompt_is_refused);
    tcase_add_test(t, a_seed_fixes_the_answer_and_a_bias_bends_it);
    tcase_add_test(t, cancel_and_hang_up_give_the_pages_back);
    suite_add_tcase(s, first);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
