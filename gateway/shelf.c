#include "gateway/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"
#include "schema/segment.h"

#define MAKING_NAME  "making.tmp"
#define GATEWAY_NAME "gateway"

/* ---- the folder ---- */

static enum rc lock_take(struct shelf *s, struct err *err)
{
    s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return err_errno(err, errno, "cannot open the journal's lock");
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return RC_OK;
    if (errno == EWOULDBLOCK)
        return err_set(err, RC_CONFLICT, "another gateway is using this journal");
    return err_errno(err, errno, "cannot lock the journal");
}

static enum rc write_whole(int dir_fd, const char *name, struct str text, struct err *err)
{
    SCOPED_FD fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot make %s in the journal", name);
    ssize_t n = write(fd, text.p, text.len);
    if (n != (ssize_t)text.len || fdatasync(fd) < 0)
        return err_errno(err, n < 0 ? errno : ENOSPC, "cannot write %s in the journal", name);
    return RC_OK;
}

/* The id is made with the journal and dies with it: the ledger keeps a place in each journal by
 * this name, and a new journal must not be taken for an old one. */
static enum rc gateway_id(struct shelf *s, struct err *err)
{
    char text[64];
    SCOPED_FD fd = openat(s->dir_fd, GATEWAY_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : 0;
    if (n > 0 && id_parse(str_trim(str_make(text, (size_t)n)), "gw_", &s->gateway))
        return RC_OK;
    if (n > 0 || (fd < 0 && errno != ENOENT))
        return err_set(err, RC_CORRUPT, "the journal's gateway id cannot be read");
    s->gateway = id_new("gw_");
    enum rc rc = write_whole(s->dir_fd, GATEWAY_NAME ".tmp", id_str(&s->gateway), err);
    if (rc == RC_OK && renameat(s->dir_fd, GATEWAY_NAME ".tmp", s->dir_fd, GATEWAY_NAME) < 0)
        rc = err_errno(err, errno, "cannot name the gateway id");
    if (rc == RC_OK && fsync(s->dir_fd) < 0)
        rc = err_errno(err, errno, "cannot sync the journal's folder");
    return rc;
}

enum rc shelf_open(const char *dir, size_t segment_bytes, const struct clock *clock,
                   struct shelf *ret, struct err *err)
{
    struct shelf s = {.dir_fd = -1, .lock_fd = -1, .clock = clock, .segment_bytes = segment_bytes};
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_errno(err, errno, "cannot make the journal's folder");
    s.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum rc rc = s.dir_fd < 0 ? err_errno(err, errno, "cannot open the journal's folder") : RC_OK;
    if (rc == RC_OK)
        rc = lock_take(&s, err);
    if (rc == RC_OK)
        rc = gateway_id(&s, err);
    if (rc != RC_OK) {
        shelf_close(&s);
        return rc;
    }
    unlinkat(s.dir_fd, MAKING_NAME, 0); /* what a crash left half made */
    *ret = s;
    return RC_OK;
}

void shelf_close(struct shelf *s)
{
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    s->lock_fd = s->dir_fd = -1;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum rc shelf_list(const struct shelf *s, uint64_t **ret_numbers, size_t *ret_n, struct err *err)
{
    int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        enum rc rc = err_errno(err, errno, "cannot list the journal");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    uint64_t *list = NULL;
    size_t n = 0, cap = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        uint64_t number;
        if (!segment_name_parse(str_of(e->d_name), &number))
            continue;
        if (n == cap) {
            cap = cap ? 2 * cap : 64;
            uint64_t *more = realloc(list, cap * sizeof *list);
            if (!more) {
                free(list);
                closedir(dir);
                return err_set(err, RC_NO_MEMORY, "no memory to list the journal");
            }
            list = more;
        }
        list[n++] = number;
    }
    closedir(dir);
    if (n)
        qsort(list, n, sizeof *list, by_number);
    *ret_numbers = list;
    *ret_n = n;
    return RC_OK;
}

/* ---- a segment to append to ---- */

static enum rc map_for_append(int fd, uint64_t number, size_t bytes, struct segment_file **ret,
                              struct err *err)
{
    struct segment_file *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(err, RC_NO_MEMORY, "no memory for a journal segment");
    *f = (struct segment_file){.number = number, .fd = -1, .bytes = bytes};
    f->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (f->map == MAP_FAILED) {
        f->map = NULL;
        segment_file_free(f);
        return err_errno(err, errno, "cannot map a journal segment");
    }
    f->fd = fd;
    *ret = f;
    return RC_OK;
}

/* Zeros, really written: blocks that are only allocated would cost a metadata write in every sync.
 */
static enum rc fill_with_zeros(int fd, size_t bytes, const uint8_t head[SEGMENT_HEAD_BYTES],
                               struct err *err)
{
    enum { CHUNK = 256 * 1024 };
    SCOPED_PTR uint8_t *zeros = calloc(1, CHUNK);
    if (!zeros)
        return err_set(err, RC_NO_MEMORY, "no memory to make a journal segment");
    if (fallocate(fd, 0, 0, (off_t)bytes) < 0 && errno != EOPNOTSUPP)
        return err_errno(err, errno, "no room for a journal segment of %zu bytes", bytes);
    memcpy(zeros, head, SEGMENT_HEAD_BYTES);
    for (size_t at = 0; at < bytes;) {
        ssize_t n = pwrite(fd, zeros, MIN_OF(bytes - at, (size_t)CHUNK), (off_t)at);
        if (n <= 0)
            return err_errno(err, n < 0 ? errno : ENOSPC, "cannot fill a journal segment");
        if (at == 0)
            memset(zeros, 0, SEGMENT_HEAD_BYTES);
        at += (size_t)n;
    }
    if (fdatasync(fd) < 0)
        return err_errno(err, errno, "cannot sync a new journal segment");
    return RC_OK;
}

enum rc shelf_make(const struct shelf *s, uint64_t number, struct segment_file **ret,
                   struct err *err)
{
    struct segment_head head = {.segment = number, .created_ms = clock_wall_ms(s->clock)};
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    char name[SEGMENT_NAME_BYTES];
    _Static_assert(sizeof s->gateway.z <= sizeof head.gateway, "the id fits the head");
    memcpy(head.gateway, s->gateway.z, sizeof s->gateway.z);
    segment_head_put(&head, bytes);
    segment_name(number, name);

    int fd = openat(s->dir_fd, MAKING_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot make a journal segment");
    enum rc rc = fill_with_zeros(fd, s->segment_bytes, bytes, err);
    if (rc == RC_OK && renameat(s->dir_fd, MAKING_NAME, s->dir_fd, name) < 0)
        rc = err_errno(err, errno, "cannot name a journal segment");
    if (rc == RC_OK && fsync(s->dir_fd) < 0)
        rc = err_errno(err, errno, "cannot sync the journal's folder");
    if (rc == RC_OK)
        rc = map_for_append(fd, number, s->segment_bytes, ret, err);
    if (rc != RC_OK) {
        close(fd);
        unlinkat(s->dir_fd, MAKING_NAME, 0);
    }
    return rc;
}

enum rc shelf_reuse(const struct shelf *s, uint64_t number, struct segment_file **ret,
                    struct err *err)
{
    /* A record that was cut short may have left payload without a header: so look further than the
     * longest record reaches. */
    enum { LOOK = SEGMENT_HEAD_BYTES + 2 * SEGMENT_PAYLOAD_MAX };
    uint8_t front[LOOK];
    char name[SEGMENT_NAME_BYTES];
    struct segment_head head;
    struct stat st;
    segment_name(number, name);
    *ret = NULL;
    int fd = openat(s->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0) {
        if (fd >= 0)
            close(fd);
        return err_errno(err, errno, "cannot open journal segment %s", name);
    }
    bool clean = (size_t)st.st_size == s->segment_bytes && pread(fd, front, LOOK, 0) == LOOK &&
                 segment_head_get(str_make((const char *)front, LOOK), &head, NULL) == RC_OK &&
                 head.segment == number;
    for (size_t i = SEGMENT_HEAD_BYTES; clean && i < LOOK; i++)
        clean = front[i] == 0;
    enum rc rc = clean ? map_for_append(fd, number, s->segment_bytes, ret, err) : RC_OK;
    if (!clean || rc != RC_OK)
        close(fd);
    return rc;
}

void segment_file_free(struct segment_file *f)
{
    if (!f)
        return;
    if (f->map)
        munmap(f->map, f->bytes);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

/* ---- a segment to read ---- */

enum rc shelf_load(const struct shelf *s, uint64_t number, struct str *ret, struct err *err)
{
    char name[SEGMENT_NAME_BYTES];
    struct stat st;
    segment_name(number, name);
    SCOPED_FD fd = openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot open journal segment %s", name);
    if (st.st_size == 0) {
        *ret = STR_NONE;
        return RC_OK;
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_errno(err, errno, "cannot map journal segment %s", name);
    *ret = str_make(map, (size_t)st.st_size);
    return RC_OK;
}

void shelf_unload(struct str file)
{
    if (file.p)
        munmap((void *)(uintptr_t)file.p, file.len);
}

enum rc shelf_cut(const struct shelf *s, uint64_t number, uint64_t bytes, struct err *err)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, name);
    SCOPED_FD fd = openat(s->dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 || fsync(fd) < 0)
        return err_errno(err, errno, "cannot cut journal segment %s", name);
    return RC_OK;
}

enum rc shelf_delete(const struct shelf *s, uint64_t number, struct err *err)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, name);
    if (unlinkat(s->dir_fd, name, 0) < 0 && errno != ENOENT)
        return err_errno(err, errno, "cannot delete journal segment %s", name);
    return RC_OK;
}

int64_t shelf_free_bytes(const struct shelf *s)
{
    struct statvfs v;
    int64_t bytes;
    if (fstatvfs(s->dir_fd, &v) < 0 ||
        __builtin_mul_overflow((int64_t)v.f_bavail, (int64_t)v.f_frsize, &bytes))
        return -1;
    return bytes;
}
