#ifndef SLUICE_GATEWAY_SHELF_H
#define SLUICE_GATEWAY_SHELF_H
/* shelf - the journal's folder: its lock, its gateway id, and the files of its segments.
 *
 * Files are private (0600). A segment is made under another name, filled with zeros, synced, and
 * only then renamed: a file with a segment's name is whole, and writing to it later needs neither
 * new blocks nor a change of its metadata. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "base/str.h"

struct shelf {
    int dir_fd, lock_fd;
    const struct clock *clock;
    size_t segment_bytes;
    struct id gateway;
};

/* Makes the folder and the id when they are missing. RC_CONFLICT: another process has it. */
enum rc shelf_open(const char *dir, size_t segment_bytes, const struct clock *clock,
                   struct shelf *ret, struct err *err);
void shelf_close(struct shelf *s); /* accepts {.dir_fd = -1, .lock_fd = -1} */

/* Numbers of the segments there, ascending; free() the list. */
enum rc shelf_list(const struct shelf *s, uint64_t **ret_numbers, size_t *ret_n, struct err *err);

/* A segment mapped for appending. */
struct segment_file {
    uint64_t number;
    int fd; /* -1: none */
    uint8_t *map;
    size_t bytes;
    struct segment_file *next;
};
enum rc shelf_make(const struct shelf *s, uint64_t number, struct segment_file **ret,
                   struct err *err);
/* Takes an untouched segment of full size for appending; *ret NULL when it is not that. */
enum rc shelf_reuse(const struct shelf *s, uint64_t number, struct segment_file **ret,
                    struct err *err);
void segment_file_free(struct segment_file *f); /* unmaps; accepts NULL */

/* A segment mapped for reading; unload when done. An empty file gives STR_NONE. */
enum rc shelf_load(const struct shelf *s, uint64_t number, struct str *ret, struct err *err);
void shelf_unload(struct str file);

enum rc shelf_cut(const struct shelf *s, uint64_t number, uint64_t bytes, struct err *err);
enum rc shelf_delete(const struct shelf *s, uint64_t number, struct err *err);
int64_t shelf_free_bytes(const struct shelf *s); /* -1: not known */

#endif
