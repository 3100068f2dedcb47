#ifndef SLUICE_GATEWAY_GUARD_H
#define SLUICE_GATEWAY_GUARD_H
/* guard - what is refused before a body is read. The header check itself (S01) is the HTTP
 * server's, see base/http_guard.h; here is what only a gateway knows. */

#include "base/buf.h"
#include "base/err.h"

struct http_req;

/* A large body is only read for a path that takes one and with something that can be a key. */
enum rc guard_head(struct http_req *r, void *user, struct err *err);
/* The body of errors that the HTTP server answers itself, in the protocol's shape. */
void guard_error(struct http_req *r, void *user, const struct err *err, struct buf *body);

#endif
