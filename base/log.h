#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H
/* log - one line per event to stderr: time, level, program, event name, key=value pairs.
 *
 * Event names are stable ("req.done"). Prompts, replies and secrets stay out. Values from
 * outside go through LOG_STR, which escapes blanks, quotes and control bytes. */

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(const char *program /* static */, enum log_level least);
void log_write(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* Escaped copy of s, cut to fit; returns `to`. For values that outsiders choose. */
const char *log_quote(struct str s, char *to, size_t cap);
#define LOG_STR(s) log_quote((s), (char[128]){0}, 128)

#endif
