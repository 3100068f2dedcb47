#ifndef SLUICE_SCHEMA_CHAT_REPLY_H
#define SLUICE_SCHEMA_CHAT_REPLY_H
/* chat_reply - answers of the OpenAI protocol, written: whole objects, SSE events, errors.
 *
 * Each call appends to a buffer; the buffer's `failed` is looked at once by the caller. Events are
 * whole: "data: {…}\n\n". Text must be whole characters, which is what engines hand over. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "schema/chat.h"
#include "schema/frame.h"

struct reply_head {
    enum chat_route route;
    struct str id; /* "chatcmpl-…" or "cmpl-…" */
    struct str model;
    int64_t created_s;
    bool null_usage; /* include_usage: chunks carry "usage": null */
};

/* What the client is told; the same numbers as in the usage row. */
struct reply_usage {
    int64_t prompt, cached /* a part of prompt */, completion;
};

/* Log-probabilities of one choice, collected for a chunk or for the whole answer. */
struct reply_logprobs {
    struct buf part[4]; /* chat: [0] entries; text: tokens, logprobs, top, offsets */
    int64_t text_offset;
    int32_t n;
};
void reply_logprobs_init(struct reply_logprobs *lp, size_t max_bytes);
void reply_logprobs_done(struct reply_logprobs *lp);
void reply_logprobs_clear(struct reply_logprobs *lp); /* keeps text_offset */
void reply_logprobs_add(struct reply_logprobs *lp, enum chat_route route,
                        const struct frame_token *t);

/* "stop" or "length". */
const char *reply_finish_text(enum frame_finish finish);

/* Chunks. logprobs may be NULL; usage NULL: by head.null_usage. */
void reply_chunk_role(struct buf *to, const struct reply_head *h, int32_t index);
void reply_chunk_text(struct buf *to, const struct reply_head *h, int32_t index, struct str text,
                      const struct reply_logprobs *lp, const struct reply_usage *usage);
void reply_chunk_finish(struct buf *to, const struct reply_head *h, int32_t index,
                        const char *finish, const struct reply_usage *usage);
void reply_chunk_usage(struct buf *to, const struct reply_head *h, const struct reply_usage *u);
void reply_chunk_end(struct buf *to); /* data: [DONE] */

/* A whole answer: begin, choices in order of index, end. */
void reply_whole_begin(struct buf *to, const struct reply_head *h);
void reply_whole_choice(struct buf *to, const struct reply_head *h, int32_t index, struct str text,
                        const struct reply_logprobs *lp, const char *finish);
void reply_whole_end(struct buf *to, const struct reply_usage *u);

/* {"error": {message, type, param, code}}; param and code may be NULL or "". */
void reply_error(struct buf *to, const char *message, const char *type, const char *param,
                 const char *code);

#endif
