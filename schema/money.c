#include "schema/money.h"

#include <inttypes.h>
#include <stdio.h>

enum { DECIMALS_SHOWN = 2 };

static void to_text(int64_t units, int decimals, char ret[MONEY_TEXT_BYTES])
{
    /* The magnitude as unsigned, because INT64_MIN has no positive twin. */
    uint64_t v = units < 0 ? 0 - (uint64_t)units : (uint64_t)units, scale = 1;
    for (int i = 0; i < decimals; i++)
        scale *= 10;
    int n = snprintf(ret, MONEY_TEXT_BYTES, "%s%" PRIu64 ".%0*" PRIu64, units < 0 ? "-" : "",
                     v / scale, decimals, v % scale);
    for (int spare = decimals - DECIMALS_SHOWN; spare > 0 && ret[n - 1] == '0'; spare--)
        ret[--n] = '\0';
}

static bool from_text(struct str s, int decimals, int64_t *ret)
{
    bool negative = s.len && s.p[0] == '-';
    struct str fraction = negative ? str_sub(s, 1, s.len) : s;
    struct str whole = str_cut(&fraction, '.');
    bool has_point = fraction.p != NULL;
    if (whole.len == 0 || (has_point && fraction.len == 0) || fraction.len > (size_t)decimals)
        return false;
    int64_t v = 0;
    for (size_t i = 0; i < whole.len + (size_t)decimals; i++) {
        size_t at = i - whole.len;
        char c = i < whole.len ? whole.p[i] : at < fraction.len ? fraction.p[at] : '0';
        if (c < '0' || c > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, c - '0', &v))
            return false;
    }
    *ret = negative ? -v : v;
    return true;
}

void money_price_text(int64_t micro, char ret[MONEY_TEXT_BYTES])
{
    to_text(micro, MONEY_PRICE_DECIMALS, ret);
}

void money_cost_text(int64_t pico, char ret[MONEY_TEXT_BYTES])
{
    to_text(pico, MONEY_COST_DECIMALS, ret);
}

bool money_price_parse(struct str s, int64_t *ret_micro)
{
    return from_text(s, MONEY_PRICE_DECIMALS, ret_micro);
}

bool money_cost_parse(struct str s, int64_t *ret_pico)
{
    return from_text(s, MONEY_COST_DECIMALS, ret_pico);
}
