#ifndef SLUICE_GATEWAY_CALLER_H
#define SLUICE_GATEWAY_CALLER_H
/* caller - the small requests that need a key but are not metered: models, tokenize. */

#include "base/http_server.h"
#include "gateway/auth.h"
#include "gateway/fault.h"
#include "gateway/replica.h"
#include "gateway/worker.h"

struct caller {
    struct worker *worker;
    struct http_req *http;
    struct tables *tables;
    struct auth auth;
    struct str key_text, key_public;
    struct replica_ask ask;
    struct str arg; /* the handler's */
    bool asked;
    void (*on_known)(struct caller *c);
};

/* on_known runs once the key is known to be good, at once or later; else the caller is refused
 * here. Whoever replies ends it with caller_reply or caller_fail. */
void caller_begin(struct worker *w, struct http_req *http, struct str arg,
                  void (*on_known)(struct caller *c));
void caller_reply(struct caller *c, struct str json);
void caller_fail(struct caller *c, const struct fault *f);

/* A JSON answer or error with the headers all answers have. */
void gate_reply(struct worker *w, struct http_req *http, int status, struct str json);
void gate_fail(struct worker *w, struct http_req *http, const struct fault *f);

/* The handlers. */
void h_models_list(struct caller *c);
void h_models_get(struct caller *c); /* arg: the model's name */
void h_tokenize(struct caller *c);

#endif
