/* test_gguf - a model file is distrusted: every wrong one is refused with a sentence, none crashes.
 *
 * Cases follow llama.cpp's handcrafted files (test-gguf) and the known holes of GGUF readers:
 * counts and lengths near 2^64, sizes whose products wrap, offsets that overlap or pass the end. */

#include <check.h>
#include <fcntl.h>

#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "engine/model/quant.h"
#include "engine/model/weights.h"
#include "tests/unit/gguf_maker.h"

static void assert_refused(const struct buf *b, const char *why)
{
    struct gguf *g = NULL;
    struct err err = {0};
    enum rc rc = open_bytes(b->p, b->len, &g, &err);
    ck_assert_msg(rc == RC_CORRUPT, "%s: answered %s", why, rc_name(rc));
    ck_assert_msg(strstr(err.msg, why) != NULL, "said \"%s\", not \"%s\"", err.msg, why);
    ck_assert_ptr_null(g);
}

/* One key of each kind and two tensors: the right file that the wrong ones differ from. */
static void put_right_file(struct buf *b)
{
    const uint64_t shape[] = {32, 3}, vector[] = {5};
    put_head(b, 3, 2, 5);
    put_key_str(b, "general.architecture", "llama");
    put_key_u32(b, "general.alignment", 64);
    put_key_f32(b, "a.float", 1.5f);
    put_text(b, "a.list");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_STRING);
    put_u64(b, 2);
    put_text(b, "one");
    put_text(b, "");
    put_text(b, "a.numbers");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_I32);
    put_u64(b, 3);
    put_u32(b, 7);
    put_u32(b, (uint32_t)-8);
    put_u32(b, 9);
    put_tensor(b, "matrix", 2, shape, QUANT_Q8_0, 0);
    put_tensor(b, "vector", 1, vector, QUANT_F32, 128);
    put_alignment(b, 64);
    put_zeros(b, 102);
    put_alignment(b, 64);
    for (uint32_t i = 0; i < 5; i++)
        put_u32(b, i + 1);
}

START_TEST(a_right_file_gives_its_keys_and_tensors)
{
    SCOPED_BUF b = {.max = MIB};
    struct gguf *g = NULL;
    struct err err = {0};
    struct str s = STR_NONE;
    int64_t i = 0;
    double f = 0;
    put_right_file(&b);
    ck_assert_msg(open_bytes(b.p, b.len, &g, &err) == RC_OK, "%s", err.msg);
    ck_assert(gguf_get_str(g, "general.architecture", &s) && str_is(s, "llama"));
    ck_assert(gguf_get_i64(g, "general.alignment", &i) && i == 64);
    ck_assert(gguf_get_f64(g, "a.float", &f) && f == 1.5);
    ck_assert(!gguf_get_i64(g, "a.float", &i) && !gguf_get_str(g, "absent", &s));
    ck_assert(!gguf_get_i64(g, "a.numbers", &i));
    const struct gguf_key *list = gguf_find(g, "a.list"), *numbers = gguf_find(g, "a.numbers");
    ck_assert(list->n == 2 && str_is(list->string[0], "one") && list->string[1].len == 0);
    ck_assert(numbers->n == 3 && gguf_int_at(numbers, 1) == -8);
    const struct gguf_tensor *t = gguf_find_tensor(g, STR("vector"));
    uint32_t value = 0;
    ck_assert(t && t->bytes == 20 && t->offset % 64 == 0);
    ck_assert_int_eq(gguf_read(g, t, 8, &value, 4, &err), RC_OK);
    ck_assert_uint_eq(value, 3);
    ck_assert_ptr_null(gguf_find_tensor(g, STR("nothing")));
    gguf_close(g);
}
END_TEST

START_TEST(a_file_cut_at_any_byte_is_refused)
{
    SCOPED_BUF b = {.max = MIB};
    put_right_file(&b);
    for (size_t n = 0; n < b.len; n++) {
        struct gguf *g = NULL;
        struct err err = {0};
        enum rc rc = open_bytes(b.p, n, &g, &err);
        ck_assert_msg(rc == RC_CORRUPT && err.msg[0], "cut at %zu of %zu: %s", n, b.len,
                      rc_name(rc));
    }
}
END_TEST

START_TEST(any_changed_byte_is_survived)
{
    SCOPED_BUF b = {.max = MIB};
    put_right_file(&b);
    for (size_t i = 0; i < b.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct gguf *g = NULL;
            struct err err = {0};
            b.p[i] = (char)(b.p[i] ^ (1 << bit));
            enum rc rc = open_bytes(b.p, b.len, &g, &err);
            ck_assert(rc == RC_OK || (rc == RC_CORRUPT && err.msg[0]));
            gguf_close(g);
            b.p[i] = (char)(b.p[i] ^ (1 << bit));
        }
    }
}
END_TEST

START_TEST(wrong_magic_and_versions_are_refused)
{
    static const struct {
        uint32_t version;
        const char *why;
    } cases[] = {{0, "version 0"},
                 {1, "version 1"},
                 {4, "version 4"},
                 {0x03000000, "big-endian"},
                 {0xffffffff, "version"}};
    SCOPED_BUF b = {.max = MIB};
    put(&b, "GGML....................", 24);
    assert_refused(&b, "not a GGUF file");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        put_head(&b, cases[i].version, 0, 0);
        assert_refused(&b, cases[i].why);
    }
}
END_TEST

START_TEST(absurd_counts_are_refused_before_memory_is_asked_for)
{
    static const uint64_t huge[] = {UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 32,
                                    GGUF_MAX_TENSORS + 1, UINT64_MAX / 48 + 1};
    SCOPED_BUF b = {.max = MIB};
    for (size_t i = 0; i < ARRAY_LEN(huge); i++) {
        buf_clear(&b);
        put_head(&b, 3, huge[i], 0);
        assert_refused(&b, "tensors");
        buf_clear(&b);
        put_head(&b, 3, 0, huge[i]);
        assert_refused(&b, "keys");
    }
    buf_clear(&b);
    put_head(&b, 3, 5, 0);
    assert_refused(&b, "tensors do not fit");
    buf_clear(&b);
    put_head(&b, 3, 0, 5);
    assert_refused(&b, "keys do not fit");
}
END_TEST

START_TEST(absurd_lengths_of_strings_and_arrays_are_refused)
{
    static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63,
                                    UINT64_MAX / 8 + 1, 1000000};
    SCOPED_BUF b = {.max = MIB};
    for (size_t i = 0; i < ARRAY_LEN(huge); i++) {
        buf_clear(&b);
        put_head(&b, 3, 0, 1); /* a key's name */
        put_u64(&b, huge[i]);
        put_zeros(&b, 64);
        assert_refused(&b, "ends inside a key's name");
        buf_clear(&b);
        put_head(&b, 3, 0, 1); /* a string */
        put_text(&b, "k");
        put_u32(&b, GGUF_STRING);
        put_u64(&b, huge[i]);
        assert_refused(&b, "string");
        for (uint32_t type = 0; type < GGUF_TYPE_COUNT; type++) {
            if (type == GGUF_ARRAY)
                continue;
            buf_clear(&b);
            put_head(&b, 3, 0, 1); /* an array */
            put_text(&b, "k");
            put_u32(&b, GGUF_ARRAY);
            put_u32(&b, type);
            put_u64(&b, huge[i]);
            put_zeros(&b, 64);
            assert_refused(&b, "");
        }
    }
}
END_TEST

static void put_one_key(struct buf *b, const char *name, uint32_t type)
{
    put_text(b, name);
    put_u32(b, type);
    put_zeros(b, 32);
}

START_TEST(wrong_keys_are_refused)
{
    SCOPED_BUF b = {.max = MIB};
    put_head(&b, 3, 0, 1);
    put_one_key(&b, "", GGUF_U32);
    assert_refused(&b, "empty");
    buf_clear(&b);
    put_head(&b, 3, 0, 1);
    put_one_key(&b, "\xff\xfe", GGUF_U32);
    assert_refused(&b, "UTF-8");
    buf_clear(&b);
    put_head(&b, 3, 0, 1);
    put_one_key(&b, "k", GGUF_TYPE_COUNT);
    assert_refused(&b, "unknown type");
    buf_clear(&b);
    put_head(&b, 3, 0, 2);
    put_key_u32(&b, "same", 1);
    put_key_u32(&b, "same", 2);
    assert_refused(&b, "appears twice");
    buf_clear(&b);
    put_head(&b, 3, 0, 1);
    put_text(&b, "k");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_ARRAY);
    put_zeros(&b, 32);
    assert_refused(&b, "array of arrays");
}
END_TEST

START_TEST(wrong_alignments_are_refused)
{
    static const uint32_t wrong[] = {0, 3, 48, 1u << 17, 0x80000000};
    SCOPED_BUF b = {.max = MIB};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        buf_clear(&b);
        put_head(&b, 3, 0, 1);
        put_key_u32(&b, "general.alignment", wrong[i]);
        assert_refused(&b, "power of two");
    }
    buf_clear(&b);
    put_head(&b, 3, 0, 1);
    put_key_str(&b, "general.alignment", "32");
    assert_refused(&b, "not a U32");
}
END_TEST

/* A file with one tensor, wrong in one way. */
static void assert_tensor_refused(const char *name, uint32_t n_dims, const uint64_t *dim,
                                  uint32_t type, uint64_t offset, const char *why)
{
    SCOPED_BUF b = {.max = MIB};
    put_head(&b, 3, 1, 0);
    put_tensor(&b, name, n_dims, dim, type, offset);
    put_alignment(&b, 32);
    put_zeros(&b, 4096);
    assert_refused(&b, why);
}

START_TEST(wrong_tensors_are_refused)
{
    const uint64_t right[] = {32, 2, 1, 1, 1}, zero[] = {32, 0}, uneven[] = {33, 2};
    const uint64_t wraps[] = {UINT64_C(0x7FFFFFFFFFFFFFC0)}, minus[] = {UINT64_MAX, 2};
    const uint64_t four[] = {0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff};
    const uint64_t two_64[] = {1u << 16, 1u << 16, 1u << 16, 1u << 16};
    const uint64_t large[] = {4096, 4096};
    char overlong[GGUF_MAX_NAME_BYTES + 2] = {0};
    memset(overlong, 'n', GGUF_MAX_NAME_BYTES + 1);
    assert_tensor_refused("", 2, right, QUANT_F32, 0, "name");
    assert_tensor_refused(overlong, 2, right, QUANT_F32, 0, "name");
    assert_tensor_refused("t", 0, right, QUANT_F32, 0, "0 dimensions");
    assert_tensor_refused("t", 5, right, QUANT_F32, 0, "5 dimensions");
    assert_tensor_refused("t", 2, zero, QUANT_F32, 0, "a dimension of 0");
    assert_tensor_refused("t", 1, wraps, QUANT_Q4_0, 0, "a dimension of");
    assert_tensor_refused("t", 2, minus, QUANT_F32, 0, "a dimension of");
    assert_tensor_refused("t", 4, four, QUANT_F32, 0, "larger than the file");
    assert_tensor_refused("t", 4, two_64, QUANT_F32, 0, "larger than the file");
    assert_tensor_refused("t", 2, large, QUANT_Q4_1, 0, "larger than the file");
    assert_tensor_refused("t", 2, uneven, QUANT_Q4_1, 0, "not blocks of 32");
    assert_tensor_refused("t", 2, right, 4, 0, "unknown type 4"); /* Q4_2, long gone */
    assert_tensor_refused("t", 2, right, 0xffffffff, 0, "unknown type");
    assert_tensor_refused("t", 2, right, QUANT_F32, 32, "offset 32");
    assert_tensor_refused("t", 2, right, QUANT_F32, UINT64_MAX - 31, "offset");
}
END_TEST

START_TEST(tensors_that_overlap_leave_holes_or_share_a_name_are_refused)
{
    const uint64_t dim[] = {8};
    static const struct {
        const char *second;
        uint64_t offset;
        const char *why;
    } cases[] = {{"b", 0, "offset 0"}, {"b", 64, "offset 64"}, {"a", 32, "appears twice"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        SCOPED_BUF b = {.max = MIB};
        put_head(&b, 2, 2, 0);
        put_tensor(&b, "a", 1, dim, QUANT_F32, 0);
        put_tensor(&b, cases[i].second, 1, dim, QUANT_F32, cases[i].offset);
        put_alignment(&b, 32);
        put_zeros(&b, 4096);
        assert_refused(&b, cases[i].why);
    }
}
END_TEST

START_TEST(a_header_longer_than_the_first_read_is_read_whole)
{
    enum { STRINGS = 300000 };
    SCOPED_BUF b = {.max = 64 * MIB};
    struct gguf *g = NULL;
    struct err err = {0};
    put_head(&b, 3, 0, 1);
    put_text(&b, "many");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, STRINGS);
    for (int i = 0; i < STRINGS; i++)
        put_text(&b, i == STRINGS - 1 ? "the last" : "0123456789abcdef");
    ck_assert_uint_gt(b.len, 4 * MIB);
    ck_assert_msg(open_bytes(b.p, b.len, &g, &err) == RC_OK, "%s", err.msg);
    ck_assert(str_is(gguf_find(g, "many")->string[STRINGS - 1], "the last"));
    gguf_close(g);
}
END_TEST

START_TEST(a_file_that_shrinks_or_changes_while_in_use_is_an_error)
{
    SCOPED_BUF b = {.max = MIB};
    struct gguf *g = NULL;
    struct err err = {0};
    uint32_t value[5];
    put_right_file(&b);
    int fd = fd_of(b.p, b.len), same = dup(fd);
    ck_assert_int_eq(gguf_open_fd(fd, "made.gguf", &g, &err), RC_OK);
    const struct gguf_tensor *t = gguf_find_tensor(g, STR("vector"));
    ck_assert_int_eq(gguf_check_unchanged(g, &err), RC_OK);
    ck_assert_int_eq(ftruncate(same, (off_t)b.len - 8), 0);
    ck_assert_int_eq(gguf_read(g, t, 0, value, sizeof(value), &err), RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.msg, "became shorter"));
    ck_assert_int_eq(gguf_check_unchanged(g, &err), RC_CORRUPT);
    close(same);
    gguf_close(g);
}
END_TEST

START_TEST(what_is_not_a_file_is_refused)
{
    struct gguf *g = NULL;
    struct err err = {0};
    ck_assert_int_eq(gguf_open("/nonexistent/model.gguf", &g, &err), RC_NOT_FOUND);
    ck_assert_int_eq(gguf_open("/tmp", &g, &err), RC_BAD_INPUT);
    ck_assert_int_eq(gguf_open("/dev/null", &g, &err), RC_BAD_INPUT);
}
END_TEST

/* The whole of model_open, on the real model cut at each 64th: never accepted. */
START_TEST(the_real_model_cut_at_any_64th_is_refused)
{
    const char *path = getenv("SLUICE_TEST_MODEL");
    struct err err = {0};
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        printf("skipped: SLUICE_TEST_MODEL is not set or cannot be opened\n");
        return;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    char copy[] = "/tmp/sluice-cut-XXXXXX", buffer[65536];
    int cut = mkstemp(copy);
    off_t at = 0;
    ck_assert_int_ge(cut, 0);
    for (int i = 0; i < 64; i++) {
        for (off_t end = size / 64 * i; at < end;) {
            size_t n = (size_t)MIN_OF((off_t)sizeof(buffer), end - at);
            ck_assert_int_eq(pread(fd, buffer, n, at), (ssize_t)n);
            ck_assert_int_eq(write(cut, buffer, n), (ssize_t)n);
            at += (off_t)n;
        }
        struct model *m = NULL;
        enum rc rc = model_open(copy, &m, &err);
        ck_assert_msg(rc == RC_CORRUPT && err.msg[0], "cut at %d/64: %s", i, rc_name(rc));
    }
    close(cut);
    close(fd);
    unlink(copy);
}
END_TEST

int main(void)
{
    struct err err = {0};
    Suite *s = suite_create("gguf");
    TCase *t = tcase_create("gguf");
    if (hash_init(&err) != RC_OK)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, a_right_file_gives_its_keys_and_tensors);
    tcase_add_test(t, a_file_cut_at_any_byte_is_refused);
    tcase_add_test(t, any_changed_byte_is_survived);
    tcase_add_test(t, wrong_magic_and_versions_are_refused);
    tcase_add_test(t, absurd_counts_are_refused_before_memory_is_asked_for);
    tcase_add_test(t, absurd_lengths_of_strings_and_arrays_are_refused);
    tcase_add_test(t, wrong_keys_are_refused);
    tcase_add_test(t, wrong_alignments_are_refused);
    tcase_add_test(t, wrong_tensors_are_refused);
    tcase_add_test(t, tensors_that_overlap_leave_holes_or_share_a_name_are_refused);
    tcase_add_test(t, a_header_longer_than_the_first_read_is_read_whole);
    tcase_add_test(t, a_file_that_shrinks_or_changes_while_in_use_is_an_error);
    tcase_add_test(t, what_is_not_a_file_is_refused);
    tcase_add_test(t, the_real_model_cut_at_any_64th_is_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
