/* card_gguf.c - the card (engine/text/card.h) of a GGUF file: what a gateway must know of it. */

#include <stdio.h>

#include "engine/model/gguf.h"
#include "engine/text/card.h"

#define MAX_VOCAB  (1 << 24)
#define MAX_MERGES (1 << 24)

static enum rc corrupt_vocab(const struct gguf *g, const char *what, struct err *err)
{
    return err_set(err, RC_CORRUPT, "%s: %s", gguf_label(g), what);
}

static const struct gguf_key *find_strings(const struct gguf *g, const char *name)
{
    const struct gguf_key *key = gguf_find(g, name);
    return key && key->is_array && key->type == GGUF_STRING ? key : NULL;
}

static enum rc read_tokens(const struct gguf *g, struct card *c, struct err *err)
{
    const struct gguf_key *token = find_strings(g, "tokenizer.ggml.tokens");
    const struct gguf_key *type = gguf_find(g, "tokenizer.ggml.token_type");
    if (!token || token->n == 0 || token->n > MAX_VOCAB)
        return corrupt_vocab(g, "tokenizer.ggml.tokens is absent, empty or too long", err);
    if (type && (!type->is_array || type->n != token->n))
        return corrupt_vocab(g, "tokenizer.ggml.token_type and tokens differ in length", err);
    uint8_t *types = gguf_alloc(g, (size_t)token->n, 1);
    if (!types)
        return err_set(err, RC_NO_MEMORY, "no memory for the vocabulary of %s", gguf_label(g));
    for (uint64_t i = 0; i < token->n; i++) {
        int64_t v = type ? gguf_int_at(type, i) : CARD_NORMAL;
        if (v < CARD_NORMAL || v > CARD_BYTE)
            return corrupt_vocab(g, "tokenizer.ggml.token_type holds an unknown type", err);
        types[i] = (uint8_t)v;
    }
    c->token = token->string;
    c->type = types;
    c->n_vocab = (int32_t)token->n;
    return RC_OK;
}

static enum rc read_merges(const struct gguf *g, struct card *c, struct err *err)
{
    const struct gguf_key *merge = find_strings(g, "tokenizer.ggml.merges");
    if (!merge)
        return RC_OK;
    if (merge->n > MAX_MERGES)
        return corrupt_vocab(g, "tokenizer.ggml.merges is too long", err);
    for (uint64_t i = 0; i < merge->n; i++) {
        if (str_find_byte(merge->string[i], ' ') < 0)
            return corrupt_vocab(g, "tokenizer.ggml.merges holds a merge of one part", err);
    }
    c->merge = merge->string;
    c->n_merges = (int32_t)merge->n;
    return RC_OK;
}

static enum rc read_id(const struct gguf *g, const char *name, int32_t n_vocab, int32_t *ret,
                       struct err *err)
{
    int64_t id = -1;
    *ret = -1;
    if (!gguf_get_i64(g, name, &id))
        return RC_OK;
    if (id == UINT32_MAX) /* how some converters write "none" */
        return RC_OK;
    if (id < 0 || id >= n_vocab)
        return err_set(err, RC_CORRUPT, "%s: %s is %lld, outside the vocabulary of %d",
                       gguf_label(g), name, (long long)id, n_vocab);
    *ret = (int32_t)id;
    return RC_OK;
}

static enum rc read_ids(const struct gguf *g, struct card *c, struct err *err)
{
    const struct {
        const char *name;
        int32_t *to;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &c->bos},     {"tokenizer.ggml.eos_token_id", &c->eos},
        {"tokenizer.ggml.eot_token_id", &c->eot},     {"tokenizer.ggml.padding_token_id", &c->pad},
        {"tokenizer.ggml.unknown_token_id", &c->unk},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        enum rc rc = read_id(g, ids[i].name, c->n_vocab, ids[i].to, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc read_context(const struct gguf *g, struct card *c, struct err *err)
{
    char name[96];
    int64_t n = 0;
    if (c->arch.len == 0 || c->arch.len > 32)
        return corrupt_vocab(g, "general.architecture is absent or too long", err);
    snprintf(name, sizeof(name), STR_FMT ".context_length", STR_ARG(c->arch));
    if (!gguf_get_i64(g, name, &n) || n < 1 || n > INT32_MAX)
        return err_set(err, RC_CORRUPT, "%s: %s is absent or out of range", gguf_label(g), name);
    c->n_ctx = (int32_t)n;
    return RC_OK;
}

enum rc gguf_card(const struct gguf *g, struct card *ret, struct err *err)
{
    struct card c = {.name = str_of(gguf_label(g))};
    gguf_get_str(g, "general.name", &c.name);
    gguf_get_str(g, "general.architecture", &c.arch);
    gguf_get_str(g, "tokenizer.ggml.model", &c.tok_model);
    gguf_get_str(g, "tokenizer.ggml.pre", &c.tok_pre);
    gguf_get_str(g, "tokenizer.chat_template", &c.chat_template);
    gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &c.add_bos);
    gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &c.add_eos);
    enum rc rc = read_context(g, &c, err);
    if (rc == RC_OK)
        rc = read_tokens(g, &c, err);
    if (rc == RC_OK)
        rc = read_merges(g, &c, err);
    if (rc == RC_OK)
        rc = read_ids(g, &c, err);
    if (rc == RC_OK)
        rc = gguf_fingerprint(g, c.fingerprint, err);
    if (rc == RC_OK)
        *ret = c;
    return rc;
}
