#ifndef SLUICE_BASE_SCOPED_H
#define SLUICE_BASE_SCOPED_H
/* scoped - handles that close when their block ends. Start them at -1 / NULL / {0}. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"

static inline void scoped_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void scoped_file_close(FILE **f)
{
    if (*f)
        fclose(*f);
}
static inline void scoped_free(void *pp)
{
    free(*(void **)pp);
}

#define SCOPED_FD    __attribute__((cleanup(scoped_fd_close))) int
#define SCOPED_FILE  __attribute__((cleanup(scoped_file_close))) FILE *
#define SCOPED_PTR   __attribute__((cleanup(scoped_free)))
#define SCOPED_BUF   __attribute__((cleanup(buf_done))) struct buf
#define SCOPED_ARENA __attribute__((cleanup(arena_done))) struct arena

#endif
