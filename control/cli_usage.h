#ifndef SLUICE_CONTROL_CLI_USAGE_H
#define SLUICE_CONTROL_CLI_USAGE_H
/* cli_usage - `sluice usage`: sums or single requests out of the ledger's file, as a table or as
 * the JSON of the REST API. */

struct cli;

int usage_run(const struct cli *cli);

#endif
