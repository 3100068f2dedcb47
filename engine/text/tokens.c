/* tokens.c - ids that grow up to a maximum named at the start. */

#include <stdlib.h>

#include "base/units.h"
#include "engine/text/tokenizer.h"

void tokens_init(struct tokens *v, size_t max)
{
    *v = (struct tokens){.max = max};
}

void tokens_done(struct tokens *v)
{
    free(v->id);
    *v = (struct tokens){0};
}

static enum rc grow(struct tokens *v, struct err *err)
{
    if (v->n >= v->max)
        return err_set(err, RC_TOO_LARGE, "more than %zu tokens", v->max);
    size_t cap = MIN_OF(MAX_OF(v->cap * 2, (size_t)64), v->max);
    int32_t *id = reallocarray(v->id, cap, sizeof(*id));
    if (!id)
        return err_set(err, RC_NO_MEMORY, "no memory for %zu tokens", cap);
    v->id = id;
    v->cap = cap;
    return RC_OK;
}

enum rc tokens_push(struct tokens *v, int32_t id, struct err *err)
{
    if (v->n == v->cap || v->n >= v->max) {
        enum rc rc = grow(v, err);
        if (rc != RC_OK)
            return rc;
    }
    v->id[v->n++] = id;
    return RC_OK;
}
