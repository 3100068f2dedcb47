/* pretok.c - the pre-tokenizer patterns as matchers.
 *
 * gpt-2     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * smollm    each digit alone, then gpt-2 inside what is between (so "(?!\S)" holds before a digit)
 * llama-bpe (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
 *           | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * qwen2     as llama-bpe, with \p{N} one at a time
 *
 * Alternatives are tried in order at each place, so the order of the tests below matters. */

#include "engine/text/pretok.h"

#include "base/units.h"

static const struct {
    const char *name;
    enum pretok_kind kind;
} known[] = {
    {"gpt-2", PRETOK_GPT2},      {"smollm", PRETOK_SMOLLM}, {"llama-bpe", PRETOK_LLAMA3},
    {"llama-v3", PRETOK_LLAMA3}, {"llama3", PRETOK_LLAMA3}, {"qwen2", PRETOK_QWEN2},
};

bool pretok_find(struct str name, enum pretok_kind *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_is(name, known[i].name)) {
            *ret = known[i].kind;
            return true;
        }
    }
    return false;
}

const char *pretok_names(void)
{
    return "gpt-2, smollm, llama-bpe, llama-v3, llama3, qwen2";
}

/* End of the longest run of one class that starts at p, of at most `most` characters. */
static const char *skip_class(const struct unicode *u, const char *p, const char *end,
                              enum uni_class c, size_t most)
{
    while (p < end && most-- > 0) {
        uint32_t cp;
        size_t n = utf8_next(p, end, &cp);
        if (unicode_class(u, cp) != c)
            break;
        p += n;
    }
    return p;
}

static enum uni_class class_at(const struct unicode *u, const char *p, const char *end)
{
    uint32_t cp;
    utf8_next(p, end, &cp);
    return unicode_class(u, cp);
}

/* Length of 's 't 're 've 'm 'll 'd at p, or 0. U+017F (long s) folds to s, as the oracle's
 * case-insensitive match has it; no other letter here has a fold outside ASCII. */
static size_t contraction(const char *p, const char *end, bool fold)
{
    size_t left = (size_t)(end - p);
    if (left < 2 || p[0] != '\'')
        return 0;
    char a = p[1], b = left > 2 ? p[2] : 0;
    if (fold) {
        if ((unsigned char)a == 0xc5 && (unsigned char)b == 0xbf)
            return 3;
        if (a >= 'A' && a <= 'Z')
            a = (char)(a | 0x20);
        if (b >= 'A' && b <= 'Z')
            b = (char)(b | 0x20);
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if ((b == 'e' && (a == 'r' || a == 'v')) || (b == 'l' && a == 'l'))
        return 3;
    return 0;
}

static const char *blanks(const struct unicode *u, const char *p, const char *end)
{
    return skip_class(u, p, end, UNI_SPACE, SIZE_MAX);
}

/* \s+(?!\S)|\s+ : a run of blanks leaves its last one to the word that follows. */
static const char *leave_one(const char *from, const char *run_end, const char *end)
{
    if (run_end == end)
        return run_end;
    const char *last = run_end - 1;
    while (last > from && ((unsigned char)*last & 0xc0) == 0x80)
        last--;
    return last > from ? last : run_end;
}

static const char *gpt2_piece(const struct unicode *u, const char *p, const char *end)
{
    size_t n = contraction(p, end, false);
    if (n > 0)
        return p + n;
    const char *q = *p == ' ' && p + 1 < end ? p + 1 : p;
    enum uni_class c = class_at(u, q, end);
    if (c != UNI_SPACE)
        return skip_class(u, q, end, c, SIZE_MAX);
    return leave_one(p, blanks(u, p, end), end);
}

static const char *skip_newlines(const char *p, const char *end)
{
    while (p < end && (*p == '\r' || *p == '\n'))
        p++;
    return p;
}

static const char *llama3_piece(const struct unicode *u, const char *p, const char *end,
                                size_t digits)
{
    size_t n = contraction(p, end, true);
    if (n > 0)
        return p + n;
    uint32_t cp;
    const char *second = p + utf8_next(p, end, &cp);
    enum uni_class c = unicode_class(u, cp);
    if (c == UNI_LETTER)
        return skip_class(u, second, end, UNI_LETTER, SIZE_MAX);
    if (c == UNI_NUMBER)
        return skip_class(u, p, end, UNI_NUMBER, digits);
    if (*p != '\r' && *p != '\n' && second < end && class_at(u, second, end) == UNI_LETTER)
        return skip_class(u, second, end, UNI_LETTER, SIZE_MAX);
    const char *q = *p == ' ' && second < end ? second : p;
    if (class_at(u, q, end) == UNI_OTHER)
        return skip_newlines(skip_class(u, q, end, UNI_OTHER, SIZE_MAX), end);

    const char *run_end = blanks(u, p, end);
    for (const char *s = run_end; s > p; s--) {
        if (s[-1] == '\r' || s[-1] == '\n')
            return s;
    }
    return leave_one(p, run_end, end);
}

static const char *until_digit(const struct unicode *u, const char *p, const char *end)
{
    while (p < end) {
        uint32_t cp;
        size_t n = utf8_next(p, end, &cp);
        if (unicode_is_digit(u, cp))
            break;
        p += n;
    }
    return p;
}

void pretok_begin(struct pretok *it, const struct unicode *u, enum pretok_kind kind,
                  struct str text)
{
    *it = (struct pretok){.u = u, .kind = kind, .p = text.p, .run_end = text.p};
    it->end = text.len ? text.p + text.len : text.p;
}

static const char *smollm_piece(struct pretok *it)
{
    if (it->p == it->run_end) {
        it->run_end = until_digit(it->u, it->p, it->end);
        if (it->run_end == it->p) {
            uint32_t cp;
            it->run_end = it->p + utf8_next(it->p, it->end, &cp);
            return it->run_end;
        }
    }
    return gpt2_piece(it->u, it->p, it->run_end);
}

bool pretok_next(struct pretok *it, struct str *ret)
{
    if (it->p == it->end)
        return false;
    const char *to = it->p;
    switch (it->kind) {
    case PRETOK_GPT2:
        to = gpt2_piece(it->u, it->p, it->end);
        break;
    case PRETOK_SMOLLM:
        to = smollm_piece(it);
        break;
    case PRETOK_LLAMA3:
        to = llama3_piece(it->u, it->p, it->end, 3);
        break;
    case PRETOK_QWEN2:
        to = llama3_piece(it->u, it->p, it->end, 1);
        break;
    }
    ASSERT(to > it->p);
    *ret = str_make(it->p, (size_t)(to - it->p));
    it->p = to;
    return true;
}
