/* Event streams in any pieces, and the small texts of rate-limit headers. */
#include <check.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "base/units.h"
#include "gateway/sse.h"

struct seen {
    struct buf all; /* each event's data and a bar */
    int n;
};

static enum rc on_event(void *user, struct str data)
{
    struct seen *s = user;
    s->n++;
    buf_str(&s->all, data);
    buf_byte(&s->all, '|');
    return RC_OK;
}

static const char stream[] = ": ping\r\n\r\ndata: {\"a\":\"\xc3\xa9\"}\r\n\r\n"
                             "event: x\ndata:b\ndata: c\n\nid: 7\n\n\rdata: d\r\rdata: [DONE]\n\n";
static const char want[] = "{\"a\":\"\xc3\xa9\"}|b\nc|d|[DONE]|";

START_TEST(a_stream_cut_anywhere_gives_the_same_events)
{
    for (size_t cut = 0; cut < sizeof stream; cut++)
        for (size_t second = cut; second < sizeof stream; second += 7) {
            struct seen seen = {0};
            struct err err = {0};
            struct sse s;
            struct str all = str_of(stream);
            buf_init(&seen.all, 1 * KIB);
            sse_init(&s);
            ck_assert_int_eq(sse_read(&s, str_sub(all, 0, cut), on_event, &seen, &err), RC_OK);
            ck_assert_int_eq(sse_read(&s, str_sub(all, cut, second - cut), on_event, &seen, &err),
                             RC_OK);
            ck_assert_int_eq(sse_read(&s, str_sub(all, second, SIZE_MAX), on_event, &seen, &err),
                             RC_OK);
            ck_assert_msg(str_is(buf_view(&seen.all), want), "cut at %zu and %zu: " STR_FMT, cut,
                          second, STR_ARG(buf_view(&seen.all)));
            sse_done(&s);
            buf_done(&seen.all);
        }
}
END_TEST

START_TEST(an_event_without_an_end_is_bounded)
{
    struct seen seen = {0};
    struct err err = {0};
    struct sse s;
    char block[4096];
    memset(block, 'x', sizeof block);
    sse_init(&s);
    enum rc rc = sse_read(&s, STR("data: "), on_event, &seen, &err);
    size_t fed = 0;
    while (rc == RC_OK && fed < 4 * SSE_EVENT_MAX) {
        rc = sse_read(&s, str_make(block, sizeof block), on_event, &seen, &err);
        fed += sizeof block;
    }
    ck_assert_int_eq(rc, RC_TOO_LARGE);
    ck_assert_uint_le(fed, SSE_EVENT_MAX + sizeof block);
    sse_done(&s);
}
END_TEST

static const struct {
    int64_t ms;
    const char *text;
} durations[] = {{0, "0ms"},         {12, "12ms"},    {999, "999ms"},
                 {1000, "1s"},       {6000, "6s"},    {1250, "1.250s"},
                 {59999, "59.999s"}, {60000, "1m0s"}, {90000, "1m30s"}};

START_TEST(durations_read_like_gos)
{
    char text[SSE_DURATION_BYTES];
    ck_assert_str_eq(sse_duration(durations[_i].ms, text), durations[_i].text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sse");
    TCase *c = tcase_create("events");
    tcase_add_test(c, a_stream_cut_anywhere_gives_the_same_events);
    tcase_add_test(c, an_event_without_an_end_is_bounded);
    tcase_add_loop_test(c, durations_read_like_gos, 0, (int)ARRAY_LEN(durations));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
