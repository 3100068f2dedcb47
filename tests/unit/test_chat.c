/* OpenAI requests, read and checked; replies in the exact shapes that SDKs parse. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/units.h"
#include "schema/chat.h"
#include "schema/chat_reply.h"

struct parsed {
    struct arena arena;
    struct chat chat;
    struct err err;
    const char *code;
    enum rc rc;
};

static void parse(struct parsed *p, enum chat_route route, const char *body)
{
    *p = (struct parsed){0};
    arena_init(&p->arena, 16 * MIB);
    p->rc = chat_parse(route, str_of(body), &p->arena, &p->chat, &p->code, &p->err);
}

static void done(struct parsed *p)
{
    chat_done(&p->chat);
    arena_done(&p->arena);
}

#define CHAT(more) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" more "}"
#define TEXT(more) "{\"model\":\"m\",\"prompt\":\"hi\"" more "}"

static const struct {
    enum chat_route route;
    const char *body, *field, *code;
} refused[] = {
    {CHAT_CHAT, "", "", "invalid_json"},
    {CHAT_CHAT, "[1]", "", "invalid_json"},
    {CHAT_CHAT, "{\"model\":\"a\",\"model\":\"b\"}", "", "invalid_json"},
    {CHAT_CHAT, "{\"model\":NaN}", "", "invalid_json"},
    {CHAT_CHAT, "{\"model\":1e999}", "", "invalid_json"},
    {CHAT_CHAT, "{\"model\":\"\\ud800\"}", "", "invalid_json"},
    {CHAT_CHAT, "{\"model\":\"\xff\"}", "", "invalid_json"},
    {CHAT_CHAT, "{\"n\":99999999999999999999999}", "", "invalid_json"},
    {CHAT_CHAT, "{}", "model", "missing_required_parameter"},
    {CHAT_CHAT, "{\"model\":1}", "model", "invalid_type"},
    {CHAT_CHAT, "{\"model\":\"m\"}", "messages", "missing_required_parameter"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":\"hi\"}", "messages", "invalid_type"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[]}", "messages", "invalid_value"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[1]}", "messages[0]", "invalid_type"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}", "messages[0].role",
     "missing_required_parameter"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"bot\",\"content\":\"x\"}]}",
     "messages[0].role", "invalid_value"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}", "messages[0].content",
     "missing_required_parameter"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":7}]}",
     "messages[0].content", "invalid_type"},
    {CHAT_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
     "messages[0].content", "invalid_type"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"name\":1}]}",
     "messages[0].name", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"temperature\":2.1"), "temperature", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"temperature\":-0.1"), "temperature", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"temperature\":\"1\""), "temperature", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"top_p\":1.01"), "top_p", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"min_p\":-1"), "min_p", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"presence_penalty\":2.5"), "presence_penalty", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"frequency_penalty\":-3"), "frequency_penalty", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"repetition_penalty\":0"), "repetition_penalty", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"top_k\":-2"), "top_k", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"seed\":1.5"), "seed", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"max_tokens\":0"), "max_tokens", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"max_tokens\":16.0"), "max_tokens", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"max_completion_tokens\":-5"), "max_completion_tokens", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"n\":0"), "n", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"n\":129"), "n", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"n\":1000000000"), "n", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), "stop", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"stop\":\"\""), "stop", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"stop\":[1]"), "stop", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"stop_token_ids\":[-1]"), "stop_token_ids", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"logit_bias\":[1]"), "logit_bias", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"logit_bias\":{\"x\":1}"), "logit_bias", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"logit_bias\":{\"5\":101}"), "logit_bias", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"logprobs\":3"), "logprobs", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"top_logprobs\":3"), "top_logprobs", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"logprobs\":true,\"top_logprobs\":21"), "top_logprobs", "invalid_value"},
    {CHAT_CHAT, CHAT(",\"stream\":\"yes\""), "stream", "invalid_type"},
    {CHAT_CHAT, CHAT(",\"stream_options\":{\"include_usage\":true}"), "stream_options",
     "invalid_value"},
    {CHAT_CHAT, CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":1}"), "include_usage",
     "invalid_type"},
    {CHAT_CHAT, CHAT(",\"response_format\":{}"), "response_format.type",
     "missing_required_parameter"},
    {CHAT_CHAT, CHAT(",\"response_format\":{\"type\":\"xml\"}"), "response_format.type",
     "invalid_value"},
    {CHAT_CHAT, CHAT(",\"chat_template_kwargs\":[]"), "chat_template_kwargs", "invalid_type"},
    {CHAT_TEXT, "{\"model\":\"m\"}", "prompt", "missing_required_parameter"},
    {CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[]}", "prompt", "invalid_value"},
    {CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[1,\"a\"]}", "prompt", "invalid_type"},
    {CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[[1],[]]}", "prompt", "invalid_type"},
    {CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[-1]}", "prompt", "invalid_value"},
    {CHAT_TEXT, TEXT(",\"logprobs\":6"), "logprobs", "invalid_value"},
    {CHAT_TEXT, TEXT(",\"best_of\":0"), "best_of", "invalid_value"},
};

START_TEST(a_wrong_field_is_named_with_its_code)
{
    struct parsed p;
    parse(&p, refused[_i].route, refused[_i].body);
    ck_assert_msg(p.rc == RC_BAD_INPUT, "%s was accepted", refused[_i].body);
    ck_assert_str_eq(p.err.field, refused[_i].field);
    ck_assert_str_eq(p.code, refused[_i].code);
    ck_assert_uint_gt(strlen(p.err.msg), 10);
    done(&p);
}
END_TEST

static const struct {
    enum chat_route route;
    const char *body, *field;
} not_ours[] = {
    {CHAT_CHAT, CHAT(",\"tools\":[{\"type\":\"function\"}]"), "tools"},
    {CHAT_CHAT, CHAT(",\"functions\":[{}]"), "functions"},
    {CHAT_CHAT, CHAT(",\"tool_choice\":\"required\""), "tool_choice"},
    {CHAT_CHAT, CHAT(",\"response_format\":{\"type\":\"json_object\"}"), "response_format"},
    {CHAT_CHAT, CHAT(",\"response_format\":{\"type\":\"json_schema\"}"), "response_format"},
    {CHAT_CHAT, CHAT(",\"guided_json\":{\"a\":1}"), "guided_json"},
    {CHAT_CHAT, CHAT(",\"chat_template\":\"{{x}}\""), "chat_template"},
    {CHAT_CHAT, CHAT(",\"modalities\":[\"text\",\"audio\"]"), "modalities"},
    {CHAT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}",
     "messages[0].role"},
    {CHAT_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
     "messages[0].content"},
    {CHAT_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]"
     "}",
     "messages[0].tool_calls"},
    {CHAT_TEXT, TEXT(",\"suffix\":\"x\""), "suffix"},
    {CHAT_TEXT, TEXT(",\"best_of\":3"), "best_of"},
    {CHAT_TEXT, TEXT(",\"echo\":true,\"logprobs\":1"), "echo"},
    {CHAT_CHAT, CHAT(",\"tools\":[],\"tool_choice\":\"none\",\"functions\":null"), ""},
    {CHAT_CHAT, CHAT(",\"response_format\":{\"type\":\"text\"}"), ""},
    {CHAT_CHAT, CHAT(",\"user\":\"u\",\"metadata\":{},\"store\":true,\"frobnicate\":1"), ""},
};

START_TEST(what_the_engine_cannot_do_is_named_and_the_rest_ignored)
{
    struct parsed p;
    parse(&p, not_ours[_i].route, not_ours[_i].body);
    ck_assert_msg(p.rc == RC_OK, "%s: %s", not_ours[_i].body, p.err.msg);
    ck_assert_str_eq(p.chat.unsupported, not_ours[_i].field);
    done(&p);
}
END_TEST

START_TEST(every_sampling_field_arrives)
{
    struct parsed p;
    parse(
        &p, CHAT_CHAT,
        CHAT(",\"temperature\":0.5,\"top_p\":0.9,\"top_k\":40,\"min_p\":0.1,\"seed\":-7,"
             "\"presence_penalty\":1,\"frequency_penalty\":-1,\"repetition_penalty\":1.1,"
             "\"stop\":[\"a\",\"bc\"],\"stop_token_ids\":[5,6],\"logit_bias\":{\"3\":-100},"
             "\"logprobs\":true,\"top_logprobs\":4,\"ignore_eos\":true,\"min_tokens\":2,\"n\":3"));
    const struct frame_params *f = &p.chat.params;
    ck_assert_int_eq(p.rc, RC_OK);
    ck_assert_float_eq(f->temperature, 0.5f);
    ck_assert_float_eq(f->top_p, 0.9f);
    ck_assert_int_eq(f->top_k, 40);
    ck_assert_float_eq(f->min_p, 0.1f);
    ck_assert(f->has_seed && f->seed == (uint64_t)-7);
    ck_assert_float_eq(f->presence, 1);
    ck_assert_float_eq(f->frequency, -1);
    ck_assert_float_eq(f->repetition, 1.1f);
    ck_assert_int_eq(f->n_stop, 2);
    ck_assert(str_is(f->stop[1], "bc"));
    ck_assert_int_eq(f->stop_id[1], 6);
    ck_assert(f->n_bias == 1 && f->bias[0].id == 3);
    ck_assert_float_eq(f->bias[0].bias, -100);
    ck_assert(f->logprobs && f->top_logprobs == 4 && f->ignore_eos && f->min_tok == 2);
    ck_assert_int_eq(p.chat.n, 3);
    done(&p);
}
END_TEST

START_TEST(nothing_said_means_the_protocols_defaults)
{
    struct parsed p;
    parse(&p, CHAT_CHAT, CHAT(",\"temperature\":null,\"stop\":null,\"seed\":null"));
    ck_assert_int_eq(p.rc, RC_OK);
    ck_assert_float_eq(p.chat.params.temperature, 1);
    ck_assert_float_eq(p.chat.params.top_p, 1);
    ck_assert(!p.chat.params.has_seed && p.chat.n == 1 && p.chat.max_tok == -1 && !p.chat.stream);
    done(&p);
    parse(&p, CHAT_TEXT, TEXT(""));
    ck_assert_int_eq(p.chat.max_tok, 16);
    done(&p);
}
END_TEST

START_TEST(max_completion_tokens_wins_over_max_tokens)
{
    struct parsed p;
    parse(&p, CHAT_CHAT, CHAT(",\"max_tokens\":1,\"max_completion_tokens\":10000"));
    ck_assert_int_eq(p.chat.max_tok, 10000);
    done(&p);
    parse(&p, CHAT_CHAT, CHAT(",\"max_tokens\":9223372036854775807"));
    ck_assert_int_eq(p.chat.max_tok, INT64_MAX);
    done(&p);
}
END_TEST

START_TEST(developer_is_system_and_text_parts_are_joined)
{
    struct parsed p;
    parse(&p, CHAT_CHAT,
          "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"d\"},"
          "{\"role\":\"user\",\"name\":null,\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
          "{\"type\":\"text\",\"text\":\"b\\u0000\"}]}]}");
    ck_assert_int_eq(p.rc, RC_OK);
    const json_t *first = json_array_get(p.chat.messages, 0);
    const json_t *second = json_array_get(p.chat.messages, 1);
    ck_assert_str_eq(json_string_value(json_object_get(first, "role")), "system");
    ck_assert_uint_eq(json_string_length(json_object_get(second, "content")), 4);
    ck_assert(memcmp(json_string_value(json_object_get(second, "content")), "a\nb\0", 4) == 0);
    done(&p);
}
END_TEST

START_TEST(prompts_come_in_four_shapes)
{
    struct parsed p;
    parse(&p, CHAT_TEXT, TEXT(""));
    ck_assert(p.chat.n_prompts == 1 && p.chat.prompt[0].n_ids == -1);
    done(&p);
    parse(&p, CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[\"a\",\"bc\"]}");
    ck_assert(p.chat.n_prompts == 2 && str_is(p.chat.prompt[1].text, "bc"));
    done(&p);
    parse(&p, CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[4,5,6]}");
    ck_assert(p.chat.n_prompts == 1 && p.chat.prompt[0].n_ids == 3 && p.chat.prompt[0].id[2] == 6);
    done(&p);
    parse(&p, CHAT_TEXT, "{\"model\":\"m\",\"prompt\":[[4],[5,6]]}");
    ck_assert(p.chat.n_prompts == 2 && p.chat.prompt[1].n_ids == 2);
    done(&p);
}
END_TEST

START_TEST(bombs_are_refused_before_they_are_built)
{
    enum { DEEP = 100000, WIDE = 1000000 };
    char *deep = malloc(DEEP + 1), *wide = malloc(2 * WIDE + 2);
    memset(deep, '[', DEEP);
    deep[DEEP] = '\0';
    wide[0] = '[';
    for (size_t i = 0; i < WIDE; i++)
        memcpy(wide + 1 + 2 * i, "1,", 2);
    wide[2 * WIDE + 1] = '\0';
    struct parsed p;
    parse(&p, CHAT_CHAT, deep);
    ck_assert_int_eq(p.rc, RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(p.err.msg, "deeper"));
    done(&p);
    parse(&p, CHAT_CHAT, wide);
    ck_assert_int_eq(p.rc, RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(p.err.msg, "values"));
    done(&p);
    free(deep);
    free(wide);
}
END_TEST

START_TEST(a_request_that_does_not_fit_its_arena_is_refused)
{
    struct err err = {0};
    const char *code = NULL;
    size_t enough = 0;
    for (size_t cap = 0; cap < 4096 && !enough; cap += 16) {
        SCOPED_ARENA arena;
        struct chat chat;
        arena_init(&arena, cap);
        enum rc rc = chat_parse(CHAT_TEXT,
                                STR("{\"model\":\"m\",\"prompt\":[[1,2,3],\"abc\"],"
                                    "\"stop\":[\"x\"],\"logit_bias\":{\"1\":1}}"),
                                &arena, &chat, &code, &err);
        ck_assert(rc == RC_OK || rc == RC_TOO_LARGE);
        enough = rc == RC_OK ? cap : 0;
        chat_done(&chat);
    }
    ck_assert_uint_gt(enough, 16);
}
END_TEST

/* ---- replies ---- */

static struct buf out;

static json_t *event(void)
{
    ck_assert(!out.failed && out.len > 8);
    ck_assert(memcmp(out.p, "data: ", 6) == 0);
    ck_assert(memcmp(out.p + out.len - 2, "\n\n", 2) == 0);
    ck_assert_ptr_null(memchr(out.p, '\n', out.len - 2));
    json_t *j = json_loadb(out.p + 6, out.len - 8, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(j);
    buf_clear(&out);
    return j;
}

static const struct reply_head chat_head = {
    .route = CHAT_CHAT, .id = {"chatcmpl-1", 10}, .model = {"a\"b\n", 4}, .created_s = 7};

static const json_t *choice_of(const json_t *j)
{
    return json_array_get(json_object_get(j, "choices"), 0);
}

START_TEST(a_stream_is_role_then_text_then_finish_then_done)
{
    buf_init(&out, 1 * MIB);
    reply_chunk_role(&out, &chat_head, 0);
    json_t *j = event();
    ck_assert_str_eq(json_string_value(json_object_get(j, "object")), "chat.completion.chunk");
    ck_assert_str_eq(json_string_value(json_object_get(j, "model")), "a\"b\n");
    const json_t *delta = json_object_get(choice_of(j), "delta");
    ck_assert_str_eq(json_string_value(json_object_get(delta, "role")), "assistant");
    ck_assert_str_eq(json_string_value(json_object_get(delta, "content")), "");
    ck_assert_ptr_null(json_object_get(j, "usage"));
    json_decref(j);
    reply_chunk_text(&out, &chat_head, 0, STR("h\n\xc3\xa9"), NULL, NULL);
    j = event();
    delta = json_object_get(choice_of(j), "delta");
    ck_assert_str_eq(json_string_value(json_object_get(delta, "content")), "h\n\xc3\xa9");
    ck_assert(json_is_null(json_object_get(choice_of(j), "finish_reason")));
    json_decref(j);
    reply_chunk_finish(&out, &chat_head, 0, "length", NULL);
    j = event();
    ck_assert_uint_eq(json_object_size(json_object_get(choice_of(j), "delta")), 0);
    ck_assert_str_eq(json_string_value(json_object_get(choice_of(j), "finish_reason")), "length");
    json_decref(j);
    reply_chunk_end(&out);
    ck_assert(str_eq(buf_view(&out), STR("data: [DONE]\n\n")));
    buf_done(&out);
}
END_TEST

START_TEST(usage_is_null_in_each_chunk_and_whole_in_the_last)
{
    struct reply_head h = chat_head;
    h.null_usage = true;
    buf_init(&out, 1 * MIB);
    reply_chunk_text(&out, &h, 0, STR("x"), NULL, NULL);
    json_t *j = event();
    ck_assert(json_is_null(json_object_get(j, "usage")));
    json_decref(j);
    struct reply_usage u = {.prompt = 10, .cached = 4, .completion = 3};
    reply_chunk_usage(&out, &h, &u);
    j = event();
    const json_t *usage = json_object_get(j, "usage");
    ck_assert_uint_eq(json_array_size(json_object_get(j, "choices")), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(usage, "total_tokens")), 13);
    ck_assert_int_eq(json_integer_value(json_object_get(
                         json_object_get(usage, "prompt_tokens_details"), "cached_tokens")),
                     4);
    json_decref(j);
    buf_done(&out);
}
END_TEST

START_TEST(logprobs_have_both_protocols_shapes)
{
    struct frame_logprob top[] = {{5, -0.5f}, {6, -INFINITY}};
    struct str top_bytes[] = {STR("a"), STR("\xe2\x82")};
    struct frame_token t = {
        .chosen = {5, -0.5f}, .bytes = STR("a"), .n_top = 2, .top = top, .top_bytes = top_bytes};
    struct reply_logprobs lp;
    struct reply_head h = chat_head;
    buf_init(&out, 1 * MIB);
    reply_logprobs_init(&lp, 1 * MIB);
    reply_logprobs_add(&lp, CHAT_CHAT, &t);
    reply_logprobs_add(&lp, CHAT_CHAT, &t);
    reply_chunk_text(&out, &h, 0, STR("aa"), &lp, NULL);
    json_t *j = event();
    const json_t *content = json_object_get(json_object_get(choice_of(j), "logprobs"), "content");
    ck_assert_uint_eq(json_array_size(content), 2);
    const json_t *one = json_array_get(content, 1);
    const json_t *second = json_array_get(json_object_get(one, "top_logprobs"), 1);
    ck_assert_double_eq_tol(json_number_value(json_object_get(one, "logprob")), -0.5, 1e-6);
    ck_assert_double_eq_tol(json_number_value(json_object_get(second, "logprob")), -9999, 1e-6);
    ck_assert_uint_eq(json_array_size(json_object_get(second, "bytes")), 2);
    json_decref(j);
    reply_logprobs_clear(&lp);
    h.route = CHAT_TEXT;
    lp.text_offset = 0;
    reply_logprobs_add(&lp, CHAT_TEXT, &t);
    reply_logprobs_add(&lp, CHAT_TEXT, &t);
    reply_chunk_text(&out, &h, 0, STR("aa"), &lp, NULL);
    j = event();
    const json_t *l = json_object_get(choice_of(j), "logprobs");
    ck_assert_uint_eq(json_array_size(json_object_get(l, "tokens")), 2);
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(l, "text_offset"), 1)), 1);
    json_decref(j);
    reply_logprobs_done(&lp);
    buf_done(&out);
}
END_TEST

START_TEST(errors_have_all_four_keys)
{
    buf_init(&out, 1 * MIB);
    reply_error(&out, "bad \"x\"\n", "invalid_request_error", "", NULL);
    json_t *j = json_loadb(out.p, out.len, 0, NULL);
    const json_t *e = json_object_get(j, "error");
    ck_assert_uint_eq(json_object_size(e), 4);
    ck_assert_str_eq(json_string_value(json_object_get(e, "message")), "bad \"x\"\n");
    ck_assert(json_is_null(json_object_get(e, "param")));
    ck_assert(json_is_null(json_object_get(e, "code")));
    json_decref(j);
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chat");
    TCase *c = tcase_create("requests");
    tcase_add_loop_test(c, a_wrong_field_is_named_with_its_code, 0, (int)ARRAY_LEN(refused));
    tcase_add_loop_test(c, what_the_engine_cannot_do_is_named_and_the_rest_ignored, 0,
                        (int)ARRAY_LEN(not_ours));
    tcase_add_test(c, every_sampling_field_arrives);
    tcase_add_test(c, nothing_said_means_the_protocols_defaults);
    tcase_add_test(c, max_completion_tokens_wins_over_max_tokens);
    tcase_add_test(c, developer_is_system_and_text_parts_are_joined);
    tcase_add_test(c, prompts_come_in_four_shapes);
    tcase_add_test(c, bombs_are_refused_before_they_are_built);
    tcase_add_test(c, a_request_that_does_not_fit_its_arena_is_refused);
    tcase_add_test(c, a_stream_is_role_then_text_then_finish_then_done);
    tcase_add_test(c, usage_is_null_in_each_chunk_and_whole_in_the_last);
    tcase_add_test(c, logprobs_have_both_protocols_shapes);
    tcase_add_test(c, errors_have_all_four_keys);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
