/* fuzz_gguf - any bytes as a model file: opened as a file, as a model, and if it still is one, run
 * for two tokens. The corpus holds tiny whole models (tests/unit/tiny_model.h makes such). */

#include <stdlib.h>

#include "base/hash.h"
#include "engine/model/weights.h"
#include "engine/ops.h"
#include "tests/unit/gguf_maker.h"

#define MAX_INPUT (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_two_tokens(const struct model *m, const char *path)
{
    const struct backend_opts opts = {
        .path = path, .n_threads = 1, .n_pages = 2, .max_batch = 2, .max_out = 2};
    const int32_t token[2] = {0, m->config.n_vocab - 1}, pos[2] = {0, 1}, seq[2] = {0, 0};
    const int32_t page[1] = {1}, *page_of[1] = {page};
    struct backend *b = NULL;
    struct err err = {0};
    if (m->config.n_ctx < 2 || backend_cpu.open(m, &opts, &b, &err) != RC_OK)
        return;
    float *logits = malloc(2 * (size_t)m->config.n_vocab * sizeof(float));
    const struct batch batch = {.n_rows = 2,
                                .token = token,
                                .pos = pos,
                                .seq = seq,
                                .n_seqs = 1,
                                .page_of = page_of,
                                .n_out = 2,
                                .out_row = pos,
                                .logits = logits};
    if (logits && backend_cpu.forward(b, &batch, &err) != RC_OK)
        abort(); /* a batch within the rules is never refused */
    backend_cpu.close(b);
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m = NULL;
    struct err err = {0};
    char path[64];
    if (size > MAX_INPUT || hash_init(&err) != RC_OK)
        return 0;
    int fd = fd_of(data, size);
    if (fd < 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (model_open(path, &m, &err) == RC_OK) {
        run_two_tokens(m, "scalar");
        run_two_tokens(m, "auto");
    } else if (err.msg[0] == 0) {
        abort(); /* a refusal without a sentence */
    }
    model_close(m);
    close(fd);
    return 0;
}
