#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

/* The one process-wide setting of this folder: where a line goes cannot be threaded through every
 * call that may fail. Written once by main before threads exist. */
static struct {
    const char *program;
    enum log_level least;
} settings = {"sluice", LOG_INFO};

void log_init(const char *program, enum log_level least)
{
    settings.program = program;
    settings.least = least;
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < settings.least)
        return;
    char line[2048], when[CLOCK_TEXT_BYTES];
    clock_to_text(clock_wall_ms(clock_system()), when);
    int n =
        snprintf(line, sizeof line, "%s %-5s %s %s ", when, names[level], settings.program, event);
    va_list args;
    va_start(args, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, args);
    va_end(args);
    if (n > (int)sizeof line - 2)
        n = (int)sizeof line - 2;
    line[n] = '\n';
    ssize_t written = write(STDERR_FILENO, line, (size_t)n + 1); /* one call: lines never mix */
    (void)written;                                               /* nobody is left to tell */
}

const char *log_quote(struct str s, char *to, size_t cap)
{
    size_t n = 0;
    to[n++] = '"';
    for (size_t i = 0; i < s.len && n + 6 < cap; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == '"' || c == '\\' || c >= 0x7f)
            n += (size_t)snprintf(to + n, cap - n, "\\x%02x", c);
        else
            to[n++] = (char)c;
    }
    to[n++] = '"';
    to[n] = '\0';
    return to;
}
