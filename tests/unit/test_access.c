/* Scopes, rows under them, the audit chain and the change feed, without HTTP. */
#include "tests/unit/control_folder.h"

#include <sqlite3.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/units.h"
#include "control/access.h"
#include "control/audit.h"
#include "control/db.h"
#include "control/feed.h"
#include "control/row.h"
#include "control/txn.h"

static struct folder folder;
static struct db *db;
static struct arena arena;

static void set_up(void)
{
    must(hash_init(err));
    folder = folder_new();
    arena_init(&arena, 16 * MIB);
    must(db_open(&(struct db_opts){.path = folder.db}, &db, err));
}

static void tear_down(void)
{
    db_close(db);
    arena_done(&arena);
    folder_done(&folder);
}

static const struct scope *scope_of(enum user_role role, const char *user, const char *org,
                                    const struct resource *res)
{
    struct caller c = {.role = role, .user_id = str_of(user), .org_id = str_of(org)};
    const struct scope *s = NULL;
    must(access_check(&c, res, ACCESS_READ, &arena, &s, err));
    return s;
}

/* Every resource, every role: the condition is valid SQL over the resource's own table, and what
 * the table of rules does not name is refused. */
START_TEST(each_condition_is_sql_over_its_own_table)
{
#define X(name) &resource_##name,
    static const struct resource *const all[] = {RESOURCES(X)};
#undef X
    static const enum user_role roles[] = {ROLE_OPERATOR, ROLE_ORG_ADMIN, ROLE_MEMBER};
    SCOPED_TXN txn = {0};
    int forbidden = 0;
    must(txn_begin_read(db, &txn, err));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (size_t r = 0; r < ARRAY_LEN(roles); r++) {
            struct caller c = {.role = roles[r],
                               .user_id = STR("usr_1"),
                               .org_id = roles[r] == ROLE_OPERATOR ? STR_NONE : STR("org_1")};
            const struct scope *s = NULL;
            struct err why = {0};
            struct row_query q = {.limit = 1};
            void *rows;
            size_t n;
            enum rc rc = access_check(&c, all[i], ACCESS_READ, &arena, &s, &why);
            if (rc == RC_FORBIDDEN) {
                ck_assert_int_ne(roles[r], ROLE_OPERATOR);
                forbidden++;
                continue;
            }
            ck_assert_int_eq(rc, RC_OK);
            must(row_list(&txn, s, all[i], &q, &arena, &rows, &n, err));
            ck_assert_uint_eq(n, 0);
        }
    ck_assert_int_eq(forbidden, 6); /* cluster, share, audit: for admin and member */
}
END_TEST

START_TEST(a_tenant_without_an_org_may_do_nothing)
{
    struct caller c = {.role = ROLE_MEMBER, .user_id = STR("usr_1")};
    const struct scope *s = NULL;
    struct err why = {0};
    ck_assert_int_eq(access_check(&c, &resource_key, ACCESS_READ, &arena, &s, &why), RC_FORBIDDEN);
    ck_assert_ptr_null(s);
}
END_TEST

static void insert_org(struct txn *txn, const char *name, struct org *ret)
{
    *ret = (struct org){.name = str_of(name)};
    must(row_insert(txn, access_system(), &resource_org, &arena, ret, err));
}

START_TEST(a_row_outside_the_scope_cannot_be_read_changed_or_deleted)
{
    SCOPED_TXN txn = {0};
    struct org a, b, got = {0};
    struct err why = {0};
    must(txn_begin_write(db, 1000, &txn, err));
    insert_org(&txn, "a", &a);
    insert_org(&txn, "b", &b);
    const struct scope *s = scope_of(ROLE_ORG_ADMIN, "usr_1", a.id.p, &resource_org);
    must(row_get(&txn, s, &resource_org, a.id, &arena, &got, err));
    ck_assert_int_eq(row_get(&txn, s, &resource_org, b.id, &arena, &got, &why), RC_NOT_FOUND);
    got = b;
    got.name = STR("taken");
    ck_assert_int_eq(row_update(&txn, s, &resource_org, &got, &why), RC_NOT_FOUND);
    ck_assert_int_eq(row_delete(&txn, s, &resource_org, b.id, &why), RC_NOT_FOUND);
    must(row_get(&txn, access_system(), &resource_org, b.id, &arena, &got, err));
    ck_assert(str_is(got.name, "b"));
}
END_TEST

START_TEST(a_row_of_every_type_comes_back_as_it_went_in)
{
    SCOPED_TXN txn = {0};
    bool inserted = false;
    struct usage u = {.id = STR("req_1"),
                      .time = 1,
                      .org_id = STR("org_1"),
                      .user_id = STR("usr_1"),
                      .deployment_id = STR("dep_1"),
                      .model = STR("m"),
                      .route = STR("chat.completions"),
                      .stream = true,
                      .outcome = OUTCOME_BROKEN,
                      .input_tokens = INT64_MAX,
                      .currency = STR("USD"),
                      .cost = INT64_MAX,
                      .ttft_ms = FIELD_NULL_INT,
                      .source = SOURCE_RECOVERED,
                      .degraded = STR(""),
                      .gateway = STR("")};
    struct usage got = {0};
    must(txn_begin_write(db, 1, &txn, err));
    must(row_put(&txn, &resource_usage, &u, &inserted, err));
    ck_assert(inserted);
    must(row_put(&txn, &resource_usage, &u, &inserted, err));
    ck_assert(!inserted);
    must(row_get(&txn, access_system(), &resource_usage, u.id, &arena, &got, err));
    ck_assert_int_eq(got.cost, INT64_MAX);
    ck_assert_int_eq(got.outcome, OUTCOME_BROKEN);
    ck_assert_int_eq(got.ttft_ms, FIELD_NULL_INT);
    ck_assert_ptr_null(got.key_id.p);
    ck_assert(got.stream);
}
END_TEST

START_TEST(a_system_update_is_fed_but_no_edit)
{
    SCOPED_TXN txn = {0};
    struct org a;
    int64_t rev = 0, rev2 = 0, audit = 0, audit2 = 0;
    must(txn_begin_write(db, 1000, &txn, err));
    insert_org(&txn, "a", &a);
    must(feed_revision(&txn, &rev, err));
    must(audit_check(&txn, &audit, err));
    must(row_update(&txn, access_system(), &resource_org, &a, err));
    must(feed_revision(&txn, &rev2, err));
    must(audit_check(&txn, &audit2, err));
    ck_assert_int_eq(a.version, 1);
    ck_assert_int_eq(rev2, rev + 1);
    ck_assert_int_eq(audit2, audit);
    const struct scope *op = scope_of(ROLE_OPERATOR, "usr_1", NULL, &resource_org);
    must(row_update(&txn, op, &resource_org, &a, err));
    must(audit_check(&txn, &audit2, err));
    ck_assert_int_eq(a.version, 2);
    ck_assert_int_eq(audit2, audit + 1);
}
END_TEST

static void raw(const char *sql, int want)
{
    sqlite3 *c;
    ck_assert_int_eq(sqlite3_open(folder.db, &c), SQLITE_OK);
    ck_assert_msg((sqlite3_exec(c, sql, NULL, NULL, NULL) & 0xff) == want, "%s: %s", sql,
                  sqlite3_errmsg(c));
    sqlite3_close(c);
}

static enum rc check_audit(struct err *why)
{
    SCOPED_TXN txn = {0};
    int64_t n;
    must(txn_begin_read(db, &txn, err));
    return audit_check(&txn, &n, why);
}

START_TEST(a_changed_audit_row_is_found)
{
    struct err why = {0};
    {
        SCOPED_TXN txn = {0};
        struct org o;
        must(txn_begin_write(db, 1000, &txn, err));
        for (int i = 0; i < 5; i++) {
            char name[16];
            snprintf(name, sizeof name, "o%d", i);
            insert_org(&txn, name, &o);
        }
        must(txn_commit(&txn, err));
    }
    ck_assert_int_eq(check_audit(&why), RC_OK);
    raw("UPDATE audit SET detail = '{}' WHERE seq = 3", SQLITE_CONSTRAINT);
    raw("DELETE FROM audit WHERE seq = 3", SQLITE_CONSTRAINT);
    ck_assert_int_eq(check_audit(&why), RC_OK);
    raw("DROP TRIGGER audit_keeps_text; UPDATE audit SET detail = '{}' WHERE seq = 3", SQLITE_OK);
    ck_assert_int_eq(check_audit(&why), RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(why.msg, "row 3"));
    raw("DROP TRIGGER audit_keeps_rows; DELETE FROM audit WHERE seq = 3", SQLITE_OK);
    ck_assert_int_eq(check_audit(&why), RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(why.msg, "3 is missing"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("access");
    TCase *t = tcase_create("access");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, each_condition_is_sql_over_its_own_table);
    tcase_add_test(t, a_tenant_without_an_org_may_do_nothing);
    tcase_add_test(t, a_row_outside_the_scope_cannot_be_read_changed_or_deleted);
    tcase_add_test(t, a_row_of_every_type_comes_back_as_it_went_in);
    tcase_add_test(t, a_system_update_is_fed_but_no_edit);
    tcase_add_test(t, a_changed_audit_row_is_found);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
