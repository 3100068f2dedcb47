#ifndef SLUICE_CONTROL_SWEEP_H
#define SLUICE_CONTROL_SWEEP_H
/* sweep - removes the rows that make no sense once the row they point at is gone: each by
 * row_delete, so each is fed and audited. */

#include "control/entity.h"

enum rc sweep_rows(struct entity_act *act, const struct resource *res, const char *field,
                   struct str id, struct err *err);

#endif
