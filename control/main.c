/* main.c - the program `sluice`: one command a process. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "control/api_impl.h"
#include "control/api_resource.h"
#include "control/api_usage.h"
#include "control/cli.h"
#include "control/cli_usage.h"
#include "control/cli_verify.h"
#include "control/session.h"
#include "control/status.h"
#include "control/up.h"

static int print_version(bool json)
{
    printf(json ? "{\"version\": \"%s\"}\n" : "sluice %s\n", SLUICE_VERSION);
    return 0;
}

/* The routes that control_open serves, without a server behind them. */
static int print_openapi(void)
{
    static const size_t max_bytes = 16 << 20;
    struct api api = {.n_tables = 3};
    api.table[0] = (struct api_table){.routes = session_routes, .n = session_n_routes};
    api.table[1] = (struct api_table){.routes = resource_routes, .n = resource_n_routes};
    api.table[2] = usage_table;
    struct buf text;
    buf_init(&text, max_bytes);
    api_print_openapi(&api, &text);
    fwrite(text.p, 1, text.len, stdout);
    putchar('\n');
    bool failed = text.failed;
    buf_done(&text);
    return failed;
}

int main(int argc, char **argv)
{
    struct cli cli;
    struct err err;
    log_init("sluice", LOG_INFO);
    if (cli_parse(argc, argv, &cli, &err) != RC_OK) {
        fprintf(stderr, "sluice: %s\n", err.msg);
        return 2;
    }
    if (hash_init(&err) != RC_OK) {
        fprintf(stderr, "sluice: %s\n", err.msg);
        return 2;
    }
    json_object_seed(0);
    switch (cli.command) {
    case CLI_UP:
        return up_run(&cli);
    case CLI_STATUS:
        return status_run(&cli);
    case CLI_VERIFY:
        return verify_run(&cli);
    case CLI_USAGE:
        return usage_run(&cli);
    case CLI_VERSION:
        return print_version(cli.json);
    case CLI_OPENAPI:
        return print_openapi();
    case CLI_HELP:
    case CLI_COMMANDS:
        break;
    }
    cli_help(stdout, cli.help_about);
    return 0;
}
