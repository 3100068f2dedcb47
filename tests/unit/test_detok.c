/* test_detok - what streams out, put together, is the whole; and nothing is shown too early. */

#include "tests/unit/text_fixture.h"

#include "engine/text/detok.h"

struct out {
    struct buf text;
    int64_t settled;
    int32_t stop;
};

/* Pushes all ids and flushes; checks on the way that each part is UTF-8 by itself. */
static struct out run(const struct tokenizer *t, const int32_t *id, size_t n,
                      const struct str *stop, int32_t n_stop)
{
    struct detok *d = NULL;
    struct out out = {0};
    buf_init(&out.text, MIB);
    MUST(detok_open(t, stop, n_stop, &d, err));
    for (size_t i = 0; i < n; i++) {
        size_t before = out.text.len;
        MUST(detok_push(d, id[i], &out.text, err));
        ck_assert(str_is_utf8(str_sub(buf_view(&out.text), before, MIB)));
        out.settled += detok_settled(d);
    }
    detok_flush(d, &out.text);
    out.settled += detok_settled(d);
    out.stop = detok_stop(d);
    detok_close(d);
    return out;
}

static size_t ids_of_bytes(const char *s, size_t n, int32_t *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)s[i];
    return n;
}

static void assert_text(const struct tokenizer *t, const char *bytes, const char *want)
{
    int32_t id[256];
    size_t n = ids_of_bytes(bytes, strlen(bytes), id);
    struct out out = run(t, id, n, NULL, 0);
    ck_assert_msg(str_is(buf_view(&out.text), want), "'%.*s' instead of '%s'", (int)out.text.len,
                  out.text.p, want);
    ck_assert_int_eq(out.settled, (int64_t)n);
    buf_done(&out.text);
}

START_TEST(a_character_is_shown_whole_and_only_proven_faults_are_replaced)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    assert_text(t, "a\xc3\xa9z", "a\xc3\xa9z");
    assert_text(t, "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
    assert_text(t, "\xf0\x9f\x98", "\xef\xbf\xbd");         /* cut at the end: one */
    assert_text(t, "\xf0\x9f\x98x", "\xef\xbf\xbdx");       /* broken: one for the part */
    assert_text(t, "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"); /* overlong: each byte */
    assert_text(t, "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* surrogate */
    assert_text(t, "\xe4\xe4\xb8\x96", "\xef\xbf\xbd\xe4\xb8\x96");
    assert_text(t, "\xff\xfe\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_text(t, "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    tokenizer_close(t);
}
END_TEST

START_TEST(each_byte_of_a_character_waits_and_then_all_of_it_is_shown_at_once)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct detok *d = NULL;
    SCOPED_BUF b;
    buf_init(&b, 1000);
    MUST(detok_open(t, NULL, 0, &d, err));
    const char *s = "\xf0\x9f\x98\x80";
    for (size_t i = 0; i < 4; i++) {
        MUST(detok_push(d, (unsigned char)s[i], &b, err));
        ck_assert_uint_eq(b.len, i < 3 ? 0 : 4);
        ck_assert_int_eq(detok_settled(d), i < 3 ? 0 : 4);
    }
    detok_close(d);
    tokenizer_close(t);
}
END_TEST

START_TEST(a_stop_string_across_tokens_is_found_and_none_of_it_is_shown)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct str stop[] = {STR("STOP"), STR("\xc3\xa9!")};
    static const struct {
        const char *bytes, *want;
        int32_t hit;
    } cases[] = {
        {"ab STOP cd", "ab ", 0},
        {"SSTOSTOPx", "SSTO", 0},
        {"STO", "STO", -1},
        {"a\xc3\xa9!b", "a", 1},
        {"a\xc3\xa9?b", "a\xc3\xa9?b", -1},
        {"\xc3\xc3\xa9!", "\xef\xbf\xbd", 1},
        {"STSTOP", "ST", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t id[64];
        size_t n = ids_of_bytes(cases[i].bytes, strlen(cases[i].bytes), id);
        struct out out = run(t, id, n, stop, 2);
        ck_assert_msg(str_is(buf_view(&out.text), cases[i].want), "%s: %.*s", cases[i].bytes,
                      (int)out.text.len, out.text.p);
        ck_assert_int_eq(out.stop, cases[i].hit);
        ck_assert_int_eq(out.settled, (int64_t)n);
        buf_done(&out.text);
    }
    tokenizer_close(t);
}
END_TEST

START_TEST(the_stop_that_ends_first_counts_and_the_longest_of_those)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct str stop[] = {STR("abcd"), STR("bc"), STR("xbc"), STR("c")};
    int32_t id[8];
    struct out out = run(t, id, ids_of_bytes("zabcd", 5, id), stop, 3);
    ck_assert(str_is(buf_view(&out.text), "za"));
    ck_assert_int_eq(out.stop, 1);
    buf_done(&out.text);
    out = run(t, id, ids_of_bytes("zxbcd", 5, id), stop, 4);
    ck_assert(str_is(buf_view(&out.text), "z"));
    ck_assert_int_eq(out.stop, 2);
    buf_done(&out.text);
    tokenizer_close(t);
}
END_TEST

START_TEST(control_tokens_are_left_out_unless_asked_for)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    int32_t id[] = {'a', TOY_CONTROL_END, 0xc3, TOY_CONTROL_START, 0xa9};
    struct out out = run(t, id, 5, NULL, 0);
    ck_assert(str_is(buf_view(&out.text), "a\xc3\xa9"));
    ck_assert_int_eq(out.settled, 5);
    buf_clear(&out.text);

    struct detok *d = NULL;
    MUST(detok_open(t, NULL, 0, &d, err));
    detok_skip_special(d, false);
    MUST(detok_push(d, TOY_CONTROL_END, &out.text, err));
    ck_assert(str_is(buf_view(&out.text), "<|end|>"));
    detok_close(d);
    buf_done(&out.text);
    tokenizer_close(t);
}
END_TEST

START_TEST(tokens_are_settled_with_the_text_that_shows_their_last_byte)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct detok *d = NULL;
    SCOPED_BUF b;
    struct str stop = STR("lox");
    buf_init(&b, 1000);
    MUST(detok_open(t, &stop, 1, &d, err));
    /* "hell" holds its last l back: not settled until "o" and then "y" show it. */
    const struct {
        int32_t id, settled;
        const char *shown;
    } steps[] = {{TOY_FIRST_MERGED + 2, 0, "hel"}, {'o', 0, "hel"}, {'y', 3, "helloy"}};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        MUST(detok_push(d, steps[i].id, &b, err));
        ck_assert_msg(str_is(buf_view(&b), steps[i].shown), "%.*s", (int)b.len, b.p);
        ck_assert_int_eq(detok_settled(d), steps[i].settled);
    }
    detok_close(d);
    tokenizer_close(t);
}
END_TEST

/* The reference, by brute force: is there a valid character that begins with these n bytes? */
static bool begins_character(const char *s, size_t n)
{
    static const char more[] = {(char)0x80, (char)0x90, (char)0xa0, (char)0xbf};
    char c[4];
    memcpy(c, s, n);
    if (str_is_utf8(str_make(c, n)))
        return false;
    for (size_t len = n + 1; len <= 4; len++) {
        for (size_t combo = 0; combo < 64; combo++) {
            for (size_t i = n; i < len; i++)
                c[i] = more[combo >> (2 * (i - n)) & 3];
            if (str_is_utf8(str_make(c, len)))
                return true;
        }
    }
    return false;
}

static void replace_faults(struct str s, struct buf *to)
{
    for (size_t at = 0; at < s.len;) {
        size_t n = 1;
        while (n <= 4 && at + n <= s.len && !str_is_utf8(str_sub(s, at, n)))
            n++;
        if (n <= 4 && at + n <= s.len) {
            buf_str(to, str_sub(s, at, n));
        } else {
            for (n = 1; n < 3 && at + n < s.len && begins_character(s.p + at, n + 1);)
                n++;
            if (!begins_character(s.p + at, 1))
                n = 1;
            buf_z(to, "\xef\xbf\xbd");
        }
        at += n;
    }
}

static void cut_at_stop(struct buf *b, const struct str *stop, size_t n_stop)
{
    for (size_t end = 1; end <= b->len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stop; i++) {
            if (str_ends(str_make(b->p, end), stop[i]) && stop[i].len > longest)
                longest = stop[i].len;
        }
        if (longest > 0) {
            b->len = end - longest;
            return;
        }
    }
}

START_TEST(any_split_gives_the_same_text_as_decoding_at_once)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    static const char *const parts[] = {"\xf0\x9f\x98\x80",
                                        "\xc3\xa9",
                                        "ab",
                                        "aab",
                                        "\xe4\xb8",
                                        "\xff",
                                        "hello",
                                        "\xed\xa0",
                                        "a",
                                        "b",
                                        "\xf4\x8f\xbf\xbf",
                                        "\xf4\x90"};
    struct str stops[] = {STR("aab"), STR("ba\xc3\xa9"),
                          STR("\xef\xbf\xbd"
                              "b"),
                          STR("lloa")};
    uint64_t seed = 7;
    for (int round = 0; round < 4000; round++) {
        SCOPED_BUF raw, want;
        struct tokens v;
        buf_init(&raw, 4096);
        buf_init(&want, 16384);
        tokens_init(&v, 4096);
        for (size_t n = rng_below(&seed, 12); n-- > 0;) {
            if (rng_below(&seed, 2)) {
                buf_z(&raw, parts[rng_below(&seed, ARRAY_LEN(parts))]);
            } else {
                buf_byte(&raw, (char)rng_next(&seed));
            }
        }
        /* Half of the rounds by merges, half byte by byte. */
        if (round % 2) {
            MUST(tokenizer_encode(t, buf_view(&raw), &v, err));
        } else {
            for (size_t i = 0; i < raw.len; i++)
                MUST(tokens_push(&v, (unsigned char)raw.p[i], err));
        }
        size_t n_stop = rng_below(&seed, ARRAY_LEN(stops) + 1);
        replace_faults(buf_view(&raw), &want);
        cut_at_stop(&want, stops, n_stop);
        struct out out = run(t, v.id, v.n, stops, (int32_t)n_stop);
        ck_assert_msg(str_eq(buf_view(&out.text), buf_view(&want)), "round %d", round);
        ck_assert_int_eq(out.settled, (int64_t)v.n);
        buf_done(&out.text);
        tokens_done(&v);
    }
    tokenizer_close(t);
}
END_TEST

START_TEST(stop_strings_that_cannot_be_are_refused)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    char *large = calloc(1, DETOK_STOP_MAX_BYTES + 1);
    memset(large, 'x', DETOK_STOP_MAX_BYTES + 1);
    struct str bad[] = {STR(""), STR("\xff"), {large, DETOK_STOP_MAX_BYTES + 1}};
    struct str many[DETOK_STOPS_MAX + 1];
    struct detok *d = NULL;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ck_assert_int_eq(detok_open(t, &bad[i], 1, &d, &err), RC_BAD_INPUT);
        ck_assert_str_eq(err.field, "stop");
    }
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = STR("x");
    ck_assert_int_eq(detok_open(t, many, DETOK_STOPS_MAX + 1, &d, &err), RC_BAD_INPUT);
    ck_assert_ptr_null(d);
    free(large);
    tokenizer_close(t);
}
END_TEST

START_TEST(a_foreign_id_is_an_error)
{
    struct tokenizer *t = toy_tokenizer("gpt-2");
    struct detok *d = NULL;
    SCOPED_BUF b;
    struct err last = {0};
    buf_init(&b, 100);
    MUST(detok_open(t, NULL, 0, &d, err));
    ck_assert_int_eq(detok_push(d, -1, &b, &last), RC_BAD_INPUT);
    ck_assert_int_eq(detok_push(d, tokenizer_vocab(t), &b, &last), RC_BAD_INPUT);
    detok_close(d);
    tokenizer_close(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("detok");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_character_is_shown_whole_and_only_proven_faults_are_replaced);
    tcase_add_test(c, each_byte_of_a_character_waits_and_then_all_of_it_is_shown_at_once);
    tcase_add_test(c, a_stop_string_across_tokens_is_found_and_none_of_it_is_shown);
    tcase_add_test(c, the_stop_that_ends_first_counts_and_the_longest_of_those);
    tcase_add_test(c, control_tokens_are_left_out_unless_asked_for);
    tcase_add_test(c, tokens_are_settled_with_the_text_that_shows_their_last_byte);
    tcase_add_test(c, any_split_gives_the_same_text_as_decoding_at_once);
    tcase_add_test(c, stop_strings_that_cannot_be_are_refused);
    tcase_add_test(c, a_foreign_id_is_an_error);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
