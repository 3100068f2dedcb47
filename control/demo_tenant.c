/* demo_tenant.c - finds or makes each part of the demo by its name. */
#include "control/demo_tenant.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/demo.h"
#include "control/rest.h"

static void copy_text(char *to, size_t cap, const char *from)
{
    snprintf(to, cap, "%s", from);
}

struct maker {
    const struct demo_opts *opts;
    struct demo *demo;
    struct rest api;
    int made;
    char deployment_id[64];
};

/* Finds by `field`, or makes it of `body` (taken over). */
static enum rc ensure(struct maker *m, const char *plural, const char *field, const char *value,
                      json_t *body, json_t **ret, struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/api/v1/%s", plural);
    *ret = NULL;
    enum rc rc = rest_find(&m->api, plural, field, value, ret, err);
    if (rc != RC_OK || *ret) {
        json_decref(body);
        return rc;
    }
    if (m->demo->made && strcmp(plural, "providers") != 0) { /* --model may bring another one */
        json_decref(body);
        return err_set(err, RC_NOT_FOUND, "%s %.80s of the demo was deleted, and is not made again",
                       plural, value);
    }
    m->made++;
    return rest_call(&m->api, "POST", path, body, ret, err);
}

static enum rc ensure_id(struct maker *m, const char *plural, const char *field, const char *value,
                         json_t *body, char ret_id[64], struct err *err)
{
    json_t *row = NULL;
    enum rc rc = ensure(m, plural, field, value, body, &row, err);
    if (rc == RC_OK)
        snprintf(ret_id, 64, "%s", rest_text(row, "id"));
    json_decref(row);
    return rc;
}

/* "dir/SmolLM2-135M-Instruct.Q4_1.gguf" → "SmolLM2-135M-Instruct" */
static void model_name(const char *path, char *to, size_t cap)
{
    const char *slash = strrchr(path, '/');
    snprintf(to, cap, "%.190s", slash ? slash + 1 : path);
    char *dot = strrchr(to, '.');
    if (dot && strcmp(dot, ".gguf") == 0)
        *dot = '\0';
    size_t at = strlen(to);
    while (at > 0 && to[at - 1] != '.' && to[at - 1] != '-')
        at--;
    const char *last = to + at;
    bool quantized = strncmp(last, "Q", 1) == 0 || strncmp(last, "q", 1) == 0 ||
                     strncmp(last, "IQ", 2) == 0 || strcmp(last, "F16") == 0 ||
                     strcmp(last, "F32") == 0 || strcmp(last, "BF16") == 0;
    if (at > 1 && quantized && strpbrk(last, "0123456789"))
        to[at - 1] = '\0';
}

static enum rc ensure_tenant(struct maker *m, struct err *err)
{
    struct demo *d = m->demo;
    char user_id[64], path[128];
    if (!d->org.name[0])
        copy_text(d->org.name, DEMO_TEXT_BYTES, "Demo");
    if (!d->user.email[0])
        copy_text(d->user.email, DEMO_TEXT_BYTES, "demo@sluice.local");
    bool new_word = !d->user.password[0];
    if (new_word)
        demo_password(d->user.password);
    int made = m->made;
    enum rc rc = ensure_id(m, "orgs", "name", d->org.name, json_pack("{s:s}", "name", d->org.name),
                           d->org.id, err);
    if (rc == RC_OK) {
        made = m->made;
        rc = ensure_id(m, "users", "email", d->user.email,
                       json_pack("{s:s, s:s, s:s, s:s, s:s}", "org_id", d->org.id, "email",
                                 d->user.email, "name", "Demo", "role", "org_admin", "password",
                                 d->user.password),
                       user_id, err);
    }
    if (rc == RC_OK && new_word && made == m->made) { /* there, but nobody knows its password */
        snprintf(path, sizeof path, "/api/v1/users/%.60s", user_id);
        rc = rest_call(&m->api, "PATCH", path, json_pack("{s:s}", "password", d->user.password),
                       NULL, err);
    }
    if (rc != RC_OK)
        return rc;
    /* A key's text is shown once; if demo.json lost it, a new key is made. */
    char public_id[64] = "";
    if (strlen(d->api_key) > 20)
        snprintf(public_id, sizeof public_id, "%.16s", d->api_key + strlen("slk_"));
    json_t *key = NULL;
    rc = ensure(m, "keys", "public_id", public_id,
                json_pack("{s:s, s:s}", "user_id", user_id, "name", "demo"), &key, err);
    if (rc == RC_OK && rest_text(key, "key")[0])
        copy_text(d->api_key, DEMO_TEXT_BYTES, rest_text(key, "key"));
    if (rc == RC_OK && !d->api_key[0])
        rc = err_set(err, RC_INTERNAL, "the API made a key and did not show it");
    json_decref(key);
    return rc;
}

/* The model that was asked for; else the one that is there; else the default file. */
static enum rc choose_model(struct maker *m, const json_t *there, char source[PATH_MAX],
                            struct err *err)
{
    const char *asked = m->opts->model;
    if (!asked && there) {
        snprintf(source, PATH_MAX, "%s", rest_text(there, "source"));
        return RC_OK;
    }
    if (!asked)
        asked = ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!realpath(asked, source))
        return err_errno(err, errno, "model %.150s (see --model)", asked);
    return RC_OK;
}

static enum rc ensure_model(struct maker *m, char ret_id[64], struct err *err)
{
    struct demo *d = m->demo;
    char source[PATH_MAX] = "", name[200], provider_id[64], path[128];
    json_t *there = NULL;
    enum rc rc = RC_OK;
    if (d->model[0])
        rc = rest_find(&m->api, "models", "name", d->model, &there, err);
    if (rc == RC_OK)
        rc = choose_model(m, there, source, err);
    model_name(source, name, sizeof name);
    bool same = there && strcmp(source, rest_text(there, "source")) == 0;
    bool is_default = strncmp(name, "SmolLM2", 7) == 0;
    if (rc == RC_OK && !same) {
        const char *who = is_default ? "Hugging Face" : "Local files";
        rc = ensure_id(
            m, "providers", "name", who,
            json_pack("{s:s, s:s}", "name", who, "family", is_default ? "SmolLM" : "custom"),
            provider_id, err);
    }
    if (rc == RC_OK && same) {
        snprintf(ret_id, 64, "%s", rest_text(there, "id"));
    } else if (rc == RC_OK && there) {
        m->made++;
        snprintf(ret_id, 64, "%s", rest_text(there, "id"));
        snprintf(path, sizeof path, "/api/v1/models/%.60s", ret_id);
        rc = rest_call(&m->api, "PATCH", path,
                       json_pack("{s:s, s:s, s:s}", "name", name, "source", source, "provider_id",
                                 provider_id),
                       NULL, err);
    } else if (rc == RC_OK) {
        rc = ensure_id(m, "models", "name", name,
                       json_pack("{s:s, s:s, s:s}", "name", name, "source", source, "provider_id",
                                 provider_id),
                       ret_id, err);
    }
    if (rc == RC_OK && !same)
        copy_text(d->model, sizeof d->model, name);
    json_decref(there);
    return rc;
}

static enum rc ensure_deployment(struct maker *m, const char *model_id, struct err *err)
{
    char cluster_id[64], endpoint_id[64], path[128];
    int64_t replicas = m->opts->replicas;
    enum rc rc =
        ensure_id(m, "clusters", "name", "this-host",
                  json_pack("{s:s, s:s}", "name", "this-host", "kind", "local"), cluster_id, err);
    if (rc == RC_OK)
        rc = ensure_id(m, "endpoints", "name", "default",
                       json_pack("{s:s, s:s}", "name", "default", "cluster_id", cluster_id),
                       endpoint_id, err);
    json_t *row = NULL;
    if (rc == RC_OK)
        rc = ensure(m, "deployments", "name", "demo",
                    json_pack("{s:s, s:s, s:s, s:I}", "name", "demo", "model_id", model_id,
                              "endpoint_id", endpoint_id, "replicas",
                              (json_int_t)(replicas >= 0 ? replicas : 1)),
                    &row, err);
    if (rc != RC_OK)
        return rc;
    snprintf(m->deployment_id, sizeof m->deployment_id, "%s", rest_text(row, "id"));
    if (replicas >= 0 && json_integer_value(json_object_get(row, "replicas")) != replicas) {
        snprintf(path, sizeof path, "/api/v1/deployments/%.60s", m->deployment_id);
        rc = rest_call(&m->api, "PATCH", path, json_pack("{s:I}", "replicas", (json_int_t)replicas),
                       NULL, err);
    }
    json_decref(row);
    return rc;
}

static enum rc ensure_terms(struct maker *m, struct err *err)
{
    char id[64];
    const char *dep = m->deployment_id;
    enum rc rc = ensure_id(m, "shares", "deployment_id", dep,
                           json_pack("{s:s, s:s}", "deployment_id", dep, "org_id", m->demo->org.id),
                           id, err);
    if (rc == RC_OK)
        rc = ensure_id(m, "limits", "deployment_id", dep,
                       json_pack("{s:s, s:s, s:i, s:i}", "deployment_id", dep, "scope", "org",
                                 "requests_per_min", 10000, "tokens_per_min", 10000000),
                       id, err);
    if (rc == RC_OK)
        rc = ensure_id(m, "prices", "deployment_id", dep,
                       json_pack("{s:s, s:s, s:s, s:s, s:s}", "deployment_id", dep, "currency",
                                 "USD", "input_per_1m", "0.10", "cached_input_per_1m", "0.05",
                                 "output_per_1m", "0.40"),
                       id, err);
    return rc;
}

enum rc demo_tenant(const struct demo_opts *opts, struct demo *d, int *ret_made,
                    char ret_deployment_id[64], struct err *err)
{
    struct maker m = {
        .opts = opts, .demo = d, .api = {.url = opts->api_url, .token = d->operator.token } };
    char model_id[64];
    enum rc rc = ensure_tenant(&m, err);
    if (rc == RC_OK)
        rc = ensure_model(&m, model_id, err);
    if (rc == RC_OK)
        rc = ensure_deployment(&m, model_id, err);
    if (rc == RC_OK)
        rc = ensure_terms(&m, err);
    if (rc == RC_OK) {
        *ret_made = m.made;
        memcpy(ret_deployment_id, m.deployment_id, sizeof m.deployment_id);
    }
    return rc;
}
