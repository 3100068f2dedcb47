#ifndef SLUICE_TESTS_NUMERIC_GOLDEN_H
#define SLUICE_TESTS_NUMERIC_GOLDEN_H
/* golden - tests/golden/logits.bin in memory, and a model behind a backend to hold against it. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/weights.h"
#include "engine/ops.h"

#define GOLDEN_TOP 20

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum golden_kind { GOLDEN_PROMPT, GOLDEN_CHAT, GOLDEN_TEXT };

struct golden_case {
    uint32_t kind, n_ids, first, n_rows; /* rows of logits at positions first, first + 1, … */
    const int32_t *ids;
    const uint8_t *rows; /* n_rows times (u16 id[20], f32 log_prob[20]) */
    double nll;          /* of a text: the mean -log p of ids[1..] */
};

struct golden {
    uint8_t *bytes;
    uint32_t n_cases;
    struct golden_case at[64];
};

static inline bool golden_read(struct golden *g)
{
    FILE *f = fopen(SOURCE_DIR "/tests/golden/logits.bin", "rb");
    if (!f)
        return false;
    g->bytes = calloc(1, 1 << 20);
    size_t n = fread(g->bytes, 1, 1 << 20, f);
    fclose(f);
    if (n < 12 || memcmp(g->bytes, "SLGOLD01", 8) != 0)
        return false;
    memcpy(&g->n_cases, g->bytes + 8, 4);
    uint8_t *p = g->bytes + 12;
    for (uint32_t i = 0; i < g->n_cases && i < 64; i++) {
        struct golden_case *c = &g->at[i];
        memcpy(c, p, 16);
        c->ids = (const int32_t *)(const void *)(p + 16); /* everything before is 4-aligned */
        c->rows = p + 16 + 4 * c->n_ids;
        p = p + 16 + 4 * c->n_ids + c->n_rows * GOLDEN_TOP * 6;
        if (c->kind == GOLDEN_TEXT) {
            memcpy(&c->nll, p, 8);
            p += 8;
        }
    }
    return p == g->bytes + n;
}

static inline void golden_row(const struct golden_case *c, uint32_t row,
                              uint16_t ret_id[GOLDEN_TOP], float ret_lp[GOLDEN_TOP])
{
    const uint8_t *p = c->rows + (size_t)row * GOLDEN_TOP * 6;
    memcpy(ret_id, p, GOLDEN_TOP * 2);
    memcpy(ret_lp, p + GOLDEN_TOP * 2, GOLDEN_TOP * 4);
}

/* The log of the sum of exp(logits): subtract it from a logit to have its log-probability. */
static inline double log_norm(const float *logits, int32_t n)
{
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        max = fmax(max, (double)logits[i]);
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

/* The model that tests use; NULL with a message when there is none. */
static inline struct model *golden_model(void)
{
    const char *path = getenv("SLUICE_TEST_MODEL");
    struct err err = {0};
    struct model *m = NULL;
    if (!path || !*path)
        printf("skipped: SLUICE_TEST_MODEL is not set\n");
    else if (model_open(path, &m, &err) != RC_OK)
        printf("skipped: %s\n", err.msg);
    else if (m->config.n_vocab != 49152 || m->config.n_layers != 30)
        printf("skipped: %s is not the model of the golden file\n", path);
    else
        return m;
    model_close(m);
    return NULL;
}

static inline bool path_is_here(const struct model *m, const char *path)
{
    struct backend_opts opts = {.path = path, .n_pages = 1, .max_batch = 1, .n_threads = 1};
    struct backend *b = NULL;
    struct err err = {0};
    enum rc rc = backend_cpu.open(m, &opts, &b, &err);
    backend_cpu.close(b);
    if (rc == RC_INVALID)
        printf("skipped: %s\n", err.msg);
    return rc == RC_OK;
}

#endif
