/* fuzz_tokenizer - any bytes through each pre-tokenizer and back, whole and token by token. */

#include "tests/unit/text_fixture.h"

#include "engine/text/detok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct tokenizer *t, struct str s)
{
    struct tokens v;
    struct err err = {0};
    SCOPED_BUF b;
    buf_init(&b, MIB);
    tokens_init(&v, MIB);
    ASSERT(tokenizer_encode(t, s, &v, &err) == RC_OK);
    ASSERT(tokenizer_decode(t, v.id, v.n, false, &b, &err) == RC_OK);
    ASSERT(str_eq(buf_view(&b), s));
    v.n = 0;
    buf_clear(&b);
    ASSERT(tokenizer_encode_special(t, s, &v, &err) == RC_OK);
    ASSERT(tokenizer_decode(t, v.id, v.n, false, &b, &err) == RC_OK);
    ASSERT(str_eq(buf_view(&b), s));
    tokens_done(&v);
}

/* The stream shows UTF-8 only, and all of the text when the text is UTF-8. */
static void check_stream(const struct tokenizer *t, struct str s)
{
    struct tokens v;
    struct err err = {0};
    struct detok *d = NULL;
    SCOPED_BUF b;
    buf_init(&b, 4 * MIB);
    tokens_init(&v, MIB);
    ASSERT(tokenizer_encode(t, s, &v, &err) == RC_OK);
    ASSERT(detok_open(t, NULL, 0, &d, &err) == RC_OK);
    for (size_t i = 0; i < v.n; i++)
        ASSERT(detok_push(d, v.id[i], &b, &err) == RC_OK);
    detok_flush(d, &b);
    ASSERT(str_is_utf8(buf_view(&b)));
    ASSERT(!str_is_utf8(s) || str_eq(buf_view(&b), s));
    detok_close(d);
    tokens_done(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const pre[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    if (size == 0 || size > 100 * KIB)
        return 0;
    struct toy toy;
    struct tokenizer *t = NULL;
    struct err err = {0};
    toy_init(&toy, pre[data[0] % ARRAY_LEN(pre)], "");
    ASSERT(tokenizer_open(&toy.card, &t, &err) == RC_OK);
    struct str s = {(const char *)data + 1, size - 1};
    check_round_trip(t, s);
    check_stream(t, s);
    tokenizer_close(t);
    return 0;
}
