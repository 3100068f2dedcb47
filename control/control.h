#ifndef SLUICE_CONTROL_CONTROL_H
#define SLUICE_CONTROL_CONTROL_H
/* control - the control plane's server in one piece: database, writer, REST API, feed, console, on
 * one loop. main.c and up.c open it; tests too. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct api_table;
struct control;
struct db;
struct loop;
struct secrets;
struct writer;

struct control_opts {
    struct loop *loop;
    const char *data_dir;    /* made 0700 when missing: sluice.db, secret.key, run/ */
    const char *bind;        /* "127.0.0.1" */
    uint16_t port;           /* 0: any */
    const char *gateway_url; /* "http://127.0.0.1:8000": what the console and new keys are told */
    const char *console_dir; /* the built web app; NULL or missing: a plain page */
    const struct api_table *tables; /* routes of others (ledger, status); must outlive control */
    size_t n_tables;
};

enum rc control_open(const struct control_opts *opts, struct control **ret, struct err *err);
/* Stops accepting; running requests go on. */
void control_quiesce(struct control *c);
/* After loop_run has returned. Finishes queued writes. Accepts NULL. */
void control_close(struct control *c);

uint16_t control_port(const struct control *c);
struct db *control_db(const struct control *c);
struct writer *control_writer(const struct control *c);
const struct secrets *control_secrets(const struct control *c);

/* Called in the loop's thread after each commit that changed a resource. At most 8 listeners. */
void control_on_change(struct control *c, void (*on_change)(void *user), void *user);
/* Wakes those who wait for changes; for a writer's commit that control did not see. */
void control_changed(struct control *c);

#endif
