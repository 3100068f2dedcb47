#ifndef SLUICE_SCHEMA_CHAT_READER_H
#define SLUICE_SCHEMA_CHAT_READER_H
/* chat_reader - single fields of a request's JSON, for chat.c. An absent field and null leave the
 * default; a wrong type or range names the field and sets the error's code. */

#include <jansson.h>

#include "schema/chat.h"

struct reader {
    const json_t *obj;
    struct arena *arena;
    const char *code;
    char *unsupported; /* of the chat */
    struct err *err;
};

/* All give RC_BAD_INPUT, but for the third, which only notes the field: whoever runs the request
 * decides. */
enum rc reader_bad(struct reader *r, const char *code, const char *field, const char *what);
enum rc reader_bad_type(struct reader *r, const char *field, const char *want);
enum rc reader_unsupported(struct reader *r, const char *field);
enum rc reader_no_memory(struct reader *r); /* RC_TOO_LARGE */

const json_t *reader_field(const struct reader *r, const char *name); /* NULL: absent or null */
struct str reader_text(const json_t *v);
enum rc reader_copy(struct reader *r, struct str s, struct str *ret); /* into the arena */

enum rc reader_bool(struct reader *r, const char *name, bool *ret);
enum rc reader_float(struct reader *r, const char *name, double lo, double hi, float *ret);
enum rc reader_int(struct reader *r, const char *name, int64_t lo, int64_t hi, int64_t *ret);
enum rc reader_i32(struct reader *r, const char *name, int32_t lo, int32_t hi, int32_t *ret);

#endif
