#ifndef SLUICE_GATEWAY_SSE_H
#define SLUICE_GATEWAY_SSE_H
/* sse - server-sent events: reading a stream that arrives in any pieces, and small texts of the
 * answers' headers. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define SSE_EVENT_MAX (1u << 20)

/* Events out of bytes. Lines end with LF, CR or CRLF; comments and other fields are skipped;
 * several data lines of one event are joined by LF. */
struct sse {
    struct buf line, data;
    bool has_data, after_cr;
};
void sse_init(struct sse *s);
void sse_done(struct sse *s);
/* on_event gets the data of each whole event. RC_TOO_LARGE: an event passes SSE_EVENT_MAX. What
 * on_event returns, if not RC_OK, ends the reading. */
enum rc sse_read(struct sse *s, struct str bytes, enum rc (*on_event)(void *user, struct str data),
                 void *user, struct err *err);

/* Go-style durations: "12ms", "6s", "1m30s", as OpenAI's rate-limit headers have them. */
#define SSE_DURATION_BYTES 32
const char *sse_duration(int64_t ms, char ret[SSE_DURATION_BYTES]);

#endif
