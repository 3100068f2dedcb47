#ifndef TESTS_UNIT_LEDGER_FIXTURE_H
#define TESTS_UNIT_LEDGER_FIXTURE_H
/* ledger_fixture - a real database in a folder of its own, one price, and rows that fit it. */
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/ledger.h"
#include "control/row.h"
#include "control/txn.h"

#define FIXTURE_NOW INT64_C(1763700000000)

struct fixture {
    char dir[64], path[96];
    struct db *db;
    struct arena arena;
    struct price price;
    struct err err;
};

#define MUST(call)                                                                                 \
    do {                                                                                           \
        enum rc must_rc = (call);                                                                  \
        ck_assert_msg(must_rc == RC_OK, "%s: %s: %s", #call, rc_name(must_rc), fx->err.msg);       \
    } while (0)

static inline void fixture_open(struct fixture *fx)
{
    *fx = (struct fixture){0};
    MUST(hash_init(&fx->err));
    snprintf(fx->dir, sizeof fx->dir, "/tmp/sluice-ledger-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fx->dir));
    snprintf(fx->path, sizeof fx->path, "%s/sluice.db", fx->dir);
    arena_init(&fx->arena, 256 * MIB);
    MUST(db_open(&(struct db_opts){.path = fx->path}, &fx->db, &fx->err));
    struct txn txn = {0};
    MUST(txn_begin_write(fx->db, FIXTURE_NOW, &txn, &fx->err));
    fx->price = (struct price){.deployment_id = STR("dep_a"),
                               .currency = STR("USD"),
                               .input_per_1m = 100000,
                               .cached_input_per_1m = 50000,
                               .output_per_1m = 400000,
                               .effective_from = FIXTURE_NOW};
    MUST(row_insert(&txn, access_system(), &resource_price, &fx->arena, &fx->price, &fx->err));
    MUST(txn_commit(&txn, &fx->err));
    txn_end(&txn);
}

static inline int fixture_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void fixture_close(struct fixture *fx)
{
    db_close(fx->db);
    arena_done(&fx->arena);
    nftw(fx->dir, fixture_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct str fixture_text(struct fixture *fx, const char *z)
{
    return arena_dup(&fx->arena, str_of(z));
}

static inline void fixture_price_row(const struct fixture *fx, struct usage *row)
{
    MUST(ledger_cost(&fx->price, row, &row->cost, NULL));
}

/* A row that is right in every way. */
static inline struct usage fixture_row(struct fixture *fx, const char *org, const char *user,
                                       int64_t time, int64_t input, int64_t output)
{
    struct id id = id_new("req_");
    struct usage row = {.id = fixture_text(fx, id.z),
                        .time = time,
                        .org_id = fixture_text(fx, org),
                        .user_id = fixture_text(fx, user),
                        .key_id = STR("key_a"),
                        .deployment_id = STR("dep_a"),
                        .model = STR("m"),
                        .route = STR("chat.completions"),
                        .outcome = OUTCOME_STOP,
                        .http_status = 200,
                        .input_tokens = input,
                        .cached_tokens = input / 3,
                        .output_tokens = output,
                        .price_id = fx->price.id,
                        .currency = STR("USD"),
                        .ttft_ms = 5,
                        .duration_ms = 50,
                        .source = SOURCE_ENGINE,
                        .degraded = STR(""),
                        .gateway = STR("gw_a")};
    fixture_price_row(fx, &row);
    return row;
}

static inline struct ledger_result fixture_apply(struct fixture *fx, struct usage *rows, size_t n,
                                                 int64_t segment, int64_t offset)
{
    struct ledger_batch batch = {
        .gateway = STR("gw_a"), .segment = segment, .offset = offset, .rows = rows, .n = n};
    struct ledger_result result = {0};
    struct txn txn = {0};
    MUST(txn_begin_write(fx->db, FIXTURE_NOW, &txn, &fx->err));
    MUST(ledger_apply(&txn, &batch, &fx->arena, &result, &fx->err));
    MUST(txn_commit(&txn, &fx->err));
    txn_end(&txn);
    return result;
}

/* As somebody with the file and a shell would. */
static inline void fixture_tamper(struct fixture *fx, const char *sql)
{
    struct txn txn = {0};
    MUST(txn_begin_write(fx->db, FIXTURE_NOW, &txn, &fx->err));
    MUST(db_exec(&txn, "DROP TRIGGER IF EXISTS usage_keeps_rows", &fx->err));
    MUST(db_exec(&txn, "DROP TRIGGER IF EXISTS usage_keeps_text", &fx->err));
    MUST(db_exec(&txn, sql, &fx->err));
    MUST(txn_commit(&txn, &fx->err));
    txn_end(&txn);
}

static inline int64_t fixture_i64(struct fixture *fx, const char *sql)
{
    struct txn txn = {0};
    int64_t v = 0;
    MUST(txn_begin_read(fx->db, &txn, &fx->err));
    MUST(db_i64(&txn, sql, &v, &fx->err));
    txn_end(&txn);
    return v;
}

#endif
