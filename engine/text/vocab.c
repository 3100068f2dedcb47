/* vocab.c - token bytes in one block, found again through one hash table. */

#include "engine/text/vocab.h"

#include <stdlib.h>

#include "base/units.h"
#include "engine/text/unicode.h"

#define HIDDEN (-2) /* a slot that once held an id: probes go on past it */

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes follow from U+0100 in
 * order. Returns -1 for a character outside of it. */
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    uint32_t i = cp - 0x100;
    if (i <= 0x20)
        return (int)i;
    if (i <= 0x20 + 34)
        return (int)(0x7f + (i - 0x21));
    return 0xad;
}

size_t vocab_from_alphabet(struct str s, char *to)
{
    size_t n = 0;
    for (const char *p = s.p, *end = s.p + s.len; p < end;) {
        uint32_t cp;
        p += utf8_next(p, end, &cp);
        int byte = alphabet_byte(cp);
        if (byte < 0) {
            memcpy(to, s.p, s.len);
            return s.len;
        }
        to[n++] = (char)byte;
    }
    return n;
}

static uint32_t hash_of(struct str s)
{
    const uint64_t k = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t h = s.len * k, w = 0;
    const char *p = s.p;
    size_t left = s.len;
    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * k;
        h ^= h >> 29;
    }
    if (left > 0) {
        w = 0;
        memcpy(&w, p, left);
        h = (h ^ w) * k;
        h ^= h >> 29;
    }
    return (uint32_t)((h * k) >> 32);
}

/* The slot that holds these bytes, or the empty one where the search ended. */
static uint32_t slot_of(const struct vocab *v, struct str bytes)
{
    uint32_t at = hash_of(bytes) & v->mask;
    while (v->slot[at] != -1) {
        if (v->slot[at] >= 0 && str_eq(vocab_piece(v, v->slot[at]), bytes))
            break;
        at = (at + 1) & v->mask;
    }
    return at;
}

int32_t vocab_find(const struct vocab *v, struct str bytes)
{
    return bytes.len == 0 || bytes.len > v->longest ? -1 : v->slot[slot_of(v, bytes)];
}

void vocab_hide(struct vocab *v, int32_t id)
{
    uint32_t at = slot_of(v, vocab_piece(v, id));
    if (v->slot[at] == id)
        v->slot[at] = HIDDEN;
}

static bool is_ordinary(uint8_t type)
{
    return type == CARD_NORMAL || type == CARD_UNUSED;
}

static enum rc copy_tokens(struct vocab *v, const struct card *card, struct err *err)
{
    size_t total = 0;
    for (int32_t i = 0; i < card->n_vocab; i++) {
        if (card->token[i].len > CARD_TOKEN_MAX_BYTES)
            return err_set(err, RC_CORRUPT, "token %d has %zu bytes", i, card->token[i].len);
        total += card->token[i].len;
    }
    if (total > UINT32_MAX)
        return err_set(err, RC_CORRUPT, "vocabulary of %zu bytes", total);
    v->bytes = malloc(total + 1);
    v->start = calloc((size_t)v->n + 1, sizeof(*v->start));
    v->type = malloc((size_t)v->n);
    if (!v->bytes || !v->start || !v->type)
        return err_set(err, RC_NO_MEMORY, "no memory for a vocabulary of %d tokens", v->n);

    uint32_t at = 0;
    for (int32_t i = 0; i < v->n; i++) {
        struct str s = card->token[i];
        v->type[i] = card->type[i];
        v->start[i] = at;
        if (is_ordinary(v->type[i])) {
            at += (uint32_t)vocab_from_alphabet(s, v->bytes + at);
        } else {
            if (s.len)
                memcpy(v->bytes + at, s.p, s.len);
            at += (uint32_t)s.len;
        }
    }
    v->start[v->n] = at;
    return RC_OK;
}

static enum rc index_tokens(struct vocab *v, struct err *err)
{
    uint32_t slots = 64;
    while (slots < (uint32_t)v->n * 2)
        slots *= 2;
    v->mask = slots - 1;
    v->slot = malloc(slots * sizeof(*v->slot));
    if (!v->slot)
        return err_set(err, RC_NO_MEMORY, "no memory for a vocabulary of %d tokens", v->n);
    memset(v->slot, 0xff, slots * sizeof(*v->slot));
    memset(v->byte_id, 0xff, sizeof(v->byte_id));
    for (int32_t i = 0; i < v->n; i++) {
        struct str s = vocab_piece(v, i);
        if (!is_ordinary(v->type[i]) || s.len == 0)
            continue;
        uint32_t at = slot_of(v, s);
        if (v->slot[at] != -1)
            continue; /* the first of equals */
        v->slot[at] = i;
        v->longest = MAX_OF(v->longest, (uint32_t)s.len);
        if (s.len == 1)
            v->byte_id[(unsigned char)s.p[0]] = i;
    }
    return RC_OK;
}

enum rc vocab_init(struct vocab *v, const struct card *card, struct err *err)
{
    *v = (struct vocab){.n = card->n_vocab};
    if (v->n <= 0 || v->n > CARD_VOCAB_MAX)
        return err_set(err, RC_CORRUPT, "vocabulary of %d tokens", v->n);
    enum rc rc = copy_tokens(v, card, err);
    if (rc == RC_OK)
        rc = index_tokens(v, err);
    return rc;
}

void vocab_done(struct vocab *v)
{
    free(v->bytes);
    free(v->start);
    free(v->type);
    free(v->slot);
    *v = (struct vocab){0};
}
