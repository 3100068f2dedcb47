/* cli_verify.c - runs verify, and again for a few seconds while all that differs may be a live
 * system in the middle of something (a gateway that has just been started settles what it found
 * open). */
#include "control/cli_verify.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/cli.h"
#include "control/cli_data.h"
#include "control/db.h"
#include "control/txn.h"
#include "control/verify.h"

enum { LINES_MAX = 1000, TEXT_MAX = 1 << 20, PATIENCE_MS = 8000, AGAIN_MS = 250 };

struct lines {
    bool json;
    int64_t n;
    struct buf text;
};

static void on_difference(void *user, const char *line)
{
    struct lines *l = user;
    if (l->n++ >= LINES_MAX)
        return;
    if (!l->json) {
        buf_printf(&l->text, "%s\n", line);
        return;
    }
    if (l->n > 1)
        buf_z(&l->text, ", ");
    buf_json(&l->text, str_of(line));
}

static enum rc look(const struct cli *cli, struct db *db, struct verify *v, struct err *err)
{
    char journal[CLI_DATA_PATH_BYTES];
    struct cli_process gateway;
    snprintf(journal, sizeof journal, "%.480s/journal", cli->data);
    bool runs = cli_data_process(cli->data, "gateway", "sluice-gateway", &gateway) && gateway.alive;
    SCOPED_TXN txn = {0};
    enum rc rc = txn_begin_read(db, &txn, err);
    if (rc == RC_OK)
        rc = verify_ledger(&txn, v, err);
    if (rc == RC_OK)
        rc = verify_journal(&txn, journal, runs ? gateway.since_ms : 0, v, err);
    return rc;
}

static enum rc look_patiently(const struct cli *cli, struct db *db, struct lines *lines,
                              struct verify *ret, struct err *err)
{
    for (int64_t until = clock_mono_ms(clock_system()) + PATIENCE_MS;;) {
        buf_clear(&lines->text);
        lines->n = 0;
        *ret = (struct verify){.on_difference = on_difference, .user = lines};
        enum rc rc = look(cli, db, ret, err);
        bool passing = ret->passing > 0 && ret->passing == ret->differences;
        if (rc != RC_OK || !passing || clock_mono_ms(clock_system()) > until)
            return rc;
        poll(NULL, 0, AGAIN_MS);
    }
}

static void print(const struct cli *cli, const struct verify *v, const struct lines *lines)
{
    if (cli->json) {
        printf("{\"ok\": %s, \"rows\": %" PRId64 ", \"links\": %" PRId64 ", \"hours\": %" PRId64
               ", \"prices\": %" PRId64 ", \"segments\": %" PRId64 ", \"opens\": %" PRId64
               ", \"closes\": %" PRId64 ", \"running\": %" PRId64 ", \"in_flight\": %" PRId64
               ", \"differences\": [" STR_FMT "]}\n",
               v->differences ? "false" : "true", v->rows, v->links, v->hours, v->prices,
               v->segments, v->opens, v->closes, v->running, v->in_flight,
               STR_ARG(buf_view(&lines->text)));
        return;
    }
    if (lines->text.len > 0)
        fwrite(lines->text.p, 1, lines->text.len, stdout);
    if (lines->n > LINES_MAX)
        printf("… and %" PRId64 " more\n", lines->n - LINES_MAX);
    printf("%s: %" PRId64 " rows, %" PRId64 " hourly sums, %" PRId64 " price versions; journal: "
           "%" PRId64 " opened, %" PRId64 " closed, %" PRId64 " still open, %" PRId64
           " on their way to the ledger\n",
           v->differences ? "DIFFERENT" : "ok", v->rows, v->hours, v->prices, v->opens, v->closes,
           v->running, v->in_flight);
}

int verify_run(const struct cli *cli)
{
    struct err err;
    struct db *db = NULL;
    struct verify v = {0};
    struct lines lines = {.json = cli->json};
    buf_init(&lines.text, TEXT_MAX);
    enum rc rc = cli_data_open(cli->data, &db, &err);
    if (rc == RC_OK)
        rc = look_patiently(cli, db, &lines, &v, &err);
    if (rc == RC_OK)
        print(cli, &v, &lines);
    else
        fprintf(stderr, "sluice verify: %s\n", err.msg);
    db_close(db);
    buf_done(&lines.text);
    return rc != RC_OK ? 2 : v.differences > 0;
}
