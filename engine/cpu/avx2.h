#ifndef SLUICE_ENGINE_CPU_AVX2_H
#define SLUICE_ENGINE_CPU_AVX2_H
/* avx2 - the entries of the avx2 table; avx512 takes over all that it does not do better. */

#include "engine/cpu/cpu_ops.h"

void avx2_matmul(const struct weight *w, int32_t p0, int32_t p1, const struct act *a, int32_t t0,
                 int32_t T, bool add, float *to, size_t ld, void *scratch);

void avx2_fill(const struct act *a, int32_t t, int wants);
void avx2_rmsnorm(float *to, const float *x, const float *weight, int32_t n, float eps);
void avx2_rope(float *v, const float *cos_sin, int32_t rope_dim);
void avx2_silu_mul(float *to, const float *gate, const float *up, int32_t n);

void avx2_k_store(const struct kv_head *h, int32_t page, int32_t slot, const float *k);
void avx2_v_store(const struct kv_head *h, int32_t page, int32_t slot, const float *v);
void avx2_attend(const struct kv_head *h, const int32_t *page_of, int32_t G, const float *q,
                 int32_t from, int32_t n, float *part);
void avx2_merge(float *run, const float *part, int32_t G, int32_t head_dim);
void avx2_finish(const float *run, int32_t G, int32_t head_dim, float *to);

#endif
