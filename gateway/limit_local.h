#ifndef SLUICE_GATEWAY_LIMIT_LOCAL_H
#define SLUICE_GATEWAY_LIMIT_LOCAL_H
/* limit_local - the limit store of one process: all its loops share it through one short lock. */

#include "base/clock.h"
#include "gateway/limit.h"

#define LIMIT_LOCAL_SCOPES_MAX 100000

/* scopes_max 0: LIMIT_LOCAL_SCOPES_MAX. A scope with nothing in its window and nothing running is
 * forgotten; with the table full of live ones, a request that brings a new one is RC_UNAVAILABLE.
 */
enum rc limit_local_new(const struct clock *clock, int32_t scopes_max, struct limit_store **ret,
                        struct err *err);

#endif
