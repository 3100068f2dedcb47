#ifndef SLUICE_SCHEMA_FRAME_H
#define SLUICE_SCHEMA_FRAME_H
/* frame - what a gateway and an engine say to each other, over a unix or TCP socket.
 *
 * A frame is a 16-byte header and a body, little-endian:
 *   magic "SLF1" u32 | type u8 | version u8 | reserved u16 (0) | body_len u32 | crc32c of the body u32
 * The body is a fixed struct written field by field, then the variable parts with their lengths.
 * Reading checks everything; a broken frame ends the connection (RC_CORRUPT), never the process.
 *
 *   gateway                              engine
 *   HELLO {version, gateway id}    →
 *                                  ←     HELLO_ACK {sizes, load, card}
 *   SUBMIT {rid, params, prompt}   →
 *                                  ←     TOKENS {rid, counts so far, text}…   (or ERROR)
 *   CANCEL {rid}                   →
 *                                  ←     DONE {rid, finish, usage}            exactly one DONE or
 *                                                                             ERROR per SUBMIT
 *   PING {nonce}                   →
 *                                  ←     STATUS {nonce, load}
 *
 * rid is chosen by the gateway and unique on its connection. When a connection closes, the engine
 * aborts all its requests. */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define FRAME_HEADER_BYTES 16
#define FRAME_VERSION 1
#define FRAME_BODY_MAX (16u << 20)
#define FRAME_STOP_MAX 16
#define FRAME_STOP_IDS_MAX 16
#define FRAME_BIAS_MAX 1024
#define FRAME_TOP_LOGPROBS_MAX 20
#define FRAME_RUN_TOKENS_MAX 64 /* most tokens one TOKENS frame carries */

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_HELLO_ACK,
    FRAME_SUBMIT,
    FRAME_TOKENS,
    FRAME_DONE,
    FRAME_ERROR,
    FRAME_CANCEL,
    FRAME_PING,
    FRAME_STATUS,
    FRAME_TYPE_COUNT
};

enum frame_finish {
    FINISH_STOP = 1, /* end-of-generation token or stop string */
    FINISH_LENGTH,   /* max_tok reached or context full */
    FINISH_ABORT,    /* cancelled by the gateway */
    FINISH_ERROR     /* only in usage of an ERROR frame */
};

struct frame_hello {
    struct str gateway; /* its id, for the log */
};

struct frame_load {
    int32_t running, waiting;        /* sequences */
    int32_t pages_free, pages_total; /* KV pages of 16 tokens */
    int64_t steps;
};

struct frame_hello_ack {
    int32_t n_ctx, n_vocab, max_seqs, max_waiting;
    struct frame_load load;
    struct str path; /* "cpu/avx2 x2", for people */
    struct str card; /* packed, see engine/text/card.h */
};

struct frame_bias {
    int32_t id;
    float bias;
};

/* Sampling as of the OpenAI protocol and vLLM's extras; the gateway has filled in defaults. */
struct frame_params {
    int32_t max_tok; /* >= 0; the engine stops at the context's end too */
    int32_t min_tok;
    float temperature; /* 0: greedy */
    float top_p;       /* (0, 1]; 1: off */
    int32_t top_k;     /* 0: off */
    float min_p;       /* 0: off */
    float presence, frequency;
    float repetition; /* > 0; 1: off */
    bool has_seed, ignore_eos;
    bool logprobs;          /* log-probability of each chosen token */
    int32_t top_logprobs;   /* 0..20 more of them */
    bool prompt_logprobs;   /* reserved, must be false */
    uint64_t seed;
    int32_t n_stop, n_stop_ids, n_bias;
    struct str stop[FRAME_STOP_MAX]; /* bytes; at most 256 each */
    int32_t stop_id[FRAME_STOP_IDS_MAX];
    const struct frame_bias *bias; /* [n_bias] */
};

struct frame_submit {
    uint64_t rid;
    uint8_t org_salt[16];  /* roots the prefix cache: tenants never share pages */
    uint8_t request_id[16]; /* for the engine's log and the sampler's counter */
    struct frame_params params;
    int32_t n_prompt;
    const int32_t *prompt; /* [n_prompt] vocabulary ids */
};

/* Usage of one request, made by the engine and only there. Running totals in TOKENS, final in
 * DONE and ERROR. cached is a part of input; output counts every token computed for and emitted to
 * this request, the end-of-generation token included when it ended the answer. */
struct frame_usage {
    int32_t input, cached, output;
    int64_t queue_us, prefill_us, decode_us;
};

struct frame_logprob {
    int32_t id;
    float logprob;
};

struct frame_token {
    struct frame_logprob chosen;
    struct str bytes; /* the token's own bytes, which may be a part of a character */
    int32_t n_top;
    const struct frame_logprob *top; /* [n_top], best first */
    const struct str *top_bytes;     /* [n_top] */
};

/* Text that may be shown: whole characters, no part of a stop string. It can be empty (held back). */
struct frame_tokens {
    uint64_t rid;
    struct frame_usage usage;
    struct str text;
    int32_t n_tokens; /* with logprobs: entries in token; else 0 */
    const struct frame_token *token;
};

struct frame_done {
    uint64_t rid;
    enum frame_finish finish;
    struct frame_usage usage;
    int32_t stop_index; /* stop string that matched, or -1 */
};

struct frame_error {
    uint64_t rid; /* 0: the connection's */
    enum rc rc;
    struct frame_usage usage;
    struct str message;
};

struct frame_cancel {
    uint64_t rid;
};

struct frame_ping {
    uint64_t nonce;
};

struct frame_status {
    uint64_t nonce;
    struct frame_load load;
};

struct frame {
    enum frame_type type;
    union {
        struct frame_hello hello;
        struct frame_hello_ack hello_ack;
        struct frame_submit submit;
        struct frame_tokens tokens;
        struct frame_done done;
        struct frame_error error;
        struct frame_cancel cancel;
        struct frame_ping ping;
        struct frame_status status;
    };
};

/* Appends a whole frame. RC_TOO_LARGE when it would pass FRAME_BODY_MAX or the buffer's maximum;
 * nothing is appended then. */
enum rc frame_write(struct buf *to, const struct frame *f, struct err *err);

/* Reads the first frame of `in`. RC_AGAIN: not whole yet. RC_OK: *ret_used bytes are consumed;
 * strings in *ret are views of `in`, arrays live in `arena`. RC_CORRUPT, RC_NO_MEMORY otherwise. */
enum rc frame_read(struct str in, struct arena *arena, struct frame *ret, size_t *ret_used,
                   struct err *err);

#endif
