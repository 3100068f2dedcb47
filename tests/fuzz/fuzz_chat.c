/* Foreign bytes as a chat or completion request: no crash, no leak, and whatever is accepted can be
 * answered in valid JSON. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/units.h"
#include "schema/chat.h"
#include "schema/chat_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const struct chat *c)
{
    struct buf out;
    struct reply_head h = {
        .route = c->route, .id = STR("x"), .model = c->model, .null_usage = c->include_usage};
    struct reply_usage u = {1, 0, 1};
    buf_init(&out, 1 * MIB);
    reply_whole_begin(&out, &h);
    reply_whole_choice(&out, &h, 0, c->n_prompts && c->prompt ? c->prompt[0].text : c->model, NULL,
                       "stop");
    reply_whole_end(&out, &u);
    json_t *j = out.failed ? NULL : json_loadb(out.p, out.len, JSON_ALLOW_NUL, NULL);
    if (!out.failed && !j)
        abort();
    json_decref(j);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct arena arena;
    struct chat chat;
    struct err err = {0};
    const char *code = NULL;
    arena_init(&arena, 4 * MIB);
    enum chat_route route = data[0] & 1 ? CHAT_TEXT : CHAT_CHAT;
    enum rc rc =
        chat_parse(route, str_make((const char *)data + 1, size - 1), &arena, &chat, &code, &err);
    if (rc == RC_OK)
        answer(&chat);
    else if (rc != RC_BAD_INPUT && rc != RC_TOO_LARGE)
        abort();
    chat_done(&chat);
    arena_done(&arena);
    return 0;
}
