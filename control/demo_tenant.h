#ifndef SLUICE_CONTROL_DEMO_TENANT_H
#define SLUICE_CONTROL_DEMO_TENANT_H
/* demo_tenant - org, user, key, provider, model, cluster, endpoint, deployment, share, limits and
 * price of the demo, through the REST API. */

#include "base/err.h"

struct demo;
struct demo_opts;

/* Fills in what *d lacks, also when a later part fails. *ret_made: how many were not there. */
enum rc demo_tenant(const struct demo_opts *opts, struct demo *d, int *ret_made,
                    char ret_deployment_id[64], struct err *err);

#endif
