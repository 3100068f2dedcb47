#ifndef SLUICE_CONTROL_CLI_SAY_H
#define SLUICE_CONTROL_CLI_SAY_H
/* cli_say - what a command tells the person in front of it, step by step with times. On a terminal
 * the running step is rewritten in place; elsewhere each line is printed once. One thread at a
 * time.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct say {
    FILE *out;
    bool tty, open; /* open: a step is under way */
    int64_t began_ms, shown_ms;
    char step[120];
};

void say_init(struct say *s, FILE *out);
/* "  … loading" until say_done turns it into "✓ loading: detail  1.2 s", or say_fail into
 * "✗ loading: why". */
void say_step(struct say *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void say_progress(struct say *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void say_done(struct say *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void say_fail(struct say *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void say_line(struct say *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
