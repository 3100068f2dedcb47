/* options.c - one table: the parser and the help text come from it. */
#include "engine/options.h"

#include <stddef.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

enum { MAX_BATCH = 256 };
enum kind { TEXT, NUMBER, FLAG };

static const struct option {
    const char *name, *value; /* value: how the help calls it */
    enum kind kind;
    size_t at; /* in struct options */
    int32_t lo, hi, first;
    const char *help;
} table[] = {
#define FIELD(f) offsetof(struct options, f)
    {"model", "PATH", TEXT, FIELD(model), 0, 0, 0, "GGUF file to serve (required)"},
    {"listen", "ADDR", TEXT, FIELD(listen), 0, 0, 0,
     "unix:/path.sock or tcp:HOST:PORT (required); answers only when the model is ready"},
    {"threads", "N", NUMBER, FIELD(threads), 0, 1024, 0, "compute threads; 0: one per core"},
    {"path", "NAME", TEXT, FIELD(path), 0, 0, 0,
     "instruction set: auto, scalar, avx2 or avx512 (default auto)"},
    {"ctx", "N", NUMBER, FIELD(ctx), 0, 1 << 24, 0, "context in tokens; 0: the model's own"},
    {"kv-mib", "N", NUMBER, FIELD(kv_mib), 0, 1 << 24, 0,
     "memory for KV pages in MiB; 0: four contexts, within a quarter of the free memory"},
    {"pages", "N", NUMBER, FIELD(pages), 0, 1 << 28, 0,
     "the same as a number of pages of 16 tokens; wins over --kv-mib"},
    {"max-batch", "N", NUMBER, FIELD(max_batch), 0, 8192, 0,
     "rows in one step; 0: 256, or --max-seqs when that is more"},
    {"max-seqs", "N", NUMBER, FIELD(max_seqs), 1, 1024, 64, "requests running at once"},
    {"max-waiting", "N", NUMBER, FIELD(max_waiting), 1, 65536, 1024,
     "requests waiting; one more is refused"},
    {"prefill-chunk", "N", NUMBER, FIELD(max_chunk), 0, 8192, 0,
     "most prompt rows of one request in a step; 0: --max-batch"},
    {"no-prefix-cache", NULL, FLAG, FIELD(no_prefix_cache), 0, 0, 0, "compute every prompt anew"},
    {"role", "NAME", TEXT, FIELD(role), 0, 0, 0, "aggregated (default)"},
    {"drain-ms", "N", NUMBER, FIELD(drain_ms), 0, 3600000, 10000,
     "on SIGTERM, time for running requests to finish"},
    {"pid-file", "PATH", TEXT, FIELD(pid_file), 0, 0, 0, "written when ready, removed at the end"},
    {"die-with-parent", NULL, FLAG, FIELD(die_with_parent), 0, 0, 0,
     "stop when the process that started this one ends"},
    {"version", NULL, FLAG, FIELD(version), 0, 0, 0, "print the version"},
    {"help", NULL, FLAG, FIELD(help), 0, 0, 0, "print this"},
#undef FIELD
};

void options_help(FILE *to)
{
    fprintf(to, "sluice-engine: one replica of the integrated engine\n\n"
                "usage: sluice-engine --model PATH --listen ADDR [options]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *o = &table[i];
        char left[40];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        fprintf(to, "  %-22s %s", left, o->help);
        if (o->kind == NUMBER && o->first)
            fprintf(to, " (default %d)", o->first);
        fputc('\n', to);
    }
    fprintf(to, "\nSIGTERM and SIGINT: stop taking requests, finish the running ones, exit 0; a "
                "second one aborts them.\nSIGUSR1: a log line with the load.\n");
}

static const struct option *find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_is(name, table[i].name))
            return &table[i];
    return NULL;
}

static enum rc set(struct options *to, const struct option *o, const char *value, struct err *err)
{
    char *field = (char *)to + o->at;
    int64_t n;
    if (o->kind == TEXT) {
        memcpy(field, &value, sizeof value);
        return RC_OK;
    }
    if (!str_to_i64(str_of(value), o->lo, o->hi, &n))
        return err_field(err, RC_BAD_INPUT, o->name,
                         "--%s is %s, a number from %d to %d is allowed", o->name, value, o->lo,
                         o->hi);
    int32_t n32 = (int32_t)n;
    memcpy(field, &n32, sizeof n32);
    return RC_OK;
}

/* Takes argv[*at] and its value, and moves *at past them. */
static enum rc read_one(int argc, char **argv, int *at, struct options *to, struct err *err)
{
    struct str rest = str_of(argv[(*at)++]);
    if (!str_starts(rest, STR("--")))
        return err_set(err, RC_BAD_INPUT, "unexpected argument " STR_FMT, STR_ARG(rest));
    rest = str_sub(rest, 2, rest.len);
    struct str name = str_cut(&rest, '=');
    const struct option *o = find(name);
    if (!o)
        return err_set(err, RC_BAD_INPUT, "unknown option --" STR_FMT, STR_ARG(name));
    if (o->kind == FLAG) {
        if (rest.p)
            return err_set(err, RC_BAD_INPUT, "--%s takes no value", o->name);
        *((bool *)((char *)to + o->at)) = true;
        return RC_OK;
    }
    if (rest.p) /* a tail of argv, so it ends with NUL */
        return set(to, o, rest.p, err);
    if (*at >= argc)
        return err_set(err, RC_BAD_INPUT, "--%s needs a value: %s", o->name, o->help);
    return set(to, o, argv[(*at)++], err);
}

static enum rc check(const struct options *o, struct err *err)
{
    if (!o->model)
        return err_field(err, RC_BAD_INPUT, "model", "--model PATH is required");
    if (!o->listen)
        return err_field(err, RC_BAD_INPUT, "listen",
                         "--listen unix:/path.sock or tcp:HOST:PORT is required");
    if (!str_is(str_of(o->role), "aggregated"))
        return err_field(err, RC_BAD_INPUT, "role", "--role is %s, this build has: aggregated",
                         o->role);
    if (o->max_batch && o->max_seqs > o->max_batch)
        return err_field(err, RC_BAD_INPUT, "max-seqs", "--max-seqs %d is more than --max-batch %d",
                         o->max_seqs, o->max_batch);
    return RC_OK;
}

enum rc options_read(int argc, char **argv, struct options *ret, struct err *err)
{
    struct options o = {.path = "auto", .role = "aggregated"};
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].kind == NUMBER)
            memcpy((char *)&o + table[i].at, &table[i].first, sizeof table[i].first);
    enum rc rc = RC_OK;
    for (int at = 1; rc == RC_OK && at < argc;)
        rc = read_one(argc, argv, &at, &o, err);
    if (rc == RC_OK && !o.help && !o.version)
        rc = check(&o, err);
    if (rc != RC_OK)
        return rc;
    if (o.max_batch == 0)
        o.max_batch = MAX_OF(MAX_BATCH, o.max_seqs);
    *ret = o;
    return rc;
}
