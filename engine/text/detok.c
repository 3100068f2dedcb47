/* detok.c - two small automata: UTF-8 beginnings, and one prefix function a stop string. */

#include "engine/text/detok.h"

#include <stdlib.h>

#include "base/units.h"
#include "engine/text/unicode.h"

/* Far more than can wait: a stop string less its last byte, and the text of one token. */
#define HELD_MAX (64 * KIB)

struct stop {
    char *text; /* owned */
    uint16_t len;
    uint16_t *back; /* [len] owned: the longest proper end of text[0..i] that begins text */
    uint16_t at;    /* bytes of text that the end of the stream matches now */
};

/* Tokens whose bytes all lie before `end`, a count of text bytes since the start. */
struct mark {
    uint64_t end;
    int32_t n;
};

struct detok {
    const struct tokenizer *t; /* view */
    bool skip_special;
    struct stop stop[DETOK_STOPS_MAX];
    int32_t n_stop, hit;
    char part[4]; /* the beginning of a character */
    size_t n_part;
    struct buf held;      /* text that may yet become a stop string */
    uint64_t made, shown; /* bytes of text so far: out of the first step, out of the second */
    struct mark *mark;    /* tokens not settled, oldest first */
    size_t n_mark, cap_mark;
    int32_t settled;
};

static enum rc stop_init(struct stop *s, struct str text, struct err *err)
{
    if (text.len == 0 || text.len > DETOK_STOP_MAX_BYTES)
        return err_field(err, RC_BAD_INPUT, "stop", "a stop string has %zu bytes (1 to %d allowed)",
                         text.len, DETOK_STOP_MAX_BYTES);
    if (!str_is_utf8(text))
        return err_field(err, RC_BAD_INPUT, "stop", "a stop string is not UTF-8");
    s->text = malloc(text.len);
    s->back = calloc(text.len, sizeof(*s->back));
    if (!s->text || !s->back)
        return err_set(err, RC_NO_MEMORY, "no memory for a stop string");
    memcpy(s->text, text.p, text.len);
    s->len = (uint16_t)text.len;
    for (uint16_t i = 1, k = 0; i < s->len; i++) {
        while (k > 0 && s->text[i] != s->text[k])
            k = s->back[k - 1];
        k = (uint16_t)(k + (s->text[i] == s->text[k]));
        s->back[i] = k;
    }
    return RC_OK;
}

enum rc detok_open(const struct tokenizer *t, const struct str *stop, int32_t n_stop,
                   struct detok **ret, struct err *err)
{
    if (n_stop < 0 || n_stop > DETOK_STOPS_MAX)
        return err_field(err, RC_BAD_INPUT, "stop", "%d stop strings (at most %d allowed)", n_stop,
                         DETOK_STOPS_MAX);
    struct detok *d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(err, RC_NO_MEMORY, "no memory for a detokenizer");
    d->t = t;
    d->skip_special = true;
    d->hit = -1;
    buf_init(&d->held, HELD_MAX);
    enum rc rc = RC_OK;
    for (; rc == RC_OK && d->n_stop < n_stop; d->n_stop++)
        rc = stop_init(&d->stop[d->n_stop], stop[d->n_stop], err);
    if (rc == RC_OK)
        *ret = d;
    else
        detok_close(d);
    return rc;
}

void detok_close(struct detok *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < DETOK_STOPS_MAX; i++) {
        free(d->stop[i].text);
        free(d->stop[i].back);
    }
    buf_done(&d->held);
    free(d->mark);
    free(d);
}

void detok_skip_special(struct detok *d, bool skip)
{
    d->skip_special = skip;
}

int32_t detok_stop(const struct detok *d)
{
    return d->hit;
}

int32_t detok_settled(const struct detok *d)
{
    return d->settled;
}

/* Moves one stop string's match on by a byte; true when it is complete. */
static bool stop_step(struct stop *s, char c)
{
    while (s->at > 0 && s->text[s->at] != c)
        s->at = s->back[s->at - 1];
    s->at = (uint16_t)(s->at + (s->text[s->at] == c));
    return s->at == s->len;
}

/* The second step: whole characters in. Stops at the first complete stop string and takes its
 * bytes off the end again. */
static void take_text(struct detok *d, struct str s)
{
    for (size_t i = 0; i < s.len && d->hit < 0; i++) {
        buf_byte(&d->held, s.p[i]);
        d->made++;
        for (int32_t k = 0; k < d->n_stop; k++) {
            if (stop_step(&d->stop[k], s.p[i]) &&
                (d->hit < 0 || d->stop[k].len > d->stop[d->hit].len))
                d->hit = k;
        }
    }
}

/* Without stop strings nothing is matched byte by byte. */
static void take_run(struct detok *d, struct str s)
{
    if (d->n_stop > 0) {
        take_text(d, s);
        return;
    }
    buf_str(&d->held, s);
    d->made += s.len;
}

/* The first step: bytes in, whole characters and U+FFFD out to the second. */
static void take_bytes(struct detok *d, struct str s)
{
    size_t len;
    while (d->n_part > 0 && s.len > 0) {
        d->part[d->n_part++] = *s.p++;
        s.len--;
        enum utf8_state state = utf8_look(d->part, d->n_part, &len);
        if (state == UTF8_PART)
            continue;
        if (state == UTF8_WHOLE) {
            take_run(d, str_make(d->part, len));
        } else {
            take_run(d, STR("\xef\xbf\xbd"));
            /* The byte that broke it may begin a character itself. */
            s.p -= d->n_part - len;
            s.len += d->n_part - len;
        }
        d->n_part = 0;
    }
    size_t at = 0;
    for (size_t from = 0; at < s.len; at += len) {
        enum utf8_state state = utf8_look(s.p + at, s.len - at, &len);
        bool last = at + len == s.len;
        if (state == UTF8_WHOLE && !last)
            continue;
        if (state == UTF8_WHOLE)
            take_run(d, str_make(s.p + from, at + len - from));
        else
            take_run(d, str_make(s.p + from, at - from));
        if (state == UTF8_BROKEN)
            take_run(d, STR("\xef\xbf\xbd"));
        if (state == UTF8_PART) {
            d->n_part = s.len - at;
            memcpy(d->part, s.p + at, d->n_part);
            break;
        }
        from = at + len;
    }
}

static enum rc mark_token(struct detok *d, struct err *err)
{
    uint64_t end = d->made + d->n_part; /* at least one byte for an unfinished character */
    if (d->n_mark > 0 && d->mark[d->n_mark - 1].end == end) {
        d->mark[d->n_mark - 1].n++;
        return RC_OK;
    }
    if (d->n_mark == d->cap_mark) {
        size_t cap = d->cap_mark ? d->cap_mark * 2 : 8;
        struct mark *mark = reallocarray(d->mark, cap, sizeof(*mark));
        if (!mark)
            return err_set(err, RC_NO_MEMORY, "no memory for held tokens");
        d->mark = mark;
        d->cap_mark = cap;
    }
    d->mark[d->n_mark++] = (struct mark){end, 1};
    return RC_OK;
}

static void settle_until(struct detok *d, uint64_t end)
{
    size_t n = 0;
    while (n < d->n_mark && d->mark[n].end <= end)
        d->settled += d->mark[n++].n;
    d->n_mark -= n;
    if (n > 0 && d->n_mark > 0)
        memmove(d->mark, d->mark + n, d->n_mark * sizeof(*d->mark));
}

static void show(struct detok *d, size_t keep, struct buf *to)
{
    size_t n = d->held.len - MIN_OF(keep, d->held.len);
    buf_add(to, d->held.p, n);
    buf_drop(&d->held, n);
    d->shown += n;
}

/* Gives out all but the longest end that may become a stop string. */
static void show_settled(struct detok *d, struct buf *to)
{
    size_t keep = 0;
    if (d->hit >= 0) {
        show(d, d->stop[d->hit].len, to);
        buf_clear(&d->held);
        settle_until(d, UINT64_MAX);
        return;
    }
    for (int32_t i = 0; i < d->n_stop; i++)
        keep = MAX_OF(keep, (size_t)d->stop[i].at);
    show(d, keep, to);
    settle_until(d, d->shown);
}

enum rc detok_push(struct detok *d, int32_t id, struct buf *to, struct err *err)
{
    d->settled = 0;
    if (id < 0 || id >= tokenizer_vocab(d->t))
        return err_set(err, RC_BAD_INPUT, "token id %d is outside the vocabulary", id);
    if (d->hit >= 0) {
        d->settled = 1;
        return RC_OK;
    }
    if (!d->skip_special || !tokenizer_is_special(d->t, id))
        take_bytes(d, tokenizer_piece(d->t, id));
    enum rc rc = mark_token(d, err);
    if (rc != RC_OK)
        return rc;
    show_settled(d, to);
    if (d->held.failed || to->failed)
        return err_set(err, RC_TOO_LARGE, "the text is over %zu bytes", to->max);
    return RC_OK;
}

void detok_flush(struct detok *d, struct buf *to)
{
    d->settled = 0;
    if (d->n_part > 0 && d->hit < 0) {
        d->n_part = 0;
        take_run(d, STR("\xef\xbf\xbd"));
    }
    if (d->hit < 0)
        show(d, 0, to);
    else
        show_settled(d, to);
    settle_until(d, UINT64_MAX);
}
