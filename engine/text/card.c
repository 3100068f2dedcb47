/* card.c - the blob: magic, version, total length, then the fields in the order of the struct.
 *
 * Integers are 32-bit little-endian, texts a length and their bytes. The reader trusts nothing:
 * each length is checked against what is left, each id against the vocabulary. */

#include "engine/text/card.h"

#include <stdlib.h>

#include "base/units.h"

#define MAGIC   UINT32_C(0x44524353) /* "SCRD" */
#define VERSION 1

static void put_u32(struct buf *to, uint32_t v)
{
    unsigned char b[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16),
                          (unsigned char)(v >> 24)};
    buf_add(to, b, sizeof(b));
}

static void put_str(struct buf *to, struct str s)
{
    put_u32(to, (uint32_t)s.len);
    buf_str(to, s);
}

static void special_ids(const struct card *c, int32_t ret[5])
{
    ret[0] = c->bos;
    ret[1] = c->eos;
    ret[2] = c->eot;
    ret[3] = c->pad;
    ret[4] = c->unk;
}

static enum rc check_sizes(const struct card *c, struct err *err)
{
    const struct str text[] = {c->name, c->arch, c->tok_model, c->tok_pre, c->chat_template};
    for (size_t i = 0; i < ARRAY_LEN(text); i++) {
        if (text[i].len > CARD_TEXT_MAX_BYTES)
            return err_set(err, RC_TOO_LARGE, "a text of the card has %zu bytes", text[i].len);
    }
    if (c->n_vocab < 0 || c->n_vocab > CARD_VOCAB_MAX || c->n_merges < 0 ||
        c->n_merges > CARD_MERGES_MAX)
        return err_set(err, RC_TOO_LARGE, "card with %d tokens and %d merges", c->n_vocab,
                       c->n_merges);
    for (int32_t i = 0; i < c->n_vocab; i++) {
        if (c->token[i].len > CARD_TOKEN_MAX_BYTES)
            return err_set(err, RC_TOO_LARGE, "token %d has %zu bytes", i, c->token[i].len);
    }
    for (int32_t i = 0; i < c->n_merges; i++) {
        if (c->merge[i].len > CARD_MERGE_MAX_BYTES)
            return err_set(err, RC_TOO_LARGE, "merge %d has %zu bytes", i, c->merge[i].len);
    }
    return RC_OK;
}

enum rc card_pack(const struct card *c, struct buf *to, struct err *err)
{
    enum rc rc = check_sizes(c, err);
    if (rc != RC_OK)
        return rc;
    put_u32(to, MAGIC);
    put_u32(to, VERSION);
    size_t length_at = to->len;
    put_u32(to, 0);
    put_str(to, c->name);
    put_str(to, c->arch);
    buf_add(to, c->fingerprint, sizeof(c->fingerprint));
    put_u32(to, (uint32_t)c->n_ctx);
    put_u32(to, (uint32_t)c->n_vocab);
    put_str(to, c->tok_model);
    put_str(to, c->tok_pre);
    put_str(to, c->chat_template);
    int32_t ids[5];
    special_ids(c, ids);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        put_u32(to, (uint32_t)ids[i]);
    buf_byte(to, (char)c->add_bos);
    buf_byte(to, (char)c->add_eos);
    for (int32_t i = 0; i < c->n_vocab; i++) {
        buf_byte(to, (char)c->type[i]);
        put_str(to, c->token[i]);
    }
    put_u32(to, (uint32_t)c->n_merges);
    for (int32_t i = 0; i < c->n_merges; i++)
        put_str(to, c->merge[i]);
    if (to->failed)
        return err_set(err, RC_TOO_LARGE, "the card is over %zu bytes", to->max);
    uint32_t length = (uint32_t)(to->len - length_at - 4);
    for (size_t i = 0; i < 4; i++)
        to->p[length_at + i] = (char)(length >> (8 * i));
    return RC_OK;
}

/* Reads on; after the first fault every read gives nothing and `what` names the field. */
struct reader {
    const unsigned char *p;
    size_t left;
    const char *what; /* NULL while all is well */
};

static const unsigned char *take(struct reader *r, size_t n, const char *what)
{
    if (r->what)
        return NULL;
    if (n > r->left) {
        r->what = what;
        return NULL;
    }
    const unsigned char *p = r->p;
    r->p += n;
    r->left -= n;
    return p;
}

static uint32_t get_u32(struct reader *r, const char *what)
{
    const unsigned char *p = take(r, 4, what);
    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
             : 0;
}

static int32_t get_count(struct reader *r, int32_t lo, int32_t hi, const char *what)
{
    int32_t v = (int32_t)get_u32(r, what);
    if (!r->what && (v < lo || v > hi))
        r->what = what;
    return r->what ? lo : v;
}

static struct str get_str(struct reader *r, size_t max, const char *what)
{
    uint32_t n = get_u32(r, what);
    if (!r->what && n > max)
        r->what = what;
    const unsigned char *p = take(r, n, what);
    return p ? str_make((const char *)p, n) : STR_NONE;
}

static bool get_bool(struct reader *r, const char *what)
{
    const unsigned char *p = take(r, 1, what);
    if (p && *p > 1)
        r->what = what;
    return p && *p == 1;
}

/* What an unpacked card owns: a copy of the blob, which every view points into, and the arrays. */
struct card_block {
    void *all;
    struct str *token, *merge;
    uint8_t *type;
};

static void get_head(struct reader *r, struct card *c)
{
    if (get_u32(r, "magic") != MAGIC && !r->what)
        r->what = "magic";
    if (get_u32(r, "version") != VERSION && !r->what)
        r->what = "version";
    if (get_u32(r, "length") != r->left && !r->what)
        r->what = "length";
    c->name = get_str(r, CARD_TEXT_MAX_BYTES, "name");
    c->arch = get_str(r, CARD_TEXT_MAX_BYTES, "arch");
    const unsigned char *fp = take(r, sizeof(c->fingerprint), "fingerprint");
    if (fp)
        memcpy(c->fingerprint, fp, sizeof(c->fingerprint));
    c->n_ctx = get_count(r, 1, INT32_MAX, "n_ctx");
    c->n_vocab = get_count(r, 1, CARD_VOCAB_MAX, "n_vocab");
    c->tok_model = get_str(r, CARD_TEXT_MAX_BYTES, "tok_model");
    c->tok_pre = get_str(r, CARD_TEXT_MAX_BYTES, "tok_pre");
    c->chat_template = get_str(r, CARD_TEXT_MAX_BYTES, "chat_template");
    int32_t last = c->n_vocab - 1;
    c->bos = get_count(r, -1, last, "bos");
    c->eos = get_count(r, -1, last, "eos");
    c->eot = get_count(r, -1, last, "eot");
    c->pad = get_count(r, -1, last, "pad");
    c->unk = get_count(r, -1, last, "unk");
    c->add_bos = get_bool(r, "add_bos");
    c->add_eos = get_bool(r, "add_eos");
}

/* Each token takes at least 5 bytes and each merge 4, so a count can be held against what is left
 * before memory is asked for it. */
static bool fits(struct reader *r, int32_t n, size_t least, const char *what)
{
    if (!r->what && (size_t)n > r->left / least)
        r->what = what;
    return !r->what;
}

static enum rc get_lists(struct reader *r, struct card *c, struct str *token, uint8_t *type,
                         struct err *err)
{
    for (int32_t i = 0; i < c->n_vocab && !r->what; i++) {
        const unsigned char *kind = take(r, 1, "token type");
        if (kind && (*kind < CARD_NORMAL || *kind > CARD_BYTE))
            r->what = "token type";
        type[i] = kind ? *kind : 0;
        token[i] = get_str(r, CARD_TOKEN_MAX_BYTES, "token");
    }
    c->n_merges = get_count(r, 0, CARD_MERGES_MAX, "n_merges");
    if (!fits(r, c->n_merges, 4, "n_merges"))
        return RC_OK;
    struct card_block *block = c->owned;
    block->merge = calloc((size_t)c->n_merges + 1, sizeof(*block->merge));
    if (!block->merge)
        return err_set(err, RC_NO_MEMORY, "no memory for %d merges", c->n_merges);
    for (int32_t i = 0; i < c->n_merges && !r->what; i++)
        block->merge[i] = get_str(r, CARD_MERGE_MAX_BYTES, "merge");
    c->merge = block->merge;
    if (!r->what && r->left != 0)
        r->what = "end";
    return RC_OK;
}

static enum rc unpack(struct str blob, struct card *c, struct err *err)
{
    struct card_block *block = calloc(1, sizeof(*block));
    if (!block)
        return err_set(err, RC_NO_MEMORY, "no memory for a card");
    c->owned = block;
    block->all = malloc(blob.len + 1);
    if (!block->all)
        return err_set(err, RC_NO_MEMORY, "no memory for a card of %zu bytes", blob.len);
    if (blob.len)
        memcpy(block->all, blob.p, blob.len);

    struct reader r = {.p = block->all, .left = blob.len};
    enum rc rc = RC_OK;
    get_head(&r, c);
    if (fits(&r, c->n_vocab, 5, "n_vocab")) {
        block->token = calloc((size_t)c->n_vocab, sizeof(*block->token));
        block->type = calloc((size_t)c->n_vocab, 1);
        if (!block->token || !block->type)
            return err_set(err, RC_NO_MEMORY, "no memory for %d tokens", c->n_vocab);
        c->token = block->token;
        c->type = block->type;
        rc = get_lists(&r, c, block->token, block->type, err);
    }
    if (rc == RC_OK && r.what)
        rc = err_field(err, RC_CORRUPT, r.what, "model card: '%s' is cut short or out of range",
                       r.what);
    return rc;
}

enum rc card_unpack(struct str blob, struct card *ret, struct err *err)
{
    struct card c = {0};
    enum rc rc = unpack(blob, &c, err);
    if (rc == RC_OK)
        *ret = c;
    else
        card_done(&c);
    return rc;
}

void card_done(struct card *c)
{
    struct card_block *block = c->owned;
    if (block) {
        free(block->all);
        free(block->token);
        free(block->type);
        free(block->merge);
        free(block);
    }
    *c = (struct card){0};
}
