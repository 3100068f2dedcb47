#include "gateway/guard.h"

#include "base/http_server.h"
#include "base/units.h"
#include "gateway/auth.h"
#include "gateway/fault.h"
#include "gateway/req.h"
#include "gateway/route.h"

/* Refusing before the body cuts clients off while they write, and some never see the answer; so a
 * small body is read first. */
enum { SMALL_BODY = 64 * 1024 };

static bool body_is_small(const struct http_req *r)
{
    int64_t n = 0;
    struct str length = http_header(r, "Content-Length");
    if (!length.p)
        return !http_header(r, "Transfer-Encoding").p;
    return str_to_i64(length, 0, SMALL_BODY, &n);
}

enum rc guard_head(struct http_req *r, void *user, struct err *err)
{
    (void)user;
    if (body_is_small(r))
        return RC_OK;
    struct route route = {0};
    struct str key, public_id;
    enum rc rc = route_find(http_method(r), http_target(r), http_arena(r), &route, err);
    if (rc == RC_OK)
        rc = auth_key_text(http_header(r, "Authorization"), http_header(r, "x-api-key"), &key,
                           &public_id, err);
    return rc;
}

void guard_error(struct http_req *r, void *user, const struct err *err, struct buf *body)
{
    struct worker *w = user;
    struct fault f = fault_of(err->rc, err, NULL);
    req_common_headers(r);
    fault_headers(&f, r);
    fault_body(&f, body);
    metrics_add(&w->metrics->http[MIN_OF(f.status / 100, 5)], 1);
}
