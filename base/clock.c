#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/units.h"

static int64_t system_mono_ns(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

static int64_t system_wall_ms(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * MS_PER_SEC + t.tv_nsec / NS_PER_MS;
}

const struct clock *clock_system(void)
{
    static const struct clock system_clock = {system_mono_ns, system_wall_ms, NULL};
    return &system_clock;
}

int64_t clock_mono_ns(const struct clock *c)
{
    return c->mono_ns(c->ctx);
}

int64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ns(c->ctx) / NS_PER_MS;
}

int64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c->ctx);
}

void clock_to_text(int64_t wall_ms, char ret[CLOCK_TEXT_BYTES])
{
    int64_t ms = wall_ms % MS_PER_SEC;
    time_t sec = (time_t)(wall_ms / MS_PER_SEC);
    if (ms < 0) {
        ms += MS_PER_SEC;
        sec--;
    }
    struct tm tm;
    char text[64];
    gmtime_r(&sec, &tm);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)ms);
    memcpy(ret, text, CLOCK_TEXT_BYTES - 1);
    ret[CLOCK_TEXT_BYTES - 1] = '\0';
}

/* Takes n digits from the front of *s. */
static bool digits(struct str *s, size_t n, int64_t lo, int64_t hi, int *ret)
{
    int64_t v;
    if (s->len < n || s->p[0] == '-' || !str_to_i64(str_sub(*s, 0, n), lo, hi, &v))
        return false;
    *s = str_sub(*s, n, s->len);
    *ret = (int)v;
    return true;
}

static bool mark(struct str *s, const char *any_of)
{
    if (s->len == 0 || !strchr(any_of, s->p[0]))
        return false;
    *s = str_sub(*s, 1, s->len);
    return true;
}

static bool offset_minutes(struct str *s, int *ret)
{
    int h, m;
    if (s->len == 1 && mark(s, "Zz")) {
        *ret = 0;
        return true;
    }
    int sign = s->len && s->p[0] == '-' ? -1 : 1;
    if (!mark(s, "+-") || !digits(s, 2, 0, 23, &h) || !mark(s, ":") || !digits(s, 2, 0, 59, &m))
        return false;
    *ret = sign * (h * 60 + m);
    return s->len == 0;
}

bool clock_from_text(struct str s, int64_t *ret_wall_ms)
{
    struct tm tm = {0};
    int year, month, ms = 0, minutes;
    if (!digits(&s, 4, 1970, 9999, &year) || !mark(&s, "-") || !digits(&s, 2, 1, 12, &month) ||
        !mark(&s, "-") || !digits(&s, 2, 1, 31, &tm.tm_mday) || !mark(&s, "Tt ") ||
        !digits(&s, 2, 0, 23, &tm.tm_hour) || !mark(&s, ":") || !digits(&s, 2, 0, 59, &tm.tm_min) ||
        !mark(&s, ":") || !digits(&s, 2, 0, 60, &tm.tm_sec))
        return false;
    if (mark(&s, ".")) {
        int scale = 100, d;
        if (s.len == 0 || s.p[0] < '0' || s.p[0] > '9')
            return false;
        while (digits(&s, 1, 0, 9, &d)) {
            ms += d * scale;
            scale /= 10;
        }
    }
    if (!offset_minutes(&s, &minutes))
        return false;
    int day = tm.tm_mday;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    time_t sec = timegm(&tm);
    if (tm.tm_mday != day) /* 31 February */
        return false;
    *ret_wall_ms = ((int64_t)sec - minutes * 60) * MS_PER_SEC + ms;
    return true;
}
