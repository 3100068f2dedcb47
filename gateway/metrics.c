#include "gateway/metrics.h"

#include <string.h>

#include "base/units.h"

static const double bounds[][METRICS_BUCKETS] = {
    [HISTOGRAM_SECONDS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
                           30},
    [HISTOGRAM_TOKENS] = {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 32768, 131072}};

void histogram_add(struct histogram *h, enum histogram_kind kind, double value)
{
    int i = 0;
    while (i < METRICS_BUCKETS && value > bounds[kind][i])
        i++;
    metrics_add(&h->bucket[i], 1);
    metrics_add(&h->sum, (int64_t)(kind == HISTOGRAM_SECONDS ? value * 1e6 : value));
}

struct metrics_model *metrics_model_of(struct metrics *m, struct str name)
{
    int n = atomic_load_explicit(&m->n_models, memory_order_relaxed);
    for (int i = 0; i < n; i++)
        if (str_is(name, m->model[i].name))
            return &m->model[i];
    if (n == METRICS_MODELS_MAX || name.len >= METRICS_NAME_BYTES)
        return &m->model[METRICS_MODELS_MAX];
    memcpy(m->model[n].name, name.p, name.len);
    atomic_store_explicit(&m->n_models, n + 1, memory_order_release);
    return &m->model[n];
}

/* ---- printing: all workers' sets of one name, added up ---- */

struct sum {
    struct metrics *const *sets;
    int n_sets;
    const char *name; /* NULL: the "other" of each */
};

static struct metrics_model *in_set(const struct sum *s, int i)
{
    struct metrics *m = s->sets[i];
    int n = atomic_load_explicit(&m->n_models, memory_order_acquire);
    if (!s->name)
        return &m->model[METRICS_MODELS_MAX];
    for (int k = 0; k < n; k++)
        if (strcmp(m->model[k].name, s->name) == 0)
            return &m->model[k];
    return NULL;
}

static int64_t sum_at(const struct sum *s, size_t offset)
{
    int64_t total = 0;
    for (int i = 0; i < s->n_sets; i++) {
        struct metrics_model *m = in_set(s, i);
        if (m)
            total += atomic_load_explicit((atomic_llong *)(void *)((char *)m + offset),
                                          memory_order_relaxed);
    }
    return total;
}

/* Label values are escaped as Prometheus wants it. */
static void add_label(struct buf *to, const char *value)
{
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_byte(to, '\\');
        if (*value == '\n')
            buf_z(to, "\\n");
        else
            buf_byte(to, *value);
    }
}

static void add_name(struct buf *to, const struct sum *s, const char *metric)
{
    buf_z(to, metric);
    buf_z(to, "{model=\"");
    add_label(to, s->name ? s->name : "other");
    buf_byte(to, '"');
}

static void print_requests(const struct sum *s, struct buf *to)
{
    static const char *const ends[] = {"",         "validation", "not_found", "rate_limit",
                                       "overload", "cancelled",  "internal"};
    static const char *const routes[] = {"chat_completions", "completions"};
    for (size_t route = 0; route < 2; route++)
        for (size_t stream = 0; stream < 2; stream++)
            for (size_t end = 0; end < END_COUNT; end++) {
                size_t at = offsetof(struct metrics_model, requests) +
                            sizeof(atomic_llong) * ((route * 2 + stream) * END_COUNT + end);
                int64_t n = sum_at(s, at);
                if (n == 0)
                    continue;
                add_name(to, s, "dynamo_frontend_requests_total");
                buf_printf(to,
                           ",endpoint=\"%s\",request_type=\"%s\",status=\"%s\",error_type=\"%s\"} "
                           "%lld\n",
                           routes[route], stream ? "stream" : "unary",
                           end == END_SUCCESS ? "success" : "error", ends[end], (long long)n);
            }
}

static void print_histogram(const struct sum *s, const char *metric, size_t offset,
                            enum histogram_kind kind, struct buf *to)
{
    int64_t total = 0;
    for (size_t i = 0; i <= METRICS_BUCKETS; i++) {
        total += sum_at(s, offset + i * sizeof(atomic_llong));
        buf_z(to, metric);
        add_name(to, s, "_bucket");
        if (i < METRICS_BUCKETS)
            buf_printf(to, ",le=\"%g\"} %lld\n", bounds[kind][i], (long long)total);
        else
            buf_printf(to, ",le=\"+Inf\"} %lld\n", (long long)total);
    }
    double sum = (double)sum_at(s, offset + offsetof(struct histogram, sum));
    buf_z(to, metric);
    add_name(to, s, "_sum");
    buf_printf(to, "} %.9g\n", kind == HISTOGRAM_SECONDS ? sum / 1e6 : sum);
    buf_z(to, metric);
    add_name(to, s, "_count");
    buf_printf(to, "} %lld\n", (long long)total);
}

#define AT(member) offsetof(struct metrics_model, member)

static const struct {
    const char *name, *type, *help;
    size_t offset;
    enum histogram_kind kind;
} series[] = {
    {"dynamo_frontend_active_requests", "gauge", "Requests under way.", AT(active), 0},
    {"dynamo_frontend_input_tokens_total", "counter", "Prompt tokens.", AT(input), 0},
    {"dynamo_frontend_cached_tokens", "counter", "Prompt tokens from a prefix cache.", AT(cached),
     0},
    {"dynamo_frontend_output_tokens_total", "counter", "Output tokens.", AT(output), 0},
    {"dynamo_frontend_time_to_first_token_seconds", "histogram", "To the first token.", AT(ttft),
     HISTOGRAM_SECONDS},
    {"dynamo_frontend_inter_token_latency_seconds", "histogram", "Between tokens.", AT(itl),
     HISTOGRAM_SECONDS},
    {"dynamo_frontend_request_duration_seconds", "histogram", "Whole requests.", AT(duration),
     HISTOGRAM_SECONDS},
    {"dynamo_frontend_input_sequence_tokens", "histogram", "Prompt lengths.", AT(input_len),
     HISTOGRAM_TOKENS},
    {"dynamo_frontend_output_sequence_tokens", "histogram", "Answer lengths.", AT(output_len),
     HISTOGRAM_TOKENS},
};

static void print_series(const struct sum *s, size_t i, struct buf *to)
{
    if (strcmp(series[i].type, "histogram") == 0) {
        print_histogram(s, series[i].name, series[i].offset, series[i].kind, to);
        return;
    }
    add_name(to, s, series[i].name);
    buf_printf(to, "} %lld\n", (long long)sum_at(s, series[i].offset));
}

/* The names over all sets; the last is NULL, for "other". */
static int all_names(struct metrics *const *sets, int n_sets,
                     const char *ret[METRICS_MODELS_MAX + 1])
{
    int n = 0;
    for (int i = 0; i < n_sets; i++) {
        int models = atomic_load_explicit(&sets[i]->n_models, memory_order_acquire);
        for (int k = 0; k < models; k++) {
            bool seen = false;
            for (int j = 0; j < n; j++)
                seen = seen || strcmp(ret[j], sets[i]->model[k].name) == 0;
            if (!seen && n < METRICS_MODELS_MAX)
                ret[n++] = sets[i]->model[k].name;
        }
    }
    ret[n++] = NULL;
    return n;
}

static void head(struct buf *to, const char *name, const char *type, const char *help)
{
    buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_gauge(struct buf *to, const char *name, const char *help, double value)
{
    head(to, name, "gauge", help);
    buf_printf(to, "%s %.17g\n", name, value);
}

void metrics_counter(struct buf *to, const char *name, const char *help, int64_t value)
{
    head(to, name, "counter", help);
    buf_printf(to, "%s %lld\n", name, (long long)value);
}

static int64_t over_sets(struct metrics *const *sets, int n_sets, size_t offset)
{
    int64_t total = 0;
    for (int i = 0; i < n_sets; i++)
        total += atomic_load_explicit((atomic_llong *)(void *)((char *)sets[i] + offset),
                                      memory_order_relaxed);
    return total;
}

void metrics_print(struct metrics *const *sets, int n_sets, struct buf *to)
{
    const char *names[METRICS_MODELS_MAX + 1];
    int n = all_names(sets, n_sets, names);
    head(to, "dynamo_frontend_requests_total", "counter", "Requests that ended.");
    for (int k = 0; k < n; k++)
        print_requests(&(struct sum){sets, n_sets, names[k]}, to);
    for (size_t i = 0; i < ARRAY_LEN(series); i++) {
        head(to, series[i].name, series[i].type, series[i].help);
        for (int k = 0; k < n; k++)
            print_series(&(struct sum){sets, n_sets, names[k]}, i, to);
    }
    head(to, "sluice_gateway_http_responses_total", "counter", "Answers by status class.");
    for (size_t i = 1; i < 6; i++)
        buf_printf(to, "sluice_gateway_http_responses_total{class=\"%zuxx\"} %lld\n", i,
                   (long long)over_sets(sets, n_sets,
                                        offsetof(struct metrics, http) + i * sizeof(atomic_llong)));
    metrics_counter(to, "sluice_gateway_unauthenticated_total", "Requests without a valid key.",
                    over_sets(sets, n_sets, offsetof(struct metrics, unauthenticated)));
    metrics_counter(to, "sluice_gateway_slow_clients_total",
                    "Streams cut: the reader was too slow.",
                    over_sets(sets, n_sets, offsetof(struct metrics, slow_clients)));
    metrics_counter(to, "sluice_gateway_retries_total", "Requests sent to a second replica.",
                    over_sets(sets, n_sets, offsetof(struct metrics, retries)));
    metrics_gauge(to, "sluice_gateway_queued_requests", "Requests waiting for a replica.",
                  (double)over_sets(sets, n_sets, offsetof(struct metrics, queued)));
}
