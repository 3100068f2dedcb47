#ifndef SLUICE_CONTROL_GUARD_H
#define SLUICE_CONTROL_GUARD_H
/* guard - counts failed logins by name (email, address) in five-minute windows. A fixed table: when
 * it is full the oldest window makes room, so an attacker with many addresses gains nothing but the
 * loss of other old counts. Calls may come from any thread. */

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"

#define GUARD_WINDOW_MS (5 * 60 * 1000)
#define GUARD_EMAIL_MAX 10
#define GUARD_PEER_MAX  50

struct guard;

struct guard *guard_new(const struct clock *clock);
void guard_free(struct guard *g);
/* Counts an attempt before it is made, so that many at once cannot slip through. False: refused,
 * and *reterr_wait_ms says when to try again. */
bool guard_try(struct guard *g, struct str name, int max, int64_t *reterr_wait_ms);
/* The attempt succeeded: takes back its own count, or the whole window's. The whole one is for the
 * email; an address that knows one password must not clear its failures with others. */
void guard_undo(struct guard *g, struct str name);
void guard_forget(struct guard *g, struct str name);

#endif
