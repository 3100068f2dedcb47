#ifndef SLUICE_SCHEMA_RESOURCE_H
#define SLUICE_SCHEMA_RESOURCE_H
/* resource - every resource of the control plane, once.
 *
 * schema/<name>.def lists the fields; this header makes a struct of each and resource.c a table of
 * the same fields, from which JSON reading and writing, validation, SQL binding (control/db.c) and
 * the OpenAPI document are driven. C member = JSON name = SQL column. A new field is one line in a
 * .def plus one migration. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/money.h"

enum field_type {
    FIELD_ID,    /* struct str: this resource's own id, made by the server */
    FIELD_REF,   /* struct str: id of another resource; `values` holds its name */
    FIELD_TEXT,  /* struct str, UTF-8; lo..hi bytes */
    FIELD_INT,   /* int64_t, lo..hi */
    FIELD_BOOL,  /* bool */
    FIELD_TIME,  /* int64_t wall ms, 0: null; RFC 3339 in JSON */
    FIELD_ENUM,  /* int64_t index into `values` ("a|b|c"); its text in JSON and SQL */
    FIELD_PRICE, /* int64_t micro-units per 1M tokens; decimal string in JSON ("0.15") */
    FIELD_COST,  /* int64_t pico-units (10^-12 of the currency); decimal string in JSON */
    FIELD_JSON   /* struct str: JSON text, stored as it is */
};

enum field_flags {
    FIELD_W_OPERATOR = 1 << 0, /* who may write it */
    FIELD_W_ADMIN = 1 << 1,    /* org admin, inside the own org */
    FIELD_W_MEMBER = 1 << 2,
    FIELD_REQUIRED = 1 << 3,      /* on create */
    FIELD_FIXED = 1 << 4,         /* on create only */
    FIELD_NULL = 1 << 5,          /* may be null (STR_NONE, 0) */
    FIELD_SECRET = 1 << 6,        /* written, never shown; not a column of its own */
    FIELD_INTERNAL = 1 << 7,      /* only in the feed to gateways, never in the public API */
    FIELD_OPERATOR_ONLY = 1 << 8, /* shown to operators only */
    FIELD_MULTILINE = 1 << 9      /* text that may hold line breaks and tabs */
};
#define FIELD_WA (FIELD_W_OPERATOR | FIELD_W_ADMIN)
#define FIELD_WM (FIELD_WA | FIELD_W_MEMBER)
#define FIELD_WO FIELD_W_OPERATOR

struct field {
    const char *name;
    enum field_type type;
    uint32_t offset, flags;
    int64_t lo, hi;
    const char *def;    /* JSON text of the default, NULL: none */
    const char *values; /* ENUM: "a|b"; REF: resource name */
    const char *help;
};
#define FIELD_ID_BYTES 40 /* most bytes of an ID or a REF */

struct resource {
    const char *name, *plural, *prefix, *help;
    size_t size; /* of its struct */
    const struct field *fields;
    size_t n_fields;
};

/* clang-format off */
#define RESOURCES(X)                                                                               \
    X(org) X(user) X(key) X(provider) X(model) X(cluster) X(endpoint) X(deployment) X(share)       \
    X(limit) X(price) X(usage) X(token) X(audit)
/* clang-format on */

/* The structs: struct org, struct user, … with one member a field. */
#define RESOURCE(name, plural, prefix, help)
#define C_FIELD_ID             struct str
#define C_FIELD_REF            struct str
#define C_FIELD_TEXT           struct str
#define C_FIELD_INT            int64_t
#define C_FIELD_BOOL           bool
#define C_FIELD_TIME           int64_t
#define C_FIELD_ENUM           int64_t
#define C_FIELD_PRICE          int64_t
#define C_FIELD_COST           int64_t
#define C_FIELD_JSON           struct str
#define FIELD(name, type, ...) C_FIELD_##type name;
struct org {
#include "schema/org.def"
};
struct user {
#include "schema/user.def"
};
struct key {
#include "schema/key.def"
};
struct provider {
#include "schema/provider.def"
};
struct model_row {
#include "schema/model.def"
};
struct cluster {
#include "schema/cluster.def"
};
struct endpoint {
#include "schema/endpoint.def"
};
struct deployment {
#include "schema/deployment.def"
};
struct share {
#include "schema/share.def"
};
struct limit {
#include "schema/limit.def"
};
struct price {
#include "schema/price.def"
};
struct usage {
#include "schema/usage.def"
};
struct token_row {
#include "schema/token.def"
};
struct audit_row {
#include "schema/audit.def"
};
#undef FIELD
#undef RESOURCE

/* Enum members in the order of the .def's `values`. */
enum org_status { ORG_ACTIVE, ORG_SUSPENDED };
enum user_role { ROLE_OPERATOR, ROLE_ORG_ADMIN, ROLE_MEMBER };
enum user_status { USER_ACTIVE, USER_BLOCKED };
enum key_status { KEY_ACTIVE, KEY_BLOCKED, KEY_REVOKED };
enum cluster_kind { CLUSTER_LOCAL, CLUSTER_KUBERNETES, CLUSTER_EXTERNAL };
enum deploy_engine { ENGINE_INTEGRATED, ENGINE_VLLM, ENGINE_NIM, ENGINE_DYNAMO, ENGINE_EXTERNAL };
enum deploy_state {
    DEPLOY_PENDING,
    DEPLOY_SCHEDULING,
    DEPLOY_LOADING,
    DEPLOY_RUNNING,
    DEPLOY_DRAINING,
    DEPLOY_STOPPED,
    DEPLOY_FAILED
};
enum limit_scope { LIMIT_ORG, LIMIT_USER, LIMIT_KEY };
enum usage_outcome {
    OUTCOME_STOP,     /* ended by itself */
    OUTCOME_LENGTH,   /* max tokens or context end */
    OUTCOME_ABORTED,  /* the client hung up */
    OUTCOME_TIMEOUT,  /* our deadline */
    OUTCOME_FAILED,   /* failed before the first token */
    OUTCOME_BROKEN,   /* the engine died or failed after the first token */
    OUTCOME_REFUSED,  /* by limit or capacity, after a hold was tried; never billed */
    OUTCOME_RECOVERED /* found open after a crash of the gateway */
};
enum audit_action { AUDIT_CREATE, AUDIT_UPDATE, AUDIT_DELETE, AUDIT_LOGIN, AUDIT_LOGOUT };
enum usage_source { SOURCE_ENGINE, SOURCE_UPSTREAM, SOURCE_ESTIMATED, SOURCE_RECOVERED };

/* Tables, and finding one by its plural ("orgs") or name ("org"); NULL: none. */
#define X(name) extern const struct resource resource_##name;
RESOURCES(X)
#undef X
const struct resource *resource_find(struct str plural_or_name);
const struct field *resource_field(const struct resource *res, struct str name);

enum resource_mode {
    RESOURCE_CREATE, /* required fields must be there, absent ones take their default */
    RESOURCE_UPDATE, /* only what is there changes *row; FIXED is refused */
    RESOURCE_FEED /* between our programs: all fields, no write check; unknown ones are skipped, so
                   * that a newer program may talk to an older one */
};
/* Null inside a row: STR_NONE for text, 0 for TIME, -1 for INT, PRICE and COST. */
#define FIELD_NULL_INT (-1)
/* Reads JSON into *row (zeroed before CREATE and FEED). Refuses unknown and unwritable fields,
 * wrong types, lengths, ranges, bad UTF-8: RC_BAD_INPUT with err.field and what is allowed. who is
 * one of FIELD_W_*. *ret_set gets a bit for each field (by index) that was given. Text lives in
 * `arena`. */
enum rc resource_from_json(const struct resource *res, const json_t *json, enum resource_mode mode,
                           uint32_t who, struct arena *arena, void *row, uint64_t *ret_set,
                           struct err *err);
enum resource_view { VIEW_PUBLIC, VIEW_OPERATOR, VIEW_FEED };
/* Appends {"id": …}. Secrets never; INTERNAL only with VIEW_FEED; OPERATOR_ONLY not with PUBLIC. */
void resource_to_json(const struct resource *res, const void *row, enum resource_view view,
                      struct buf *to);
/* Appends one field's value as JSON. */
void resource_field_json(const struct field *f, const void *row, struct buf *to);
const char *resource_enum_text(const struct field *f, int64_t v, size_t *ret_len);
struct str resource_enum_str(const struct resource *res, const char *field, int64_t v);
/* Compact binary form of a row: for the usage journal. Versioned by the number of fields. */
void resource_pack(const struct resource *res, const void *row, struct buf *to);
enum rc resource_unpack(const struct resource *res, struct str bytes, struct arena *arena,
                        void *row, struct err *err);

/* Fills a zeroed row with the table's defaults. */
void resource_defaults(const struct resource *res, void *row);

#endif
