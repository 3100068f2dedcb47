#ifndef SLUICE_ENGINE_TEXT_DETOK_H
#define SLUICE_ENGINE_TEXT_DETOK_H
/* detok - token ids to text that may be shown at once, one for each sequence.
 *
 *   bytes of the tokens -> whole characters -> what can no longer become a stop string -> out
 *
 * The first step holds back only a valid beginning of a character (3 bytes at most), and writes
 * U+FFFD for bytes as soon as they cannot become one. The second holds back the longest end that
 * begins a stop string. All that is given out, put together, is the decoding of all ids with what
 * is not UTF-8 replaced, cut before the first stop string: however the tokens split it. When
 * several stop strings match, the one whose last byte comes first counts, the longest of those. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/text/tokenizer.h"

#define DETOK_STOPS_MAX      16
#define DETOK_STOP_MAX_BYTES 1024

struct detok;

/* The stop strings are copied. RC_BAD_INPUT (field "stop") for more than DETOK_STOPS_MAX, an empty
 * one, one over DETOK_STOP_MAX_BYTES or not UTF-8. The tokenizer is lent. */
enum rc detok_open(const struct tokenizer *t, const struct str *stop, int32_t n_stop,
                   struct detok **ret, struct err *err);
void detok_close(struct detok *d); /* accepts NULL */

/* Whether control tokens are left out of the text (at first they are). */
void detok_skip_special(struct detok *d, bool skip);

/* Appends what may be shown after this token. After a stop string was found nothing is shown any
 * more. RC_BAD_INPUT for an id outside the vocabulary, RC_TOO_LARGE when `to` is full,
 * RC_NO_MEMORY; then nothing more may be pushed. */
enum rc detok_push(struct detok *d, int32_t id, struct buf *to, struct err *err);
/* The end: appends what was held back, a cut character as one U+FFFD. Look at to->failed. */
void detok_flush(struct detok *d, struct buf *to);

/* Index of the stop string that was found, -1: none so far. */
int32_t detok_stop(const struct detok *d);

/* Tokens that the last push or flush settled: those whose last byte was shown by it (or dropped by
 * a stop), with tokens without text after them. Their sum at the end is the number of pushes. */
int32_t detok_settled(const struct detok *d);

#endif
