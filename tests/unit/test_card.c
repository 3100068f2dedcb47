/* test_card - the blob that carries a model's vocabulary: whole, or refused with the field named.
 */

#include "tests/unit/text_fixture.h"

static struct str packed_toy(struct buf *b)
{
    struct toy toy;
    toy_init(&toy, "smollm", "{{ messages }}");
    toy.card.add_bos = true;
    toy.card.fingerprint[15] = 7;
    buf_init(b, MIB);
    MUST(card_pack(&toy.card, b, err));
    return buf_view(b);
}

START_TEST(a_card_survives_packing_and_unpacking)
{
    struct toy toy;
    struct card c;
    SCOPED_BUF b;
    toy_init(&toy, "smollm", "{{ messages }}");
    MUST(card_unpack(packed_toy(&b), &c, err));
    buf_clear(&b); /* the card must not lean on the blob */
    ck_assert(str_is(c.name, "toy"));
    ck_assert(str_is(c.tok_pre, "smollm"));
    ck_assert(str_is(c.chat_template, "{{ messages }}"));
    ck_assert_int_eq(c.n_vocab, toy.card.n_vocab);
    ck_assert_int_eq(c.n_merges, toy.card.n_merges);
    ck_assert_int_eq(c.bos, TOY_CONTROL_BOS);
    ck_assert_int_eq(c.eot, -1);
    ck_assert(c.add_bos && !c.add_eos);
    ck_assert_int_eq(c.fingerprint[15], 7);
    for (int32_t i = 0; i < c.n_vocab; i++)
        ck_assert(str_eq(c.token[i], toy.token[i]) && c.type[i] == toy.type[i]);
    for (int32_t i = 0; i < c.n_merges; i++)
        ck_assert(str_eq(c.merge[i], toy.merge[i]));
    card_done(&c);
}
END_TEST

START_TEST(a_card_cut_anywhere_is_corrupt)
{
    SCOPED_BUF b;
    struct str all = packed_toy(&b);
    for (size_t n = 0; n < all.len; n++) {
        struct card c;
        struct err err = {0};
        ck_assert_int_eq(card_unpack(str_make(all.p, n), &c, &err), RC_CORRUPT);
        ck_assert_uint_gt(strlen(err.field), 0);
    }
}
END_TEST

START_TEST(bytes_after_the_end_are_corrupt)
{
    SCOPED_BUF b;
    struct card c;
    struct err err = {0};
    packed_toy(&b);
    buf_byte(&b, 'x');
    ck_assert_int_eq(card_unpack(buf_view(&b), &c, &err), RC_CORRUPT);
}
END_TEST

/* Each field at its place in the blob of the toy card, with a value it must not have. */
START_TEST(absurd_counts_types_and_ids_are_refused_by_name)
{
    size_t head = 12 + (4 + 3) + (4 + 5) + 16;            /* magic to fingerprint: "toy", "llama" */
    size_t ids = head + 8 + (4 + 4) + (4 + 6) + (4 + 14); /* after tok_model, tok_pre, template */
    const struct {
        size_t at;
        const char *bytes, *field;
    } bad[] = {
        {0, "\x01\x02\x03\x04", "magic"},          {4, "\x63\x00\x00\x00", "version"},
        {8, "\x00\x00\x00\x00", "length"},         {12, "\xff\xff\xff\xff", "name"},
        {12, "\x00\x00\x20\x00", "name"},          {head, "\x00\x00\x00\x00", "n_ctx"},
        {head + 4, "\xff\xff\xff\x7f", "n_vocab"}, {head + 4, "\xff\xff\xff\xff", "n_vocab"},
        {head + 4, "\x00\x00\x00\x00", "n_vocab"}, {head + 4, "\x00\x00\x0f\x00", "n_vocab"},
        {ids, "\xff\xff\x00\x00", "bos"},          {ids + 4, "\xfe\xff\xff\xff", "eos"},
        {ids + 20, "\x02\x00\x00\x01", "add_bos"}, {ids + 22, "\x07\x01\x00\x00", "token type"},
        {ids + 22, "\x01\xff\xff\x00", "token"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        SCOPED_BUF b;
        struct card c;
        struct err err = {0};
        packed_toy(&b);
        memcpy(b.p + bad[i].at, bad[i].bytes, 4);
        ck_assert_int_eq(card_unpack(buf_view(&b), &c, &err), RC_CORRUPT);
        ck_assert_msg(strcmp(err.field, bad[i].field) == 0, "case %zu: '%s' instead of '%s'", i,
                      err.field, bad[i].field);
    }
}
END_TEST

START_TEST(a_card_too_large_for_its_buffer_or_for_the_format_is_an_error)
{
    struct toy toy;
    SCOPED_BUF small, b;
    struct err last = {0};
    toy_init(&toy, "smollm", "");
    buf_init(&small, 100);
    buf_init(&b, MIB);
    ck_assert_int_eq(card_pack(&toy.card, &small, &last), RC_TOO_LARGE);
    toy.token[3].len = CARD_TOKEN_MAX_BYTES + 1;
    ck_assert_int_eq(card_pack(&toy.card, &b, &last), RC_TOO_LARGE);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(the_models_card_survives_packing_and_unpacking)
{
    struct model_card m;
    if (!model_card_open(&m))
        return;
    struct card c;
    SCOPED_BUF b;
    buf_init(&b, 16 * MIB);
    MUST(card_pack(&m.card, &b, err));
    MUST(card_unpack(buf_view(&b), &c, err));
    ck_assert_int_eq(c.n_vocab, m.card.n_vocab);
    for (int32_t i = 0; i < c.n_vocab; i++)
        ck_assert(str_eq(c.token[i], m.card.token[i]) && c.type[i] == m.card.type[i]);
    ck_assert(str_eq(c.chat_template, m.card.chat_template));
    ck_assert_int_eq(c.eos, m.card.eos);
    card_done(&c);
    model_card_close(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("card");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_card_survives_packing_and_unpacking);
    tcase_add_test(c, a_card_cut_anywhere_is_corrupt);
    tcase_add_test(c, bytes_after_the_end_are_corrupt);
    tcase_add_test(c, absurd_counts_types_and_ids_are_refused_by_name);
    tcase_add_test(c, a_card_too_large_for_its_buffer_or_for_the_format_is_an_error);
    tcase_add_test(c, the_models_card_survives_packing_and_unpacking);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
