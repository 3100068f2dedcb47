#ifndef SLUICE_ENGINE_TEXT_SPECIAL_H
#define SLUICE_ENGINE_TEXT_SPECIAL_H
/* special - tokens that are looked for in the text before any splitting: control marks such as
 * <|im_start|>, and words that the model's makers added to the vocabulary. */

#include "engine/text/vocab.h"

struct special_word {
    struct str text; /* view of the vocabulary's bytes */
    int32_t id;
    bool control; /* only from a trusted hand; added words count everywhere */
};

struct special {
    struct special_word *word; /* [n] sorted by text */
    size_t n;
    bool starts[256]; /* first bytes, to skip through text quickly */
    bool any_added;
};

enum rc special_init(struct special *s, const struct vocab *v, struct err *err);
void special_done(struct special *s);

/* The longest word at text[at]; a control word must end at or before trusted_end (an offset into
 * text). Returns its id, or -1; *ret_len is set with an id only. */
int32_t special_match(const struct special *s, struct str text, size_t at, size_t trusted_end,
                      size_t *ret_len);
/* The control word that is just this text, or -1. */
int32_t special_find(const struct special *s, struct str text);

#endif
