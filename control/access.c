#include "control/access.h"

#include "control/db.h"

struct scope {
    struct caller caller;
    bool system;
};

/* May: create, update, delete by role. Reading is decided by `sees`. */
enum { MAY_C = 1, MAY_U = 2, MAY_D = 4 };

/* Shared with :org, or with all. */
#define SHARED(deployment)                                                                         \
    "EXISTS (SELECT 1 FROM shares s WHERE s.deployment_id = " deployment                           \
    " AND (s.org_id = :org OR s.org_id IS NULL))"
#define LIMIT_OF_DEPLOYMENT "(t.deployment_id IS NULL OR " SHARED("t.deployment_id") ")"

/* One row a resource: what an org's admin and a member see (NULL: nothing, 403) and may do. What is
 * not named here is for operators alone. */
static const struct rule {
    const struct resource *res;
    const char *admin_sees, *member_sees;
    int admin_may, member_may;
} rules[] = {
    {&resource_org, "t.id = :org", "t.id = :org", 0, 0},
    {&resource_user, "t.org_id = :org", "t.id = :user", MAY_C | MAY_U | MAY_D, MAY_U},
    {&resource_key, "t.org_id = :org", "t.user_id = :user", MAY_C | MAY_U | MAY_D,
     MAY_C | MAY_U | MAY_D},
    {&resource_token, "t.user_id = :user", "t.user_id = :user", MAY_C | MAY_D, MAY_C | MAY_D},
    {&resource_provider,
     "EXISTS (SELECT 1 FROM models m JOIN deployments d ON d.model_id = m.id"
     " WHERE m.provider_id = t.id AND " SHARED("d.id") ")",
     "EXISTS (SELECT 1 FROM models m JOIN deployments d ON d.model_id = m.id"
     " WHERE m.provider_id = t.id AND " SHARED("d.id") ")",
     0, 0},
    {&resource_model,
     "EXISTS (SELECT 1 FROM deployments d WHERE d.model_id = t.id AND " SHARED("d.id") ")",
     "EXISTS (SELECT 1 FROM deployments d WHERE d.model_id = t.id AND " SHARED("d.id") ")", 0, 0},
    {&resource_endpoint,
     "EXISTS (SELECT 1 FROM deployments d WHERE d.endpoint_id = t.id AND " SHARED("d.id") ")",
     "EXISTS (SELECT 1 FROM deployments d WHERE d.endpoint_id = t.id AND " SHARED("d.id") ")", 0,
     0},
    {&resource_deployment, SHARED("t.id"), SHARED("t.id"), 0, 0},
    {&resource_price, SHARED("t.deployment_id"), SHARED("t.deployment_id"), 0, 0},
    {&resource_limit,
     LIMIT_OF_DEPLOYMENT " AND (t.subject_id IS NULL OR t.subject_id = :org"
                         " OR t.subject_id IN (SELECT id FROM users WHERE org_id = :org)"
                         " OR t.subject_id IN (SELECT id FROM keys WHERE org_id = :org))",
     LIMIT_OF_DEPLOYMENT " AND (t.subject_id IS NULL OR t.subject_id IN (:org, :user)"
                         " OR t.subject_id IN (SELECT id FROM keys WHERE user_id = :user))",
     0, 0},
    {&resource_usage, "t.org_id = :org", "t.user_id = :user", 0, 0},
};

static const struct rule *rule_of(const struct resource *res)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].res == res)
            return &rules[i];
    return NULL;
}

static bool may(const struct caller *caller, const struct resource *res, enum access_act act)
{
    static const int bits[] = {
        [ACCESS_CREATE] = MAY_C, [ACCESS_UPDATE] = MAY_U, [ACCESS_DELETE] = MAY_D};
    if (caller->role == ROLE_OPERATOR)
        return true;
    const struct rule *rule = rule_of(res);
    if (!rule || !caller->org_id.p)
        return false;
    bool admin = caller->role == ROLE_ORG_ADMIN;
    if (act == ACCESS_READ)
        return (admin ? rule->admin_sees : rule->member_sees) != NULL;
    return (admin ? rule->admin_may : rule->member_may) & bits[act];
}

enum rc access_check(const struct caller *caller, const struct resource *res, enum access_act act,
                     struct arena *arena, const struct scope **ret, struct err *err)
{
    static const char *const verbs[] = {"see", "make", "change", "delete"};
    ASSERT(caller->user_id.p);
    if (!may(caller, res, act))
        return err_set(err, RC_FORBIDDEN, "your role may not %s %s", verbs[act], res->plural);
    struct scope *s = ARENA_NEW(arena, struct scope);
    if (!s)
        return err_set(err, RC_NO_MEMORY, "no memory for the request");
    s->caller = *caller;
    *ret = s;
    return RC_OK;
}

const struct scope *access_system(void)
{
    static const struct scope system = {.caller = {.role = ROLE_OPERATOR}, .system = true};
    return &system;
}

const char *scope_where(const struct scope *s, const struct resource *res)
{
    if (s->caller.role == ROLE_OPERATOR)
        return "1";
    const struct rule *rule = rule_of(res);
    const char *sees = !rule                              ? NULL
                       : s->caller.role == ROLE_ORG_ADMIN ? rule->admin_sees
                                                          : rule->member_sees;
    return sees ? sees : "0";
}

void scope_bind(const struct scope *s, struct stmt *stmt)
{
    int org = stmt_index(stmt, ":org"), user = stmt_index(stmt, ":user");
    if (org)
        stmt_bind_str(stmt, org, s->caller.org_id);
    if (user)
        stmt_bind_str(stmt, user, s->caller.user_id);
}

bool scope_is_system(const struct scope *s)
{
    return s->system;
}

bool scope_is_operator(const struct scope *s)
{
    return s->caller.role == ROLE_OPERATOR;
}

enum user_role scope_role(const struct scope *s)
{
    return s->caller.role;
}

struct str scope_org(const struct scope *s)
{
    return s->caller.org_id;
}

struct str scope_user(const struct scope *s)
{
    return s->caller.user_id;
}

struct str scope_peer(const struct scope *s)
{
    return s->caller.peer;
}

uint32_t scope_who(const struct scope *s)
{
    return s->caller.role == ROLE_OPERATOR    ? FIELD_W_OPERATOR
           : s->caller.role == ROLE_ORG_ADMIN ? FIELD_W_ADMIN
                                              : FIELD_W_MEMBER;
}

enum resource_view scope_view(const struct scope *s)
{
    return s->caller.role == ROLE_OPERATOR ? VIEW_OPERATOR : VIEW_PUBLIC;
}
