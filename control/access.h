#ifndef SLUICE_CONTROL_ACCESS_H
#define SLUICE_CONTROL_ACCESS_H
/* access - who may do what, decided in one place.
 *
 * access_check() answers with a scope: the caller bound to what the caller may see. Every call that
 * reads or writes rows of a tenant wants one (row.h), and nothing else makes one, so a forgotten
 * check does not compile. What a scope cannot see does not exist for it: RC_NOT_FOUND. */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/resource.h"

struct scope; /* opaque; made below only */
struct stmt;

/* Who sent a request, as session.h found out. */
struct caller {
    enum user_role role;
    struct str user_id;
    struct str org_id;  /* p == NULL for operators */
    struct str peer;    /* address, for the audit log */
    bool by_cookie;     /* writes need the CSRF token */
    struct str session; /* its cookie, or STR_NONE */
};

enum access_act { ACCESS_READ, ACCESS_CREATE, ACCESS_UPDATE, ACCESS_DELETE };

/* RC_FORBIDDEN when the role may never do this to such a resource. */
enum rc access_check(const struct caller *caller, const struct resource *res, enum access_act act,
                     struct arena *arena, const struct scope **ret, struct err *err);
/* The programs themselves (reconciler, ledger, start-up, command line): sees all, may do all. */
const struct scope *access_system(void);

/* What a scope sees of a resource: a condition for WHERE, over the resource's own table under the
 * alias `t`, with the parameters :org and :user, which scope_bind fills. "1" for operators. */
const char *scope_where(const struct scope *s, const struct resource *res);
void scope_bind(const struct scope *s, struct stmt *stmt);

bool scope_is_system(const struct scope *s);
bool scope_is_operator(const struct scope *s); /* the system too */
enum user_role scope_role(const struct scope *s);
struct str scope_org(const struct scope *s);  /* p == NULL for operators */
struct str scope_user(const struct scope *s); /* p == NULL for the system */
struct str scope_peer(const struct scope *s);
uint32_t scope_who(const struct scope *s); /* FIELD_W_* for resource_from_json */
enum resource_view scope_view(const struct scope *s);

#endif
