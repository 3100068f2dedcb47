#include "schema/chat_reader.h"

#include <stdio.h>

enum rc reader_bad(struct reader *r, const char *code, const char *field, const char *what)
{
    r->code = code;
    return err_field(r->err, RC_BAD_INPUT, field, "%s", what);
}

enum rc reader_bad_type(struct reader *r, const char *field, const char *want)
{
    r->code = CHAT_CODE_TYPE;
    return err_field(r->err, RC_BAD_INPUT, field, "Invalid type for '%s': expected %s.", field,
                     want);
}

/* Not a failure of reading: whoever runs the request decides. */
enum rc reader_unsupported(struct reader *r, const char *field)
{
    if (!*r->unsupported)
        snprintf(r->unsupported, sizeof((struct chat *)0)->unsupported, "%s", field);
    return RC_OK;
}

enum rc reader_no_memory(struct reader *r)
{
    return err_set(r->err, RC_TOO_LARGE, "the request is too large");
}

/* ---- bytes to JSON ---- */

/* jansson builds everything before we see it, so what it may build is bounded by a look at the
 * bytes: brackets and commas outside strings. */
static enum rc check_shape(struct str body, struct err *err)
{
    int32_t depth = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        else if (c == ',')
            values++;
        if (depth > CHAT_DEPTH_MAX)
            return err_set(err, RC_BAD_INPUT, "JSON is nested deeper than %d levels",
                           CHAT_DEPTH_MAX);
        if (values > CHAT_VALUES_MAX)
            return err_set(err, RC_BAD_INPUT, "JSON has more than %d values", CHAT_VALUES_MAX);
    }
    return RC_OK;
}

enum rc chat_load_json(struct str body, json_t **ret, struct err *err)
{
    enum rc rc = check_shape(body, err);
    if (rc != RC_OK)
        return rc;
    json_error_t je;
    json_t *root =
        json_loadb(body.p ? body.p : "", body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!root)
        return err_set(err, RC_BAD_INPUT,
                       "We could not parse the JSON body of your request: %.120s (line %d)",
                       je.text, je.line);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, RC_BAD_INPUT, "The body of the request must be a JSON object.");
    }
    *ret = root;
    return RC_OK;
}

/* ---- single fields: absent and null leave the default ---- */

const json_t *reader_field(const struct reader *r, const char *name)
{
    const json_t *v = json_object_get(r->obj, name);
    return json_is_null(v) ? NULL : v;
}

struct str reader_text(const json_t *v)
{
    return str_make(json_string_value(v), json_string_length(v));
}

enum rc reader_bool(struct reader *r, const char *name, bool *ret)
{
    const json_t *v = reader_field(r, name);
    if (!v)
        return RC_OK;
    if (!json_is_boolean(v))
        return reader_bad_type(r, name, "a boolean");
    *ret = json_is_true(v);
    return RC_OK;
}

enum rc reader_float(struct reader *r, const char *name, double lo, double hi, float *ret)
{
    const json_t *v = reader_field(r, name);
    if (!v)
        return RC_OK;
    if (!json_is_number(v))
        return reader_bad_type(r, name, "a number");
    double d = json_number_value(v);
    if (!(d >= lo && d <= hi)) {
        r->code = CHAT_CODE_VALUE;
        return err_field(r->err, RC_BAD_INPUT, name,
                         "Invalid '%s': expected a value between %g and %g.", name, lo, hi);
    }
    *ret = (float)d;
    return RC_OK;
}

enum rc reader_int(struct reader *r, const char *name, int64_t lo, int64_t hi, int64_t *ret)
{
    const json_t *v = reader_field(r, name);
    if (!v)
        return RC_OK;
    if (!json_is_integer(v))
        return reader_bad_type(r, name, "an integer");
    int64_t n = json_integer_value(v);
    if (n < lo || n > hi) {
        r->code = CHAT_CODE_VALUE;
        if (hi >= INT32_MAX)
            return err_field(r->err, RC_BAD_INPUT, name,
                             "Invalid '%s': expected an integer of at least %lld.", name,
                             (long long)lo);
        return err_field(r->err, RC_BAD_INPUT, name,
                         "Invalid '%s': expected an integer of at least %lld and at most %lld.",
                         name, (long long)lo, (long long)hi);
    }
    *ret = n;
    return RC_OK;
}

enum rc reader_i32(struct reader *r, const char *name, int32_t lo, int32_t hi, int32_t *ret)
{
    int64_t n = *ret;
    enum rc rc = reader_int(r, name, lo, hi, &n);
    *ret = (int32_t)n;
    return rc;
}

enum rc reader_copy(struct reader *r, struct str s, struct str *ret)
{
    *ret = s.len ? arena_dup(r->arena, s) : STR("");
    return ret->p ? RC_OK : reader_no_memory(r);
}
