/* The door to SQLite: files, migrations, statements, readers beside the writer. */
#include "tests/unit/control_folder.h"

#include <fcntl.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/units.h"
#include "control/db.h"
#include "control/migrate.h"
#include "control/txn.h"

static struct folder folder;
static struct db *db;

static void open_db(void)
{
    must(db_open(&(struct db_opts){.path = folder.db}, &db, err));
}

static void set_up(void)
{
    must(hash_init(err));
    folder = folder_new();
    open_db();
}

static void tear_down(void)
{
    db_close(db);
    folder_done(&folder);
}

static void write_org(const char *id, const char *name)
{
    SCOPED_TXN txn = {0};
    must(txn_begin_write(db, 1, &txn, err));
    {
        SCOPED_STMT s = NULL;
        must(stmt_get(&txn, "INSERT INTO orgs VALUES (?1, ?2, 'active', 0, 1)", &s, err));
        stmt_bind_str(s, 1, str_of(id));
        stmt_bind_str(s, 2, str_of(name));
        must(stmt_run(s, NULL, err));
    }
    must(txn_commit(&txn, err));
}

static int64_t count_orgs(struct db *of)
{
    SCOPED_TXN txn = {0};
    int64_t n = -1;
    must(txn_begin_read(of, &txn, err));
    must(db_i64(&txn, "SELECT count(*) FROM orgs", &n, err));
    return n;
}

START_TEST(the_files_are_for_us_alone)
{
    static const char *const suffix[] = {"", "-wal", "-shm", ".lock"};
    write_org("org_1", "a");
    for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof path, "%s%s", folder.db, suffix[i]);
        ck_assert_msg(stat(path, &st) == 0, "%s", path);
        ck_assert_msg((st.st_mode & 0777) == 0600, "%s %o", path, st.st_mode & 0777);
    }
}
END_TEST

START_TEST(a_second_writer_is_refused_and_an_onlooker_is_not)
{
    struct db *other = NULL;
    struct err why = {0};
    write_org("org_1", "a");
    ck_assert_int_eq(db_open(&(struct db_opts){.path = folder.db}, &other, &why), RC_UNAVAILABLE);
    must(db_open(&(struct db_opts){.path = folder.db, .look_only = true}, &other, err));
    ck_assert_int_eq(count_orgs(other), 1);
    db_close(other);
    ck_assert_int_eq(
        db_open(&(struct db_opts){.path = "/nonexistent/x.db", .look_only = true}, &other, &why),
        RC_IO);
}
END_TEST

static void set_user_version(int n)
{
    sqlite3 *raw;
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version=%d", n);
    ck_assert_int_eq(sqlite3_open(folder.db, &raw), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(raw);
}

START_TEST(a_file_of_a_newer_program_is_refused_and_left_alone)
{
    struct err why = {0};
    write_org("org_1", "a");
    db_close(db);
    db = NULL;
    set_user_version((int)migrate_latest() + 1);
    ck_assert_int_eq(db_open(&(struct db_opts){.path = folder.db}, &db, &why), RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(why.msg, "newer program"));
    set_user_version((int)migrate_latest());
    open_db();
    ck_assert_int_eq(count_orgs(db), 1);
}
END_TEST

START_TEST(what_is_no_database_is_refused)
{
    struct err why = {0};
    char path[96];
    struct db *other = NULL;
    snprintf(path, sizeof path, "%s/noise", folder.dir);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 5000; i++)
        fputc(i * 7 % 251, f);
    fclose(f);
    ck_assert_int_eq(db_open(&(struct db_opts){.path = path}, &other, &why), RC_CORRUPT);
    ck_assert_ptr_null(other);
}
END_TEST

START_TEST(a_transaction_that_is_not_committed_leaves_nothing)
{
    {
        SCOPED_TXN txn = {0};
        must(txn_begin_write(db, 1, &txn, err));
        must(db_exec(&txn, "INSERT INTO orgs VALUES ('org_1', 'a', 'active', 0, 1)", err));
    }
    ck_assert_int_eq(count_orgs(db), 0);
    {
        SCOPED_TXN txn = {0};
        must(txn_begin_write(db, 1, &txn, err));
        must(txn_save(&txn, err));
        must(db_exec(&txn, "INSERT INTO orgs VALUES ('org_1', 'a', 'active', 0, 1)", err));
        must(txn_save_undo(&txn, err));
        must(txn_save(&txn, err));
        must(db_exec(&txn, "INSERT INTO orgs VALUES ('org_2', 'b', 'active', 0, 1)", err));
        must(txn_save_keep(&txn, err));
        must(txn_commit(&txn, err));
    }
    ck_assert_int_eq(count_orgs(db), 1);
}
END_TEST

START_TEST(a_reader_sees_one_state_and_cannot_write)
{
    SCOPED_TXN txn = {0};
    struct err why = {0};
    int64_t n = -1;
    must(txn_begin_read(db, &txn, err));
    must(db_i64(&txn, "SELECT count(*) FROM orgs", &n, err));
    write_org("org_1", "a");
    must(db_i64(&txn, "SELECT count(*) FROM orgs", &n, err));
    ck_assert_int_eq(n, 0);
    ck_assert_int_ne(db_exec(&txn, "DELETE FROM orgs", &why), RC_OK);
    txn_end(&txn);
    ck_assert_int_eq(count_orgs(db), 1);
}
END_TEST

START_TEST(readers_are_bounded)
{
    struct txn txn[64] = {0};
    struct err why = {0};
    int n = 0;
    while (n < 64 && txn_begin_read(db, &txn[n], &why) == RC_OK)
        n++;
    ck_assert_int_eq(n, 16);
    ck_assert_int_eq(why.rc, RC_UNAVAILABLE);
    for (int i = 0; i < n; i++)
        txn_end(&txn[i]);
    ck_assert_int_eq(count_orgs(db), 0);
}
END_TEST

START_TEST(broken_rules_are_told_in_our_words)
{
    SCOPED_TXN txn = {0};
    struct err why = {0};
    write_org("org_1", "same");
    must(txn_begin_write(db, 1, &txn, err));
    ck_assert_int_eq(
        db_exec(&txn, "INSERT INTO orgs VALUES ('org_2', 'same', 'active', 0, 1)", &why),
        RC_CONFLICT);
    ck_assert_str_eq(why.field, "name");
    ck_assert_int_eq(db_exec(&txn,
                             "INSERT INTO users VALUES ('usr_1', 'org_9', 'e', '', 'member',"
                             " 'active', 0, NULL, 1)",
                             &why),
                     RC_CONFLICT);
    /* STRICT: text is no number */
    ck_assert_int_eq(
        db_exec(&txn, "INSERT INTO orgs VALUES ('org_3', 'c', 'active', 'soon', 1)", &why),
        RC_INTERNAL);
    /* double quotes are names, never strings */
    ck_assert_int_eq(db_exec(&txn, "SELECT * FROM orgs WHERE name = \"same\"", &why), RC_INTERNAL);
}
END_TEST

START_TEST(a_statement_is_kept_and_lent_once)
{
    SCOPED_TXN txn = {0};
    struct err why = {0};
    struct stmt *a = NULL, *b = NULL;
    must(txn_begin_read(db, &txn, err));
    must(stmt_get(&txn, "SELECT 1", &a, err));
    ck_assert_int_eq(stmt_get(&txn, "SELECT 1", &b, &why), RC_INTERNAL);
    stmt_put(a);
    must(stmt_get(&txn, "SELECT 1", &b, err));
    ck_assert_ptr_eq(a, b);
    stmt_put(b);
    for (int i = 0; i < 3000; i++) { /* more than are kept */
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT %d", i);
        must(stmt_get(&txn, sql, &a, err));
        bool row;
        must(stmt_step(a, &row, err));
        ck_assert(row);
        ck_assert_int_eq(stmt_i64(a, 0), i);
        stmt_put(a);
    }
}
END_TEST

START_TEST(a_copy_is_whole)
{
    char path[128];
    struct db *copy = NULL;
    struct err why = {0};
    struct stat st;
    write_org("org_1", "a");
    snprintf(path, sizeof path, "%s/copy.db", folder.dir);
    must(db_copy(db, path, err));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(db_copy(db, path, &why), RC_IO); /* never over another file */
    must(db_open(&(struct db_opts){.path = path}, &copy, err));
    ck_assert_int_eq(count_orgs(copy), 1);
    db_close(copy);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db");
    TCase *t = tcase_create("db");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, the_files_are_for_us_alone);
    tcase_add_test(t, a_second_writer_is_refused_and_an_onlooker_is_not);
    tcase_add_test(t, a_file_of_a_newer_program_is_refused_and_left_alone);
    tcase_add_test(t, what_is_no_database_is_refused);
    tcase_add_test(t, a_transaction_that_is_not_committed_leaves_nothing);
    tcase_add_test(t, a_reader_sees_one_state_and_cannot_write);
    tcase_add_test(t, readers_are_bounded);
    tcase_add_test(t, broken_rules_are_told_in_our_words);
    tcase_add_test(t, a_statement_is_kept_and_lent_once);
    tcase_add_test(t, a_copy_is_whole);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
