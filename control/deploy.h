#ifndef SLUICE_CONTROL_DEPLOY_H
#define SLUICE_CONTROL_DEPLOY_H
/* deploy - the rules of deployments, and their state as the reconciler reports it. */

#include "base/err.h"
#include "base/str.h"
#include "schema/resource.h"

struct txn;

struct deploy_report {
    enum deploy_state state;
    struct str reason;
    int64_t progress;
    struct str replica_list; /* JSON; see schema/feed.h */
};

/* Writes and feeds only when something differs. RC_NOT_FOUND: the deployment is gone. */
enum rc deploy_report(struct txn *txn, struct str id, const struct deploy_report *report,
                      struct err *err);

#endif
