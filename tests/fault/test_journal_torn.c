/* T55: a power cut leaves any mix of old and new pages, and a write may stop at any byte. What was
 * durable is there, what was not is cut, and each OPEN that survived has exactly one row. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/units.h"
#include "gateway/journal.h"
#include "schema/segment.h"

enum { SMALL = 64 * 1024, PAGE = 4096, FILES_MAX = 16, REQUESTS_MAX = 400 };

static const struct rate rate = {3, 1, 7};

static char *new_folder(char *text)
{
    /* Memory if there is some: thousands of journals are made, and no power is really cut. */
    strcpy(text, access("/dev/shm", W_OK) == 0 ? "/dev/shm/sluice-torn-XXXXXX"
                                               : "/tmp/sluice-torn-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(text));
    return text;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_folder(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct journal *journal_at(const char *dir)
{
    struct journal_opts opts = {
        .dir = dir, .clock = clock_system(), .segment_bytes = SMALL, .open_max = 16};
    struct journal *j = NULL;
    struct err err = {0};
    enum rc rc = journal_new(&opts, &j, &err);
    ck_assert_msg(rc == RC_OK, "%s", err.msg);
    return j;
}

static struct usage row_of(char id[40], int number)
{
    snprintf(id, 40, "req_%05d", number);
    return (struct usage){.id = str_of(id),
                          .org_id = STR("org_a"),
                          .user_id = STR("usr_a"),
                          .deployment_id = STR("dep_a"),
                          .model = STR("m"),
                          .route = STR("completions"),
                          .outcome = OUTCOME_RECOVERED,
                          .currency = STR("USD")};
}

static struct journal_entry must_open(struct journal *j, int number)
{
    char id[40];
    struct journal_entry e;
    struct usage row = row_of(id, number);
    for (int i = 0; journal_open(j, &row, &rate, &e, NULL) != RC_OK; i++) {
        ck_assert_int_lt(i, 10000);
        usleep(500); /* for the spare segment */
    }
    return e;
}

static void must_close(struct journal *j, struct journal_entry *e, int number)
{
    char id[40];
    struct usage row = row_of(id, number);
    row.outcome = OUTCOME_STOP;
    row.output_tokens = number + 1;
    ck_assert_int_eq(journal_close(j, e, &row, NULL, NULL), RC_OK);
}

/* Rows by request number. */
struct seen {
    int rows[REQUESTS_MAX], outcome[REQUESTS_MAX], total;
    int64_t output[REQUESTS_MAX];
};

static void on_row(void *user, const struct usage *u)
{
    struct seen *s = user;
    int64_t n = -1;
    ck_assert(str_to_i64(str_sub(u->id, 4, 10), 0, REQUESTS_MAX - 1, &n));
    s->rows[n]++;
    s->outcome[n] = (int)u->outcome;
    s->output[n] = u->output_tokens;
    s->total++;
}

static struct seen *see(const char *dir)
{
    static struct seen s;
    struct journal *j = journal_at(dir);
    struct journal_pos next, at = {0};
    struct err err;
    s = (struct seen){0};
    enum rc rc = journal_read(j, at, REQUESTS_MAX, 1 << 24, on_row, &s, &next, &err);
    ck_assert_msg(rc == RC_OK, "%s", err.msg);
    journal_free(j);
    return &s;
}

/* ---- files as bytes ---- */

struct file {
    char name[64];
    uint8_t *bytes;
    size_t len;
};
struct image {
    int n;
    struct file file[FILES_MAX];
};

static void image_take(const char *dir, struct image *ret)
{
    char path[512];
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    ret->n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "making.tmp") == 0)
            continue;
        struct file *f = &ret->file[ret->n++];
        ck_assert_int_le(ret->n, FILES_MAX);
        snprintf(f->name, sizeof f->name, "%.60s", e->d_name);
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        int fd = open(path, O_RDONLY);
        struct stat st;
        fstat(fd, &st);
        f->len = (size_t)st.st_size;
        f->bytes = malloc(f->len + 1);
        ck_assert_int_eq(read(fd, f->bytes, f->len), (ssize_t)f->len);
        close(fd);
    }
    closedir(d);
}

static void image_free(struct image *im)
{
    for (int i = 0; i < im->n; i++)
        free(im->file[i].bytes);
    im->n = 0;
}

static const struct file *image_find(const struct image *im, const char *name)
{
    for (int i = 0; i < im->n; i++)
        if (strcmp(im->file[i].name, name) == 0)
            return &im->file[i];
    return NULL;
}

static void file_write(const char *dir, const char *name, const uint8_t *bytes, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

/* ---- every byte ---- */

/* How a write that stopped at a byte may look behind it. */
enum { ZEROS, GARBAGE, SHORTER, STYLES };

/* Writes the torn journal; *ret is what its first segment then holds (free it). */
static void tear(const char *dir, const struct image *whole, size_t at, int style, struct file *ret)
{
    for (int i = 0; i < whole->n; i++) {
        const struct file *f = &whole->file[i];
        uint64_t number;
        if (!segment_name_parse(str_of(f->name), &number) || number != 1) {
            file_write(dir, f->name, f->bytes, f->len);
            continue;
        }
        *ret = (struct file){.bytes = malloc(f->len + 1), .len = style == SHORTER ? at : f->len};
        memcpy(ret->bytes, f->bytes, ret->len);
        if (style != SHORTER)
            memset(ret->bytes + at, 0, f->len - at);
        for (size_t b = at; style == GARBAGE && b < MIN_OF(at + 64, f->len); b++)
            ret->bytes[b] = (uint8_t)(b * 151 + at);
        file_write(dir, f->name, ret->bytes, ret->len);
    }
}

enum { RECORDS = 5 };
struct span {
    uint64_t from, to, padded;
};

/* Record r is there when its bytes are, and those of all before it. */
static void intact(const struct file *whole, const struct file *torn, const struct span *spans,
                   bool ret[RECORDS])
{
    for (int r = 0; r < RECORDS; r++)
        ret[r] = (r == 0 || ret[r - 1]) && spans[r].padded <= torn->len &&
                 memcmp(whole->bytes + spans[r].from, torn->bytes + spans[r].from,
                        spans[r].to - spans[r].from) == 0;
}

START_TEST(a_tail_torn_at_any_byte_is_cut_there)
{
    char dir[64], torn_dir[64];
    struct image whole;
    struct journal *j = journal_at(new_folder(dir));
    struct journal_entry a = must_open(j, 0), b = must_open(j, 1);
    journal_count(j, &b, &(struct token_count){5, 0, 9});
    must_close(j, &a, 0);
    struct journal_entry c = must_open(j, 2);
    must_close(j, &c, 2);
    struct journal_stats end;
    journal_stat(j, &end);
    image_take(dir, &whole);
    journal_free(j);
    ck_assert_uint_eq(end.end.segment, 1);

    const struct file *f = image_find(&whole, "0000000000000001.seg");
    struct str bytes = str_make((const char *)f->bytes, f->len);
    struct span spans[RECORDS + 1];
    struct segment_record rec;
    int n = 0;
    for (uint64_t at = SEGMENT_HEAD_BYTES; segment_next(bytes, 1, &at, &rec) == SEGMENT_RECORD;) {
        ck_assert_int_lt(n, RECORDS);
        spans[n++] =
            (struct span){rec.offset, rec.offset + SEGMENT_RECORD_BYTES + rec.payload.len, at};
    }
    ck_assert_int_eq(n, RECORDS); /* OPEN 0, OPEN 1, CLOSE 0, OPEN 2, CLOSE 2 */

    for (size_t at = SEGMENT_HEAD_BYTES; at <= end.end.offset; at++) {
        bool had[RECORDS];
        struct file torn = {0};
        tear(new_folder(torn_dir), &whole, at, (int)(at % STYLES), &torn);
        intact(f, &torn, spans, had);
        free(torn.bytes);
        for (int start = 0; start < 2; start++) { /* the second one finds it settled */
            struct seen *s = see(torn_dir);
            ck_assert_int_eq(s->total, had[0] + had[1] + had[3]);
            ck_assert_int_eq(s->rows[0], had[0]);
            ck_assert_int_eq(s->rows[1], had[1]);
            ck_assert_int_eq(s->rows[2], had[3]);
            ck_assert_int_eq(s->output[1], had[1] ? 9 : 0);
            if (had[0])
                ck_assert_int_eq(s->outcome[0], had[2] ? OUTCOME_STOP : OUTCOME_RECOVERED);
            if (had[3])
                ck_assert_int_eq(s->outcome[2], had[4] ? OUTCOME_STOP : OUTCOME_RECOVERED);
        }
        remove_folder(torn_dir);
    }
    image_free(&whole);
    remove_folder(dir);
}
END_TEST

/* ---- dropped pages ---- */

struct history {
    struct journal *j;
    struct journal_entry open[16];
    int number[16], n_open, next;
    bool opened_durable[REQUESTS_MAX], closed_durable[REQUESTS_MAX];
    bool opened[REQUESTS_MAX], closed[REQUESTS_MAX];
};

static void random_steps(struct history *h, int steps)
{
    for (int i = 0; i < steps && h->next < REQUESTS_MAX; i++) {
        if (h->n_open == 0 || (h->n_open < 10 && lrand48() % 2)) {
            h->number[h->n_open] = h->next;
            h->open[h->n_open++] = must_open(h->j, h->next);
            h->opened[h->next++] = true;
        } else {
            int which = (int)(lrand48() % h->n_open);
            must_close(h->j, &h->open[which], h->number[which]);
            h->closed[h->number[which]] = true;
            h->open[which] = h->open[--h->n_open];
            h->number[which] = h->number[h->n_open];
        }
    }
}

/* Each page as it was when all was synced, or as it was last. */
static void power_cut(const char *dir, const struct image *synced, const struct image *last)
{
    for (int i = 0; i < last->n; i++) {
        const struct file *f = &last->file[i], *old = image_find(synced, f->name);
        uint8_t *bytes = calloc(1, f->len + 1);
        memcpy(bytes, f->bytes, MIN_OF(f->len, (size_t)SEGMENT_HEAD_BYTES)); /* made synced */
        if (old)
            memcpy(bytes, old->bytes, MIN_OF(old->len, f->len));
        for (size_t at = 0; at < f->len; at += PAGE)
            if (lrand48() % 2)
                memcpy(bytes + at, f->bytes + at, MIN_OF((size_t)PAGE, f->len - at));
        file_write(dir, f->name, bytes, f->len);
        free(bytes);
    }
}

START_TEST(a_power_cut_loses_nothing_that_was_durable)
{
    srand48(1000 + _i);
    char dir[64], cut_dir[64];
    static struct history h;
    struct image synced, last;
    struct err err;
    h = (struct history){.j = journal_at(new_folder(dir))};
    random_steps(&h, (int)(lrand48() % 300));
    ck_assert_int_eq(journal_sync(h.j, &err), RC_OK);
    memcpy(h.opened_durable, h.opened, sizeof h.opened);
    memcpy(h.closed_durable, h.closed, sizeof h.closed);
    image_take(dir, &synced);
    random_steps(&h, (int)(lrand48() % 300));
    image_take(dir, &last);
    journal_free(h.j);

    for (int round = 0; round < 10; round++) {
        power_cut(new_folder(cut_dir), &synced, &last);
        struct seen *s = see(cut_dir);
        for (int r = 0; r < REQUESTS_MAX; r++) {
            ck_assert_int_le(s->rows[r], 1);
            if (h.opened_durable[r])
                ck_assert_int_eq(s->rows[r], 1);
            if (h.closed_durable[r])
                ck_assert_int_eq(s->outcome[r], OUTCOME_STOP);
            if (s->rows[r] && s->outcome[r] == OUTCOME_STOP)
                ck_assert(h.closed[r] && s->output[r] == r + 1);
        }
        remove_folder(cut_dir);
    }
    image_free(&synced);
    image_free(&last);
    remove_folder(dir);
}
END_TEST

START_TEST(a_segment_of_another_journal_is_not_read)
{
    char dir[64], other[64];
    struct image a, b;
    journal_free(journal_at(new_folder(dir)));
    journal_free(journal_at(new_folder(other)));
    image_take(dir, &a);
    image_take(other, &b);
    const struct file *f = image_find(&b, "0000000000000001.seg");
    file_write(dir, f->name, f->bytes, f->len);
    struct journal_opts opts = {.dir = dir, .clock = clock_system(), .segment_bytes = SMALL};
    struct journal *j = NULL;
    struct err err;
    ck_assert_int_eq(journal_new(&opts, &j, &err), RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.msg, "another journal"));
    image_free(&a);
    image_free(&b);
    remove_folder(dir);
    remove_folder(other);
}
END_TEST

int main(void)
{
    struct err err;
    log_init("test", LOG_ERROR + 1);
    if (hash_init(&err) != RC_OK)
        return EXIT_FAILURE;
    Suite *suite = suite_create("journal_torn");
    TCase *tc = tcase_create("torn");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, a_tail_torn_at_any_byte_is_cut_there);
    tcase_add_loop_test(tc, a_power_cut_loses_nothing_that_was_durable, 0, 20);
    tcase_add_test(tc, a_segment_of_another_journal_is_not_read);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
