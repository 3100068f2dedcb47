#include "base/http_guard.h"

void http_guard_init(struct http_guard *g)
{
    *g = (struct http_guard){.length = -1};
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.len > 0;
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static enum rc add_length(struct http_guard *g, struct str value, struct err *err)
{
    if (g->content_length++)
        return err_set(err, RC_BAD_INPUT, "two Content-Length headers");
    if (value.len == 0 || value.p[0] == '-' || value.p[0] == '+' || value.len > 18 ||
        !str_to_i64(value, 0, INT64_MAX, &g->length))
        return err_set(err, RC_BAD_INPUT, "Content-Length must be digits only");
    return RC_OK;
}

static enum rc add_encoding(struct http_guard *g, struct str value, struct err *err)
{
    if (g->transfer_encoding++)
        return err_set(err, RC_BAD_INPUT, "two Transfer-Encoding headers");
    g->chunked = str_eq_nocase(value, STR("chunked"));
    if (!g->chunked)
        return err_set(err, RC_BAD_INPUT, "Transfer-Encoding may only be \"chunked\"");
    return RC_OK;
}

enum rc http_guard_add(struct http_guard *g, struct str name, struct str value, struct err *err)
{
    g->bytes += name.len + value.len + 4;
    if (++g->count > HTTP_GUARD_HEADERS_MAX)
        return err_set(err, RC_BAD_INPUT, "more than %d headers", HTTP_GUARD_HEADERS_MAX);
    if (!is_token(name))
        return err_set(err, RC_BAD_INPUT, "a header name has a character that is not allowed");
    if (has_control(value))
        return err_set(err, RC_BAD_INPUT, "a header value has a control character");
    if (str_eq_nocase(name, STR("content-length")))
        return add_length(g, value, err);
    if (str_eq_nocase(name, STR("transfer-encoding")))
        return add_encoding(g, value, err);
    if (str_eq_nocase(name, STR("host")) && g->host++)
        return err_set(err, RC_BAD_INPUT, "two Host headers");
    if (str_eq_nocase(name, STR("authorization")) && g->authorization++)
        return err_set(err, RC_BAD_INPUT, "two Authorization headers");
    return RC_OK;
}

enum rc http_guard_end(const struct http_guard *g, struct str version, struct err *err)
{
    if (g->content_length && g->transfer_encoding)
        return err_set(err, RC_BAD_INPUT, "both Content-Length and Transfer-Encoding");
    if (str_is(version, "HTTP/1.1") && g->host != 1)
        return err_set(err, RC_BAD_INPUT, "the Host header is missing");
    return RC_OK;
}
