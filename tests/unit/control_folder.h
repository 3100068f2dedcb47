#ifndef SLUICE_TESTS_CONTROL_FOLDER_H
#define SLUICE_TESTS_CONTROL_FOLDER_H
/* control_folder - a data folder of its own for each test of the control plane's parts, and the one
 * way they check calls. */

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"

/* Inside the call `err` is a struct err *. */
#define must(call)                                                                                 \
    do {                                                                                           \
        struct err must_err = {0};                                                                 \
        struct err *err = &must_err;                                                               \
        enum rc must_rc = (call);                                                                  \
        (void)err;                                                                                 \
        ck_assert_msg(must_rc == RC_OK, "%s: %s %s (%s:%d)", #call, rc_name(must_rc), err->msg,    \
                      err->file, err->line);                                                       \
    } while (0)

struct folder {
    char dir[64], db[96];
};

static inline struct folder folder_new(void)
{
    struct folder f;
    snprintf(f.dir, sizeof f.dir, "/tmp/sluice-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    snprintf(f.db, sizeof f.db, "%s/sluice.db", f.dir);
    return f;
}

static inline int folder_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void folder_done(struct folder *f)
{
    nftw(f->dir, folder_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
