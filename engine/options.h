#ifndef SLUICE_ENGINE_OPTIONS_H
#define SLUICE_ENGINE_OPTIONS_H
/* options - the command line of sluice-engine. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct options {
    const char *model, *listen, *path, *role, *pid_file; /* views of argv */
    int32_t threads;                                     /* 0: one per core */
    int32_t ctx;                                         /* 0: the model's */
    int32_t kv_mib, pages;                               /* 0: chosen */
    int32_t max_batch, max_seqs, max_waiting, max_chunk;
    int32_t drain_ms;
    bool die_with_parent, no_prefix_cache, help, version;
};

/* RC_BAD_INPUT names the option and what it allows. */
enum rc options_read(int argc, char **argv, struct options *ret, struct err *err);
void options_help(FILE *to);

#endif
