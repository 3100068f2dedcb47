/* test_tokenizer - ids equal to the oracle's, bytes that survive, work that stays linear. */

#include "tests/unit/text_fixture.h"

#include "engine/text/bpe.h"
#include "engine/text/pretok.h"
#include "engine/text/vocab.h"

static void assert_ids(const struct tokenizer *t, struct str s, const int32_t *want, size_t n)
{
    struct tokens v;
    tokens_init(&v, 1 << 24);
    MUST(tokenizer_encode(t, s, &v, err));
    ck_assert_msg(v.n == n && (n == 0 || memcmp(v.id, want, n * sizeof(*want)) == 0),
                  "%zu ids instead of %zu for '%.*s'", v.n, n, (int)s.len, s.p);
    tokens_done(&v);
}

/* The bytes that decoding cannot bring back, because the vocabulary has no token for them. */
static void bytes_without_token(const struct tokenizer *t, bool ret_lost[256])
{
    for (int i = 0; i < 256; i++) {
        char c = (char)i;
        struct tokens v;
        tokens_init(&v, 8);
        MUST(tokenizer_encode(t, str_make(&c, 1), &v, err));
        ret_lost[i] = v.n == 0;
        tokens_done(&v);
    }
}

static void assert_round_trip(const struct tokenizer *t, struct str s, const bool lost[256])
{
    SCOPED_BUF want, got;
    struct tokens v;
    buf_init(&want, 16 * MIB);
    buf_init(&got, 16 * MIB);
    tokens_init(&v, 1 << 24);
    for (size_t i = 0; i < s.len; i++) {
        if (!lost[(unsigned char)s.p[i]])
            buf_byte(&want, s.p[i]);
    }
    MUST(tokenizer_encode(t, s, &v, err));
    MUST(tokenizer_decode(t, v.id, v.n, false, &got, err));
    ck_assert(str_eq(buf_view(&want), buf_view(&got)));
    tokens_done(&v);
}

START_TEST(ids_equal_the_oracle_on_2000_texts_and_decode_gives_the_text_back)
{
    struct model_card m;
    if (!model_card_open(&m))
        return;
    struct tokenizer *t = NULL;
    MUST(tokenizer_open(&m.card, &t, err));
    bool lost[256];
    bytes_without_token(t, lost);
    struct str all = file_read(SOURCE_DIR "/tests/golden/tokenizer_smollm.jsonl"), rest = all;
    size_t lines = 0, bad = 0;
    while (rest.len > 0) {
        struct str line = str_cut(&rest, '\n');
        json_t *j = json_loadb(line.p, line.len, JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(j);
        json_t *s = json_object_get(j, "s"), *i = json_object_get(j, "i");
        struct str text = {json_string_value(s), json_string_length(s)};
        struct tokens v;
        tokens_init(&v, 1 << 20);
        MUST(tokenizer_encode(t, text, &v, err));
        bool same = v.n == json_array_size(i);
        for (size_t k = 0; same && k < v.n; k++)
            same = v.id[k] == json_integer_value(json_array_get(i, k));
        if (!same) {
            fprintf(stderr, "differs: %.*s\n", (int)line.len, line.p);
            bad++;
        }
        assert_round_trip(t, text, lost);
        tokens_done(&v);
        json_decref(j);
        lines++;
    }
    ck_assert_uint_eq(bad, 0);
    ck_assert_uint_ge(lines, 2000);
    free((void *)all.p);
    tokenizer_close(t);
    model_card_close(&m);
}
END_TEST

START_TEST(pieces_equal_the_oracle_for_each_other_pattern)
{
    struct unicode u;
    MUST(unicode_init(&u, err));
    struct str all = file_read(SOURCE_DIR "/tests/golden/tokenizer_pretok.jsonl"), rest = all;
    size_t lines = 0, bad = 0;
    while (rest.len > 0) {
        struct str line = str_cut(&rest, '\n');
        json_t *j = json_loadb(line.p, line.len, JSON_ALLOW_NUL, NULL);
        json_t *s = json_object_get(j, "s"), *n = json_object_get(j, "n");
        struct str text = {json_string_value(s), json_string_length(s)}, piece;
        enum pretok_kind kind;
        ck_assert(pretok_find(str_of(json_string_value(json_object_get(j, "k"))), &kind));
        struct pretok it;
        pretok_begin(&it, &u, kind, text);
        size_t k = 0;
        bool same = true;
        for (; pretok_next(&it, &piece); k++)
            same &= (json_int_t)piece.len == json_integer_value(json_array_get(n, k));
        if (!same || k != json_array_size(n)) {
            fprintf(stderr, "differs: %.*s\n", (int)line.len, line.p);
            bad++;
        }
        json_decref(j);
        lines++;
    }
    ck_assert_uint_eq(bad, 0);
    ck_assert_uint_ge(lines, 1500);
    free((void *)all.p);
    unicode_done(&u);
}
END_TEST

/* The model was not given tokens for these; whoever asks why a byte is missing finds it here. */
START_TEST(only_the_known_21_bytes_have_no_token_in_the_default_model)
{
    struct model_card m;
    if (!model_card_open(&m))
        return;
    static const unsigned char known[] = {0x04, 0x06, 0x13, 0x14, 0x16, 0x1d, 0xc0,
                                          0xc1, 0xf1, 0xf2, 0xf5, 0xf6, 0xf7, 0xf8,
                                          0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff};
    struct tokenizer *t = NULL;
    MUST(tokenizer_open(&m.card, &t, err));
    bool lost[256];
    bytes_without_token(t, lost);
    for (int i = 0; i < 256; i++)
        ck_assert_int_eq(lost[i], memchr(known, i, sizeof(known)) != NULL);
    tokenizer_close(t);
    model_card_close(&m);
}
END_TEST

static size_t random_bytes_of(uint64_t *seed, char *to, size_t max)
{
    static const char *const seeds[] = {
        "hello",    "<|start|>", "<|im_end|>", "  ",   "\xf0\x9f\x98\x80",
        "\xe4\xb8", "\n",        "123",        "\xff", "'re"};
    size_t n = 0, want = rng_below(seed, max - 16);
    while (n < want) {
        if (rng_below(seed, 3) == 0) {
            const char *s = seeds[rng_below(seed, ARRAY_LEN(seeds))];
            memcpy(to + n, s, strlen(s));
            n += strlen(s);
        } else {
            to[n++] = (char)rng_next(seed);
        }
    }
    return n;
}

START_TEST(twenty_thousand_random_byte_strings_survive_the_round_trip)
{
    struct model_card m;
    struct tokenizer *t = NULL, *toy = toy_tokenizer("smollm");
    bool lost[256] = {false}, none[256] = {false};
    if (model_card_open(&m)) {
        MUST(tokenizer_open(&m.card, &t, err));
        bytes_without_token(t, lost);
    }
    uint64_t seed = 42;
    char s[128];
    for (int i = 0; i < 20000; i++) {
        size_t n = random_bytes_of(&seed, s, sizeof(s));
        assert_round_trip(toy, str_make(s, n), none);
        if (t)
            assert_round_trip(t, str_make(s, n), lost);
    }
    tokenizer_close(toy);
    tokenizer_close(t);
    model_card_close(&m);
}
END_TEST

START_TEST(merges_go_by_rank_then_from_the_left)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    assert_ids(t, STR("hello"), (int32_t[]){TOY_FIRST_MERGED + 3}, 1);
    /* "h e" is first in rank, so "el" is never formed in "hel". */
    assert_ids(t, STR("hel"), (int32_t[]){TOY_FIRST_MERGED, 'l'}, 2);
    assert_ids(t, STR("ooo"), (int32_t[]){TOY_FIRST_MERGED + 4, 'o'}, 2);
    assert_ids(t, STR("aaaaaaa"), (int32_t[]){TOY_FIRST_MERGED + 7, TOY_FIRST_MERGED + 6, 'a'}, 3);
    assert_ids(t, STR(""), NULL, 0);
    assert_ids(t, STR("\0"), (int32_t[]){0}, 1);
    tokenizer_close(t);
}
END_TEST

START_TEST(special_text_is_text_unless_the_caller_vouches_for_it)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct str s = STR("<|end|>o");
    assert_ids(t, s, (int32_t[]){'<', '|', 'e', 'n', 'd', '|', '>', 'o'}, 8);

    struct tokens v;
    tokens_init(&v, 100);
    MUST(tokenizer_encode_special(t, s, &v, err));
    ck_assert_uint_eq(v.n, 2);
    ck_assert_int_eq(v.id[0], TOY_CONTROL_END);
    ck_assert(tokenizer_is_special(t, v.id[0]));
    ck_assert(tokenizer_is_end(t, v.id[0]));
    v.n = 0;
    /* One byte of it is not vouched for: it is text again. */
    MUST(tokenizer_encode_spans(t, s, &(struct text_span){0, 6}, 1, &v, err));
    ck_assert_uint_eq(v.n, 8);
    v.n = 0;
    struct text_span two[] = {{0, 7}, {8, 15}};
    MUST(tokenizer_encode_spans(t, STR("<|end|>o<|end|><|end|>"), two, 2, &v, err));
    ck_assert_uint_eq(v.n, 10);
    ck_assert_int_eq(v.id[0], TOY_CONTROL_END);
    ck_assert_int_eq(v.id[2], TOY_CONTROL_END);
    ck_assert_int_eq(v.id[3], '<');
    tokens_done(&v);
    tokenizer_close(t);
}
END_TEST

START_TEST(words_added_by_the_makers_are_found_in_any_text)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    assert_ids(t, STR("o<added>o"), (int32_t[]){'o', TOY_ADDED, 'o'}, 3);
    ck_assert(!tokenizer_is_special(t, TOY_ADDED));
    tokenizer_close(t);
}
END_TEST

/* Counts heap moves and look-ups, not time: n log2 n with a small factor, where a naive merge
 * loop would need n * n = 10^12. */
START_TEST(a_megabyte_of_one_letter_costs_n_log_n)
{
    struct toy toy;
    struct vocab vocab;
    struct bpe bpe;
    struct bpe_work work = {0};
    toy_init(&toy, "gpt-2", "");
    MUST(vocab_init(&vocab, &toy.card, err));
    MUST(bpe_init(&bpe, &vocab, &toy.card, err));
    size_t n = 1 << 20;
    char *s = malloc(n);
    memset(s, 'a', n);
    MUST(bpe_run(&bpe, str_make(s, n), &work, err));
    ck_assert_uint_eq(work.n, n / 4);
    ck_assert_uint_le(work.steps, 3 * n * 20);
    free(s);
    bpe_work_done(&work);
    bpe_done(&bpe);
    vocab_done(&vocab);
}
END_TEST

START_TEST(a_megabyte_of_each_hard_text_is_encoded_and_survives)
{
    struct model_card m;
    struct tokenizer *t = NULL;
    bool lost[256] = {false};
    if (model_card_open(&m)) {
        MUST(tokenizer_open(&m.card, &t, err));
        bytes_without_token(t, lost);
    } else {
        t = toy_tokenizer("llama-bpe");
    }
    static const char *const units[] = {
        "a",  " ",           "\n",           "1", "<", "'", "\xf0\x9f\x98\x80", "\xff", "\n ",
        "ab", "<|im_start|", " \xe4\xb8\x96"};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t unit = strlen(units[i]), n = (1 << 20) / unit * unit;
        char *s = malloc(n);
        for (size_t at = 0; at < n; at += unit)
            memcpy(s + at, units[i], unit);
        assert_round_trip(t, str_make(s, n), lost);
        free(s);
    }
    tokenizer_close(t);
    model_card_close(&m);
}
END_TEST

START_TEST(more_tokens_than_allowed_is_an_error_and_not_a_cut)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct tokens v;
    struct err err = {0};
    tokens_init(&v, 3);
    ck_assert_int_eq(tokenizer_encode(t, STR("xyz"), &v, &err), RC_OK);
    ck_assert_int_eq(tokenizer_encode(t, STR("x"), &v, &err), RC_TOO_LARGE);
    tokens_done(&v);
    tokenizer_close(t);
}
END_TEST

START_TEST(unknown_families_are_refused_with_the_known_ones_named)
{
    struct toy toy;
    struct tokenizer *t = NULL;
    struct err err = {0};
    toy_init(&toy, "martian", "");
    ck_assert_int_eq(tokenizer_open(&toy.card, &t, &err), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "martian"));
    ck_assert_ptr_nonnull(strstr(err.msg, "smollm"));
    toy_init(&toy, "gpt-2", "");
    toy.card.tok_model = STR("llama");
    ck_assert_int_eq(tokenizer_open(&toy.card, &t, &err), RC_INVALID);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(a_merge_that_names_no_tokens_is_corrupt)
{
    static const char *const bad[] = {"q z", "he", " he", "he ", "h e l"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct toy toy;
        struct tokenizer *t = NULL;
        struct err err = {0};
        toy_init(&toy, "gpt-2", "");
        toy.merge[2] = str_of(bad[i]);
        ck_assert_int_eq(tokenizer_open(&toy.card, &t, &err), RC_CORRUPT);
        ck_assert_ptr_nonnull(strstr(err.msg, "merge 2"));
    }
}
END_TEST

START_TEST(decoding_leaves_out_special_tokens_on_request_and_refuses_foreign_ids)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    SCOPED_BUF b;
    struct err last = {0};
    buf_init(&b, 100);
    int32_t ids[] = {TOY_CONTROL_START, 'o', TOY_CONTROL_END};
    MUST(tokenizer_decode(t, ids, 3, true, &b, err));
    ck_assert(str_is(buf_view(&b), "o"));
    buf_clear(&b);
    MUST(tokenizer_decode(t, ids, 3, false, &b, err));
    ck_assert(str_is(buf_view(&b), "<|start|>o<|end|>"));
    ids[1] = tokenizer_vocab(t);
    ck_assert_int_eq(tokenizer_decode(t, ids, 3, false, &b, &last), RC_BAD_INPUT);
    ck_assert_uint_eq(tokenizer_piece(t, -1).len, 0);
    tokenizer_close(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 240);
    tcase_add_test(c, ids_equal_the_oracle_on_2000_texts_and_decode_gives_the_text_back);
    tcase_add_test(c, pieces_equal_the_oracle_for_each_other_pattern);
    tcase_add_test(c, only_the_known_21_bytes_have_no_token_in_the_default_model);
    tcase_add_test(c, twenty_thousand_random_byte_strings_survive_the_round_trip);
    tcase_add_test(c, merges_go_by_rank_then_from_the_left);
    tcase_add_test(c, special_text_is_text_unless_the_caller_vouches_for_it);
    tcase_add_test(c, words_added_by_the_makers_are_found_in_any_text);
    tcase_add_test(c, a_megabyte_of_one_letter_costs_n_log_n);
    tcase_add_test(c, a_megabyte_of_each_hard_text_is_encoded_and_survives);
    tcase_add_test(c, more_tokens_than_allowed_is_an_error_and_not_a_cut);
    tcase_add_test(c, unknown_families_are_refused_with_the_known_ones_named);
    tcase_add_test(c, a_merge_that_names_no_tokens_is_corrupt);
    tcase_add_test(c, decoding_leaves_out_special_tokens_on_request_and_refuses_foreign_ids);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
