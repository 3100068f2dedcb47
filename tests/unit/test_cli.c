/* The command line: what it takes, where values come from, and how it says no. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "control/cli.h"

static struct cli cli;
static struct err err;

static enum rc parse(int argc, const char *const *argv)
{
    err = (struct err){0};
    return cli_parse(argc, (char **)(uintptr_t)argv, &cli, &err);
}
#define PARSE(...)                                                                                 \
    parse((int)ARRAY_LEN(((const char *[]){"sluice", __VA_ARGS__})),                               \
          (const char *[]){"sluice", __VA_ARGS__, NULL})

START_TEST(up_has_the_defaults_that_scripts_rely_on)
{
    ck_assert_int_eq(PARSE("up"), RC_OK);
    ck_assert_int_eq(cli.command, CLI_UP);
    ck_assert_str_eq(cli.data, "./data");
    ck_assert_str_eq(cli.bind, "127.0.0.1");
    ck_assert_int_eq(cli.api_port, 8080);
    ck_assert_int_eq(cli.gateway_port, 8000);
    ck_assert_int_eq(cli.replicas, -1);
    ck_assert_ptr_null(cli.model);
    ck_assert(!cli.once);
}
END_TEST

START_TEST(values_come_behind_the_option_or_after_an_equals_sign)
{
    ck_assert_int_eq(PARSE("up", "--data", "/d", "--api-port=81", "--once", "--replicas", "0"),
                     RC_OK);
    ck_assert_str_eq(cli.data, "/d");
    ck_assert_int_eq(cli.api_port, 81);
    ck_assert_int_eq(cli.replicas, 0);
    ck_assert(cli.once);
}
END_TEST

START_TEST(the_environment_gives_defaults_and_the_command_line_wins)
{
    setenv("SLUICE_API_PORT", "9090", 1);
    setenv("SLUICE_DATA", "/env", 1);
    ck_assert_int_eq(PARSE("up", "--data", "/line"), RC_OK);
    ck_assert_int_eq(cli.api_port, 9090);
    ck_assert_str_eq(cli.data, "/line");
    setenv("SLUICE_API_PORT", "many", 1);
    ck_assert_int_eq(PARSE("up"), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("status"), RC_OK); /* not an option of it */
    unsetenv("SLUICE_API_PORT");
    unsetenv("SLUICE_DATA");
}
END_TEST

START_TEST(what_is_not_known_is_named_with_what_is)
{
    ck_assert_int_eq(PARSE("up", "--speed"), RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "--speed"));
    ck_assert_ptr_nonnull(strstr(err.msg, "--gateway-port"));
    ck_assert_int_eq(PARSE("verify", "--once"), RC_BAD_INPUT); /* of another command */
    ck_assert_ptr_nonnull(strstr(err.msg, "--data"));
    ck_assert_int_eq(PARSE("fly"), RC_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "verify"));
    ck_assert_int_eq(PARSE("up", "extra"), RC_BAD_INPUT);
}
END_TEST

START_TEST(values_out_of_bounds_are_refused)
{
    ck_assert_int_eq(PARSE("up", "--api-port", "0"), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("up", "--api-port", "65536"), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("up", "--api-port", "80x"), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("up", "--api-port"), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("up", "--once=yes"), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("up", "--data", ""), RC_BAD_INPUT);
    ck_assert_int_eq(PARSE("up", "--replicas", "65"), RC_BAD_INPUT);
}
END_TEST

START_TEST(help_is_for_all_or_for_one_command)
{
    ck_assert_int_eq(PARSE("help", "verify"), RC_OK);
    ck_assert_int_eq(cli.command, CLI_HELP);
    ck_assert_int_eq(cli.help_about, CLI_VERIFY);
    ck_assert_int_eq(PARSE("up", "--help"), RC_OK);
    ck_assert_int_eq(cli.help_about, CLI_UP);
    ck_assert_int_eq(PARSE("--help"), RC_OK);
    ck_assert_int_eq(cli.help_about, CLI_COMMANDS);
    const char *const none[] = {"sluice", NULL};
    ck_assert_int_eq(parse(1, none), RC_OK);
    ck_assert_int_eq(cli.command, CLI_HELP);
    ck_assert_int_eq(PARSE("--version"), RC_OK);
    ck_assert_int_eq(cli.command, CLI_VERSION);
}
END_TEST

START_TEST(every_command_takes_json_and_help_lists_it)
{
    for (int c = 0; c < CLI_COMMANDS; c++) {
        char *text = NULL;
        size_t len = 0;
        FILE *f = open_memstream(&text, &len);
        cli_help(f, (enum cli_command)c);
        fclose(f);
        ck_assert_ptr_nonnull(strstr(text, "--json"));
        free(text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cli");
    TCase *t = tcase_create("cli");
    tcase_add_test(t, up_has_the_defaults_that_scripts_rely_on);
    tcase_add_test(t, values_come_behind_the_option_or_after_an_equals_sign);
    tcase_add_test(t, the_environment_gives_defaults_and_the_command_line_wins);
    tcase_add_test(t, what_is_not_known_is_named_with_what_is);
    tcase_add_test(t, values_out_of_bounds_are_refused);
    tcase_add_test(t, help_is_for_all_or_for_one_command);
    tcase_add_test(t, every_command_takes_json_and_help_lists_it);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
