#include "gateway/sse.h"

#include <stdio.h>

#include "base/units.h"

void sse_init(struct sse *s)
{
    *s = (struct sse){0};
    buf_init(&s->line, SSE_EVENT_MAX);
    buf_init(&s->data, SSE_EVENT_MAX);
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
}

static enum rc end_line(struct sse *s, enum rc (*on_event)(void *user, struct str data), void *user)
{
    struct str line = buf_view(&s->line);
    enum rc rc = RC_OK;
    if (line.len == 0) {
        if (s->has_data)
            rc = on_event(user, buf_view(&s->data));
        buf_clear(&s->data);
        s->has_data = false;
    } else if (str_starts(line, STR("data:"))) {
        line = str_sub(line, 5, SIZE_MAX);
        if (line.len && line.p[0] == ' ')
            line = str_sub(line, 1, SIZE_MAX);
        if (s->has_data)
            buf_byte(&s->data, '\n');
        buf_str(&s->data, line);
        s->has_data = true;
    }
    buf_clear(&s->line);
    return rc;
}

enum rc sse_read(struct sse *s, struct str bytes, enum rc (*on_event)(void *user, struct str data),
                 void *user, struct err *err)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.p[i];
        bool lf_of_crlf = c == '\n' && s->after_cr;
        s->after_cr = c == '\r';
        if (lf_of_crlf)
            continue;
        if (c != '\n' && c != '\r') {
            size_t run = 1;
            while (i + run < bytes.len && bytes.p[i + run] != '\n' && bytes.p[i + run] != '\r')
                run++;
            buf_add(&s->line, bytes.p + i, run);
            i += run - 1;
            continue;
        }
        if (s->line.failed || s->data.failed)
            return err_set(err, RC_TOO_LARGE, "an event of the stream passes %u bytes",
                           SSE_EVENT_MAX);
        enum rc rc = end_line(s, on_event, user);
        if (rc != RC_OK)
            return rc;
    }
    if (s->line.failed || s->data.failed)
        return err_set(err, RC_TOO_LARGE, "an event of the stream passes %u bytes", SSE_EVENT_MAX);
    return RC_OK;
}

const char *sse_duration(int64_t ms, char ret[SSE_DURATION_BYTES])
{
    int64_t s = ms / MS_PER_SEC;
    if (ms < MS_PER_SEC)
        snprintf(ret, SSE_DURATION_BYTES, "%lldms", (long long)ms);
    else if (s < 60 && ms % MS_PER_SEC)
        snprintf(ret, SSE_DURATION_BYTES, "%lld.%03llds", (long long)s,
                 (long long)(ms % MS_PER_SEC));
    else if (s < 60)
        snprintf(ret, SSE_DURATION_BYTES, "%llds", (long long)s);
    else
        snprintf(ret, SSE_DURATION_BYTES, "%lldm%llds", (long long)(s / 60), (long long)(s % 60));
    return ret;
}
