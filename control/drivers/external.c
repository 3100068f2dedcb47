/* external.c - a server that somebody else runs: nothing to start, nothing to stop. It is there as
 * long as the deployment wants it; whether it answers is the gateway's finding, which sees every
 * request. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/drivers/driver.h"

#define EXTERNAL_MAX 1024 /* deployments */

struct place {
    char deployment_id[40];
    int32_t index;
    char url[DRIVER_ADDRESS_BYTES];
};

struct external {
    struct driver base;
    size_t n;
    struct place places[EXTERNAL_MAX];
};

static struct place *place_find(struct external *e, const char *deployment_id, int32_t index)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->places[i].index == index && strcmp(e->places[i].deployment_id, deployment_id) == 0)
            return &e->places[i];
    return NULL;
}

static enum rc external_start(struct driver *d, const struct replica_spec *spec, int32_t index,
                              struct err *err)
{
    struct external *e = (struct external *)d;
    struct str url = str_of(spec->source);
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return err_set(err, RC_INVALID, "upstream_url must begin with http:// or https://");
    if (url.len >= DRIVER_ADDRESS_BYTES)
        return err_set(err, RC_INVALID, "upstream_url has %zu bytes; at most %d are allowed",
                       url.len, DRIVER_ADDRESS_BYTES - 1);
    struct place *p = place_find(e, spec->deployment_id, index);
    if (!p && e->n == EXTERNAL_MAX)
        return err_set(err, RC_LIMIT, "at most %d external deployments", EXTERNAL_MAX);
    if (!p)
        p = &e->places[e->n++];
    snprintf(p->deployment_id, sizeof p->deployment_id, "%s", spec->deployment_id);
    memcpy(p->url, url.p, url.len + 1);
    p->index = index;
    return RC_OK;
}

static void external_look(struct driver *d, const char *deployment_id, int32_t index,
                          struct replica_seen *ret)
{
    struct place *p = place_find((struct external *)d, deployment_id, index);
    *ret = (struct replica_seen){.exists = p != NULL, .ready = p != NULL};
    if (!p)
        return;
    ret->progress = 100;
    memcpy(ret->address, p->url, sizeof p->url);
}

static void external_forget(struct driver *d, const char *deployment_id, int32_t index)
{
    struct external *e = (struct external *)d;
    struct place *p = place_find(e, deployment_id, index);
    if (p)
        *p = e->places[--e->n];
}

/* Draining is over as soon as the gateway has seen it: there is no process to wait for. */
static void external_stop(struct driver *d, const char *deployment_id, int32_t index, bool now)
{
    (void)now;
    external_forget(d, deployment_id, index);
}

static void external_close(struct driver *d)
{
    free(d);
}

static const struct driver_ops external_ops = {
    .name = "external",
    .start = external_start,
    .look = external_look,
    .stop = external_stop,
    .forget = external_forget,
    .close = external_close,
};

enum rc driver_external_open(struct driver **ret, struct err *err)
{
    struct external *e = calloc(1, sizeof *e);
    if (!e)
        return err_set(err, RC_NO_MEMORY, "no memory for the external driver");
    e->base.ops = &external_ops;
    *ret = &e->base;
    return RC_OK;
}
