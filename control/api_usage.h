#ifndef SLUICE_CONTROL_API_USAGE_H
#define SLUICE_CONTROL_API_USAGE_H
/* api_usage - the routes of the ledger: what gateways post, and what people ask. */

#include "control/api.h"

extern const struct api_table usage_table;

#endif
