#include "gateway/count.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "engine/text/card.h"
#include "engine/text/template.h"
#include "engine/text/tokenizer.h"

struct text_model {
    atomic_int refs;
    uint8_t hash[HASH_BYTES]; /* of the packed card */
    int32_t n_ctx, n_vocab;
    struct tokenizer *tokenizer;
    struct template *template; /* NULL: the model has none */
};

struct text_cache {
    pthread_mutex_t lock;
    struct text_model *model[TEXT_MODELS_MAX];
};

/* ---- models ---- */

struct text_model *text_model_ref(struct text_model *m)
{
    if (m)
        atomic_fetch_add(&m->refs, 1);
    return m;
}

void text_model_unref(struct text_model *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    template_close(m->template);
    tokenizer_close(m->tokenizer);
    free(m);
}

int32_t text_model_ctx(const struct text_model *m)
{
    return m->n_ctx;
}

int32_t text_model_vocab(const struct text_model *m)
{
    return m->n_vocab;
}

static enum rc fill(struct text_model *m, const struct card *card, struct err *err)
{
    m->n_ctx = card->n_ctx;
    m->n_vocab = card->n_vocab;
    enum rc rc = tokenizer_open(card, &m->tokenizer, err);
    if (rc != RC_OK || !card->chat_template.len)
        return rc;
    struct err why = {0};
    if (template_open(card, &m->template, &why) != RC_OK) {
        /* Completions work without it, and chats say what is wrong. */
        log_warn("model.template", "model=%s error=%s", LOG_STR(card->name),
                 LOG_STR(str_of(why.msg)));
        m->template = NULL;
    }
    return RC_OK;
}

static enum rc make(struct str blob, struct text_model **ret, struct err *err)
{
    struct card card = {0};
    enum rc rc = card_unpack(blob, &card, err);
    if (rc != RC_OK)
        return rc;
    struct text_model *m = calloc(1, sizeof *m);
    rc = m ? fill(m, &card, err) : err_set(err, RC_NO_MEMORY, "no memory for a tokenizer");
    card_done(&card);
    if (m)
        atomic_init(&m->refs, 1);
    if (rc == RC_OK)
        *ret = m;
    else
        text_model_unref(m);
    return rc;
}

enum rc text_cache_new(struct text_cache **ret, struct err *err)
{
    struct text_cache *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, RC_NO_MEMORY, "no memory for tokenizers");
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return RC_OK;
}

void text_cache_free(struct text_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < TEXT_MODELS_MAX; i++)
        text_model_unref(c->model[i]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* The place of this model, or one that is free, or one that only the cache still holds. */
static struct text_model **place_of(struct text_cache *c, const uint8_t hash[HASH_BYTES])
{
    struct text_model **open = NULL;
    for (size_t i = 0; i < TEXT_MODELS_MAX; i++) {
        struct text_model **m = &c->model[i];
        if (*m && memcmp((*m)->hash, hash, HASH_BYTES) == 0)
            return m;
        if (!*m || (!open && atomic_load(&(*m)->refs) == 1))
            open = m;
    }
    return open;
}

/* The lock is held while a model is made, so that two workers do not make it twice. */
enum rc text_model_get(struct text_cache *c, struct str card, struct text_model **ret,
                       struct err *err)
{
    uint8_t hash[HASH_BYTES];
    enum rc rc = RC_OK;
    hash_blake2b(hash, sizeof hash, card.p, card.len, NULL, 0);
    pthread_mutex_lock(&c->lock);
    struct text_model **place = place_of(c, hash);
    if (!place) {
        rc = err_set(err, RC_UNAVAILABLE, "more than %d models at a time", TEXT_MODELS_MAX);
    } else if (!*place || memcmp((*place)->hash, hash, HASH_BYTES) != 0) {
        struct text_model *m = NULL;
        rc = make(card, &m, err);
        if (rc == RC_OK) {
            memcpy(m->hash, hash, HASH_BYTES);
            text_model_unref(*place);
            *place = m;
        }
    }
    if (rc == RC_OK)
        *ret = text_model_ref(*place);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* ---- counting ---- */

static enum rc keep(const struct tokens *v, struct arena *arena, struct prompt *ret,
                    struct err *err)
{
    int32_t *id = ARENA_ARRAY(arena, int32_t, v->n);
    if (!id)
        return err_set(err, RC_TOO_LARGE, "the prompt is too large");
    if (v->n)
        memcpy(id, v->id, v->n * sizeof *id);
    *ret = (struct prompt){id, (int32_t)v->n};
    return RC_OK;
}

enum rc count_chat(const struct text_model *m, const struct chat *c, int64_t wall_ms,
                   int32_t max_tok, struct arena *arena, struct prompt *ret, struct err *err)
{
    struct template_input in = {.messages = c->messages,
                                .extra = c->template_args,
                                .add_generation_prompt = c->add_generation_prompt,
                                .wall_ms = wall_ms};
    struct tokens v;
    tokens_init(&v, (size_t)max_tok);
    enum rc rc = template_tokens(m->template, m->tokenizer, &in, &v, err);
    if (rc == RC_OK)
        rc = keep(&v, arena, ret, err);
    tokens_done(&v);
    /* No template, or one that this conversation is too much for: the request is at fault. */
    return rc == RC_INVALID ? RC_BAD_INPUT : rc;
}

enum rc count_text(const struct text_model *m, struct str text, bool special, int32_t max_tok,
                   struct arena *arena, struct prompt *ret, struct err *err)
{
    struct tokens v;
    tokens_init(&v, (size_t)max_tok);
    enum rc rc = RC_OK;
    if (special && tokenizer_bos(m->tokenizer) >= 0)
        rc = tokens_push(&v, tokenizer_bos(m->tokenizer), err);
    if (rc == RC_OK)
        rc = special ? tokenizer_encode_special(m->tokenizer, text, &v, err)
                     : tokenizer_encode(m->tokenizer, text, &v, err);
    if (rc == RC_OK)
        rc = keep(&v, arena, ret, err);
    tokens_done(&v);
    return rc;
}

enum rc count_prompt(const struct text_model *m, const struct chat_prompt *p, int32_t max_tok,
                     struct arena *arena, struct prompt *ret, struct err *err)
{
    if (p->n_ids < 0)
        return count_text(m, p->text, true, max_tok, arena, ret, err);
    if (p->n_ids > max_tok)
        return err_set(err, RC_TOO_LARGE, "the prompt has %d tokens", p->n_ids);
    for (int32_t i = 0; i < p->n_ids; i++)
        if (p->id[i] >= m->n_vocab)
            return err_field(err, RC_BAD_INPUT, "prompt",
                             "Token id %d of 'prompt' is not in the model's vocabulary of %d.",
                             p->id[i], m->n_vocab);
    *ret = (struct prompt){p->id, p->n_ids};
    return RC_OK;
}

enum rc count_decode(const struct text_model *m, const int32_t *id, int32_t n, struct buf *to,
                     struct err *err)
{
    return tokenizer_decode(m->tokenizer, id, (size_t)n, false, to, err);
}
