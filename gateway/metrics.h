#ifndef SLUICE_GATEWAY_METRICS_H
#define SLUICE_GATEWAY_METRICS_H
/* metrics - what /metrics shows. Each worker writes its own set without locks; a scrape adds them
 * up.
 *
 * The label `model` takes names of deployments that we serve, at most METRICS_MODELS_MAX of them,
 * else "other": what clients write as model never becomes a label (T66). */

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define METRICS_MODELS_MAX 64
#define METRICS_NAME_BYTES 128
#define METRICS_BUCKETS    14

enum metrics_end {
    END_SUCCESS,
    END_VALIDATION,
    END_NOT_FOUND,
    END_LIMIT,
    END_OVERLOAD,
    END_CANCELLED,
    END_INTERNAL,
    END_COUNT
};

struct histogram {
    atomic_llong bucket[METRICS_BUCKETS + 1];
    atomic_llong sum; /* in the unit of its bounds, times 1000 for times */
};

struct metrics_model {
    char name[METRICS_NAME_BYTES];
    atomic_llong requests[2][2][END_COUNT]; /* [chat, completions][unary, stream] */
    atomic_llong active, input, cached, output;
    struct histogram ttft, itl, duration, input_len, output_len;
};

struct metrics {
    struct metrics_model model[METRICS_MODELS_MAX + 1]; /* the last: "other" */
    atomic_int n_models;
    atomic_llong http[6]; /* answers by hundreds of their status */
    atomic_llong unauthenticated, slow_clients, retries, tokenize_us, tokenized;
    atomic_llong queued; /* now */
};

/* One writer: no locked instruction is needed. */
static inline void metrics_add(atomic_llong *v, int64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

enum histogram_kind { HISTOGRAM_SECONDS, HISTOGRAM_TOKENS };
void histogram_add(struct histogram *h, enum histogram_kind kind, double value);

/* The set of a deployment's name. By the owner of `m` only. */
struct metrics_model *metrics_model_of(struct metrics *m, struct str name);

/* Prometheus text, version 0.0.4. */
void metrics_print(struct metrics *const *sets, int n_sets, struct buf *to);
void metrics_gauge(struct buf *to, const char *name, const char *help, double value);
void metrics_counter(struct buf *to, const char *name, const char *help, int64_t value);

#endif
