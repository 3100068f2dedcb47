#ifndef SLUICE_CONTROL_CLI_H
#define SLUICE_CONTROL_CLI_H
/* cli - the command line of `sluice`: one table of commands, one of options, and the help printed
 * from both. An option may also come from the environment: --api-port is SLUICE_API_PORT. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum cli_command {
    CLI_UP,
    CLI_STATUS,
    CLI_VERIFY,
    CLI_USAGE,
    CLI_VERSION,
    CLI_OPENAPI,
    CLI_HELP,
    CLI_COMMANDS
};

struct cli {
    enum cli_command command;
    const char *data, *bind, *model, *web;       /* model, web: NULL when not given */
    const char *group_by, *bucket, *start, *end; /* of usage */
    const char *org;
    int64_t api_port, gateway_port, replicas, limit; /* replicas -1: not given */
    bool json, once, help, requests;
    enum cli_command help_about; /* CLI_COMMANDS: all */
};

/* RC_BAD_INPUT with what is allowed. Text is of argv, the environment, or static. */
enum rc cli_parse(int argc, char **argv, struct cli *ret, struct err *err);
void cli_help(FILE *out, enum cli_command about);

#endif
