#ifndef SLUICE_CONTROL_REST_H
#define SLUICE_CONTROL_REST_H
/* rest - a client of our own REST API, for commands: JSON in, JSON out, waiting. Never on the loop
 * that serves it. */

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct rest {
    const char *url;   /* "http://127.0.0.1:8080" */
    const char *token; /* bearer */
};

/* body (may be NULL) is taken over. *ret (may be NULL) is the caller's to json_decref; NULL for an
 * empty reply. A reply of 400 and above becomes the error of that status with the server's words.
 */
enum rc rest_call(const struct rest *r, const char *method, const char *path, json_t *body,
                  json_t **ret, struct err *err);
/* The first item of a list whose `field` has this text value; *ret is NULL when there is none. */
enum rc rest_find(const struct rest *r, const char *plural, const char *field, const char *value,
                  json_t **ret, struct err *err);
/* Text of a member, "" when absent. View of the object. */
const char *rest_text(const json_t *object, const char *name);

#endif
