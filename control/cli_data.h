#ifndef SLUICE_CONTROL_CLI_DATA_H
#define SLUICE_CONTROL_CLI_DATA_H
/* cli_data - a data folder as commands find it: beside a running system or after one. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define CLI_DATA_PATH_BYTES 512

struct db;

/* Looks at DIR/sluice.db without writing. RC_NOT_FOUND when there is none. */
enum rc cli_data_open(const char *data_dir, struct db **ret, struct err *err);

struct cli_process {
    char name[32]; /* "gateway", "engine-0" */
    int64_t pid;
    bool alive;       /* and runs our program */
    int64_t since_ms; /* wall clock, of its pid file */
};
/* Reads DIR/run/NAME.pid; false when there is none. */
bool cli_data_process(const char *data_dir, const char *name, const char *program,
                      struct cli_process *ret);

#endif
