#ifndef SLUICE_TESTS_UNIT_TINY_MODEL_H
#define SLUICE_TESTS_UNIT_TINY_MODEL_H
/* tiny_model - a whole Llama-family GGUF in memory, with random weights of chosen types, or wrong
 * in one chosen way. */

#include "engine/model/quant.h"
#include "tests/unit/gguf_maker.h"

struct tiny_spec {
    uint32_t type;       /* of all matrices but the embedding */
    uint32_t embed_type; /* F32 when 0 */
    uint64_t d, ff, layers, heads, kv_heads, head_dim, vocab;
    bool own_head, rope_freqs;
    /* What is wrong: */
    const char *arch;      /* NULL: llama */
    const char *leave_out; /* this tensor */
    const char *extra;     /* one more tensor of this name */
    const char *misshape;  /* this tensor has one row too many */
    uint64_t tokens;       /* 0: as many as vocab */
    uint32_t eos;
    const char *key; /* one more key, with the value key_value */
    uint32_t key_value;
    bool infinite_scale; /* in the first block of the first matrix */
};

static inline uint32_t tiny_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* One block of small weights; m cancels the mean of unsigned formats. */
static inline void tiny_block(const struct quant_type *type, uint64_t *state, uint8_t *to)
{
    for (int32_t i = 0; i < type->block_bytes; i++)
        to[i] = (uint8_t)tiny_random(state);
    float spread = 0.1f, v = spread * ((float)(tiny_random(state) % 2001) / 1000.0f - 1.0f);
    float levels = type->id == QUANT_Q8_0 ? 127 : type->id == QUANT_Q5_1 ? 16 : 8;
    uint16_t d = quant_f32_to_f16(spread / levels), m = quant_f32_to_f16(-spread);
    if (type->id == QUANT_F32)
        memcpy(to, &v, 4);
    else if (type->id == QUANT_F16)
        memcpy(to, &(uint16_t){quant_f32_to_f16(v)}, 2);
    else if (type->id == QUANT_BF16)
        memcpy(to, (uint8_t *)&v + 2, 2);
    else if (type->id == QUANT_Q6_K)
        memcpy(to + 208, &(uint16_t){quant_f32_to_f16(spread / 2000)}, 2);
    else
        memcpy(to, &d, 2);
    if (type->id == QUANT_Q4_1 || type->id == QUANT_Q5_1)
        memcpy(to + 2, &m, 2);
    if (type->id == QUANT_Q4_K || type->id == QUANT_Q5_K) {
        float unit = spread / 400;
        memcpy(to, &(uint16_t){quant_f32_to_f16(unit)}, 2);
        memcpy(to + 2, &(uint16_t){quant_f32_to_f16(8 * unit)}, 2);
    }
}

struct tiny_tensor {
    char name[64];
    uint64_t cols, rows; /* rows 0: a vector of ones, or nearly */
    const struct quant_type *type;
};

static inline void tiny_add(struct tiny_tensor *list, size_t *n, const struct tiny_spec *s,
                            const char *name, uint64_t cols, uint64_t rows, uint32_t type)
{
    if (s->leave_out && strcmp(name, s->leave_out) == 0)
        return;
    struct tiny_tensor *t = &list[(*n)++];
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->cols = cols;
    t->rows = rows + (s->misshape && strcmp(name, s->misshape) == 0);
    t->type = quant_find(type);
}

static inline size_t tiny_tensors(const struct tiny_spec *s, struct tiny_tensor list[128])
{
    const uint64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    size_t n = 0;
    tiny_add(list, &n, s, "token_embd.weight", s->d, s->vocab, s->embed_type);
    for (uint64_t i = 0; i < s->layers; i++) {
        const struct {
            const char *name;
            uint64_t cols, rows;
        } parts[] = {
            {"attn_norm", s->d, 0},    {"attn_q", s->d, q},      {"attn_k", s->d, kv},
            {"attn_v", s->d, kv},      {"attn_output", q, s->d}, {"ffn_norm", s->d, 0},
            {"ffn_gate", s->d, s->ff}, {"ffn_up", s->d, s->ff},  {"ffn_down", s->ff, s->d}};
        for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
            char name[64];
            snprintf(name, sizeof(name), "blk.%d.%s.weight", (int)i, parts[p].name);
            tiny_add(list, &n, s, name, parts[p].cols, parts[p].rows,
                     parts[p].rows ? s->type : QUANT_F32);
        }
    }
    tiny_add(list, &n, s, "output_norm.weight", s->d, 0, QUANT_F32);
    if (s->own_head)
        tiny_add(list, &n, s, "output.weight", s->d, s->vocab, s->type);
    if (s->rope_freqs)
        tiny_add(list, &n, s, "rope_freqs.weight", s->head_dim / 2, 0, QUANT_F32);
    if (s->extra)
        tiny_add(list, &n, s, s->extra, s->d, 0, QUANT_F32);
    return n;
}

static inline void put_tiny_keys(struct buf *b, const struct tiny_spec *s)
{
    const uint64_t tokens = s->tokens ? s->tokens : s->vocab;
    put_key_str(b, "general.architecture", s->arch ? s->arch : "llama");
    put_key_u32(b, "llama.block_count", (uint32_t)s->layers);
    put_key_u32(b, "llama.context_length", 256);
    put_key_u32(b, "llama.embedding_length", (uint32_t)s->d);
    put_key_u32(b, "llama.feed_forward_length", (uint32_t)s->ff);
    put_key_u32(b, "llama.attention.head_count", (uint32_t)s->heads);
    put_key_u32(b, "llama.attention.head_count_kv", (uint32_t)s->kv_heads);
    put_key_u32(b, "llama.attention.key_length", (uint32_t)s->head_dim);
    put_key_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_key_str(b, "tokenizer.ggml.model", "gpt2");
    put_key_u32(b, "tokenizer.ggml.eos_token_id", s->eos);
    put_text(b, "tokenizer.ggml.tokens");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_STRING);
    put_u64(b, tokens);
    for (uint64_t i = 0; i < tokens; i++) {
        char token[16];
        snprintf(token, sizeof(token), "t%d", (int)i);
        put_text(b, token);
    }
    if (s->key)
        put_key_u32(b, s->key, s->key_value);
}

static inline void put_tiny_data(struct buf *b, const struct tiny_spec *s,
                                 const struct tiny_tensor *t, uint64_t *state, bool *ret_wrong)
{
    if (t->rows == 0) {
        for (uint64_t i = 0; i < t->cols; i++) {
            float v = 0.9f + 0.0002f * (float)(tiny_random(state) % 1000);
            put(b, &v, 4);
        }
        return;
    }
    for (uint64_t i = 0; i < t->rows * t->cols / (uint64_t)t->type->block; i++) {
        uint8_t block[512];
        tiny_block(t->type, state, block);
        if (s->infinite_scale && !*ret_wrong && t->type->id == s->type) {
            block[0] = 0, block[1] = 0x7c;
            *ret_wrong = true;
        }
        put(b, block, (size_t)t->type->block_bytes);
    }
}

static inline void put_tiny_model(struct buf *b, const struct tiny_spec *s)
{
    struct tiny_tensor list[128];
    const size_t n = tiny_tensors(s, list);
    uint64_t at = 0, state = 42;
    bool wrong = false;
    put_head(b, 3, n, 12 + (s->key != NULL));
    put_tiny_keys(b, s);
    for (size_t i = 0; i < n; i++) {
        const struct tiny_tensor *t = &list[i];
        const uint64_t dim[2] = {t->cols, t->rows};
        put_tensor(b, t->name, t->rows ? 2 : 1, dim, t->type->id, at);
        uint64_t count = t->cols * (t->rows ? t->rows : 1);
        at += count / (uint64_t)t->type->block * (uint64_t)t->type->block_bytes;
        at = (at + 31) / 32 * 32;
    }
    put_alignment(b, 32);
    for (size_t i = 0; i < n; i++) {
        put_tiny_data(b, s, &list[i], &state, &wrong);
        put_alignment(b, 32);
    }
}

#endif
