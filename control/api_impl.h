#ifndef SLUICE_CONTROL_API_IMPL_H
#define SLUICE_CONTROL_API_IMPL_H
/* api_impl - what api.c, replay.c and control.c share. Handlers use api.h alone. */

#include "control/api.h"

#define API_TABLES_MAX    16
#define API_BODY_MAX      ((size_t)1 << 20)  /* of /api; larger is 413 */
#define INTERNAL_BODY_MAX ((size_t)16 << 20) /* of /internal: batches of usage */
#define API_REPLY_MAX     ((size_t)256 << 20)

struct console;
struct slow;

struct api {
    struct loop *loop;
    struct db *db;
    struct writer *writer;
    struct slow *slow;
    struct console *console;
    const struct secrets *secrets;
    const char *gateway_url;
    struct api_table table[API_TABLES_MAX];
    size_t n_tables;
};

/* The four callbacks of http_server_opts; user is the struct api. */
enum rc api_on_head(struct http_req *r, void *user, struct err *err);
void api_on_request(struct http_req *r, void *user);
void api_on_close(struct http_req *r, void *user, bool gone);
void api_on_error(struct http_req *r, void *user, const struct err *err, struct buf *body);

/* GET /openapi.json */
void api_print_openapi(const struct api *a, struct buf *to);

/* Idempotency-Key (replay.c). Both run in the writer's transaction; key is the header's value.
 * *ret_found: c->reply holds the answer given before. */
enum rc replay_find(struct api_call *c, struct txn *txn, struct str key, bool *ret_found,
                    struct err *err);
enum rc replay_keep(struct api_call *c, struct txn *txn, struct str key, struct err *err);

#endif
