#ifndef SLUICE_CONTROL_STATUS_H
#define SLUICE_CONTROL_STATUS_H
/* status - `sluice status`: processes, deployments and replicas, and how far the ledger is behind
 * the journal. From files alone, so it works when nothing runs. */

struct cli;

int status_run(const struct cli *cli);

#endif
