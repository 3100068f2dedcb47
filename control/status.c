#include "control/status.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/cli.h"
#include "control/cli_data.h"
#include "control/db.h"
#include "control/drivers/driver.h"
#include "control/row.h"
#include "control/txn.h"
#include "control/verify.h"

enum { ARENA_BYTES = 16 << 20 };

/* Everything that is told, as one JSON document; the text is printed from it. */
static void add_process(json_t *list, const char *data_dir, const char *name, const char *program)
{
    struct cli_process p;
    if (!cli_data_process(data_dir, name, program, &p))
        return;
    char since[CLOCK_TEXT_BYTES];
    clock_to_text(p.since_ms, since);
    json_array_append_new(list, json_pack("{s:s, s:I, s:b, s:s}", "name", name, "pid",
                                          (json_int_t)p.pid, "alive", p.alive, "since", since));
}

static json_t *processes(const char *data_dir)
{
    json_t *list = json_array();
    add_process(list, data_dir, "sluice", "sluice");
    add_process(list, data_dir, "gateway", "sluice-gateway");
    for (int i = 0; i < DRIVER_REPLICAS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "engine-%d", i);
        add_process(list, data_dir, name, "sluice-engine");
    }
    return list;
}

static json_t *text(struct str s)
{
    return json_stringn(s.p ? s.p : "", s.len);
}

static enum rc deployments(struct txn *txn, struct arena *arena, json_t *to, struct err *err)
{
    void *rows = NULL;
    size_t n = 0;
    struct row_query all = {0};
    enum rc rc = row_list(txn, access_system(), &resource_deployment, &all, arena, &rows, &n, err);
    const struct deployment *d = rows;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        json_t *replicas = json_loadb(d[i].replica_list.p ? d[i].replica_list.p : "[]",
                                      d[i].replica_list.p ? d[i].replica_list.len : 2, 0, NULL);
        json_array_append_new(
            to, json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "id", text(d[i].id), "name",
                          text(d[i].name), "state",
                          text(resource_enum_str(&resource_deployment, "state", d[i].state)),
                          "reason", text(d[i].state_reason), "replicas", (json_int_t)d[i].replicas,
                          "replica_list", replicas ? replicas : json_array()));
    }
    return rc;
}

/* Counts by the same reading that verify does, with differences left to it. */
static enum rc ledger(struct txn *txn, const char *data_dir, json_t *to, struct err *err)
{
    char journal[CLI_DATA_PATH_BYTES];
    struct verify v = {0};
    int64_t rows = 0, flagged = 0;
    snprintf(journal, sizeof journal, "%.480s/journal", data_dir);
    enum rc rc = db_i64(txn, "SELECT count(*) FROM usage_chain", &rows, err);
    if (rc == RC_OK)
        rc = db_i64(txn, "SELECT count(*) FROM usage_chain WHERE flag <> ''", &flagged, err);
    if (rc == RC_OK)
        rc = verify_journal(txn, journal, 0, &v, err);
    if (rc == RC_OK) {
        json_object_set_new(to, "rows", json_integer(rows));
        json_object_set_new(to, "flagged", json_integer(flagged));
        json_object_set_new(to, "in_flight", json_integer(v.in_flight));
        json_object_set_new(to, "open", json_integer(v.running));
        json_object_set_new(to, "journal_segments", json_integer(v.segments));
    }
    return rc;
}

static enum rc collect(const struct cli *cli, json_t *all, struct err *err)
{
    json_t *list = json_array(), *counts = json_object();
    json_object_set_new(all, "processes", processes(cli->data));
    json_object_set_new(all, "deployments", list);
    json_object_set_new(all, "ledger", counts);
    SCOPED_ARENA arena;
    arena_init(&arena, ARENA_BYTES);
    struct db *db = NULL;
    struct txn txn = {0};
    enum rc rc = cli_data_open(cli->data, &db, err);
    if (rc == RC_OK)
        rc = txn_begin_read(db, &txn, err);
    if (rc == RC_OK)
        rc = deployments(&txn, &arena, list, err);
    if (rc == RC_OK)
        rc = ledger(&txn, cli->data, counts, err);
    txn_end(&txn);
    db_close(db);
    return rc;
}

static const char *z(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static int64_t number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static void print_text(const json_t *all)
{
    size_t i, k;
    const json_t *p, *r;
    printf("%-12s %-8s %-8s %s\n", "process", "pid", "state", "since");
    json_array_foreach(json_object_get(all, "processes"), i, p)
    {
        printf("%-12s %-8" PRId64 " %-8s %s\n", z(p, "name"), number(p, "pid"),
               json_is_true(json_object_get(p, "alive")) ? "runs" : "gone", z(p, "since"));
    }
    printf("\n%-20s %-11s %s\n", "deployment", "state", "replicas");
    json_array_foreach(json_object_get(all, "deployments"), i, p)
    {
        printf("%-20s %-11s %" PRId64 "  %s\n", z(p, "name"), z(p, "state"), number(p, "replicas"),
               z(p, "reason"));
        json_array_foreach(json_object_get(p, "replica_list"), k, r)
        {
            printf("  replica %-10" PRId64 " %-11s pid %" PRId64 ", %" PRId64 " restarts  %s\n",
                   number(r, "index"), z(r, "state"), number(r, "pid"), number(r, "restarts"),
                   z(r, "reason"));
        }
    }
    p = json_object_get(all, "ledger");
    printf("\nledger: %" PRId64 " rows (%" PRId64 " flagged), %" PRId64 " on their way, %" PRId64
           " requests open, %" PRId64 " journal segments\n",
           number(p, "rows"), number(p, "flagged"), number(p, "in_flight"), number(p, "open"),
           number(p, "journal_segments"));
}

int status_run(const struct cli *cli)
{
    struct err err;
    json_t *all = json_object();
    enum rc rc = collect(cli, all, &err);
    const json_t *first = json_array_get(json_object_get(all, "processes"), 0);
    bool running =
        strcmp(z(first, "name"), "sluice") == 0 && json_is_true(json_object_get(first, "alive"));
    json_object_set_new(all, "running", json_boolean(running));
    if (rc != RC_OK) {
        fprintf(stderr, "sluice status: %s\n", err.msg);
    } else if (cli->json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_text(all);
    }
    json_decref(all);
    return rc != RC_OK ? 2 : running ? 0 : 1;
}
