/* tokenizer.c - text to ids: added tokens are cut out first, the text between them goes through
 * the pre-tokenizer, and each piece is one token by look-up or the result of merges. */

#include "engine/text/tokenizer.h"

#include <stdlib.h>

#include "base/units.h"
#include "engine/text/bpe.h"
#include "engine/text/card.h"
#include "engine/text/pretok.h"
#include "engine/text/special.h"
#include "engine/text/unicode.h"
#include "engine/text/vocab.h"

#define END_MAX 16

struct tokenizer {
    struct unicode unicode;
    enum pretok_kind pretok;
    struct vocab vocab; /* finds just those tokens that merging their own bytes gives, too */
    struct bpe bpe;
    struct special special;
    int32_t bos, eos;
    int32_t end[END_MAX]; /* ids that end a generation */
    size_t n_end;
};

/* End marks of well-known models, for cards that name only one of theirs. */
static const char *const end_texts[] = {
    "<|im_end|>",      "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",
    "<|end_of_turn|>", "<end_of_turn>", "<|end|>",    "</s>",       "<|return|>",
};

static void add_end(struct tokenizer *t, int32_t id)
{
    if (id >= 0 && !tokenizer_is_end(t, id) && t->n_end < END_MAX)
        t->end[t->n_end++] = id;
}

/* A look-up may stand in for merging only where both agree. Llama 3 looks up first by rule. */
static enum rc hide_unmerged(struct tokenizer *t, struct err *err)
{
    if (t->pretok == PRETOK_LLAMA3)
        return RC_OK;
    struct bpe_work work = {0};
    enum rc rc = RC_OK;
    for (int32_t id = 0; rc == RC_OK && id < t->vocab.n; id++) {
        struct str piece = vocab_piece(&t->vocab, id);
        if (vocab_find(&t->vocab, piece) != id)
            continue;
        rc = bpe_run(&t->bpe, piece, &work, err);
        if (rc == RC_OK && (work.n != 1 || work.id[0] != id))
            vocab_hide(&t->vocab, id);
    }
    bpe_work_done(&work);
    return rc;
}

static enum rc build(struct tokenizer *t, const struct card *card, struct err *err)
{
    enum rc rc = unicode_init(&t->unicode, err);
    if (rc == RC_OK)
        rc = vocab_init(&t->vocab, card, err);
    if (rc == RC_OK)
        rc = bpe_init(&t->bpe, &t->vocab, card, err);
    if (rc == RC_OK)
        rc = special_init(&t->special, &t->vocab, err);
    if (rc == RC_OK)
        rc = hide_unmerged(t, err);
    if (rc != RC_OK)
        return rc;
    t->bos = card->add_bos ? card->bos : -1;
    t->eos = card->eos;
    add_end(t, card->eos);
    add_end(t, card->eot);
    for (size_t i = 0; i < ARRAY_LEN(end_texts); i++)
        add_end(t, special_find(&t->special, str_of(end_texts[i])));
    return RC_OK;
}

enum rc tokenizer_open(const struct card *card, struct tokenizer **ret, struct err *err)
{
    enum pretok_kind pretok;
    if (!str_is(card->tok_model, "gpt2"))
        return err_set(err, RC_INVALID, "tokenizer family '%.*s' is unknown (known: gpt2)",
                       (int)MIN_OF(card->tok_model.len, (size_t)64), card->tok_model.p);
    if (!pretok_find(card->tok_pre, &pretok))
        return err_set(err, RC_INVALID, "pre-tokenizer '%.*s' is unknown (known: %s)",
                       (int)MIN_OF(card->tok_pre.len, (size_t)64), card->tok_pre.p, pretok_names());
    struct tokenizer *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(err, RC_NO_MEMORY, "no memory for a tokenizer");
    t->pretok = pretok;
    enum rc rc = build(t, card, err);
    if (rc == RC_OK)
        *ret = t;
    else
        tokenizer_close(t);
    return rc;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    special_done(&t->special);
    bpe_done(&t->bpe);
    vocab_done(&t->vocab);
    unicode_done(&t->unicode);
    free(t);
}

int32_t tokenizer_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->n_end; i++) {
        if (t->end[i] == id)
            return true;
    }
    return false;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n &&
           (t->vocab.type[id] == CARD_CONTROL || t->vocab.type[id] == CARD_UNKNOWN);
}

int32_t tokenizer_find_special(const struct tokenizer *t, struct str text)
{
    return special_find(&t->special, text);
}

/* Text without added tokens. */
static enum rc encode_plain(const struct tokenizer *t, struct str text, struct bpe_work *work,
                            struct tokens *v, struct err *err)
{
    struct pretok it;
    struct str piece;
    enum rc rc = RC_OK;
    pretok_begin(&it, &t->unicode, t->pretok, text);
    while (rc == RC_OK && pretok_next(&it, &piece)) {
        int32_t id = vocab_find(&t->vocab, piece);
        if (id >= 0) {
            rc = tokens_push(v, id, err);
            continue;
        }
        rc = bpe_run(&t->bpe, piece, work, err);
        for (size_t i = 0; rc == RC_OK && i < work->n; i++)
            rc = tokens_push(v, work->id[i], err);
    }
    return rc;
}

/* Offset of the next added token at or after `at`, or text.len. `*s` walks along the spans. */
static size_t next_special(const struct tokenizer *t, struct str text, size_t at,
                           const struct text_span *span, size_t n_span, size_t *s, int32_t *ret_id,
                           size_t *ret_len)
{
    for (; at < text.len; at++) {
        if (!t->special.starts[(unsigned char)text.p[at]])
            continue;
        while (*s < n_span && span[*s].to <= at)
            (*s)++;
        size_t trusted_end = *s < n_span && span[*s].from <= at ? span[*s].to : at;
        *ret_id = special_match(&t->special, text, at, trusted_end, ret_len);
        if (*ret_id >= 0)
            return at;
    }
    return at;
}

enum rc tokenizer_encode_spans(const struct tokenizer *t, struct str text,
                               const struct text_span *span, size_t n_span, struct tokens *v,
                               struct err *err)
{
    struct bpe_work work = {0};
    enum rc rc = RC_OK;
    if (n_span == 0 && !t->special.any_added) {
        rc = encode_plain(t, text, &work, v, err);
        bpe_work_done(&work);
        return rc;
    }
    for (size_t from = 0, s = 0; rc == RC_OK && from < text.len;) {
        int32_t id = -1;
        size_t len = 0;
        size_t at = next_special(t, text, from, span, n_span, &s, &id, &len);
        if (at > from)
            rc = encode_plain(t, str_make(text.p + from, at - from), &work, v, err);
        if (rc == RC_OK && at < text.len)
            rc = tokens_push(v, id, err);
        from = at + len;
    }
    bpe_work_done(&work);
    return rc;
}

enum rc tokenizer_encode(const struct tokenizer *t, struct str text, struct tokens *v,
                         struct err *err)
{
    return tokenizer_encode_spans(t, text, NULL, 0, v, err);
}

enum rc tokenizer_encode_special(const struct tokenizer *t, struct str text, struct tokens *v,
                                 struct err *err)
{
    struct text_span all = {0, text.len};
    return tokenizer_encode_spans(t, text, &all, 1, v, err);
}

struct str tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    if (id < 0 || id >= t->vocab.n)
        return STR_NONE;
    return vocab_piece(&t->vocab, id);
}

enum rc tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, bool skip_special,
                         struct buf *to, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (id[i] < 0 || id[i] >= t->vocab.n)
            return err_set(err, RC_BAD_INPUT, "token id %d is outside the vocabulary of %d", id[i],
                           t->vocab.n);
        if (!(skip_special && tokenizer_is_special(t, id[i])))
            buf_str(to, vocab_piece(&t->vocab, id[i]));
    }
    return to->failed ? err_set(err, RC_TOO_LARGE, "decoded text is over %zu bytes", to->max)
                      : RC_OK;
}
