/* gateway.c - what the gateway's benchmark stands on: a control plane with one tenant and two
 * deployments, and an engine that answers at once. `bench_gateway DIR UPSTREAM_URL` prints the
 * control plane's URL and the key, and runs until its input ends. tests/bench/gateway drives it. */
#include <stdio.h>
#include <unistd.h>

#include "tests/fake/fake_control.h"
#include "tests/fake/fake_engine.h"

enum { ANSWER_TOK = 8 };

/* The tenant's deployment twice: `frames` by our own engine protocol, `http` by an upstream. */
static json_t *two_deployments(struct apikey *key, const char *address, const char *url)
{
    json_t *feed = tenant_feed(key, address), *list = json_object_get(feed, "changes");
    json_t *frames = tenant_row(feed, "dep_a"), *http = json_deep_copy(frames);
    json_object_set_new(frames, "served_name", json_string("frames"));
    json_object_set_new(http, "id", json_string("dep_h"));
    json_object_set_new(http, "served_name", json_string("http"));
    json_object_set_new(http, "engine", json_string("external"));
    json_object_set_new(http, "upstream_url", json_string(url));
    json_array_append_new(list, tenant_change("deployment", http));
    json_array_append_new(list,
                          tenant_change("share", json_pack("{s:s, s:s, s:n}", "id", "shr_h",
                                                           "deployment_id", "dep_h", "org_id")));
    /* Limits are on, and never reached. */
    static const char *const scopes[] = {"org", "user", "key"};
    for (int i = 0; i < 3; i++) {
        char id[] = {'l', 'i', 'm', '_', (char)('0' + i), '\0'};
        json_array_append_new(
            list, tenant_change("limit", json_pack("{s:s, s:n, s:s, s:n, s:i, s:I, s:i, s:b}", "id",
                                                   id, "deployment_id", "scope", scopes[i],
                                                   "subject_id", "requests_per_min", 1000000000,
                                                   "tokens_per_min", (json_int_t)1000000000000,
                                                   "concurrency", 1000000, "enabled", 1)));
    }
    return feed;
}

int main(int argc, char **argv)
{
    static struct fake_control control;
    static struct fake_engine engine;
    struct apikey key;
    struct err err = {0};
    char byte;
    if (argc != 3 || hash_init(&err) != RC_OK) {
        fprintf(stderr, "usage: bench_gateway DIR UPSTREAM_URL\n");
        return 2;
    }
    fake_engine_start(&engine, argv[1], "engine");
    atomic_store(&engine.answer_tok, ANSWER_TOK);
    atomic_store(&engine.max_seqs, FAKE_RUNS);
    fake_control_start(&control, two_deployments(&key, engine.address, argv[2]));
    control.forgets = true;
    printf("%s %s\n", control.url, key.text);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    fake_control_stop(&control);
    fake_engine_stop(&engine);
    return 0;
}
