#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H
/* clock - the only source of time, and the seam where tests put their own.
 *
 * Deadlines and windows use the monotonic clock; wall time is for people and for ids. */

#include <stdint.h>

#include "base/str.h"

struct clock {
    int64_t (*mono_ns)(void *ctx);
    int64_t (*wall_ms)(void *ctx); /* since 1970, UTC */
    void *ctx;
};

const struct clock *clock_system(void);
int64_t clock_mono_ns(const struct clock *c);
int64_t clock_mono_ms(const struct clock *c);
int64_t clock_wall_ms(const struct clock *c);

/* RFC 3339, UTC, milliseconds: "2026-11-21T07:49:00.123Z" (24 bytes + NUL). */
#define CLOCK_TEXT_BYTES 25
void clock_to_text(int64_t wall_ms, char ret[CLOCK_TEXT_BYTES]);
/* Accepts RFC 3339 with Z or an offset, with or without a fraction. */
bool clock_from_text(struct str s, int64_t *ret_wall_ms);

#endif
