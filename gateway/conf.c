#include "gateway/conf.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/units.h"

enum setting_type { SET_TEXT, SET_I32, SET_PORT, SET_SIZE, SET_FLAG };

#define GATE(member) offsetof(struct settings, gate.member)
#define OWN(member)  offsetof(struct settings, member)

static const struct setting {
    const char *name;
    enum setting_type type;
    size_t offset;
    const char *def;
    int64_t lo, hi;
    const char *help;
} table[] = {
    {"data", SET_TEXT, OWN(data), "./data", 0, 0, "directory of journal and replica"},
    {"control", SET_TEXT, OWN(control), "", 0, 0, "URL of the control plane; empty: none"},
    {"token-file", SET_TEXT, OWN(token_file), "", 0, 0, "file with the internal token"},
    {"pid-file", SET_TEXT, OWN(pid_file), "", 0, 0, "where to write the process id"},
    {"gateway-id", SET_TEXT, OWN(gateway_id), "", 0, 0, "name for engines' logs"},
    {"bind", SET_TEXT, GATE(bind), "127.0.0.1", 0, 0, "address to listen on"},
    {"port", SET_PORT, GATE(port), "8000", 0, 65535, "port to listen on; 0: any"},
    {"workers", SET_I32, OWN(workers), "0", 0, WORKERS_MAX, "threads; 0: one per core, at most 4"},
    {"die-with-parent", SET_FLAG, OWN(die_with_parent), "0", 0, 1, "end when the parent does"},
    {"max-conns", SET_I32, GATE(max_conns), "8192", 16, 1000000, "connections of one worker"},
    {"max-body", SET_SIZE, GATE(max_body), "4194304", 1024, 1 << 28, "bytes of a request"},
    {"arena-cap", SET_SIZE, GATE(arena_cap), "33554432", 65536, 1 << 30,
     "memory of a request, bytes"},
    {"stream-max", SET_SIZE, GATE(stream_max), "1048576", 65536, 1 << 28,
     "unsent bytes after which a slow client is cut off"},
    {"queue-ms", SET_I32, GATE(queue_ms), "30000", 1, 3600000, "longest wait for a replica"},
    {"first-ms", SET_I32, GATE(first_ms), "120000", 1, 3600000, "longest wait for a first token"},
    {"idle-ms", SET_I32, GATE(idle_ms), "60000", 1, 3600000, "longest wait between tokens"},
    {"total-ms", SET_I32, GATE(total_ms), "1800000", 1, 86400000, "longest request"},
    {"drain-ms", SET_I32, GATE(drain_ms), "2000", 1, 60000,
     "wait for an engine's last count of a request that was given up"},
    {"ping-ms", SET_I32, GATE(ping_ms), "15000", 1, 3600000, "silence before a keep-alive comment"},
    {"shutdown-ms", SET_I32, GATE(shutdown_ms), "20000", 0, 3600000,
     "time for running requests to end"},
};

static enum rc set_one(const struct setting *s, const char *text, struct settings *to,
                       struct err *err)
{
    char *at = (char *)to + s->offset;
    int64_t v = 0;
    if (s->type == SET_TEXT) {
        memcpy(at, &text, sizeof text);
        return RC_OK;
    }
    if (!str_to_i64(str_of(text), s->lo, s->hi, &v))
        return err_field(err, RC_BAD_INPUT, s->name, "%s must be a number from %lld to %lld",
                         s->name, (long long)s->lo, (long long)s->hi);
    if (s->type == SET_I32)
        *(int32_t *)(void *)at = (int32_t)v;
    else if (s->type == SET_PORT)
        *(uint16_t *)(void *)at = (uint16_t)v;
    else if (s->type == SET_SIZE)
        *(size_t *)(void *)at = (size_t)v;
    else
        *(bool *)(void *)at = v != 0;
    return RC_OK;
}

static const char *from_environment(const struct setting *s)
{
    char name[64] = "SLUICE_";
    size_t n = 7;
    for (const char *p = s->name; *p && n < sizeof name - 1; p++)
        name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    name[n] = '\0';
    return getenv(name);
}

static enum rc read_defaults(struct settings *to, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < ARRAY_LEN(table); i++) {
        const char *env = from_environment(&table[i]);
        rc = set_one(&table[i], env ? env : table[i].def, to, err);
    }
    return rc;
}

static void print_help(void)
{
    printf("sluice-gateway: the data plane, OpenAI protocol in, metered streams out\n\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        printf("  --%-16s %s (default: %s)\n", table[i].name, table[i].help,
               *table[i].def ? table[i].def : "none");
    printf("\nEach is also read from the environment, as SLUICE_ and its name in capitals.\n");
}

static enum rc read_flag(int argc, char **argv, int *at, struct settings *to, struct err *err)
{
    struct str arg = str_of(argv[*at]), value = arg, name = str_cut(&value, '=');
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct setting *s = &table[i];
        if (!str_starts(name, STR("--")) || !str_is(str_sub(name, 2, SIZE_MAX), s->name))
            continue;
        if (s->type == SET_FLAG)
            return set_one(s, value.p ? value.p : "1", to, err);
        if (!value.p && ++*at < argc)
            value = str_of(argv[*at]);
        if (!value.p)
            return err_field(err, RC_BAD_INPUT, s->name, "--%s needs a value", s->name);
        return set_one(s, value.p, to, err);
    }
    return err_set(err, RC_BAD_INPUT, "unknown option %s; see --help", argv[*at]);
}

static int32_t default_workers(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > 4 ? 4 : (int32_t)cores;
}

enum rc conf_read(int argc, char **argv, struct settings *ret, struct err *err)
{
    enum rc rc = read_defaults(ret, err);
    for (int i = 1; rc == RC_OK && i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help();
            return RC_AGAIN;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("sluice-gateway %s\n", SLUICE_VERSION);
            return RC_AGAIN;
        }
        rc = read_flag(argc, argv, &i, ret, err);
    }
    if (rc == RC_OK && ret->workers == 0)
        ret->workers = default_workers();
    return rc;
}

enum rc conf_check_port(const struct settings *s, struct err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s->gate.port)};
    if (s->gate.port == 0 || inet_pton(AF_INET, s->gate.bind, &a.sin_addr) != 1)
        return RC_OK;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return err_errno(err, errno, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    enum rc rc = RC_OK;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
        rc = err_errno(err, errno, "cannot listen on %s port %u", s->gate.bind, s->gate.port);
    close(fd);
    return rc;
}
