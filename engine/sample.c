/* sample.c - from logits to a token by one cut in the ranking. */
#include "engine/sample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Four lanes that every x86-64 and ARM64 has; the compiler widens nothing by itself at -O2. */
typedef float f4 __attribute__((vector_size(16), aligned(4)));
typedef int32_t i4 __attribute__((vector_size(16), aligned(4)));

enum { LANES = 4, SUM_BLOCK = 512 };
/* Most answers lie within e^-8 of the best token; only when they do not is the whole row taken. */
static const float NEAR_BEST = -8.0f;

struct sample_cand {
    float x, e;
    int32_t id;
};

enum rc sampler_open(struct sampler *s, int32_t n_vocab, struct err *err)
{
    size_t n = (size_t)n_vocab;
    *s = (struct sampler){.n_vocab = n_vocab};
    s->x = malloc(n * sizeof *s->x);
    s->e = malloc(n * sizeof *s->e);
    s->cand = malloc(n * sizeof *s->cand);
    s->count = calloc(n, sizeof *s->count);
    s->seen = calloc(n, sizeof *s->seen);
    if (s->x && s->e && s->cand && s->count && s->seen)
        return RC_OK;
    sampler_close(s);
    return err_set(err, RC_NO_MEMORY, "no memory for sampling over %d tokens", n_vocab);
}

void sampler_close(struct sampler *s)
{
    free(s->x);
    free(s->e);
    free(s->cand);
    free(s->count);
    free(s->seen);
    *s = (struct sampler){0};
}

void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, next2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[0] = next0;
        c[1] = (uint32_t)b;
        c[2] = next2;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(ret, c, sizeof c);
}

/* [0, 1) with 53 bits. */
static double uniform(uint64_t seed, int32_t position)
{
    const uint32_t counter[4] = {(uint32_t)position, 0, 0, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    philox(counter, key, r);
    return (double)(((uint64_t)r[0] << 32 | r[1]) >> 11) * 0x1p-53;
}

/* exp(x) for x <= 0, relative error below 2e-7; 0 below -87. Cody-Waite and a polynomial, with
 * only multiplications and additions, so every machine gives the same bits. */
static inline f4 exp_neg(f4 x)
{
    const float log2e = 1.44269504f, ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    i4 alive = x > -87.0f;
    x = (f4)((i4)x & alive); /* 0 where dead, so nothing overflows on the way */
    f4 n = (x * log2e + shift) - shift;
    f4 r = (x - n * ln2_hi) - n * ln2_lo;
    f4 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    i4 power = (i4)(n + shift) << 23; /* the integer sits in the low bits */
    return (f4)(((i4)p + power) & alive);
}

/* Four floats, or the last few and `fill`. */
static inline f4 load4(const float *p, int32_t left, float fill)
{
    f4 v = {fill, fill, fill, fill};
    if (__builtin_expect(left >= LANES, 1))
        memcpy(&v, p, sizeof v);
    else
        memcpy(&v, p, sizeof(float) * (size_t)left);
    return v;
}

static inline void store4(float *p, int32_t left, f4 v)
{
    if (__builtin_expect(left >= LANES, 1))
        memcpy(p, &v, sizeof v);
    else
        memcpy(p, &v, sizeof(float) * (size_t)left);
}

/* e[i] = exp((x[i] - best) * scale), e may be NULL; returns the sum. */
static double row_exp(const float *x, int32_t n, float best, float scale, float *e)
{
    double sum = 0;
    for (int32_t at = 0; at < n; at += SUM_BLOCK) {
        int32_t end = at + SUM_BLOCK < n ? at + SUM_BLOCK : n;
        f4 acc = {0};
        for (int32_t i = at; i < end; i += LANES) {
            f4 v = exp_neg((load4(x + i, end - i, -INFINITY) - best) * scale);
            acc += v;
            if (e)
                store4(e + i, end - i, v);
        }
        sum += (double)acc[0] + (double)acc[1] + (double)acc[2] + (double)acc[3];
    }
    return sum;
}

static inline f4 larger(f4 a, f4 b)
{
    i4 more = a > b;
    return (f4)(((i4)a & more) | ((i4)b & ~more));
}

/* Four more of a row, or the last few. */
static inline void see(const float *x, int32_t left, f4 *best, i4 *broken)
{
    const f4 v = load4(x, left, x[0]);
    *broken |= (v - v) != 0.0f; /* inf - inf and nan - nan are nan */
    *best = larger(v, *best);
}

/* The largest, and whether all are finite. Four of each at once, since one would wait for itself. */
static bool row_best(const float *x, int32_t n, float *ret)
{
    const f4 first = {x[0], x[0], x[0], x[0]};
    f4 best[4] = {first, first, first, first};
    i4 broken[4] = {0};
    int32_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            see(x + i + k * LANES, LANES, &best[k], &broken[k]);
    }
    for (; i < n; i += LANES)
        see(x + i, n - i, &best[0], &broken[0]);
    best[0] = larger(larger(best[0], best[1]), larger(best[2], best[3]));
    broken[0] |= broken[1] | broken[2] | broken[3];
    float m = best[0][0];
    for (int lane = 1; lane < LANES; lane++)
        m = best[0][lane] > m ? best[0][lane] : m;
    *ret = m;
    return !(broken[0][0] | broken[0][1] | broken[0][2] | broken[0][3]);
}

static int32_t first_at(const float *x, int32_t n, float value)
{
    int32_t i = 0;
    for (i4 found = {0}; i + 4 * LANES <= n; i += 4 * LANES) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            found |= load4(x + i + k * LANES, LANES, 0) == value;
        if (found[0] | found[1] | found[2] | found[3])
            break;
    }
    for (; i < n; i++)
        if (x[i] == value)
            return i;
    ASSERT(!"the largest is in the row");
    return 0;
}

static bool ranks_before(float ax, int32_t aid, float bx, int32_t bid)
{
    return ax > bx || (ax == bx && aid < bid);
}

/* The n best of a row in order, by insertion: n is at most 20. */
static int32_t top_of(const float *x, int32_t n_vocab, int32_t n, struct frame_logprob *top)
{
    int32_t have = 0;
    for (int32_t id = 0; n && id < n_vocab; id++) {
        if (have == n && x[id] <= top[n - 1].logprob)
            continue;
        int32_t at = have < n ? have++ : n - 1;
        for (; at > 0 && top[at - 1].logprob < x[id]; at--)
            top[at] = top[at - 1];
        top[at] = (struct frame_logprob){id, x[id]};
    }
    return have;
}

/* As the API has it: -9999 says "very unlikely". */
static float tell(float x, double log_sum)
{
    double p = (double)x - log_sum;
    return p < -9999.0 ? -9999.0f : (float)p;
}

static void report_logprobs(const struct sampler *s, const struct sample_in *in, float best,
                            struct sample_out *ret)
{
    double log_sum = log(row_exp(in->logits, s->n_vocab, best, 1.0f, NULL)) + (double)best;
    ret->chosen.logprob = tell(in->logits[ret->chosen.id], log_sum);
    ret->n_top = top_of(in->logits, s->n_vocab, in->params->top_logprobs, ret->top);
    for (int32_t i = 0; i < ret->n_top; i++)
        ret->top[i].logprob = tell(ret->top[i].logprob, log_sum);
}

static bool has_penalties(const struct frame_params *p)
{
    return p->presence != 0 || p->frequency != 0 || p->repetition != 1.0f;
}

/* Repetition looks at prompt and output, presence and frequency at the output alone. */
static void add_penalties(struct sampler *s, const struct sample_in *in)
{
    const struct frame_params *p = in->params;
    for (int32_t i = in->n_prompt; i < in->n_total; i++)
        s->count[in->token[i]]++;
    for (int32_t i = 0; i < in->n_total; i++) {
        int32_t id = in->token[i];
        if (s->seen[id])
            continue;
        s->seen[id] = 1;
        float *x = &s->x[id];
        *x = *x > 0 ? *x / p->repetition : *x * p->repetition;
        if (s->count[id])
            *x -= p->presence + p->frequency * (float)s->count[id];
    }
    for (int32_t i = 0; i < in->n_total; i++) {
        s->count[in->token[i]] = 0;
        s->seen[in->token[i]] = 0;
    }
}

static bool too_short_to_end(const struct sample_in *in)
{
    return in->n_total - in->n_prompt < in->params->min_tok;
}

/* Leaves the row to draw from in s->x, or returns the logits themselves when nothing changes. */
static const float *modified(struct sampler *s, const struct sample_in *in)
{
    const struct frame_params *p = in->params;
    if (p->n_bias == 0 && !has_penalties(p) && !too_short_to_end(in))
        return in->logits;
    memcpy(s->x, in->logits, (size_t)s->n_vocab * sizeof *s->x);
    for (int32_t i = 0; i < p->n_bias; i++)
        s->x[p->bias[i].id] += p->bias[i].bias;
    if (has_penalties(p))
        add_penalties(s, in);
    if (too_short_to_end(in)) {
        for (int32_t i = 0; i < in->n_end; i++)
            s->x[in->end_id[i]] = -INFINITY;
        for (int32_t i = 0; i < p->n_stop_ids; i++)
            s->x[p->stop_id[i]] = -INFINITY;
    }
    return s->x;
}

/* Collects what lies above `least` (in units of the scaled logit, best = 0); returns the mass. */
static double gather(struct sampler *s, const float *x, float best, float scale, float least,
                     int32_t *ret_n)
{
    double mass = 0;
    int32_t n = 0;
    for (int32_t id = 0; id < s->n_vocab; id++) {
        if ((x[id] - best) * scale < least)
            continue;
        s->cand[n++] = (struct sample_cand){x[id], s->e[id], id};
        mass += (double)s->e[id];
    }
    *ret_n = n;
    return mass;
}

static double weight(const struct sample_cand *c, bool by_mass)
{
    return by_mass ? (double)c->e : 1.0;
}

/* Moves the fewest best candidates whose weights reach `target` to the front; returns how many.
 * Quickselect: each round halves what is still open, so it is linear. */
static int32_t select_head(struct sample_cand *c, int32_t n, double target, bool by_mass)
{
    int32_t lo = 0, hi = n; /* the cut lies in (lo, hi] */
    double before = 0;      /* weight of [0, lo) */
    while (hi - lo > 1) {
        struct sample_cand pivot = c[lo + (hi - lo) / 2];
        c[lo + (hi - lo) / 2] = c[hi - 1];
        int32_t mid = lo;
        double left = 0;
        for (int32_t i = lo; i < hi - 1; i++) {
            struct sample_cand one = c[i];
            if (!ranks_before(one.x, one.id, pivot.x, pivot.id))
                continue;
            left += weight(&one, by_mass);
            c[i] = c[mid];
            c[mid++] = one;
        }
        c[hi - 1] = c[mid];
        c[mid] = pivot;
        if (before + left >= target) {
            hi = mid > lo ? mid : lo + 1;
            continue;
        }
        before += left + weight(&pivot, by_mass);
        lo = mid + 1;
        if (before >= target || lo >= hi)
            return lo;
    }
    return hi;
}

static int32_t draw_all(const struct sampler *s, double at)
{
    double sum = 0;
    int32_t last = 0;
    for (int32_t id = 0; id < s->n_vocab; id++) {
        if (s->e[id] == 0)
            continue;
        sum += (double)s->e[id];
        last = id;
        if (sum > at)
            break;
    }
    return last;
}

static int32_t draw_head(const struct sample_cand *c, int32_t n, float min_p, double u)
{
    double mass = 0, sum = 0;
    for (int32_t i = 0; i < n; i++)
        mass += c[i].e >= min_p ? (double)c[i].e : 0; /* the best one's e is 1 */
    int32_t last = c[0].id;
    for (int32_t i = 0; i < n; i++) {
        if (c[i].e < min_p || c[i].e == 0)
            continue;
        sum += (double)c[i].e;
        last = c[i].id;
        if (sum > u * mass)
            break;
    }
    return last;
}

static int32_t draw(struct sampler *s, const struct sample_in *in, const float *x, float best)
{
    const struct frame_params *p = in->params;
    float scale = 1.0f / p->temperature;
    double mass = row_exp(x, s->n_vocab, best, scale, s->e);
    double u = uniform(in->seed, in->n_total);
    bool has_k = p->top_k > 0 && p->top_k < s->n_vocab, has_p = p->top_p < 1.0f;
    if (!has_k && !has_p && p->min_p == 0)
        return draw_all(s, u * mass);

    int32_t n;
    double near = gather(s, x, best, scale, NEAR_BEST, &n);
    bool enough = (!has_k || n >= p->top_k) &&
                  (has_k || !has_p || near >= mass * (double)p->top_p) &&
                  (has_k || has_p || (double)p->min_p > 4e-4 /* > e^-8 */);
    if (!enough)
        gather(s, x, best, scale, -INFINITY, &n);
    if (has_k)
        n = select_head(s->cand, n, p->top_k, false);
    if (has_k && has_p) {
        mass = 0;
        for (int32_t i = 0; i < n; i++)
            mass += (double)s->cand[i].e;
    }
    if (has_p)
        n = select_head(s->cand, n, mass * (double)p->top_p, true);
    return draw_head(s->cand, n, p->min_p, u);
}

enum rc sample_next(struct sampler *s, const struct sample_in *in, struct sample_out *ret,
                    struct err *err)
{
    float raw_best, best;
    if (!row_best(in->logits, s->n_vocab, &raw_best))
        return err_set(err, RC_INTERNAL, "the model's logits are not finite at position %d",
                       in->n_total);
    struct sample_out out = {0};
    const float *x = modified(s, in);
    best = raw_best;
    if (x != in->logits)
        row_best(x, s->n_vocab, &best);
    if (!isfinite(best)) /* a huge logit times a penalty, or every token barred */
        return err_set(err, RC_INTERNAL, "bias and penalties leave no finite logit");
    if (in->params->temperature < SAMPLE_GREEDY_BELOW)
        out.chosen.id = first_at(x, s->n_vocab, best);
    else
        out.chosen.id = draw(s, in, x, best);
    if (in->params->logprobs)
        report_logprobs(s, in, raw_best, &out);
    *ret = out;
    return RC_OK;
}
