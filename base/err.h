#ifndef SLUICE_BASE_ERR_H
#define SLUICE_BASE_ERR_H
/* err - `enum rc` is for the caller, `struct err` for the person who reads it.
 *
 * err_set() fills both, with file and line, and returns the code. One table in err.c turns a
 * code into HTTP status, API code and OpenAI error type. */

#include <stdbool.h>

enum rc {
    RC_OK = 0,
    RC_AGAIN,           /* not a failure: come back when ready */
    RC_BAD_INPUT,       /* 400 malformed or out of range; err.field names what */
    RC_UNAUTHENTICATED, /* 401 */
    RC_PAYMENT,         /* 402 prepaid balance is empty */
    RC_FORBIDDEN,       /* 403 */
    RC_NOT_FOUND,       /* 404 */
    RC_BAD_METHOD,      /* 405 */
    RC_CONFLICT,        /* 409 exists already, or is in use */
    RC_PRECONDITION,    /* 412 If-Match does not match */
    RC_TOO_LARGE,       /* 413 */
    RC_INVALID,         /* 422 well-formed, but not possible in this state */
    RC_LIMIT,           /* 429 rate limit */
    RC_CLIENT_GONE,     /* 499 hung up; nobody reads the answer */
    RC_INTERNAL,        /* 500 */
    RC_UPSTREAM,        /* 502 engine or upstream broke its word */
    RC_UNAVAILABLE,     /* 503 overloaded, starting, no replica, store busy */
    RC_TIMEOUT,         /* 504 */
    RC_NO_MEMORY,       /* 503 for the client */
    RC_IO,              /* 500 disk, socket; errno is in the message */
    RC_CORRUPT,         /* 500 stored or foreign bytes contradict themselves */
    RC_COUNT
};

struct err {
    enum rc rc;
    const char *file; /* static */
    int line;
    char field[48]; /* the input at fault ("messages[0].role"), or "" */
    char msg[256];  /* one sentence, no trailing dot needed, safe to show to the client */
};

/* Both return rc. The message is for a person: say what was wrong and what is allowed. */
#define err_set(err, rc, ...) err_set_at((err), (rc), NULL, __FILE__, __LINE__, __VA_ARGS__)
#define err_field(err, rc, field, ...)                                                             \
    err_set_at((err), (rc), (field), __FILE__, __LINE__, __VA_ARGS__)
enum rc err_set_at(struct err *err /* may be NULL */, enum rc rc, const char *field,
                   const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Same with ": strerror(errno_value)" appended; rc is RC_IO. */
#define err_errno(err, errno_value, ...)                                                           \
    err_errno_at((err), (errno_value), __FILE__, __LINE__, __VA_ARGS__)
enum rc err_errno_at(struct err *err, int errno_value, const char *file, int line, const char *fmt,
                     ...) __attribute__((format(printf, 5, 6)));

const char *rc_name(enum rc rc);        /* "not_found": API error code and log value */
int rc_http_status(enum rc rc);         /* 404 */
const char *rc_openai_type(enum rc rc); /* "invalid_request_error", "rate_limit_error", … */

/* Guards our own reasoning, never a client's bytes; stays on in release. */
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            assert_failed(#cond, __FILE__, __LINE__);                                              \
    } while (0)
_Noreturn void assert_failed(const char *cond, const char *file, int line);

#endif
