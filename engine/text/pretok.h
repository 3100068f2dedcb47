#ifndef SLUICE_ENGINE_TEXT_PRETOK_H
#define SLUICE_ENGINE_TEXT_PRETOK_H
/* pretok - cuts text into the pieces that byte pair merges may not cross.
 *
 * Each family is one regular expression of its Hugging Face tokenizer; here they are matchers by
 * hand over one class table: linear, without a stack or match limits, and each byte of the text
 * is in exactly one piece. */

#include "base/str.h"
#include "engine/text/unicode.h"

enum pretok_kind { PRETOK_GPT2, PRETOK_SMOLLM, PRETOK_LLAMA3, PRETOK_QWEN2 };

/* By the name in tokenizer.ggml.pre. */
bool pretok_find(struct str name, enum pretok_kind *ret);
const char *pretok_names(void); /* "gpt-2, smollm, …" for messages */

struct pretok {
    const struct unicode *u; /* view */
    enum pretok_kind kind;
    const char *p, *end;
    const char *run_end; /* smollm: up to the next digit; the pattern sees no further */
};

void pretok_begin(struct pretok *it, const struct unicode *u, enum pretok_kind kind,
                  struct str text);
bool pretok_next(struct pretok *it, struct str *ret); /* false at the end */

#endif
