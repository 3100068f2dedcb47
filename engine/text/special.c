/* special.c - longest match over sorted words, narrowed byte by byte: a text that nearly spells
 * a word a million times costs a few comparisons each time, however many words there are. */

#include "engine/text/special.h"

#include <stdlib.h>

static int by_text(const void *a, const void *b)
{
    const struct special_word *x = a, *y = b;
    int c = str_cmp(x->text, y->text);
    return c != 0 ? c : (x->id > y->id) - (x->id < y->id);
}

static bool is_special_type(uint8_t type)
{
    return type == CARD_CONTROL || type == CARD_UNKNOWN || type == CARD_USER_DEFINED;
}

enum rc special_init(struct special *s, const struct vocab *v, struct err *err)
{
    *s = (struct special){0};
    size_t n = 0;
    for (int32_t i = 0; i < v->n; i++)
        n += is_special_type(v->type[i]);
    s->word = calloc(n + 1, sizeof(*s->word));
    if (!s->word)
        return err_set(err, RC_NO_MEMORY, "no memory for %zu special tokens", n);
    for (int32_t i = 0; i < v->n; i++) {
        struct str text = vocab_piece(v, i);
        if (!is_special_type(v->type[i]) || text.len == 0)
            continue;
        bool control = v->type[i] != CARD_USER_DEFINED;
        s->word[s->n++] = (struct special_word){text, i, control};
        s->starts[(unsigned char)text.p[0]] = true;
        s->any_added |= !control;
    }
    qsort(s->word, s->n, sizeof(*s->word), by_text);
    return RC_OK;
}

void special_done(struct special *s)
{
    free(s->word);
    *s = (struct special){0};
}

/* First word in [lo, hi) whose byte `depth` is at least c. All of them share the bytes before;
 * a word that ends at depth sorts first. */
static size_t lower(const struct special *s, size_t lo, size_t hi, size_t depth, int c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        struct str w = s->word[mid].text;
        if (w.len > depth && (unsigned char)w.p[depth] >= c)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

int32_t special_match(const struct special *s, struct str text, size_t at, size_t trusted_end,
                      size_t *ret_len)
{
    size_t lo = 0, hi = s->n;
    int32_t best = -1;
    for (size_t depth = 0; at + depth < text.len && lo < hi; depth++) {
        int c = (unsigned char)text.p[at + depth];
        lo = lower(s, lo, hi, depth, c);
        hi = lower(s, lo, hi, depth, c + 1);
        for (size_t i = lo; i < hi && s->word[i].text.len == depth + 1; i++) {
            if (!s->word[i].control || at + depth + 1 <= trusted_end) {
                best = s->word[i].id;
                *ret_len = depth + 1;
                break;
            }
        }
    }
    return best;
}

int32_t special_find(const struct special *s, struct str text)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(s->word[mid].text, text);
        if (c == 0 && s->word[mid].control)
            return s->word[mid].id;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}
