/* test_logits - the forward pass against transformers in fp32 on the same dequantised weights.
 *
 * tests/golden/logits.bin holds ids and top-20 log-probabilities; see make_logits_golden.py. The
 * scalar path must agree to rounding. The fast paths quantise activations and keep KV in f16; they
 * must be better than llama.cpp, which shows a median of 0.071 and a p99 of 0.61 on this file. */

#include <check.h>

#include "base/hash.h"
#include "tests/numeric/golden.h"

#define MAX_ROWS 512

struct fixture {
    struct golden golden;
    struct model *model;
    struct backend *backend;
    float *logits; /* [MAX_ROWS][vocab] */
};

static bool fixture_open(struct fixture *fx, const char *path)
{
    struct backend_opts opts = {.path = path,
                                .n_pages = MAX_ROWS / KV_PAGE_TOKENS,
                                .max_batch = MAX_ROWS,
                                .max_out = MAX_ROWS};
    struct err err = {0};
    ck_assert_int_eq(hash_init(&err), RC_OK);
    ck_assert(golden_read(&fx->golden));
    fx->model = golden_model();
    if (!fx->model)
        return false;
    enum rc rc = backend_cpu.open(fx->model, &opts, &fx->backend, &err);
    if (rc == RC_INVALID) {
        printf("skipped: %s\n", err.msg);
        model_close(fx->model);
        free(fx->golden.bytes);
        return false;
    }
    ck_assert_msg(rc == RC_OK, "%s", err.msg);
    fx->logits = malloc((size_t)MAX_ROWS * (size_t)fx->model->config.n_vocab * sizeof(float));
    return true;
}

static void fixture_close(struct fixture *fx)
{
    backend_cpu.close(fx->backend);
    model_close(fx->model);
    free(fx->golden.bytes);
    free(fx->logits);
}

/* Logits of ids[first..n) in one call; row i at fx->logits + i * vocab. */
static void run_case(struct fixture *fx, const struct golden_case *c, int32_t n)
{
    int32_t pos[MAX_ROWS], seq[MAX_ROWS] = {0}, out[MAX_ROWS], pages[MAX_ROWS / KV_PAGE_TOKENS];
    const int32_t *page_of[1] = {pages};
    struct err err = {0};
    for (int32_t i = 0; i < MAX_ROWS / KV_PAGE_TOKENS; i++)
        pages[i] = MAX_ROWS / KV_PAGE_TOKENS - 1 - i; /* any order of pages will do */
    for (int32_t i = 0; i < n; i++) {
        pos[i] = i;
        out[i] = (int32_t)c->first + i;
    }
    struct batch b = {.n_rows = n,
                      .token = c->ids,
                      .pos = pos,
                      .seq = seq,
                      .n_seqs = 1,
                      .page_of = page_of,
                      .n_out = n - (int32_t)c->first,
                      .out_row = out,
                      .logits = fx->logits};
    ck_assert_msg(backend_cpu.forward(fx->backend, &b, &err) == RC_OK, "%s", err.msg);
}

static int32_t argmax(const float *v, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = v[i] > v[best] ? i : best;
    return best;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Differences of all top-20 log-probabilities of the cases of one kind. */
struct difference {
    double *all; /* owned */
    size_t n;
    int rows, wrong_best; /* rows whose argmax differs though the reference is sure of it */
};

static void add_row(struct difference *d, const struct golden_case *c, uint32_t row,
                    const float *logits, int32_t vocab, float sure)
{
    uint16_t id[GOLDEN_TOP];
    float lp[GOLDEN_TOP];
    golden_row(c, row, id, lp);
    double norm = log_norm(logits, vocab);
    for (int k = 0; k < GOLDEN_TOP; k++)
        d->all[d->n++] = fabs((double)logits[id[k]] - norm - (double)lp[k]);
    d->rows++;
    if (argmax(logits, vocab) != id[0] && lp[0] - lp[1] >= sure)
        d->wrong_best++;
}

static struct difference compare(struct fixture *fx, enum golden_kind kind, uint32_t max_cases,
                                 float sure)
{
    struct difference d = {.all = malloc((size_t)64 * MAX_ROWS * GOLDEN_TOP * sizeof(double))};
    int32_t vocab = fx->model->config.n_vocab;
    for (uint32_t i = 0, used = 0; i < fx->golden.n_cases && used < max_cases; i++) {
        const struct golden_case *c = &fx->golden.at[i];
        if (c->kind != kind)
            continue;
        used++;
        run_case(fx, c, (int32_t)c->n_ids);
        for (uint32_t row = 0; row < c->n_rows; row++)
            add_row(&d, c, row, fx->logits + (size_t)row * (size_t)vocab, vocab, sure);
    }
    qsort(d.all, d.n, sizeof(double), by_value);
    return d;
}

static double mean_nll(struct fixture *fx, int32_t n)
{
    int32_t vocab = fx->model->config.n_vocab;
    double sum = 0;
    for (uint32_t i = 0; i < fx->golden.n_cases; i++) {
        const struct golden_case *c = &fx->golden.at[i];
        if (c->kind != GOLDEN_TEXT)
            continue;
        run_case(fx, c, n);
        for (int32_t k = 0; k + 1 < n; k++) {
            const float *row = fx->logits + (size_t)k * (size_t)vocab;
            sum += log_norm(row, vocab) - (double)row[c->ids[k + 1]];
        }
    }
    return sum / (n - 1);
}

static const struct golden_case *text_case(const struct golden *g)
{
    for (uint32_t i = 0; i < g->n_cases; i++) {
        if (g->at[i].kind == GOLDEN_TEXT)
            return &g->at[i];
    }
    return NULL;
}

/* 2e-3 covers two orders of summation in fp32; a wrong rotation or scale shows as 1e-1 and more. */
START_TEST(the_scalar_path_agrees_with_transformers_in_fp32)
{
    struct fixture fx = {0};
    if (!fixture_open(&fx, "scalar"))
        return;
    uint32_t cases = SANITIZED ? 1 : 64;
    struct difference d = compare(&fx, GOLDEN_PROMPT, cases, 1e-3f);
    printf("scalar: %d positions%s: |d log-prob| of the top 20: median %.2e, max %.2e; "
           "%d argmax differ\n",
           d.rows, SANITIZED ? " (fewer, under a sanitizer)" : "", d.all[d.n / 2], d.all[d.n - 1],
           d.wrong_best);
    ck_assert_int_ge(d.rows, SANITIZED ? 64 : 8 * 64);
    ck_assert(d.all[d.n - 1] <= 2e-3);
    ck_assert_int_eq(d.wrong_best, 0);
    free(d.all);
    fixture_close(&fx);
}
END_TEST

START_TEST(the_scalar_path_has_the_perplexity_of_transformers)
{
    struct fixture fx = {0};
    if (SANITIZED) {
        printf("skipped: too slow under a sanitizer; the release build runs it\n");
        return;
    }
    if (!fixture_open(&fx, "scalar"))
        return;
    const struct golden_case *text = text_case(&fx.golden);
    double nll = mean_nll(&fx, (int32_t)text->n_ids);
    printf("scalar: perplexity %.4f of %u tokens, transformers %.4f\n", exp(nll), text->n_ids,
           exp(text->nll));
    ck_assert(fabs(nll - text->nll) <= 1e-4);
    fixture_close(&fx);
}
END_TEST

static const char *const fast_paths[] = {"avx2", "avx512"};

START_TEST(a_fast_path_stays_near_fp32_on_greedy_positions)
{
    struct fixture fx = {0};
    if (!fixture_open(&fx, fast_paths[_i]))
        return;
    uint32_t cases = SANITIZED ? 3 : 64;
    struct difference d = compare(&fx, GOLDEN_CHAT, cases, 0.1f);
    double median = d.all[d.n / 2], p99 = d.all[d.n * 99 / 100];
    printf("%s: %d greedy positions%s: |d log-prob| of the top 20: median %.4f, p99 %.4f, max "
           "%.4f; %d argmax differ\n",
           fast_paths[_i], d.rows, SANITIZED ? " (fewer, under a sanitizer)" : "", median, p99,
           d.all[d.n - 1], d.wrong_best);
    ck_assert_int_ge(d.rows, SANITIZED ? 30 : 300);
    ck_assert(median <= 0.07 && p99 <= 0.6);
    ck_assert_int_eq(d.wrong_best, 0);
    free(d.all);
    fixture_close(&fx);
}
END_TEST

/* The golden file's perplexity stands for the scalar path's: they are equal to 1e-4 (above). */
START_TEST(a_fast_path_has_the_perplexity_of_the_scalar_path)
{
    struct fixture fx = {0};
    if (SANITIZED) {
        printf("skipped: too slow under a sanitizer; the release build runs it\n");
        return;
    }
    if (!fixture_open(&fx, fast_paths[_i]))
        return;
    const struct golden_case *text = text_case(&fx.golden);
    double nll = mean_nll(&fx, (int32_t)text->n_ids);
    printf("%s: perplexity %.4f of %u tokens, fp32 %.4f (%+.3f %%)\n", fast_paths[_i], exp(nll),
           text->n_ids, exp(text->nll), 100 * (exp(nll - text->nll) - 1));
    ck_assert(fabs(exp(nll - text->nll) - 1) <= 0.01);
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("logits");
    TCase *t = tcase_create("logits");
    setvbuf(stdout, NULL, _IOLBF, 0);
    tcase_set_timeout(t, 600);
    tcase_add_test(t, the_scalar_path_agrees_with_transformers_in_fp32);
    tcase_add_test(t, the_scalar_path_has_the_perplexity_of_transformers);
    tcase_add_loop_test(t, a_fast_path_stays_near_fp32_on_greedy_positions, 0, 2);
    tcase_add_loop_test(t, a_fast_path_has_the_perplexity_of_the_scalar_path, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
