#ifndef SLUICE_GATEWAY_CONF_H
#define SLUICE_GATEWAY_CONF_H
/* conf - the gateway's settings: one table of rows, read from flags over environment over default.
 * `--first-ms 5000` and SLUICE_FIRST_MS=5000 are the same setting. */

#include "base/err.h"
#include "gateway/worker.h"

struct settings {
    const char *data, *control, *token_file, *pid_file, *gateway_id;
    int32_t workers;
    bool die_with_parent;
    struct gate_conf gate;
};

/* RC_AGAIN: --help or --version was answered. RC_BAD_INPUT says what is wrong. */
enum rc conf_read(int argc, char **argv, struct settings *ret, struct err *err);
/* Workers share a port on purpose; another program's is not to be shared by accident. */
enum rc conf_check_port(const struct settings *s, struct err *err);

#endif
