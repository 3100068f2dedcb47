#include "control/cli_say.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

enum { REPEAT_MS = 5000 }; /* between progress lines of one step when there is no terminal */

static void clear_line(struct say *s)
{
    if (s->tty && s->open)
        fputs("\r\033[K", s->out);
}

void say_init(struct say *s, FILE *out)
{
    *s = (struct say){.out = out, .tty = isatty(fileno(out)) == 1};
}

void say_step(struct say *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->step, sizeof s->step, fmt, args);
    va_end(args);
    s->began_ms = s->shown_ms = clock_mono_ms(clock_system());
    s->open = true;
    if (s->tty)
        fprintf(s->out, "  … %s", s->step);
    fflush(s->out);
}

void say_progress(struct say *s, const char *fmt, ...)
{
    int64_t now = clock_mono_ms(clock_system());
    if (!s->open || (!s->tty && now - s->shown_ms < REPEAT_MS))
        return;
    s->shown_ms = now;
    clear_line(s);
    fprintf(s->out, s->tty ? "  … %s: " : "... %s: ", s->step);
    va_list args;
    va_start(args, fmt);
    vfprintf(s->out, fmt, args);
    va_end(args);
    if (!s->tty)
        fputc('\n', s->out);
    fflush(s->out);
}

static void finish(struct say *s, const char *mark, const char *fmt, va_list args)
{
    char detail[400];
    vsnprintf(detail, sizeof detail, fmt, args);
    clear_line(s);
    double took = (double)(clock_mono_ms(clock_system()) - s->began_ms) / MS_PER_SEC;
    fprintf(s->out, "%s %s%s%s", mark, s->step, detail[0] ? ": " : "", detail);
    if (s->open)
        fprintf(s->out, "  (%.1f s)", took);
    fputc('\n', s->out);
    fflush(s->out);
    s->open = false;
    s->step[0] = '\0';
}

void say_done(struct say *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    finish(s, s->tty ? "✓" : "ok", fmt, args);
    va_end(args);
}

void say_fail(struct say *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    finish(s, s->tty ? "✗" : "FAILED", fmt, args);
    va_end(args);
}

void say_line(struct say *s, const char *fmt, ...)
{
    clear_line(s);
    va_list args;
    va_start(args, fmt);
    vfprintf(s->out, fmt, args);
    va_end(args);
    fputc('\n', s->out);
    fflush(s->out);
}
