#ifndef SLUICE_GATEWAY_ROUTE_H
#define SLUICE_GATEWAY_ROUTE_H
/* route - which handler a method and a path mean. */

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum route_kind {
    ROUTE_CHAT,
    ROUTE_COMPLETIONS,
    ROUTE_MODELS,
    ROUTE_MODEL, /* arg: its id */
    ROUTE_TOKENIZE,
    ROUTE_LIVE,
    ROUTE_READY,
    ROUTE_METRICS,
    ROUTE_OPTIONS /* CORS preflight of any path we know */
};

struct route {
    enum route_kind kind;
    struct str arg;
    const char *allow; /* with RC_BAD_METHOD: what is allowed */
};

/* target: the path as sent, percent-encoded, without the query. One slash at the end is forgiven.
 * RC_NOT_FOUND, RC_BAD_METHOD; ret->arg is decoded into `arena`. */
enum rc route_find(struct str method, struct str target, struct arena *arena, struct route *ret,
                   struct err *err);

/* "Host" without its port. */
struct str route_host(struct str host);

#endif
