#include "gateway/cells.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"

enum { CELL_BYTES = 64, HALF_BYTES = 32 };

struct half {
    uint64_t owner;
    uint32_t turn, input, cached, output, crc, zero;
};
_Static_assert(sizeof(struct half) == HALF_BYTES, "two halves make a cell");

static enum rc fill(int fd, off_t from, off_t to, struct err *err)
{
    static const char zeros[64 * 1024];
    while (from < to) {
        ssize_t n = pwrite(fd, zeros, MIN_OF((size_t)(to - from), sizeof zeros), from);
        if (n <= 0)
            return err_errno(err, n < 0 ? errno : ENOSPC, "cannot write the table of counts");
        from += n;
    }
    return RC_OK;
}

enum rc cells_open(int dir_fd, const char *name, int32_t n, struct cells *ret, struct err *err)
{
    SCOPED_FD fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot open the table of counts");
    off_t size = MAX_OF(st.st_size / CELL_BYTES * CELL_BYTES, (off_t)n * CELL_BYTES);
    enum rc rc = fill(fd, MIN_OF(st.st_size, size), size, err); /* never a hole: ENOSPC comes now */
    if (rc != RC_OK)
        return rc;
    void *map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_errno(err, errno, "cannot map the table of counts");
    *ret = (struct cells){.n = (int32_t)(size / CELL_BYTES), .map = map};
    return RC_OK;
}

void cells_close(struct cells *c)
{
    if (c->map)
        munmap(c->map, (size_t)c->n * CELL_BYTES);
    *c = (struct cells){0};
}

static uint32_t capped(int64_t v)
{
    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static uint32_t half_crc(const struct half *h)
{
    return crc32c(0, h, offsetof(struct half, crc));
}

void cells_put(struct cells *c, int32_t i, uint64_t owner, uint32_t turn,
               const struct token_count *tok)
{
    struct half h = {.owner = owner,
                     .turn = turn,
                     .input = capped(tok->input),
                     .cached = capped(tok->cached),
                     .output = capped(tok->output)};
    h.crc = half_crc(&h);
    memcpy(c->map + (size_t)i * CELL_BYTES + (turn & 1) * HALF_BYTES, &h, sizeof h);
}

int cells_get(const struct cells *c, int32_t i, struct cells_found ret[2])
{
    int n = 0;
    for (int side = 0; side < 2; side++) {
        struct half h;
        memcpy(&h, c->map + (size_t)i * CELL_BYTES + side * HALF_BYTES, sizeof h);
        if (h.owner == 0 || h.crc != half_crc(&h))
            continue;
        ret[n++] = (struct cells_found){h.owner, h.turn, {h.input, h.cached, h.output}};
    }
    if (n == 2 && ret[0].owner == ret[1].owner) {
        if (ret[1].turn > ret[0].turn)
            ret[0] = ret[1];
        n = 1;
    }
    return n;
}
