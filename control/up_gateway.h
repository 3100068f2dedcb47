#ifndef SLUICE_CONTROL_UP_GATEWAY_H
#define SLUICE_CONTROL_UP_GATEWAY_H
/* up_gateway - the gateway as a child that is started again when it ends, later each time it ends
 * early. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "control/proc.h"

struct up_gateway {
    struct proc proc;
    struct loop *loop;
    struct proc_dirs dirs;
    char program[PROC_PATH_BYTES], data_dir[PROC_PATH_BYTES], token_file[PROC_PATH_BYTES + 64];
    char control_url[128], bind[128];
    uint16_t port;
    struct loop_timer timer;
    int64_t started_ms;
    int32_t failures; /* ends in a row, each soon after its start */
    int64_t restarts;
    bool stopping;
    void (*on_stopped)(void *user); /* after up_gateway_stop, when it has ended */
    void *user;
};

/* The caller has filled in loop, dirs, program, data_dir, control_url, bind, port, on_stopped. */
enum rc up_gateway_start(struct up_gateway *g, struct err *err);
/* TERM, and KILL after term_ms; on_stopped follows, at once when it does not run. */
void up_gateway_stop(struct up_gateway *g, int64_t term_ms);
void up_gateway_done(struct up_gateway *g); /* kills; accepts a zeroed struct */

#endif
