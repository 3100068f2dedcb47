#ifndef SLUICE_TESTS_UNIT_TEXT_FIXTURE_H
#define SLUICE_TESTS_UNIT_TEXT_FIXTURE_H
/* text_fixture - what the tests of engine/text share: the model's card, a vocabulary small enough
 * to reason about, golden files. Included once by each test program. */

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/scoped.h"
#include "base/units.h"
#include "engine/model/gguf.h"
#include "engine/text/card.h"
#include "engine/text/tokenizer.h"

#define MUST(call)                                                                                 \
    do {                                                                                           \
        struct err must_err = {0};                                                                 \
        struct err *err = &must_err;                                                               \
        enum rc must_rc = (call);                                                                  \
        ck_assert_msg(must_rc == RC_OK, "%s: %s", #call, err->msg);                                \
    } while (0)

/* 256 bytes, a few merges, three control tokens and one added word. The ids of bytes are their
 * values; the texts live in `room`. */
#define TOY_CONTROL_START 256
#define TOY_CONTROL_END   257
#define TOY_CONTROL_BOS   258
#define TOY_ADDED         259
#define TOY_FIRST_MERGED  260

struct toy {
    struct card card;
    struct str token[320], merge[32];
    uint8_t type[320];
    char room[256][4];
};

static inline void toy_byte(struct toy *toy, int byte, char *to)
{
    bool printable =
        (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    int cp = byte;
    if (!printable)
        cp = 0x100 + (byte <= 0x20 ? byte : byte == 0xad ? 67 : byte - 0x7f + 33);
    size_t n = 0;
    if (cp < 0x80) {
        to[n++] = (char)cp;
    } else {
        to[n++] = (char)(0xc0 | cp >> 6);
        to[n++] = (char)(0x80 | (cp & 0x3f));
    }
    toy->token[byte] = str_make(to, n);
    toy->type[byte] = CARD_NORMAL;
}

static inline void toy_init(struct toy *toy, const char *pre, const char *chat_template)
{
    static const char *const merges[] = {
        "h e", "l l", "he ll", "hell o", "o o", "\xc4\xa0 w", "a a", "aa aa", "\xc3\xa4 \xc2\xb8",
        "e l"};
    static const char *const merged[] = {
        "he", "ll", "hell", "hello", "oo", "\xc4\xa0w", "aa", "aaaa", "\xc3\xa4\xc2\xb8", "el"};
    *toy = (struct toy){0};
    for (int i = 0; i < 256; i++)
        toy_byte(toy, i, toy->room[i]);
    const char *special[] = {"<|start|>", "<|end|>", "<s>", "<added>"};
    for (int i = 0; i < 4; i++) {
        toy->token[256 + i] = str_of(special[i]);
        toy->type[256 + i] = i == 3 ? CARD_USER_DEFINED : CARD_CONTROL;
    }
    int n = (int)ARRAY_LEN(merges);
    for (int i = 0; i < n; i++) {
        toy->token[TOY_FIRST_MERGED + i] = str_of(merged[i]);
        toy->type[TOY_FIRST_MERGED + i] = CARD_NORMAL;
        toy->merge[i] = str_of(merges[i]);
    }
    toy->card = (struct card){.name = STR("toy"),
                              .arch = STR("llama"),
                              .n_ctx = 128,
                              .n_vocab = TOY_FIRST_MERGED + n,
                              .tok_model = STR("gpt2"),
                              .tok_pre = str_of(pre),
                              .chat_template = str_of(chat_template),
                              .bos = TOY_CONTROL_BOS,
                              .eos = TOY_CONTROL_END,
                              .eot = -1,
                              .pad = -1,
                              .unk = -1,
                              .token = toy->token,
                              .type = toy->type,
                              .merge = toy->merge,
                              .n_merges = n};
}

static inline struct tokenizer *toy_tokenizer(const char *pre)
{
    struct toy toy;
    struct tokenizer *t = NULL;
    toy_init(&toy, pre, "");
    MUST(tokenizer_open(&toy.card, &t, err));
    return t;
}

/* Reads a file whole; the caller frees. */
static inline struct str file_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    struct buf b;
    buf_init(&b, 64 * MIB);
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
        buf_add(&b, part, n);
    fclose(f);
    ck_assert(!b.failed);
    return buf_view(&b);
}

/* The card of the model at SLUICE_TEST_MODEL; false, with a line that says why, without one. */
struct model_card {
    struct card card;
    struct gguf *gguf;
};

static inline bool model_card_open(struct model_card *m)
{
    *m = (struct model_card){0};
    const char *path = getenv("SLUICE_TEST_MODEL");
    if (!path || access(path, R_OK) != 0) {
        fprintf(stderr, "skipped: SLUICE_TEST_MODEL names no model\n");
        return false;
    }
    MUST(gguf_open(path, &m->gguf, err));
    MUST(gguf_card(m->gguf, &m->card, err));
    return true;
}

static inline void model_card_close(struct model_card *m)
{
    gguf_close(m->gguf);
}

/* Small, seeded, the same everywhere. */
static inline uint64_t rng_next(uint64_t *s)
{
    uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline size_t rng_below(uint64_t *s, size_t n)
{
    return (size_t)(rng_next(s) % n);
}

static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#endif
