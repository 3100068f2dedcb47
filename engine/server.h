#ifndef SLUICE_ENGINE_SERVER_H
#define SLUICE_ENGINE_SERVER_H
/* server - sockets on one side, the runner's rings on the other. Runs in a loop; knows frames, but
 * neither models nor sequences.
 *
 * A connection says HELLO first, within HELLO_MS. A frame that is broken or out of place ends its
 * connection, never the server. What a connection does not read piles up to SERVER_BACKLOG_MAX,
 * then it is closed; others never notice. A connection that closes takes its requests with it. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"
#include "engine/runner.h"

#define SERVER_BACKLOG_MAX (64u << 20)

struct server;

struct server_opts {
    struct str listen;         /* view of; see engine/listen.h */
    int32_t drain_ms;          /* how long server_stop waits for running requests */
    size_t backlog_max;        /* 0: SERVER_BACKLOG_MAX */
    struct runner_opts runner; /* on_news is the server's */
};

/* Starts the runner's thread and listens: from here on connect() succeeds. */
enum rc server_open(struct loop *loop, const struct server_opts *opts, struct server **ret,
                    struct err *err);
void server_close(struct server *s); /* accepts NULL; connections are cut */

/* Loop's thread. Stops to accept and to take requests, lets the running ones finish within
 * drain_ms, then aborts them; stops the loop when the last byte is out. A second call aborts at
 * once. */
void server_stop(struct server *s);

void server_report(struct server *s);    /* a log line with the load */
int server_port(const struct server *s); /* of a TCP listener; 0 for unix */

#endif
