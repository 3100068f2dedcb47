#ifndef SLUICE_GATEWAY_BE_HTTP_H
#define SLUICE_GATEWAY_BE_HTTP_H
/* be_http - requests to an OpenAI-compatible server: vLLM, NIM, a Dynamo frontend, anything that
 * speaks the protocol (GATEWAY 6, T04-T18).
 *
 * Its usage numbers are read, checked and kept; events pass through byte for byte, but for the
 * usage chunk that we asked for and the client did not. */

#include "gateway/fault.h"

struct req;

/* An upper bound of the tokens, from bytes: we do not have its tokenizer. */
enum rc upstream_count(struct req *r, struct fault *ret);
void upstream_send(struct req *r);
/* Counts what was seen of an answer that is being given up. */
void upstream_give_up(struct req *r);
/* Ends the call without a word. Nothing happens when none is under way. */
void upstream_drop(struct req *r);

#endif
