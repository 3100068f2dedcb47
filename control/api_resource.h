#ifndef SLUICE_CONTROL_API_RESOURCE_H
#define SLUICE_CONTROL_API_RESOURCE_H
/* api_resource - list, get, make, change and delete for every resource, under /api/v1/<plural>. */

#include "control/api.h"

extern const struct api_route resource_routes[];
extern const size_t resource_n_routes;

#endif
