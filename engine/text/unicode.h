#ifndef SLUICE_ENGINE_TEXT_UNICODE_H
#define SLUICE_ENGINE_TEXT_UNICODE_H
/* unicode - UTF-8 steps, and the classes of code points that pre-tokenizers split by.
 *
 * Bytes that are not UTF-8 are stepped over one at a time and count as UNI_OTHER, so that any
 * bytes can be walked and no byte is lost. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum uni_class { UNI_OTHER, UNI_LETTER, UNI_NUMBER, UNI_SPACE, UNI_CLASS_MASK = 3, UNI_DIGIT = 4 };

struct unicode {
    uint8_t *class_of; /* [n] enum uni_class, with the UNI_DIGIT bit; beyond n: UNI_OTHER */
    uint32_t n;
};

enum rc unicode_init(struct unicode *u, struct err *err);
void unicode_done(struct unicode *u);

static inline enum uni_class unicode_class(const struct unicode *u, uint32_t cp)
{
    return cp < u->n ? (enum uni_class)(u->class_of[cp] & UNI_CLASS_MASK) : UNI_OTHER;
}

/* What Rust's char::is_numeric says: newer than the class above by a Unicode version. */
static inline bool unicode_is_digit(const struct unicode *u, uint32_t cp)
{
    return cp < u->n && (u->class_of[cp] & UNI_DIGIT);
}

#define UTF8_BAD UINT32_MAX

/* Bytes of the character at p (p < end), its code point in *ret. A byte that starts no valid
 * character gives 1 and UTF8_BAD. */
size_t utf8_decode(const char *p, const char *end, uint32_t *ret);
static inline size_t utf8_next(const char *p, const char *end, uint32_t *ret)
{
    if ((unsigned char)*p < 0x80) {
        *ret = (unsigned char)*p;
        return 1;
    }
    return utf8_decode(p, end, ret);
}

/* Writes 1..4 bytes; cp must be a scalar value. */
size_t utf8_encode(uint32_t cp, char ret[4]);

/* Looks at the n >= 1 bytes at p as a stream that may go on. */
enum utf8_state { UTF8_WHOLE, UTF8_PART, UTF8_BROKEN };
/* UTF8_WHOLE: *ret_len bytes are a character. UTF8_BROKEN: *ret_len bytes are a maximal part of
 * one that can never be completed (one U+FFFD stands for them). UTF8_PART: more bytes decide. */
enum utf8_state utf8_look(const char *p, size_t n, size_t *ret_len);

#endif
