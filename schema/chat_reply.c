#include "schema/chat_reply.h"

#include <math.h>

#include "base/units.h"

/* ---- log-probabilities ---- */

void reply_logprobs_init(struct reply_logprobs *lp, size_t max_bytes)
{
    *lp = (struct reply_logprobs){0};
    for (size_t i = 0; i < ARRAY_LEN(lp->part); i++)
        buf_init(&lp->part[i], max_bytes);
}

void reply_logprobs_done(struct reply_logprobs *lp)
{
    for (size_t i = 0; i < ARRAY_LEN(lp->part); i++)
        buf_done(&lp->part[i]);
}

void reply_logprobs_clear(struct reply_logprobs *lp)
{
    for (size_t i = 0; i < ARRAY_LEN(lp->part); i++)
        buf_clear(&lp->part[i]);
    lp->n = 0;
}

/* JSON has no infinity; -9999 is what other servers say for "never". */
static void add_logprob(struct buf *to, float v)
{
    buf_printf(to, "%.6g", isfinite(v) ? (double)v : -9999.0);
}

static void add_bytes(struct buf *to, struct str s)
{
    buf_byte(to, '[');
    for (size_t i = 0; i < s.len; i++) {
        if (i > 0)
            buf_byte(to, ',');
        buf_i64(to, (unsigned char)s.p[i]);
    }
    buf_byte(to, ']');
}

static void add_entry(struct buf *to, struct str bytes, float logprob)
{
    buf_z(to, "\"token\":");
    buf_json(to, bytes);
    buf_z(to, ",\"logprob\":");
    add_logprob(to, logprob);
    buf_z(to, ",\"bytes\":");
    add_bytes(to, bytes);
}

static void add_chat_token(struct buf *to, const struct frame_token *t)
{
    buf_byte(to, '{');
    add_entry(to, t->bytes, t->chosen.logprob);
    buf_z(to, ",\"top_logprobs\":[");
    for (int32_t i = 0; i < t->n_top; i++) {
        buf_z(to, i ? ",{" : "{");
        add_entry(to, t->top_bytes[i], t->top[i].logprob);
        buf_byte(to, '}');
    }
    buf_z(to, "]}");
}

static void add_text_token(struct reply_logprobs *lp, const struct frame_token *t)
{
    buf_json(&lp->part[0], t->bytes);
    add_logprob(&lp->part[1], t->chosen.logprob);
    buf_byte(&lp->part[2], '{');
    for (int32_t i = 0; i < t->n_top; i++) {
        if (i > 0)
            buf_byte(&lp->part[2], ',');
        buf_json(&lp->part[2], t->top_bytes[i]);
        buf_byte(&lp->part[2], ':');
        add_logprob(&lp->part[2], t->top[i].logprob);
    }
    buf_byte(&lp->part[2], '}');
    buf_i64(&lp->part[3], lp->text_offset);
}

void reply_logprobs_add(struct reply_logprobs *lp, enum chat_route route,
                        const struct frame_token *t)
{
    for (size_t i = 0; lp->n > 0 && i < ARRAY_LEN(lp->part); i++)
        buf_byte(&lp->part[i], ',');
    if (route == CHAT_CHAT)
        add_chat_token(&lp->part[0], t);
    else
        add_text_token(lp, t);
    lp->text_offset += (int64_t)t->bytes.len;
    lp->n++;
}

static void add_logprobs(struct buf *to, enum chat_route route, const struct reply_logprobs *lp)
{
    static const char *const names[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
    if (!lp) {
        buf_z(to, "null");
    } else if (route == CHAT_CHAT) {
        buf_z(to, "{\"content\":[");
        buf_str(to, buf_view(&lp->part[0]));
        buf_z(to, "],\"refusal\":null}");
    } else {
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            buf_printf(to, "%c\"%s\":[", i ? ',' : '{', names[i]);
            buf_str(to, buf_view(&lp->part[i]));
            buf_byte(to, ']');
        }
        buf_byte(to, '}');
    }
}

/* ---- shared parts ---- */

const char *reply_finish_text(enum frame_finish finish)
{
    return finish == FINISH_LENGTH ? "length" : "stop";
}

static void add_usage(struct buf *to, const struct reply_usage *u)
{
    buf_z(to, "{\"prompt_tokens\":");
    buf_i64(to, u->prompt);
    buf_z(to, ",\"completion_tokens\":");
    buf_i64(to, u->completion);
    buf_z(to, ",\"total_tokens\":");
    buf_i64(to, u->prompt + u->completion);
    buf_z(to, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    buf_i64(to, u->cached);
    buf_z(to, "},\"completion_tokens_details\":{\"reasoning_tokens\":0}}");
}

static void add_head(struct buf *to, const struct reply_head *h, const char *chat_object)
{
    buf_z(to, "{\"id\":");
    buf_json(to, h->id);
    buf_z(to, ",\"object\":\"");
    buf_z(to, h->route == CHAT_CHAT ? chat_object : "text_completion");
    buf_z(to, "\",\"created\":");
    buf_i64(to, h->created_s);
    buf_z(to, ",\"model\":");
    buf_json(to, h->model);
    buf_z(to, ",\"choices\":[");
}

static void chunk_begin(struct buf *to, const struct reply_head *h)
{
    buf_z(to, "data: ");
    add_head(to, h, "chat.completion.chunk");
}

static void chunk_end(struct buf *to, const struct reply_head *h, const struct reply_usage *usage)
{
    buf_byte(to, ']');
    if (usage) {
        buf_z(to, ",\"usage\":");
        add_usage(to, usage);
    } else if (h->null_usage) {
        buf_z(to, ",\"usage\":null");
    }
    buf_z(to, "}\n\n");
}

/* ---- chunks ---- */

void reply_chunk_role(struct buf *to, const struct reply_head *h, int32_t index)
{
    if (h->route != CHAT_CHAT)
        return;
    chunk_begin(to, h);
    buf_z(to, "{\"index\":");
    buf_i64(to, index);
    buf_z(to, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
              "\"finish_reason\":null}");
    chunk_end(to, h, NULL);
}

static void chunk_choice(struct buf *to, const struct reply_head *h, int32_t index, struct str text,
                         const struct reply_logprobs *lp, const char *finish)
{
    buf_z(to, "{\"index\":");
    buf_i64(to, index);
    if (h->route == CHAT_CHAT) {
        buf_z(to, ",\"delta\":{");
        if (!finish) {
            buf_z(to, "\"content\":");
            buf_json(to, text);
        }
        buf_byte(to, '}');
    } else {
        buf_z(to, ",\"text\":");
        buf_json(to, text);
    }
    buf_z(to, ",\"logprobs\":");
    add_logprobs(to, h->route, lp);
    buf_z(to, ",\"finish_reason\":");
    if (finish)
        buf_json(to, str_of(finish));
    else
        buf_z(to, "null");
    buf_byte(to, '}');
}

void reply_chunk_text(struct buf *to, const struct reply_head *h, int32_t index, struct str text,
                      const struct reply_logprobs *lp, const struct reply_usage *usage)
{
    chunk_begin(to, h);
    chunk_choice(to, h, index, text, lp, NULL);
    chunk_end(to, h, usage);
}

void reply_chunk_finish(struct buf *to, const struct reply_head *h, int32_t index,
                        const char *finish, const struct reply_usage *usage)
{
    chunk_begin(to, h);
    chunk_choice(to, h, index, STR(""), NULL, finish);
    chunk_end(to, h, usage);
}

void reply_chunk_usage(struct buf *to, const struct reply_head *h, const struct reply_usage *u)
{
    chunk_begin(to, h);
    chunk_end(to, h, u);
}

void reply_chunk_end(struct buf *to)
{
    buf_z(to, "data: [DONE]\n\n");
}

/* ---- whole answers ---- */

void reply_whole_begin(struct buf *to, const struct reply_head *h)
{
    add_head(to, h, "chat.completion");
}

void reply_whole_choice(struct buf *to, const struct reply_head *h, int32_t index, struct str text,
                        const struct reply_logprobs *lp, const char *finish)
{
    buf_z(to, index ? ",{\"index\":" : "{\"index\":");
    buf_i64(to, index);
    if (h->route == CHAT_CHAT) {
        buf_z(to, ",\"message\":{\"role\":\"assistant\",\"content\":");
        buf_json(to, text);
        buf_z(to, ",\"refusal\":null}");
    } else {
        buf_z(to, ",\"text\":");
        buf_json(to, text);
    }
    buf_z(to, ",\"logprobs\":");
    add_logprobs(to, h->route, lp);
    buf_z(to, ",\"finish_reason\":");
    buf_json(to, str_of(finish));
    buf_byte(to, '}');
}

void reply_whole_end(struct buf *to, const struct reply_usage *u)
{
    buf_z(to, "],\"usage\":");
    add_usage(to, u);
    buf_byte(to, '}');
}

static void add_text_or_null(struct buf *to, const char *z)
{
    if (z && *z)
        buf_json(to, str_of(z));
    else
        buf_z(to, "null");
}

void reply_error(struct buf *to, const char *message, const char *type, const char *param,
                 const char *code)
{
    buf_z(to, "{\"error\":{\"message\":");
    buf_json(to, str_of(message));
    buf_z(to, ",\"type\":");
    buf_json(to, str_of(type));
    buf_z(to, ",\"param\":");
    add_text_or_null(to, param);
    buf_z(to, ",\"code\":");
    add_text_or_null(to, code);
    buf_z(to, "}}");
}
