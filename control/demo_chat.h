#ifndef SLUICE_CONTROL_DEMO_CHAT_H
#define SLUICE_CONTROL_DEMO_CHAT_H
/* demo_chat - one real streamed request, and the proof that it was billed exactly. */

#include "base/err.h"

struct demo;
struct demo_opts;

/* Until the gateway serves the model to this key. */
enum rc demo_await_model(const struct demo_opts *opts, const struct demo *d, struct err *err);
/* Prints the answer as it comes, then its usage row and cost; compares the counts with those the
 * client saw, and the cost with tokens × price. */
enum rc demo_chat(const struct demo_opts *opts, const struct demo *d, struct err *err);

#endif
