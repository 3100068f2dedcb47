/* engine.c - how fast the engine computes, and how much of what this machine can do that is.
 *
 *   bench_engine --model FILE [--threads N] [--path P] [--json]
 *
 * Absolute figures move with the neighbours of a shared machine, so each run also measures the
 * machine: streaming reads (what a decode step waits for) and 8-bit products (what a prefill
 * waits for). tests/bench/engine runs this beside llama.cpp. Progress goes to stderr. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"
#include "base/hash.h"
#include "base/units.h"
#include "engine/cpu/threads.h"
#include "engine/model/gguf.h"
#include "engine/model/weights.h"
#include "engine/ops.h"
#include "engine/sample.h"

#define ROUNDS     7
#define MAX_SEQS   16
#define PROMPT     512
#define STEPS      48
#define SEQ_PAGES  40
#define DECODE_AT  64 /* tokens of context before the first timed step */
#define READ_SMALL (94 * MIB)
#define READ_LARGE GIB

static double now(void)
{
    return (double)clock_mono_ns(clock_system()) / 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    return v[n / 2];
}

/* Streaming reads: each thread its own part of the memory, `times` over. */
typedef uint64_t wide_u64 __attribute__((vector_size(32)));

struct reading {
    const uint8_t *memory;
    size_t bytes;
    int times, n_threads;
    uint64_t sink[THREADS_MAX]; /* so that the reads are not optimised away */
};

static void read_part(void *arg, int id)
{
    struct reading *r = arg;
    const size_t part = r->bytes / (size_t)r->n_threads / 128 * 4; /* in wide_u64 */
    const wide_u64 *p = (const wide_u64 *)(const void *)r->memory + (size_t)id * part;
    wide_u64 a = {0}, b = {0}, c = {0}, d = {0};
    for (int t = 0; t < r->times; t++) {
        for (size_t i = 0; i < part; i += 4) {
            a ^= p[i];
            b ^= p[i + 1];
            c ^= p[i + 2];
            d ^= p[i + 3];
        }
        __asm__ volatile("" : : : "memory");
    }
    a ^= b ^ c ^ d;
    r->sink[id] = a[0] ^ a[1] ^ a[2] ^ a[3];
}

static double gb_per_s(const uint8_t *memory, size_t bytes, int n_threads)
{
    static struct reading r;
    struct threads *crew = NULL;
    struct err err = {0};
    double best = 0;
    r = (struct reading){.memory = memory, .bytes = bytes, .n_threads = n_threads};
    r.times = bytes >= READ_LARGE ? 1 : 8;
    if (threads_new(n_threads, &crew, &err) != RC_OK)
        return 0;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        threads_run(crew, read_part, &r);
        double rate = (double)bytes * r.times / (now() - start) / 1e9;
        best = rate > best ? rate : best;
    }
    threads_free(crew);
    return best;
}

/* 8-bit products of registers, in billions of multiplications and additions a second. */
#if defined(__x86_64__)
#define EIGHT(op, reg)                                                                             \
    op reg "0\n\t" op reg "1\n\t" op reg "2\n\t" op reg "3\n\t" op reg "4\n\t" op reg              \
           "5\n\t" op reg "6\n\t" op reg "7\n\t"

__attribute__((target("avx2"))) static double maddubs_gops(void)
{
    enum { N = 20000000 };
    double start = now();
    for (int n = 0; n < N; n++)
        __asm__ volatile(EIGHT("vpmaddubsw %%ymm8, %%ymm8, ", "%%ymm")::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    return 8.0 * N * 64 / (now() - start) / 1e9;
}

__attribute__((target("avx512f,avx512vnni"))) static double vnni_gops(void)
{
    enum { N = 20000000 };
    double start = now();
    for (int n = 0; n < N; n++)
        __asm__ volatile(EIGHT("vpdpbusd %%zmm8, %%zmm8, ", "%%zmm")::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    return 8.0 * N * 128 / (now() - start) / 1e9;
}
#endif

/* Of one thread, with the instruction of the path; 0 where there is none. */
static double int8_gops(const char *path)
{
    double best = 0;
    for (int i = 0; i < 3; i++) {
        double rate = 0;
#if defined(__x86_64__)
        if (strcmp(path, "avx512") == 0)
            rate = vnni_gops();
        else if (strcmp(path, "avx2") == 0)
            rate = maddubs_gops();
#endif
        best = rate > best ? rate : best;
    }
    return best;
}

struct bench {
    struct model *model;
    struct backend *backend;
    int32_t page[MAX_SEQS][SEQ_PAGES];
    const int32_t *page_of[MAX_SEQS];
    struct sampler sampler;
    float *logits; /* [MAX_SEQS][vocab] */
    struct err err;
};

struct figures {
    int n_threads;
    double read_small_1, read_small, read_large_1, read_large, int8, token_mb;
    double prefill, decode, decode_8, decode_16, decode_deep, ratio_8, ratio_16;
};

static void must(const struct bench *b, enum rc rc)
{
    if (rc != RC_OK) {
        fprintf(stderr, "bench_engine: %s\n", b->err.msg);
        exit(1);
    }
}

/* The engine's own greedy choice for row i. */
static int32_t next_token(struct bench *b, int32_t i, int32_t n_total)
{
    static const struct frame_params greedy = {.repetition = 1, .top_p = 1};
    const size_t vocab = (size_t)b->model->config.n_vocab;
    const struct sample_in in = {
        .logits = b->logits + (size_t)i * vocab, .params = &greedy, .n_total = n_total};
    struct sample_out out;
    must(b, sample_next(&b->sampler, &in, &out, &b->err));
    return out.chosen.id;
}

/* Seconds for a prompt of n tokens, logits of the last. */
static double time_prefill(struct bench *b, int32_t n)
{
    int32_t token[PROMPT], pos[PROMPT], seq[PROMPT] = {0}, out[1] = {n - 1};
    for (int32_t i = 0; i < n; i++) {
        token[i] = (i * 7919 + 13) % b->model->config.n_vocab;
        pos[i] = i;
    }
    const struct batch batch = {.n_rows = n,
                                .token = token,
                                .pos = pos,
                                .seq = seq,
                                .n_seqs = 1,
                                .page_of = b->page_of,
                                .n_out = 1,
                                .out_row = out,
                                .logits = b->logits};
    double start = now();
    must(b, b->backend->ops->forward(b->backend, &batch, &b->err));
    return now() - start;
}

/* Tokens a second of n sequences that decode greedily from position `from` on. */
static double time_decode(struct bench *b, int32_t n, int32_t from, int32_t steps)
{
    int32_t token[MAX_SEQS], pos[MAX_SEQS], seq[MAX_SEQS], out[MAX_SEQS];
    for (int32_t i = 0; i < n; i++) {
        token[i] = 1000 + 37 * i;
        seq[i] = out[i] = i;
    }
    double start = now();
    for (int32_t s = 0; s < steps; s++) {
        for (int32_t i = 0; i < n; i++)
            pos[i] = from + s;
        const struct batch batch = {.n_rows = n,
                                    .token = token,
                                    .pos = pos,
                                    .seq = seq,
                                    .n_seqs = n,
                                    .page_of = b->page_of,
                                    .n_out = n,
                                    .out_row = out,
                                    .logits = b->logits};
        must(b, b->backend->ops->forward(b->backend, &batch, &b->err));
        for (int32_t i = 0; i < n; i++)
            token[i] = next_token(b, i, from + s + 1);
    }
    return n * steps / (now() - start);
}

static void probe_machine(struct figures *f, const char *path)
{
    uint8_t *memory =
        mmap(NULL, READ_LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "bench_engine: no memory for the read probe\n");
        exit(1);
    }
    madvise(memory, READ_LARGE, MADV_HUGEPAGE);
    for (size_t i = 0; i < READ_LARGE; i += 4096)
        memory[i] = (uint8_t)i;
    fprintf(stderr, "probing reads and 8-bit products ...\n");
    f->read_small_1 = gb_per_s(memory, READ_SMALL, 1);
    f->read_small = gb_per_s(memory, READ_SMALL, f->n_threads);
    f->read_large_1 = gb_per_s(memory, READ_LARGE, 1);
    f->read_large = gb_per_s(memory, READ_LARGE, f->n_threads);
    f->int8 = int8_gops(path);
    munmap(memory, READ_LARGE);
}

/* One and many streams take turns, and the ratios are those of neighbours in time: what else the
 * machine does changes by the second. */
static void measure(struct bench *b, struct figures *f)
{
    double prefill[ROUNDS], one[ROUNDS], deep[ROUNDS], of_8[ROUNDS], of_16[ROUNDS];
    double ratio_8[ROUNDS], ratio_16[ROUNDS];
    time_prefill(b, PROMPT); /* warm; the pages of sequence 0 are filled for `deep` */
    for (int i = 0; i < ROUNDS; i++) {
        prefill[i] = PROMPT / time_prefill(b, PROMPT);
        deep[i] = time_decode(b, 1, PROMPT, STEPS);
        one[i] = time_decode(b, 1, DECODE_AT, STEPS);
        of_8[i] = time_decode(b, 8, DECODE_AT, STEPS);
        of_16[i] = time_decode(b, 16, DECODE_AT, STEPS);
        ratio_8[i] = of_8[i] / one[i];
        ratio_16[i] = of_16[i] / one[i];
        fprintf(stderr, "tok/s: prefill %.1f, one stream %.1f (at %d: %.1f), 8 %.1f, 16 %.1f\n",
                prefill[i], one[i], PROMPT, deep[i], of_8[i], of_16[i]);
    }
    f->prefill = median(prefill, ROUNDS);
    f->decode_deep = median(deep, ROUNDS);
    f->decode = median(one, ROUNDS);
    f->decode_8 = median(of_8, ROUNDS);
    f->decode_16 = median(of_16, ROUNDS);
    f->ratio_8 = median(ratio_8, ROUNDS);
    f->ratio_16 = median(ratio_16, ROUNDS);
}

static void print_machine(void)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "model name", 10) == 0) {
            printf("machine      %s", strchr(line, ':') + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

static void print_text(const struct bench *b, const struct figures *f)
{
    const double used = f->decode * f->token_mb / 1000;
    print_machine();
    printf("engine       path %s, %d threads, model " STR_FMT "\n",
           b->backend->ops->path(b->backend), f->n_threads, STR_ARG(b->model->card.name));
    printf("reads        94 MiB: %.1f GB/s (1 thread), %.1f (%d); 1 GiB: %.1f, %.1f\n",
           f->read_small_1, f->read_small, f->n_threads, f->read_large_1, f->read_large);
    printf("int8         %.0f GOP/s a thread\n", f->int8);
    printf("decode       %.1f tok/s x %.1f MB = %.1f GB/s: %.2f of the 94 MiB reads\n", f->decode,
           f->token_mb, used, used / f->read_small);
    printf("at 512       %.1f tok/s\n", f->decode_deep);
    printf("prefill 512  %.1f tok/s\n", f->prefill);
    printf("8 streams    %.1f tok/s, %.2f of one\n", f->decode_8, f->ratio_8);
    printf("16 streams   %.1f tok/s, %.2f of one\n", f->decode_16, f->ratio_16);
}

static void print_json(const struct bench *b, const struct figures *f)
{
    printf("{\"path\": \"%s\", \"threads\": %d, \"read_94_1\": %.2f, \"read_94\": %.2f, "
           "\"read_1024_1\": %.2f, \"read_1024\": %.2f, \"int8\": %.0f, \"token_mb\": %.2f, "
           "\"prefill\": %.2f, \"decode\": %.2f, \"decode_512\": %.2f, \"decode_8\": %.2f, "
           "\"decode_16\": %.2f, \"ratio_8\": %.3f, \"ratio_16\": %.3f}\n",
           b->backend->ops->path(b->backend), f->n_threads, f->read_small_1, f->read_small,
           f->read_large_1, f->read_large, f->int8, f->token_mb, f->prefill, f->decode,
           f->decode_deep, f->decode_8, f->decode_16, f->ratio_8, f->ratio_16);
}

static void open_bench(struct bench *b, const char *model, const char *path, int n_threads)
{
    struct backend_opts opts = {.path = path,
                                .n_threads = n_threads,
                                .n_pages = MAX_SEQS * SEQ_PAGES,
                                .max_batch = PROMPT,
                                .max_out = MAX_SEQS};
    must(b, hash_init(&b->err));
    must(b, model_open(model, &b->model, &b->err));
    must(b, backend_cpu.open(b->model, &opts, &b->backend, &b->err));
    must(b, sampler_open(&b->sampler, b->model->config.n_vocab, &b->err));
    b->logits = malloc((size_t)MAX_SEQS * (size_t)b->model->config.n_vocab * sizeof(float));
    for (int32_t s = 0; s < MAX_SEQS; s++) {
        b->page_of[s] = b->page[s];
        for (int32_t i = 0; i < SEQ_PAGES; i++)
            b->page[s][i] = s * SEQ_PAGES + i;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"model", required_argument, NULL, 'm'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"path", required_argument, NULL, 'p'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    const char *model = getenv("SLUICE_TEST_MODEL"), *path = "auto";
    struct bench b = {0};
    struct figures f = {0};
    int64_t n_threads = 0;
    bool json = false;
    for (int c; (c = getopt_long(argc, argv, "m:t:p:j", options, NULL)) != -1;) {
        if (c == 'm')
            model = optarg;
        else if (c == 'p')
            path = optarg;
        else if (c == 'j')
            json = true;
        else if (c != 't' || !str_to_i64(str_of(optarg), 1, THREADS_MAX, &n_threads))
            model = NULL;
    }
    if (!model) {
        fprintf(stderr, "usage: bench_engine --model FILE [--threads N] [--path P] [--json]\n");
        return 2;
    }
    open_bench(&b, model, path, (int)n_threads);
    f.n_threads = b.backend->ops->n_threads(b.backend);
    for (size_t i = 0; i < gguf_n_tensors(b.model->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(b.model->gguf, i);
        if (t != b.model->embed || t == b.model->head) /* of an untied embedding, one row */
            f.token_mb += (double)t->bytes / 1e6;
    }
    probe_machine(&f, b.backend->ops->path(b.backend));
    measure(&b, &f);
    if (json)
        print_json(&b, &f);
    else
        print_text(&b, &f);
    sampler_close(&b.sampler);
    backend_cpu.close(b.backend);
    model_close(b.model);
    free(b.logits);
    return 0;
}
