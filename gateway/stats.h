#ifndef SLUICE_GATEWAY_STATS_H
#define SLUICE_GATEWAY_STATS_H
/* stats - the whole of /metrics: the workers' sets, and the state of the program's parts. */

#include "base/buf.h"

struct gateway;

void stats_print(struct gateway *g, struct buf *to);

#endif
