#include "control/console.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>

#include "base/http_server.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/units.h"

enum { FILES_MAX = 2000 };
#define BYTES_MAX (64 * MIB)

/* Scripts only from our own files, no frames around us. Styles may be inline, because the component
 * library sets them so; connections may go to the gateway, which is on another port of whatever
 * host name the browser used for us. */
static const char policy[] =
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self' data:;"
    " connect-src 'self' http: https:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'";

static const char no_app[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sluice</title>"
    "<h1>Sluice is running</h1><p>The web console is not built yet. In the folder <code>web/</code>"
    " run <code>npm ci &amp;&amp; npm run build</code>, then start Sluice again.</p>"
    "<p>The REST API is at <code>/api/v1</code>; <a href=\"/openapi.json\">its description</a>.</p>"
    "</html>\n";

struct file {
    char *path; /* from "/" */
    char *bytes;
    size_t len;
};

struct console {
    struct file file[FILES_MAX]; /* sorted by path */
    size_t n, bytes;
    const struct file *index; /* NULL: no app */
};

static const char *type_of(struct str path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".map", "application/json"},
        {".txt", "text/plain; charset=utf-8"},
        {".webmanifest", "application/manifest+json"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_ends(path, str_of(types[i][0])))
            return types[i][1];
    return "application/octet-stream";
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static enum rc read_file(struct console *c, const char *full, const char *path, struct err *err)
{
    SCOPED_FILE f = fopen(full, "rbe");
    struct file *to = &c->file[c->n];
    if (!f)
        return err_errno(err, errno, "cannot read %s", full);
    if (c->n == FILES_MAX)
        return err_set(err, RC_TOO_LARGE, "the web app has more than %d files", FILES_MAX);
    if (fseek(f, 0, SEEK_END) != 0)
        return err_errno(err, errno, "cannot read %s", full);
    long len = ftell(f);
    if (len < 0 || (size_t)len > BYTES_MAX - c->bytes)
        return err_set(err, RC_TOO_LARGE, "the web app has more than %zu bytes", BYTES_MAX);
    rewind(f);
    to->path = strdup(path);
    to->bytes = malloc((size_t)len + 1);
    c->n++; /* from here on console_close frees it */
    if (!to->path || !to->bytes)
        return err_set(err, RC_NO_MEMORY, "no memory for the web app");
    to->len = fread(to->bytes, 1, (size_t)len, f);
    if (to->len != (size_t)len)
        return err_set(err, RC_IO, "cannot read %s whole", full);
    c->bytes += to->len;
    return RC_OK;
}

static enum rc read_folder(struct console *c, const char *dir, struct err *err)
{
    char *const roots[] = {(char *)(uintptr_t)dir, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!walk)
        return err_errno(err, errno, "cannot read %s", dir);
    enum rc rc = RC_OK;
    size_t root = strlen(dir);
    for (FTSENT *e; rc == RC_OK && (e = fts_read(walk)) != NULL;)
        if (e->fts_info == FTS_F && e->fts_pathlen > root)
            rc = read_file(c, e->fts_path, e->fts_path + root, err);
    fts_close(walk);
    return rc;
}

static const struct file *find(const struct console *c, struct str path)
{
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = str_cmp(path, str_of(c->file[mid].path));
        if (cmp == 0)
            return &c->file[mid];
        if (cmp < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

enum rc console_open(const char *dir, struct console **ret, struct err *err)
{
    char clean[4096];
    struct console *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, RC_NO_MEMORY, "no memory for the web app");
    enum rc rc = RC_OK;
    snprintf(clean, sizeof clean, "%s", dir ? dir : "");
    for (size_t n = strlen(clean); n > 1 && clean[n - 1] == '/'; n--)
        clean[n - 1] = '\0';
    if (clean[0] && access(clean, R_OK) == 0)
        rc = read_folder(c, clean, err);
    if (rc != RC_OK) {
        console_close(c);
        return rc;
    }
    qsort(c->file, c->n, sizeof c->file[0], by_path);
    c->index = find(c, STR("/index.html"));
    if (!c->index)
        log_warn("console.no_app", "dir=%s", dir ? dir : "");
    *ret = c;
    return RC_OK;
}

void console_close(struct console *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        free(c->file[i].path);
        free(c->file[i].bytes);
    }
    free(c);
}

static void add_headers(struct http_req *r, bool forever)
{
    http_add_header(r, "content-security-policy", policy);
    http_add_header(r, "x-content-type-options", "nosniff");
    http_add_header(r, "x-frame-options", "DENY");
    http_add_header(r, "referrer-policy", "no-referrer");
    http_add_header(r, "cache-control",
                    forever ? "public, max-age=31536000, immutable" : "no-cache");
}

/* A page of the app: its paths have no dot, files have one. */
static bool is_page(struct str path)
{
    return str_find_byte(path, '.') < 0;
}

void console_serve(struct console *c, struct http_req *r)
{
    struct str path = http_path(r), method = http_method(r);
    const struct file *f = find(c, path);
    bool reads = str_is(method, "GET") || str_is(method, "HEAD");
    if (!f && is_page(path))
        f = c->index;
    add_headers(r, f && str_starts(path, STR("/assets/"))); /* Vite puts a hash in these names */
    if (!reads)
        http_reply(r, 405, "text/plain; charset=utf-8", STR("only GET here\n"));
    else if (f)
        http_reply_static(r, 200, type_of(str_of(f->path)), str_make(f->bytes, f->len));
    else if (!c->index && is_page(path))
        http_reply_static(r, 200, "text/html; charset=utf-8", str_of(no_app));
    else
        http_reply(r, 404, "text/plain; charset=utf-8", STR("not found\n"));
}
