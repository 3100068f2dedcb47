#ifndef SLUICE_ENGINE_LISTEN_H
#define SLUICE_ENGINE_LISTEN_H
/* listen - "unix:/path.sock" or "tcp:HOST:PORT" to a listening socket. */

#include "base/err.h"
#include "base/str.h"

/* The unix socket is for its owner alone (mode 0600). A socket file that nobody answers on is
 * replaced; one that somebody answers on is RC_CONFLICT. TCP takes numbers and names, IPv6 in
 * brackets, and port 0 for any. Non-blocking, close-on-exec. */
enum rc listen_open(struct str address, int *ret_fd, struct err *err);

/* Removes the socket file of a unix address; nothing for TCP. */
void listen_unlink(struct str address);

#endif
