#ifndef SLUICE_ENGINE_ANSWER_H
#define SLUICE_ENGINE_ANSWER_H
/* answer - what a sequence has to say, as frames. The only place where usage leaves the engine. */

#include "base/err.h"
#include "schema/frame.h"

struct seq;
struct tokenizer;

/* Where frames go. Views in the frame end with the call. */
struct answer_sink {
    void *ctx;
    void (*on_frame)(void *ctx, uint64_t conn, const struct frame *f);
    /* false: the connection is backed up, TOKENS may wait and grow. NULL: always ready. */
    bool (*is_ready)(void *ctx, uint64_t conn);
};

struct answer {
    struct answer_sink sink;
    const struct tokenizer *tok; /* view of */
    struct frame_token *token;   /* [FRAME_RUN_TOKENS_MAX] scratch */
    struct str *top_bytes;       /* [FRAME_RUN_TOKENS_MAX, FRAME_TOP_LOGPROBS_MAX] scratch */
};

enum rc answer_open(struct answer *a, const struct answer_sink *sink, const struct tokenizer *tok,
                    struct err *err);
void answer_close(struct answer *a); /* accepts a zeroed struct */

/* TOKENS with all that was not sent yet. Unless it must go now, a backed-up connection makes it
 * wait for the next step. */
void answer_tokens(struct answer *a, struct seq *q, bool now);
/* The one last frame of a request. */
void answer_done(struct answer *a, struct seq *q, enum frame_finish finish);
void answer_error(struct answer *a, struct seq *q, const struct err *why);

#endif
