#ifndef SLUICE_SCHEMA_OPENAPI_H
#define SLUICE_SCHEMA_OPENAPI_H
/* openapi - prints the REST contract (OpenAPI 3.1) from the field tables and the routes.
 *
 * Each resource gives the components Deployment (as read), DeploymentCreate, DeploymentUpdate and
 * DeploymentList. Errors, sessions and other shapes that are no resource are given as JSON text. */

#include <stddef.h>

#include "base/buf.h"
#include "schema/resource.h"

/* What a route's table says for the document. Schemas are JSON text of a schema or of a reference.
 */
struct openapi_doc {
    const char *summary; /* NULL: the route is not in the document */
    const char *tag;
    const char *query; /* "name:type:help|…", type one of string integer boolean time; or NULL */
    const char *request;            /* schema of the body, or NULL */
    const char *response;           /* schema of the answer, or NULL: none */
    int status;                     /* 0: 200 */
    const struct resource *list_of; /* adds paging and this resource's filters to the query */
};

struct openapi_route {
    const char *method, *path;
    struct openapi_doc doc;
};

struct openapi_schema {
    const char *name, *json;
};

#define OPENAPI_REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"

/* `schemas` come beside those of the resources. */
void openapi_print(const struct openapi_route *routes, size_t n_routes,
                   const struct openapi_schema *schemas, size_t n_schemas, struct buf *to);

#endif
