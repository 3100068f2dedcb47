#include "gateway/route.h"

#include "base/units.h"

static const struct {
    const char *path;
    enum route_kind kind;
    const char *allow;
} routes[] = {
    {"/v1/chat/completions", ROUTE_CHAT, "POST"},
    {"/v1/completions", ROUTE_COMPLETIONS, "POST"},
    {"/v1/models", ROUTE_MODELS, "GET"},
    {"/tokenize", ROUTE_TOKENIZE, "POST"},
    {"/v1/tokenize", ROUTE_TOKENIZE, "POST"},
    {"/health", ROUTE_READY, "GET"},
    {"/live", ROUTE_LIVE, "GET"},
    {"/v1/health/live", ROUTE_LIVE, "GET"},
    {"/v1/health/ready", ROUTE_READY, "GET"},
    {"/metrics", ROUTE_METRICS, "GET"},
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX decoded; p == NULL when it is malformed, or the arena is full. */
static struct str percent_decode(struct str s, struct arena *arena)
{
    char *to = arena_alloc(arena, s.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; to && i < s.len; i++) {
        if (s.p[i] != '%') {
            to[n++] = s.p[i];
            continue;
        }
        int hi = i + 2 < s.len ? hex_digit(s.p[i + 1]) : -1;
        int lo = i + 2 < s.len ? hex_digit(s.p[i + 2]) : -1;
        if (hi < 0 || lo < 0)
            return STR_NONE;
        to[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    return str_make(to, n);
}

static enum rc find_kind(struct str path, struct arena *arena, struct route *ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (str_is(path, routes[i].path)) {
            *ret = (struct route){.kind = routes[i].kind, .allow = routes[i].allow};
            return RC_OK;
        }
    if (str_starts(path, STR("/v1/models/"))) {
        struct str id = percent_decode(str_sub(path, sizeof "/v1/models/" - 1, SIZE_MAX), arena);
        if (id.len) {
            *ret = (struct route){.kind = ROUTE_MODEL, .arg = id, .allow = "GET"};
            return RC_OK;
        }
    }
    return err_set(err, RC_NOT_FOUND,
                   "Unknown request URL. See /v1/models, /v1/chat/completions "
                   "and /v1/completions.");
}

enum rc route_find(struct str method, struct str target, struct arena *arena, struct route *ret,
                   struct err *err)
{
    if (target.len > 1 && target.p[target.len - 1] == '/')
        target.len--;
    enum rc rc = find_kind(target, arena, ret, err);
    if (rc != RC_OK)
        return rc;
    if (str_is(method, "OPTIONS"))
        ret->kind = ROUTE_OPTIONS;
    else if (!str_is(method, ret->allow) &&
             !(str_is(method, "HEAD") && str_is(STR("GET"), ret->allow)))
        return err_set(err, RC_BAD_METHOD, "Not allowed to " STR_FMT " this URL; use %s.",
                       (int)MIN_OF(method.len, (size_t)16), method.p, ret->allow);
    return RC_OK;
}

struct str route_host(struct str host)
{
    if (host.len && host.p[0] == '[') {
        ptrdiff_t end = str_find_byte(host, ']');
        return end < 0 ? host : str_sub(host, 0, (size_t)end + 1);
    }
    ptrdiff_t colon = str_find_byte(host, ':');
    return colon < 0 ? host : str_sub(host, 0, (size_t)colon);
}
