#include "control/cli_data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/str.h"
#include "control/db.h"
#include "control/proc.h"

enum rc cli_data_open(const char *data_dir, struct db **ret, struct err *err)
{
    char path[CLI_DATA_PATH_BYTES];
    snprintf(path, sizeof path, "%.480s/sluice.db", data_dir);
    if (access(path, R_OK) != 0)
        return errno == ENOENT
                   ? err_set(err, RC_NOT_FOUND, "there is no database at %.200s (see --data)", path)
                   : err_errno(err, errno, "cannot read %.200s", path);
    return db_open(&(struct db_opts){.path = path, .look_only = true}, ret, err);
}

bool cli_data_process(const char *data_dir, const char *name, const char *program,
                      struct cli_process *ret)
{
    char path[CLI_DATA_PATH_BYTES], text[32] = "";
    struct stat st;
    snprintf(path, sizeof path, "%.460s/run/%.20s.pid", data_dir, name);
    SCOPED_FILE f = fopen(path, "re");
    *ret = (struct cli_process){0};
    snprintf(ret->name, sizeof ret->name, "%s", name);
    if (!f || fstat(fileno(f), &st) != 0 || !fgets(text, sizeof text, f) ||
        !str_to_i64(str_trim(str_of(text)), 1, INT32_MAX, &ret->pid))
        return false;
    ret->alive = proc_runs_program((pid_t)ret->pid, program);
    ret->since_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return true;
}
