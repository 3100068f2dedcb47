#ifndef SLUICE_CONTROL_UP_H
#define SLUICE_CONTROL_UP_H
/* up - everything on this machine: the control plane in this process, the gateway and the engine
 * replicas as its children, the demo tenant and its metered request.
 *
 *   starting ──▶ running ──signal, --once, or the demo failed──▶ stopping:
 *                demo's thread ends → gateway drains, ships its rows, ends → engines end → exit
 *
 * Each part of stopping has its deadline, after which KILL does it. */

#include "control/cli.h"

/* The exit code. */
int up_run(const struct cli *cli);

#endif
