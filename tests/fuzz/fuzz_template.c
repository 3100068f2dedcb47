/* fuzz_template - bytes as a chat template, rendered with a conversation that has every kind of
 * value. It may refuse; it may not crash, nor trust a byte of the conversation. */

#include "base/units.h"
#include "engine/text/card.h"
#include "engine/text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No byte of it is ASCII, so that it shows wherever it gets to. */
static const char mark[] = "\xef\xbf\xae\xe2\x98\x83";

static void check_trust(const struct template_text *out)
{
    for (size_t i = 0; i < out->n_span; i++) {
        struct text_span s = out->span[i];
        ASSERT(s.from < s.to && s.to <= out->text.len);
        ASSERT(i == 0 || out->span[i - 1].to < s.from);
        ASSERT(str_find(str_sub(out->text, s.from, s.to - s.from), STR("\xe2\x98\x83")) < 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str source = {(const char *)data, size};
    struct str special = STR("<s>");
    struct card card = {.chat_template = source,
                        .n_vocab = 1,
                        .token = &special,
                        .bos = 0,
                        .eos = 0,
                        .eot = -1,
                        .pad = -1,
                        .unk = -1};
    struct template *t = NULL;
    struct err err = {0};
    /* The template must not hold the mark itself. */
    if (size > 64 * KIB || str_find(source, STR("\xe2\x98\x83")) >= 0 ||
        template_open(&card, &t, &err) != RC_OK)
        return 0;
    json_t *messages = json_pack("[{s:s,s:s},{s:s,s:s,s:[{s:s,s:{s:s,s:{s:i,s:f}}}]},{s:s,s:n}]",
                                 "role", "system", "content", mark, "role", "assistant", "content",
                                 mark, "tool_calls", "type", "function", "function", "name", mark,
                                 "arguments", "a", 1, "b", 2.5, "role", "user", "content");
    json_t *extra = json_pack("{s:s,s:b,s:i,s:[ssi],s:{s:s}}", "x", mark, "b", 1, "n", 3, "l", mark,
                              "b", 2, "d", "k", mark);
    struct template_input in = {.messages = messages,
                                .tools = json_object_get(extra, "l"),
                                .extra = extra,
                                .add_generation_prompt = true};
    struct template_text out = {0};
    if (template_render(t, &in, &out, &err) == RC_OK)
        check_trust(&out);
    else
        ASSERT(err.rc == RC_BAD_INPUT || err.rc == RC_INVALID || err.rc == RC_NO_MEMORY);
    template_text_done(&out);
    template_close(t);
    json_decref(messages);
    json_decref(extra);
    return 0;
}
