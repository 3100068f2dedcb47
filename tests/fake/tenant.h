#ifndef SLUICE_TESTS_FAKE_TENANT_H
#define SLUICE_TESTS_FAKE_TENANT_H
/* tenant - one org with a user, a key, a shared deployment, limits and a price, as the change feed
 * would bring them. Tests edit the JSON before they hand it over. */

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "schema/apikey.h"
#include "tests/fake/must.h"

static const uint8_t tenant_hash_key[HASH_KEY_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};

static json_t *tenant_change(const char *kind, json_t *row)
{
    json_t *id = json_object_get(row, "id");
    json_object_set_new(row, "created_at", json_string("2026-01-01T00:00:00Z"));
    return json_pack("{s:s, s:O, s:o}", "kind", kind, "id", id, "row", row);
}

/* The row of a key whose text is new; `name` is a part of its id. */
static inline json_t *tenant_key(struct apikey *key, const char *name, const char *org,
                                 const char *user)
{
    uint8_t hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1], id[40];
    struct str public_id;
    apikey_new(key);
    MUST(apikey_parse(str_of(key->text), &public_id));
    apikey_hash(str_of(key->text), tenant_hash_key, hash);
    str_to_hex(hash, sizeof hash, hex);
    snprintf(id, sizeof id, "key_%s", name);
    return json_pack("{s:s, s:s, s:s, s:s, s:s%, s:s, s:s, s:i}", "id", id, "org_id", org,
                     "user_id", user, "name", name, "public_id", public_id.p, public_id.len, "hash",
                     hex, "status", "active", "version", 1);
}

/* The whole state at revision 1. address: of the replica, "" for none. */
static inline json_t *tenant_feed(struct apikey *key, const char *address)
{
    char hex[2 * HASH_KEY_BYTES + 1], replicas[256];
    str_to_hex(tenant_hash_key, sizeof tenant_hash_key, hex);
    snprintf(replicas, sizeof replicas, "[{\"index\":0,\"state\":\"%s\",\"address\":\"%s\"}]",
             *address ? "running" : "failed", address);
    json_t *all = json_array();
    json_array_append_new(all, tenant_change("org", json_pack("{s:s, s:s, s:s}", "id", "org_a",
                                                              "name", "A", "status", "active")));
    json_array_append_new(all, tenant_change("org", json_pack("{s:s, s:s, s:s}", "id", "org_b",
                                                              "name", "B", "status", "active")));
    json_array_append_new(
        all, tenant_change("user",
                           json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", "usr_a", "org_id", "org_a",
                                     "email", "a@x.y", "role", "member", "status", "active")));
    json_array_append_new(all, tenant_change("key", tenant_key(key, "a", "org_a", "usr_a")));
    json_array_append_new(all,
                          tenant_change("model", json_pack("{s:s, s:s, s:s}", "id", "mdl_a", "name",
                                                           "tiny/model", "source", "-")));
    json_array_append_new(
        all, tenant_change("endpoint", json_pack("{s:s, s:s, s:s, s:s}", "id", "end_a", "name", "e",
                                                 "hostname", "", "cluster_id", "clu_a")));
    json_array_append_new(
        all, tenant_change("deployment",
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:o}", "id", "dep_a",
                                     "name", "d", "model_id", "mdl_a", "endpoint_id", "end_a",
                                     "engine", "integrated", "max_output", 64, "state", "running",
                                     "replica_list", json_loads(replicas, 0, NULL))));
    json_array_append_new(
        all, tenant_change("share", json_pack("{s:s, s:s, s:s}", "id", "shr_a", "deployment_id",
                                              "dep_a", "org_id", "org_a")));
    json_array_append_new(
        all, tenant_change("price", json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", "prc_a",
                                              "deployment_id", "dep_a", "currency", "USD",
                                              "input_per_1m", "0.10", "output_per_1m", "0.40")));
    return json_pack("{s:s, s:i, s:b, s:s, s:o}", "epoch", "e1", "rev", 1, "full", 1, "hash_key",
                     hex, "changes", all);
}

/* The row of that id in a feed's changes, to be edited. */
static inline json_t *tenant_row(json_t *feed, const char *id)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(feed, "changes"), i,
                       one) if (strcmp(json_string_value(json_object_get(one, "id")), id) ==
                                0) return json_object_get(one, "row");
    return NULL;
}

/* A reply with one change, at `rev`; row NULL: it is gone. */
static inline json_t *tenant_reply(int rev, const char *kind, const char *id, json_t *row)
{
    char hex[2 * HASH_KEY_BYTES + 1];
    str_to_hex(tenant_hash_key, sizeof tenant_hash_key, hex);
    return json_pack("{s:s, s:i, s:b, s:s, s:[{s:s, s:s, s:o}]}", "epoch", "e1", "rev", rev, "full",
                     0, "hash_key", hex, "changes", "kind", kind, "id", id, "row",
                     row ? row : json_null());
}

#endif
