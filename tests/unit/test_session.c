/* Secrets at rest, tokens, CSRF, and the count of failed logins. */
#include "tests/unit/control_folder.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/api_impl.h"
#include "control/guard.h"
#include "control/secret.h"
#include "control/session.h"

static struct folder folder;
static struct secrets secrets;

static void set_up(void)
{
    must(hash_init(err));
    folder = folder_new();
    must(secrets_open(folder.dir, &secrets, err));
}

static void tear_down(void)
{
    secrets_done(&secrets);
    folder_done(&folder);
}

START_TEST(the_servers_key_is_made_once_and_for_us_alone)
{
    struct secrets again;
    static const char *const files[] = {"secret.key", "run/internal.token"};
    must(secrets_open(folder.dir, &again, err));
    ck_assert_mem_eq(&again, &secrets, sizeof again);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder.dir, files[i]);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_mode & 0777, 0600);
    }
    ck_assert_uint_eq(strlen(secrets.internal), 64);
    /* no purpose's key is another's */
    ck_assert_mem_ne(secrets.apikey, secrets.token, HASH_KEY_BYTES);
    ck_assert_mem_ne(secrets.token, secrets.csrf, HASH_KEY_BYTES);
    ck_assert_mem_ne(secrets.csrf, secrets.seal, HASH_KEY_BYTES);
}
END_TEST

START_TEST(a_damaged_key_file_stops_the_start)
{
    struct secrets again;
    struct err why = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/secret.key", folder.dir);
    FILE *f = fopen(path, "w");
    fputs("not hex", f);
    fclose(f);
    ck_assert_int_eq(secrets_open(folder.dir, &again, &why), RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(why.msg, "damaged"));
}
END_TEST

START_TEST(a_key_file_open_to_others_is_closed)
{
    struct secrets again;
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s/secret.key", folder.dir);
    chmod(path, 0644);
    must(secrets_open(folder.dir, &again, err));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
}
END_TEST

START_TEST(a_sealed_value_opens_only_whole_and_for_what_it_belongs_to)
{
    SCOPED_BUF sealed, plain;
    struct err why = {0};
    buf_init(&sealed, MIB);
    buf_init(&plain, MIB);
    must(secret_seal(&secrets, STR("a"), STR("top secret"), &sealed, err));
    ck_assert_ptr_null(memmem(sealed.p, sealed.len, "top secret", 10));
    must(secret_open(&secrets, STR("a"), buf_view(&sealed), &plain, err));
    ck_assert(str_is(buf_view(&plain), "top secret"));
    buf_clear(&plain);
    ck_assert_int_eq(secret_open(&secrets, STR("b"), buf_view(&sealed), &plain, &why), RC_CORRUPT);
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.p[i] ^= 1;
        ck_assert_int_eq(secret_open(&secrets, STR("a"), buf_view(&sealed), &plain, &why),
                         RC_CORRUPT);
        sealed.p[i] ^= 1;
        ck_assert_int_eq(secret_open(&secrets, STR("a"), str_make(sealed.p, i), &plain, &why),
                         RC_CORRUPT);
    }
}
END_TEST

START_TEST(a_password_is_checked_by_its_hash)
{
    char hash[SECRET_PASSWORD_BYTES];
    must(secret_password_hash(STR("a long password"), hash, err));
    ck_assert_int_eq(strncmp(hash, "$argon2id$", 10), 0);
    ck_assert(secret_password_ok(hash, STR("a long password")));
    ck_assert(!secret_password_ok(hash, STR("a long passwore")));
    ck_assert(!secret_password_ok("", STR("a long password")));
    ck_assert(!secret_password_ok(NULL, STR("")));
}
END_TEST

/* An unknown email must cost as much as a wrong password. The bound is wide: other work shares the
 * machine; a missing hash would be a thousand times quicker. */
START_TEST(no_stored_hash_takes_about_as_long)
{
    char hash[SECRET_PASSWORD_BYTES];
    int64_t with = INT64_MAX, without = INT64_MAX;
    must(secret_password_hash(STR("a long password"), hash, err));
    for (int i = 0; i < 5; i++) {
        int64_t t0 = clock_mono_ns(clock_system());
        secret_password_ok(hash, STR("x"));
        int64_t t1 = clock_mono_ns(clock_system());
        secret_password_ok(NULL, STR("x"));
        int64_t t2 = clock_mono_ns(clock_system());
        with = MIN_OF(with, t1 - t0);
        without = MIN_OF(without, t2 - t1);
    }
    ck_assert_int_lt(with, 4 * without);
    ck_assert_int_lt(without, 4 * with);
}
END_TEST

START_TEST(tokens_are_fresh_and_their_csrf_tokens_differ)
{
    char a[SESSION_TOKEN_LEN + 1], b[SESSION_TOKEN_LEN + 1], ha[65], hb[65], ca[65], cb[65];
    session_token_new(&secrets, "sls_", a, ha);
    session_token_new(&secrets, "sls_", b, hb);
    ck_assert_uint_eq(strlen(a), SESSION_TOKEN_LEN);
    ck_assert_str_ne(a, b);
    ck_assert_str_ne(ha, hb);
    session_csrf(&secrets, str_of(a), ca);
    session_csrf(&secrets, str_of(b), cb);
    ck_assert_str_ne(ca, cb);
    ck_assert_str_ne(ca, ha);
}
END_TEST

static int64_t now_ms;
static int64_t test_mono_ns(void *ctx)
{
    (void)ctx;
    return now_ms * NS_PER_MS;
}

START_TEST(attempts_are_counted_in_windows)
{
    const struct clock clock = {test_mono_ns, NULL, NULL};
    struct guard *g = guard_new(&clock);
    int64_t wait = 0;
    now_ms = 1000;
    for (int i = 0; i < 3; i++)
        ck_assert(guard_try(g, STR("a"), 3, &wait));
    ck_assert(!guard_try(g, STR("a"), 3, &wait));
    ck_assert_int_eq(wait, GUARD_WINDOW_MS);
    ck_assert(guard_try(g, STR("b"), 3, &wait));
    now_ms += GUARD_WINDOW_MS - 1;
    ck_assert(!guard_try(g, STR("a"), 3, &wait));
    ck_assert_int_eq(wait, 1);
    now_ms += 1;
    ck_assert(guard_try(g, STR("a"), 3, &wait));
    guard_forget(g, STR("a"));
    for (int i = 0; i < 3; i++)
        ck_assert(guard_try(g, STR("a"), 3, &wait));
    guard_undo(g, STR("a"));
    ck_assert(guard_try(g, STR("a"), 3, &wait));
    ck_assert(!guard_try(g, STR("a"), 3, &wait));
    guard_free(g);
}
END_TEST

/* A flood of names must not free the one that is counted, short of filling its whole neighbourhood
 * with younger ones. */
START_TEST(a_flood_of_names_neither_grows_nor_breaks_it)
{
    const struct clock clock = {test_mono_ns, NULL, NULL};
    struct guard *g = guard_new(&clock);
    int64_t wait = 0;
    now_ms = 1000;
    for (int i = 0; i < 200000; i++) {
        char name[32];
        snprintf(name, sizeof name, "n%d", i);
        now_ms += i % 100 == 0;
        ck_assert(guard_try(g, str_of(name), 1, &wait));
    }
    guard_free(g);
}
END_TEST

START_TEST(a_servers_own_fault_keeps_its_details_to_itself)
{
    SCOPED_BUF text;
    struct err e = {0};
    buf_init(&text, 4096);
    err_field(&e, RC_IO, "x", "cannot open /secret/path");
    api_error_json(&e, &text);
    ck_assert_ptr_null(memmem(text.p, text.len, "/secret", 7));
    buf_clear(&text);
    err_field(&e, RC_BAD_INPUT, "name", "name has \"quotes\"\n");
    api_error_json(&e, &text);
    ck_assert(str_is(buf_view(&text), "{\"error\":{\"code\":\"bad_input\",\"message\":"
                                      "\"name has \\\"quotes\\\"\\n\",\"field\":\"name\"}}"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, the_servers_key_is_made_once_and_for_us_alone);
    tcase_add_test(t, a_damaged_key_file_stops_the_start);
    tcase_add_test(t, a_key_file_open_to_others_is_closed);
    tcase_add_test(t, a_sealed_value_opens_only_whole_and_for_what_it_belongs_to);
    tcase_add_test(t, a_password_is_checked_by_its_hash);
    tcase_add_test(t, no_stored_hash_takes_about_as_long);
    tcase_add_test(t, tokens_are_fresh_and_their_csrf_tokens_differ);
    tcase_add_test(t, attempts_are_counted_in_windows);
    tcase_add_test(t, a_flood_of_names_neither_grows_nor_breaks_it);
    tcase_add_test(t, a_servers_own_fault_keeps_its_details_to_itself);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
