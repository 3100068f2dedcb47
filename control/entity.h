#ifndef SLUICE_CONTROL_ENTITY_H
#define SLUICE_CONTROL_ENTITY_H
/* entity - making, changing and removing resources, with the rules between them.
 *
 * The same calls serve the REST API and start-up. Each resource's own file (user, key, catalog,
 * deploy, share …) gives the rules as hooks; entity runs them around the row calls. */

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "schema/apikey.h"
#include "schema/resource.h"

struct scope;
struct secrets;
struct txn;

#define ENTITY_TOKEN_BYTES 80

/* One change under way, and the side products that are not columns. */
struct entity_act {
    struct txn *txn;
    const struct scope *scope;
    const struct secrets *secrets;
    struct arena *arena;
    struct str password_hash;       /* user, in: for `password`; p == NULL: not given */
    struct str session;             /* user, in: the session that stays when the password changes */
    struct apikey key;              /* key, out: the secret, "" otherwise */
    char token[ENTITY_TOKEN_BYTES]; /* token, out: the secret, "" otherwise */
};

/* Any may be NULL. before_*: checks, and fills in what the server decides. */
struct entity_hooks {
    enum rc (*before_create)(struct entity_act *act, void *row, struct err *err);
    enum rc (*after_create)(struct entity_act *act, void *row, struct err *err);
    /* set: bit i for field i of the table that the caller gave. */
    enum rc (*before_update)(struct entity_act *act, const void *old, void *row, uint64_t set,
                             struct err *err);
    enum rc (*before_delete)(struct entity_act *act, const void *row, struct err *err);
};

enum rc entity_create(struct entity_act *act, const struct resource *res, void *row,
                      struct err *err);
/* if_version > 0: RC_PRECONDITION when the row has another. */
enum rc entity_update(struct entity_act *act, const struct resource *res, struct str id,
                      const json_t *json, int64_t if_version, void *ret_row, struct err *err);
enum rc entity_delete(struct entity_act *act, const struct resource *res, struct str id,
                      int64_t if_version, struct err *err);

/* RC_CONFLICT with a message that names the count, when rows of `user_of` point here. */
enum rc entity_refuse_in_use(struct entity_act *act, const struct resource *user_of,
                             const char *field, struct str id, struct err *err);
/* RC_BAD_INPUT on err.field `field` when nothing with this id is visible. */
enum rc entity_must_exist(struct entity_act *act, const struct resource *res, struct str id,
                          const char *field, struct err *err);

extern const struct entity_hooks org_hooks, user_hooks, key_hooks, provider_hooks, model_hooks,
    cluster_hooks, endpoint_hooks, deployment_hooks, share_hooks, limit_hooks, price_hooks,
    token_hooks;

#endif
