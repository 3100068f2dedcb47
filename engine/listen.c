#include "engine/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128, HOST_MAX = 256 };

static bool unix_address(struct str path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (path.len == 0 || path.len >= sizeof ret->sun_path)
        return false;
    memcpy(ret->sun_path, path.p, path.len);
    return true;
}

/* Whether the file is a socket that a dead process left behind. */
static bool is_stale(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static enum rc listen_unix(struct str path, int fd, struct err *err)
{
    struct sockaddr_un a;
    if (!unix_address(path, &a))
        return err_set(err, RC_BAD_INPUT, "socket path has %zu bytes, 1 to %zu are allowed",
                       path.len, sizeof a.sun_path - 1);
    /* Permissions come from the mask at bind time: there is no moment when others could connect. */
    mode_t mask = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
    if (rc != 0 && errno == EADDRINUSE && is_stale(&a) && unlink(a.sun_path) == 0)
        rc = bind(fd, (struct sockaddr *)&a, sizeof a);
    int e = errno;
    umask(mask);
    if (rc != 0 && e == EADDRINUSE)
        return err_set(err, RC_CONFLICT, "%s is in use by another process", a.sun_path);
    if (rc != 0)
        return err_errno(err, e, "cannot bind %s", a.sun_path);
    return RC_OK;
}

static bool split_tcp(struct str s, char host[HOST_MAX], char port[8])
{
    size_t colon = s.len;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return false;
    struct str h = str_sub(s, 0, colon - 1), p = str_sub(s, colon, s.len);
    int64_t n;
    if (h.len >= 2 && h.p[0] == '[' && h.p[h.len - 1] == ']')
        h = str_sub(h, 1, h.len - 2);
    if (h.len == 0 || h.len >= HOST_MAX || !str_to_i64(p, 0, 65535, &n))
        return false;
    snprintf(host, HOST_MAX, STR_FMT, STR_ARG(h));
    snprintf(port, 8, "%d", (int)n);
    return true;
}

static enum rc listen_tcp(struct str where, int *fd, struct err *err)
{
    char host[HOST_MAX], port[8];
    if (!split_tcp(where, host, port))
        return err_set(err, RC_BAD_INPUT, "tcp address must be tcp:HOST:PORT");
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int e = getaddrinfo(host, port, &want, &found);
    if (e)
        return err_set(err, RC_IO, "cannot resolve %s: %s", host, gai_strerror(e));
    *fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1, bad = *fd < 0 ||
                       setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
                       bind(*fd, found->ai_addr, found->ai_addrlen) != 0;
    e = errno;
    freeaddrinfo(found);
    return bad ? err_errno(err, e, "cannot bind tcp:%s:%s", host, port) : RC_OK;
}

enum rc listen_open(struct str address, int *ret_fd, struct err *err)
{
    int fd = -1;
    enum rc rc;
    if (str_starts(address, STR("unix:"))) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        rc = fd < 0 ? err_errno(err, errno, "socket")
                    : listen_unix(str_sub(address, 5, address.len), fd, err);
    } else if (str_starts(address, STR("tcp:"))) {
        rc = listen_tcp(str_sub(address, 4, address.len), &fd, err);
    } else {
        rc = err_set(err, RC_BAD_INPUT, "address must be unix:/path or tcp:HOST:PORT, not " STR_FMT,
                     STR_ARG(address));
    }
    if (rc == RC_OK && listen(fd, BACKLOG) != 0)
        rc = err_errno(err, errno, "listen");
    if (rc == RC_OK)
        *ret_fd = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

void listen_unlink(struct str address)
{
    struct sockaddr_un a;
    if (str_starts(address, STR("unix:")) && unix_address(str_sub(address, 5, address.len), &a))
        unlink(a.sun_path);
}
