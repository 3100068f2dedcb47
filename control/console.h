#ifndef SLUICE_CONTROL_CONSOLE_H
#define SLUICE_CONTROL_CONSOLE_H
/* console - the built web app, read into memory at start and served with a strict content policy.
 * Unknown paths without a dot get index.html: the app routes by path. */

#include "base/err.h"

struct console;
struct http_req;

/* dir NULL or missing: a page that says how to build the app. At most 2000 files, 64 MiB. */
enum rc console_open(const char *dir, struct console **ret, struct err *err);
void console_close(struct console *c); /* accepts NULL */
void console_serve(struct console *c, struct http_req *r);

#endif
