/* cli.c - the tables, and reading argv by them. */
#include "control/cli.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/units.h"

#define ON(command) (1u << (command))
#define ON_DATA     (ON(CLI_UP) | ON(CLI_STATUS) | ON(CLI_VERIFY) | ON(CLI_USAGE))
#define ON_ALL      (ON(CLI_COMMANDS) - 1)

static const struct {
    const char *name, *summary, *more;
} commands[CLI_COMMANDS] = {
    [CLI_UP] =
        {"up", "Run everything on this machine, with a demo tenant",
         "Starts the control plane, the gateway and the engine replicas as children, makes the "
         "demo\ntenant at the first start, sends one metered chat request and prints its answer "
         "and cost.\nStops all of them on Ctrl-C. Data, keys and passwords are kept for the next "
         "start."},
    [CLI_STATUS] = {"status", "Show processes, deployments, replicas and how far the ledger is",
                    "Exit code 0: running; 1: not running; 2: could not look."},
    [CLI_VERIFY] =
        {"verify", "Prove from the files that every token is billed once",
         "Exit code 0: all invariants hold; 1: one line for each difference; 2: could not "
         "look.\nWorks beside a running system and on a stopped one."},
    [CLI_USAGE] = {"usage", "Print usage and cost",
                   "Reads the ledger's file; works on a stopped system too."},
    [CLI_VERSION] = {"version", "Print the version", NULL},
    [CLI_OPENAPI] = {"openapi", "Print the REST contract (OpenAPI 3.1, JSON)", NULL},
    [CLI_HELP] = {"help", "Explain a command: sluice help COMMAND", NULL},
};

enum option_kind { OPTION_TEXT, OPTION_INT, OPTION_FLAG };

static const struct option {
    const char *name, *arg, *def, *help;
    enum option_kind kind;
    uint32_t on;
    size_t offset;
    int64_t lo, hi;
} options[] = {
    {"--data", "DIR", "./data", "Where everything is kept", OPTION_TEXT, ON_DATA,
     offsetof(struct cli, data), 1, 400},
    {"--bind", "ADDR", "127.0.0.1", "Address that console, API and gateway listen on", OPTION_TEXT,
     ON(CLI_UP), offsetof(struct cli, bind), 1, 100},
    {"--api-port", "N", "8080", "Port of console and REST API", OPTION_INT, ON(CLI_UP),
     offsetof(struct cli, api_port), 1, 65535},
    {"--gateway-port", "N", "8000", "Port of the OpenAI-compatible gateway", OPTION_INT, ON(CLI_UP),
     offsetof(struct cli, gateway_port), 1, 65535},
    {"--model", "PATH", NULL, "GGUF file that the demo deployment serves", OPTION_TEXT, ON(CLI_UP),
     offsetof(struct cli, model), 1, 900},
    {"--replicas", "N", "-1", "Engine processes of the demo deployment", OPTION_INT, ON(CLI_UP),
     offsetof(struct cli, replicas), -1, 64},
    {"--web", "DIR", NULL, "Built web app to serve at /", OPTION_TEXT, ON(CLI_UP),
     offsetof(struct cli, web), 1, 400},
    {"--once", NULL, NULL, "Check one metered request, then stop everything", OPTION_FLAG,
     ON(CLI_UP), offsetof(struct cli, once), 0, 0},
    {"--requests", NULL, NULL, "One line for each request, instead of sums", OPTION_FLAG,
     ON(CLI_USAGE), offsetof(struct cli, requests), 0, 0},
    {"--group-by", "LIST", "deployment",
     "Of org, user, key, deployment, model, outcome; with commas", OPTION_TEXT, ON(CLI_USAGE),
     offsetof(struct cli, group_by), 0, 100},
    {"--bucket", "SIZE", "", "hour, day or month (UTC)", OPTION_TEXT, ON(CLI_USAGE),
     offsetof(struct cli, bucket), 0, 10},
    {"--start", "TIME", "", "Admitted at or after, RFC 3339", OPTION_TEXT, ON(CLI_USAGE),
     offsetof(struct cli, start), 0, 40},
    {"--end", "TIME", "", "Admitted before, RFC 3339", OPTION_TEXT, ON(CLI_USAGE),
     offsetof(struct cli, end), 0, 40},
    {"--org", "ID", "", "Only this org", OPTION_TEXT, ON(CLI_USAGE), offsetof(struct cli, org), 0,
     40},
    {"--limit", "N", "50", "Most lines of --requests", OPTION_INT, ON(CLI_USAGE),
     offsetof(struct cli, limit), 1, 200},
    {"--json", NULL, NULL, "JSON instead of text", OPTION_FLAG, ON_ALL, offsetof(struct cli, json),
     0, 0},
    {"--help", NULL, NULL, "This text", OPTION_FLAG, ON_ALL, offsetof(struct cli, help), 0, 0},
};

/* "--api-port" → "SLUICE_API_PORT" */
static const char *from_environment(const struct option *o)
{
    char name[64] = "SLUICE_";
    size_t n = strlen(name);
    for (const char *p = o->name + 2; *p && n + 1 < sizeof name; p++)
        name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    name[n] = '\0';
    return getenv(name);
}

static void *member(struct cli *c, const struct option *o)
{
    return (char *)c + o->offset;
}

static enum rc set_option(struct cli *c, const struct option *o, const char *value,
                          const char *origin, struct err *err)
{
    struct str s = str_of(value);
    if (o->kind == OPTION_INT) {
        if (!str_to_i64(s, o->lo, o->hi, (int64_t *)member(c, o)))
            return err_set(err, RC_BAD_INPUT, "%s wants a number from %lld to %lld, not \"%.40s\"",
                           origin, (long long)MAX_OF(o->lo, 0), (long long)o->hi, value);
        return RC_OK;
    }
    if ((int64_t)s.len < o->lo || (int64_t)s.len > o->hi)
        return err_set(err, RC_BAD_INPUT, "%s wants %lld to %lld bytes", origin, (long long)o->lo,
                       (long long)o->hi);
    *(const char **)member(c, o) = value;
    return RC_OK;
}

static enum rc set_defaults(struct cli *c, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < ARRAY_LEN(options) && rc == RC_OK; i++) {
        const struct option *o = &options[i];
        const char *env =
            o->kind != OPTION_FLAG && (o->on & ON(c->command)) ? from_environment(o) : NULL;
        if (env && env[0])
            rc = set_option(c, o, env, o->name, err);
        else if (o->def)
            rc = set_option(c, o, o->def, o->name, err);
    }
    return rc;
}

static enum rc unknown_option(enum cli_command command, const char *given, struct err *err)
{
    struct buf names;
    buf_init(&names, 400);
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (options[i].on & ON(command))
            buf_printf(&names, "%s%s", names.len ? " " : "", options[i].name);
    enum rc rc = err_set(err, RC_BAD_INPUT, "sluice %s does not know \"%.40s\"; it takes " STR_FMT,
                         commands[command].name, given, STR_ARG(buf_view(&names)));
    buf_done(&names);
    return rc;
}

static const struct option *find_option(enum cli_command command, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if ((options[i].on & ON(command)) && str_is(name, options[i].name))
            return &options[i];
    return NULL;
}

static enum rc find_command(const char *name, enum cli_command *ret, struct err *err)
{
    for (int i = 0; i < CLI_COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            *ret = (enum cli_command)i;
            return RC_OK;
        }
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        *ret = CLI_HELP;
    else if (strcmp(name, "--version") == 0)
        *ret = CLI_VERSION;
    else
        return err_set(err, RC_BAD_INPUT,
                       "there is no command \"%.40s\"; the commands are up status verify usage "
                       "version openapi help",
                       name);
    return RC_OK;
}

/* One option at argv[*at], with its value behind it or after '='. */
static enum rc take_option(struct cli *c, int argc, char **argv, int *at, struct err *err)
{
    struct str value = str_of(argv[*at]);
    if (str_is(value, "-h"))
        value = STR("--help");
    struct str name = str_cut(&value, '=');
    const struct option *o = find_option(c->command, name);
    if (!o)
        return unknown_option(c->command, argv[*at], err);
    if (o->kind == OPTION_FLAG) {
        if (value.p)
            return err_set(err, RC_BAD_INPUT, "%s takes no value", o->name);
        *(bool *)member(c, o) = true;
        return RC_OK;
    }
    if (!value.p && *at + 1 >= argc)
        return err_set(err, RC_BAD_INPUT, "%s wants a value: %s %s", o->name, o->name, o->arg);
    return set_option(c, o, value.p ? value.p : argv[++*at], o->name, err);
}

enum rc cli_parse(int argc, char **argv, struct cli *ret, struct err *err)
{
    struct cli c = {.command = CLI_HELP, .help_about = CLI_COMMANDS};
    enum rc rc = argc > 1 ? find_command(argv[1], &c.command, err) : RC_OK;
    if (rc == RC_OK)
        rc = set_defaults(&c, err);
    for (int i = 2; rc == RC_OK && i < argc; i++) {
        if (c.command == CLI_HELP && argv[i][0] != '-')
            rc = find_command(argv[i], &c.help_about, err);
        else
            rc = take_option(&c, argc, argv, &i, err);
    }
    if (rc != RC_OK)
        return rc;
    if (c.help) {
        c.help_about = c.command == CLI_HELP ? CLI_COMMANDS : c.command;
        c.command = CLI_HELP;
    }
    *ret = c;
    return RC_OK;
}

void cli_help(FILE *out, enum cli_command about)
{
    if (about == CLI_COMMANDS) {
        fprintf(out, "sluice - a token factory on your own machines\n\nUsage: sluice COMMAND "
                     "[OPTIONS]\n\nCommands:\n");
        for (int i = 0; i < CLI_COMMANDS; i++)
            fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
        fprintf(out,
                "\n`sluice help COMMAND` lists a command's options. Each option with a value can "
                "also be set\nin the environment: --api-port is SLUICE_API_PORT.\n");
        return;
    }
    fprintf(out, "sluice %s - %s\n\nUsage: sluice %s [OPTIONS]\n", commands[about].name,
            commands[about].summary, commands[about].name);
    if (commands[about].more)
        fprintf(out, "\n%s\n", commands[about].more);
    fprintf(out, "\nOptions:\n");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        if (!(o->on & ON(about)))
            continue;
        char left[40];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        bool shown = o->def && o->def[0] && o->def[0] != '-';
        fprintf(out, "  %-18s %s%s%s%s\n", left, o->help, shown ? " (default " : "",
                shown ? o->def : "", shown ? ")" : "");
    }
}
