/* fuzz_card - bytes to a card; what unpacks must pack to the same bytes and open or be refused. */

#include "base/buf.h"
#include "base/scoped.h"
#include "base/units.h"
#include "engine/text/card.h"
#include "engine/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct card c;
    struct err err = {0};
    struct tokenizer *t = NULL;
    struct str blob = {(const char *)data, size};
    if (card_unpack(blob, &c, &err) != RC_OK) {
        ASSERT(err.rc == RC_CORRUPT && err.field[0]);
        return 0;
    }
    SCOPED_BUF b;
    buf_init(&b, 16 * MIB);
    ASSERT(card_pack(&c, &b, &err) == RC_OK);
    ASSERT(str_eq(buf_view(&b), blob));
    if (tokenizer_open(&c, &t, &err) == RC_OK) {
        struct tokens v;
        tokens_init(&v, 10000);
        ASSERT(tokenizer_encode(t, blob.len > 10000 ? str_sub(blob, 0, 10000) : blob, &v, &err) ==
               RC_OK);
        tokens_done(&v);
    } else {
        ASSERT(err.rc == RC_CORRUPT || err.rc == RC_INVALID);
    }
    tokenizer_close(t);
    card_done(&c);
    return 0;
}
