#ifndef SLUICE_BASE_ID_H
#define SLUICE_BASE_ID_H
/* id - prefixed, time-ordered names: "req_" + 26 characters of Crockford base 32 in lower case
 * (48 bits of wall milliseconds, 80 random bits; within one millisecond a process counts up, so
 * ids made by one process sort by time). */

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define ID_BYTES 32 /* prefix (<= 4) + 26 + NUL, rounded up */

struct id {
    char z[ID_BYTES]; /* NUL-terminated, "" when unset */
};

struct id id_new(const char *prefix /* "req_" */); /* thread-safe */
bool id_parse(struct str s, const char *prefix, struct id *ret);
static inline struct str id_str(const struct id *i)
{
    return str_of(i->z);
}

#endif
