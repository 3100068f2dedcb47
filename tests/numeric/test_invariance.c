/* test_invariance - the same request gives the same bits, whatever happens around it: alone or
 * with 15 others, in chunks of 16, 128 or whole, with its prefix in the cache or computed, on one
 * thread or two, in whatever pages. Bills and bug reports stand on it. For every path the CPU has.
 */

#include <check.h>

#include "base/hash.h"
#include "base/units.h"
#include "tests/numeric/golden.h"
#include "tests/unit/tiny_model.h"

#define OTHERS    15
#define PAGES     512
#define MAX_BATCH 512
#define SEQ_PAGES 16

static const char *const paths[] = {"scalar", "avx2", "avx512"};

#define MAX_PROMPT 200
#define MAX_DECODE 8

/* A request: the prompt in chunks, then tokens given beforehand, one a step. Logits of the last
 * row of the prompt and of every decoded row are kept. */
struct request {
    int32_t token[MAX_PROMPT + MAX_DECODE];
    int32_t page[SEQ_PAGES];
    int32_t done; /* rows computed, or found in the cache */
};

struct rig {
    struct model *model;
    struct backend *backend;
    struct err err;
    int32_t vocab, n_prompt, n_decode;
    float *scratch; /* [OTHERS + 1][vocab] */
};

/* The default model; under a sanitizer, or without it, a small random one of the same kind. */
static struct model *rig_model(struct err *err)
{
    const struct tiny_spec spec = {.type = QUANT_Q4_1,
                                   .embed_type = QUANT_Q8_0,
                                   .d = 192,
                                   .ff = 256,
                                   .layers = 3,
                                   .heads = 6,
                                   .kv_heads = 2,
                                   .head_dim = 32,
                                   .vocab = 500};
    struct model *m = SANITIZED ? NULL : golden_model();
    if (m)
        return m;
    struct buf b;
    char name[64];
    buf_init(&b, 16 * MIB);
    put_tiny_model(&b, &spec);
    int fd = fd_of(b.p, b.len);
    buf_done(&b);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ck_assert_msg(model_open(name, &m, err) == RC_OK, "%s", err->msg);
    close(fd);
    return m;
}

static bool rig_open(struct rig *rig, const char *path, int n_threads)
{
    struct backend_opts opts = {.path = path,
                                .n_threads = n_threads,
                                .n_pages = PAGES,
                                .max_batch = MAX_BATCH,
                                .max_out = OTHERS + 1};
    ck_assert_int_eq(hash_init(&rig->err), RC_OK);
    rig->model = rig_model(&rig->err);
    rig->vocab = rig->model->config.n_vocab;
    /* Over two pages in every case; the scalar path is slow on the real model. */
    bool slow = strcmp(path, "scalar") == 0 && rig->model->config.n_layers > 3;
    rig->n_prompt = slow ? 45 : MAX_PROMPT;
    rig->n_decode = slow ? 2 : MAX_DECODE;
    enum rc rc = backend_cpu.open(rig->model, &opts, &rig->backend, &rig->err);
    if (rc == RC_INVALID) {
        printf("skipped: %s\n", rig->err.msg);
        model_close(rig->model);
        return false;
    }
    ck_assert_msg(rc == RC_OK, "%s", rig->err.msg);
    rig->scratch = malloc((size_t)(OTHERS + 1) * (size_t)rig->vocab * sizeof(float));
    return true;
}

static void rig_close(struct rig *rig)
{
    backend_cpu.close(rig->backend);
    model_close(rig->model);
    free(rig->scratch);
}

static struct request request_make(const struct rig *rig, uint32_t which, int32_t first_page)
{
    struct request r = {0};
    uint64_t state = which * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (int32_t i = 0; i < MAX_PROMPT + MAX_DECODE; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        r.token[i] = (int32_t)((state >> 33) % (uint64_t)rig->vocab);
    }
    for (int32_t i = 0; i < SEQ_PAGES; i++)
        r.page[i] = first_page + (i * 7) % SEQ_PAGES; /* not in order */
    return r;
}

/* Steps many requests at once, take[s] rows of each (0: it sits this one out), with logits of
 * the last row of each into scratch, in order. */
static void step(struct rig *rig, struct request *const *reqs, const int32_t *take, int32_t n)
{
    int32_t token[MAX_BATCH], pos[MAX_BATCH], seq[MAX_BATCH], out[OTHERS + 1];
    const int32_t *page_of[OTHERS + 1];
    struct batch b = {.token = token,
                      .pos = pos,
                      .seq = seq,
                      .page_of = page_of,
                      .out_row = out,
                      .logits = rig->scratch};
    for (int32_t s = 0; s < n; s++) {
        struct request *r = reqs[s];
        if (take[s] == 0)
            continue;
        page_of[b.n_seqs] = r->page;
        for (int32_t i = 0; i < take[s]; i++, b.n_rows++) {
            token[b.n_rows] = r->token[r->done];
            seq[b.n_rows] = b.n_seqs;
            pos[b.n_rows] = r->done++;
        }
        out[b.n_out++] = b.n_rows - 1;
        b.n_seqs++;
    }
    ck_assert_msg(backend_cpu.forward(rig->backend, &b, &rig->err) == RC_OK, "%s", rig->err.msg);
}

/* Runs r alone, in chunks; its kept logits to `to` [n_decode + 1][vocab]. */
static void run_alone(struct rig *rig, struct request *r, int32_t chunk, float *to)
{
    const size_t row = (size_t)rig->vocab * sizeof(float);
    while (r->done < rig->n_prompt) {
        int32_t take = MIN_OF(chunk, rig->n_prompt - r->done);
        step(rig, &r, &take, 1);
    }
    memcpy(to, rig->scratch, row);
    for (int32_t i = 0; i < rig->n_decode; i++) {
        int32_t one = 1;
        step(rig, &r, &one, 1);
        memcpy(to + (size_t)(i + 1) * (size_t)rig->vocab, rig->scratch, row);
    }
}

/* The same among others that are at other places: some decode, some bring chunks of prompt. */
static void run_among_others(struct rig *rig, struct request *r, float *to)
{
    struct request other[OTHERS], *reqs[OTHERS + 1];
    const size_t row = (size_t)rig->vocab * sizeof(float);
    int32_t take[OTHERS + 1], me = 6; /* in the middle */
    for (int32_t i = 0; i < OTHERS; i++)
        other[i] = request_make(rig, 100 + (uint32_t)i, SEQ_PAGES * (i + 2));
    for (int32_t i = 0, o = 0; i <= OTHERS; i++)
        reqs[i] = i == me ? r : &other[o++];
    for (int32_t round = 0, kept = 0; kept <= rig->n_decode; round++) {
        for (int32_t i = 0; i <= OTHERS; i++) {
            int32_t left = rig->n_prompt + rig->n_decode - reqs[i]->done;
            int32_t want = i == me ? 29 : i % 3 == 0 ? 1 : 3 + (i * 5 + round) % 17;
            if (i == me && r->done >= rig->n_prompt)
                want = 1;
            else if (i == me)
                left = rig->n_prompt - r->done;
            take[i] = MIN_OF(want, left);
        }
        step(rig, reqs, take, OTHERS + 1);
        int32_t at = 0; /* finished others have no row of logits */
        for (int32_t i = 0; i < me; i++)
            at += take[i] > 0;
        if (r->done >= rig->n_prompt)
            memcpy(to + (size_t)kept++ * (size_t)rig->vocab,
                   rig->scratch + (size_t)at * (size_t)rig->vocab, row);
    }
}

static float *new_rows(const struct rig *rig)
{
    return malloc((size_t)(rig->n_decode + 1) * (size_t)rig->vocab * sizeof(float));
}

static void assert_same(const struct rig *rig, const float *a, const float *b, const char *what)
{
    size_t n = (size_t)(rig->n_decode + 1) * (size_t)rig->vocab;
    ck_assert_msg(memcmp(a, b, n * sizeof(float)) == 0, "logits changed: %s", what);
}

START_TEST(chunks_do_not_change_a_bit)
{
    struct rig rig = {0};
    if (!rig_open(&rig, paths[_i], 2))
        return;
    static const int32_t chunks[] = {16, 128, 33, 1};
    float *whole = new_rows(&rig), *parts = new_rows(&rig);
    struct request r = request_make(&rig, 1, 0);
    run_alone(&rig, &r, rig.n_prompt, whole);
    for (size_t i = 0; i < (rig.n_prompt < MAX_PROMPT ? 3 : ARRAY_LEN(chunks)); i++) {
        r = request_make(&rig, 1, SEQ_PAGES);
        run_alone(&rig, &r, chunks[i], parts);
        assert_same(&rig, whole, parts, "another chunk size");
    }
    free(whole);
    free(parts);
    rig_close(&rig);
}
END_TEST

START_TEST(neighbours_do_not_change_a_bit)
{
    struct rig rig = {0};
    if (!rig_open(&rig, paths[_i], 2))
        return;
    float *alone = new_rows(&rig), *among = new_rows(&rig);
    struct request r = request_make(&rig, 1, 0);
    run_alone(&rig, &r, rig.n_prompt, alone);
    r = request_make(&rig, 1, SEQ_PAGES);
    run_among_others(&rig, &r, among);
    assert_same(&rig, alone, among, "15 others in the batch");
    free(alone);
    free(among);
    rig_close(&rig);
}
END_TEST

START_TEST(a_cached_prefix_does_not_change_a_bit)
{
    struct rig rig = {0};
    if (!rig_open(&rig, paths[_i], 2))
        return;
    float *fresh = new_rows(&rig), *cached = new_rows(&rig);
    struct request first = request_make(&rig, 1, 0);
    run_alone(&rig, &first, rig.n_prompt, fresh);
    struct request r = request_make(&rig, 1, SEQ_PAGES);
    const int32_t pages = (rig.n_prompt - 1) / KV_PAGE_TOKENS; /* whole pages of the prompt */
    for (int32_t i = 0; i < pages; i++)
        r.page[i] = first.page[i];
    r.done = pages * KV_PAGE_TOKENS;
    run_alone(&rig, &r, 16, cached);
    assert_same(&rig, fresh, cached, "pages of another request as prefix");

    r = request_make(&rig, 1, SEQ_PAGES); /* and with the last page copied, as copy-on-write does */
    for (int32_t i = 0; i < pages; i++)
        backend_cpu.page_copy(rig.backend, r.page[i], first.page[i]);
    r.done = pages * KV_PAGE_TOKENS;
    run_alone(&rig, &r, 128, cached);
    assert_same(&rig, fresh, cached, "copied pages as prefix");
    free(fresh);
    free(cached);
    rig_close(&rig);
}
END_TEST

START_TEST(threads_do_not_change_a_bit)
{
    float *want = NULL;
    for (int n = 1; n <= 3; n++) {
        struct rig rig = {0};
        if (!rig_open(&rig, paths[_i], n))
            return;
        float *have = new_rows(&rig);
        struct request r = request_make(&rig, 1, 0);
        run_alone(&rig, &r, 128, have);
        if (want)
            assert_same(&rig, want, have, "another number of threads");
        free(want);
        want = have;
        rig_close(&rig);
    }
    free(want);
}
END_TEST

START_TEST(a_batch_that_breaks_the_rules_is_refused)
{
    struct rig rig = {0};
    if (!rig_open(&rig, "auto", 1))
        return;
    int32_t token[2] = {5, 6}, pos[2] = {0, 1}, seq[2] = {0, 0}, out[2] = {0, 1}, page[1] = {3};
    const int32_t *page_of[2] = {page, page};
    const struct batch good = {.n_rows = 2,
                               .token = token,
                               .pos = pos,
                               .seq = seq,
                               .n_seqs = 1,
                               .page_of = page_of,
                               .n_out = 2,
                               .out_row = out,
                               .logits = rig.scratch};
    struct batch b = good;
    ck_assert_int_eq(backend_cpu.forward(rig.backend, &b, &rig.err), RC_OK);
#define REFUSED(change, undo)                                                                      \
    do {                                                                                           \
        change;                                                                                    \
        ck_assert_int_eq(backend_cpu.forward(rig.backend, &b, &rig.err), RC_BAD_INPUT);            \
        undo;                                                                                      \
        b = good;                                                                                  \
    } while (0)
    REFUSED(token[1] = rig.vocab, token[1] = 6);
    REFUSED(token[1] = -1, token[1] = 6);
    REFUSED(pos[1] = 2, pos[1] = 1);
    REFUSED(pos[0] = -1, pos[0] = 0);
    REFUSED(seq[1] = 1, seq[1] = 0);
    REFUSED(page[0] = PAGES, page[0] = 3);
    REFUSED(page[0] = -1, page[0] = 3);
    REFUSED(out[1] = 0, out[1] = 1);
    REFUSED(out[1] = 2, out[1] = 1);
    REFUSED(b.n_rows = 0, (void)0);
    REFUSED(b.n_rows = MAX_BATCH + 1, (void)0);
    REFUSED(b.n_out = OTHERS + 2, (void)0);
    ck_assert_int_eq(backend_cpu.forward(rig.backend, &b, &rig.err), RC_OK);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("invariance");
    TCase *t = tcase_create("invariance");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (SANITIZED)
        printf("a small random model, under a sanitizer\n");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, chunks_do_not_change_a_bit, 0, 3);
    tcase_add_loop_test(t, neighbours_do_not_change_a_bit, 0, 3);
    tcase_add_loop_test(t, a_cached_prefix_does_not_change_a_bit, 0, 3);
    tcase_add_loop_test(t, threads_do_not_change_a_bit, 0, 3);
    tcase_add_test(t, a_batch_that_breaks_the_rules_is_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
