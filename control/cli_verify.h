#ifndef SLUICE_CONTROL_CLI_VERIFY_H
#define SLUICE_CONTROL_CLI_VERIFY_H
/* cli_verify - `sluice verify`: 0 when all holds, 1 with a line for each difference, 2 when it
 * could not look. */

struct cli;

int verify_run(const struct cli *cli);

#endif
