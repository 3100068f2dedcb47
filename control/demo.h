#ifndef SLUICE_CONTROL_DEMO_H
#define SLUICE_CONTROL_DEMO_H
/* demo - the first tenant: made once, kept for good, written down in DIR/demo.json.
 *
 * The operator is made straight in the database, because nobody could call the API before; all else
 * goes through the REST API and the gateway as any client would, and so proves that they work.
 * Everything may be done again at any time: what is there is found by its name and kept. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct control;
struct say;

#define DEMO_TEXT_BYTES 128

/* What demo.json holds (DESIGN 12). "" where not yet made. */
struct demo {
    char console[DEMO_TEXT_BYTES], openai_base_url[DEMO_TEXT_BYTES];
    char model[256];
    struct {
        char email[DEMO_TEXT_BYTES], password[DEMO_TEXT_BYTES], token[DEMO_TEXT_BYTES];
    } operator;
    struct {
        char id[DEMO_TEXT_BYTES], name[DEMO_TEXT_BYTES];
    } org;
    struct {
        char email[DEMO_TEXT_BYTES], password[DEMO_TEXT_BYTES];
    } user;
    char api_key[DEMO_TEXT_BYTES];
    bool made; /* was ready once: what is missing now was taken away, and is not made again */
};

struct demo_opts {
    const char *data_dir;
    const char *api_url, *gateway_url; /* to reach them from here */
    const char *model; /* path of a GGUF; NULL: what the deployment has, or a default */
    int64_t replicas;  /* -1: as it is, 1 at first */
    struct say *say;
    int stop_fd; /* readable: give up soon */
};

/* What an earlier run left; RC_NOT_FOUND at first. */
enum rc demo_read(const char *data_dir, struct demo *ret, struct err *err);
/* DIR/demo.json when `ready`, else DIR/demo.kept.json; whole or not at all, 0600. */
enum rc demo_write(const char *data_dir, const struct demo *d, bool ready, struct err *err);
void demo_hide(const char *data_dir); /* removes demo.json: not ready (any more) */
void demo_password(char to[DEMO_TEXT_BYTES]);

/* Before the loop runs: the operator with password and token, in the database and in *d. */
enum rc demo_operator(struct control *c, struct demo *d, struct err *err);

/* While the loop runs, from a thread of its own: org, user, key, catalog, deployment; waits until
 * it runs; sends the metered request and checks its row. Tells what it does. RC_CLIENT_GONE:
 * stopped. */
enum rc demo_run(const struct demo_opts *opts, struct demo *d, struct err *err);

/* Waits ms, or until stop_fd is readable: false. */
bool demo_pause(const struct demo_opts *opts, int ms);

#endif
