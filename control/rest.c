#include "control/rest.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/http_client.h"
#include "base/scoped.h"
#include "base/units.h"

enum { CALL_MS = 15000, REPLY_MAX = 16 << 20, PAGE = 200, PAGES_MAX = 100 };

static enum rc rc_of_status(int status)
{
    for (int rc = RC_BAD_INPUT; rc < RC_COUNT; rc++)
        if (rc_http_status((enum rc)rc) == status)
            return (enum rc)rc;
    return RC_INTERNAL;
}

static enum rc read_reply(const char *method, const char *path, int status, struct str body,
                          json_t **ret, struct err *err)
{
    json_error_t why;
    json_t *json = body.len > 0 ? json_loadb(body.p, body.len, 0, &why) : NULL;
    enum rc rc = RC_OK;
    if (status >= 400) {
        const json_t *error = json_object_get(json, "error");
        const char *text = json_string_value(json_object_get(error, "message"));
        rc = err_set(err, rc_of_status(status), "%s %.80s: %d %.120s", method, path, status,
                     text ? text : "");
    } else if (body.len > 0 && !json) {
        rc = err_set(err, RC_UPSTREAM, "%s %.80s: the reply is not JSON: %.80s", method, path,
                     why.text);
    }
    if (rc == RC_OK && ret)
        *ret = json;
    else
        json_decref(json);
    return rc;
}

enum rc rest_call(const struct rest *r, const char *method, const char *path, json_t *body,
                  json_t **ret, struct err *err)
{
    char url[1200], bearer[200];
    snprintf(url, sizeof url, "%s%s", r->url, path);
    snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", r->token);
    const char *headers[] = {bearer, "Content-Type: application/json", NULL};
    SCOPED_PTR char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    SCOPED_BUF reply;
    buf_init(&reply, REPLY_MAX);
    struct http_call_opts opts = {.method = method,
                                  .url = url,
                                  .headers = headers,
                                  .body = str_of(text),
                                  .total_ms = CALL_MS,
                                  .max_body = REPLY_MAX};
    int status = 0;
    enum rc rc = http_call_wait(&opts, &status, &reply, err);
    return rc == RC_OK ? read_reply(method, path, status, buf_view(&reply), ret, err) : rc;
}

enum rc rest_find(const struct rest *r, const char *plural, const char *field, const char *value,
                  json_t **ret, struct err *err)
{
    char after[64] = "";
    for (int page = 0; page < PAGES_MAX; page++) {
        char path[200];
        snprintf(path, sizeof path, "/api/v1/%s?limit=%d%s%s", plural, PAGE,
                 after[0] ? "&after=" : "", after);
        json_t *list = NULL;
        enum rc rc = rest_call(r, "GET", path, NULL, &list, err);
        if (rc != RC_OK)
            return rc;
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(list, "data"), i, item)
        {
            if (strcmp(rest_text(item, field), value) == 0) {
                *ret = json_incref(item);
                json_decref(list);
                return RC_OK;
            }
        }
        snprintf(after, sizeof after, "%s", rest_text(list, "next"));
        json_decref(list);
        if (!after[0])
            break;
    }
    *ret = NULL;
    return RC_OK;
}

const char *rest_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}
