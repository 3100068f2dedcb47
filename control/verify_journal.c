/* verify_journal.c - the gateways' journals against the ledger.
 *
 * A segment is read whole, one at a time. What is kept of it is 32 bytes for each record, so that
 * an OPEN can be matched with a CLOSE in a later segment. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/db.h"
#include "control/ledger.h"
#include "control/row.h"
#include "control/txn.h"
#include "control/verify.h"
#include "schema/segment.h"

enum {
    SEGMENTS_MAX = 65536,
    MARKS_MAX = 64 << 20, /* records of all segments */
    ROW_ARENA_BYTES = 1 << 20,
    PATH_BYTES = 600,
};

/* One record. */
struct mark {
    uint64_t segment, offset; /* of the OPEN that it is, or closes */
    uint8_t id[12];           /* of the request, hashed */
    int32_t is_close;
};

struct pass {
    struct txn *txn;
    struct verify *v;
    const char *dir;
    int64_t gateway_since_ms;
    uint64_t *segments;
    size_t n_segments;
    struct mark *marks;
    size_t n_marks, cap_marks;
    /* Of the journal's gateway. */
    char gateway[SEGMENT_GATEWAY_BYTES];
    int64_t applied_segment, applied_offset;
    int64_t first_seq;  /* link of the oldest CLOSE that is still there; 0: none */
    struct arena arena; /* of one row */
};

static void id_hash(struct str id, uint8_t ret[12])
{
    uint8_t full[16];
    hash_blake2b(full, sizeof full, id.p, id.len, NULL, 0);
    memcpy(ret, full, 12);
}

static enum rc mark_add(struct pass *p, struct mark m, struct err *err)
{
    if (p->n_marks == p->cap_marks) {
        size_t cap = p->cap_marks ? p->cap_marks * 2 : 4096;
        struct mark *wider = cap <= MARKS_MAX ? realloc(p->marks, cap * sizeof *wider) : NULL;
        if (!wider)
            return err_set(err, RC_NO_MEMORY, "the journals have more than %zu records",
                           p->n_marks);
        p->marks = wider;
        p->cap_marks = cap;
    }
    p->marks[p->n_marks++] = m;
    return RC_OK;
}

/* ---- one record ---- */

static enum rc unpack(struct pass *p, struct str packed, uint64_t segment, uint64_t offset,
                      struct usage *ret, bool *ret_ok, struct err *err)
{
    arena_reset(&p->arena);
    *ret = (struct usage){0};
    enum rc rc = resource_unpack(&resource_usage, packed, &p->arena, ret, err);
    *ret_ok = rc == RC_OK;
    if (rc == RC_CORRUPT || rc == RC_BAD_INPUT) {
        verify_differs(p->v, false, "the record at %016" PRIx64 ":%" PRIu64 " is not a usage row",
                       segment, offset);
        rc = RC_OK;
    }
    return rc;
}

/* The row as the journal has it, and as the ledger has it. */
static enum rc compare(struct pass *p, const struct usage *journal, const struct usage *ledger,
                       struct err *err)
{
    static const uint8_t none[HASH_BYTES];
    uint8_t a[HASH_BYTES], b[HASH_BYTES];
    enum rc rc = ledger_link(none, none, journal, a, err);
    if (rc == RC_OK)
        rc = ledger_link(none, none, ledger, b, err);
    if (rc == RC_OK && memcmp(a, b, HASH_BYTES) != 0)
        verify_differs(p->v, false,
                       "row " STR_FMT " says %" PRId64 "+%" PRId64 "+%" PRId64
                       " tokens, cost %" PRId64 "; its journal %" PRId64 "+%" PRId64 "+%" PRId64
                       ", %" PRId64 " (or another field differs)",
                       STR_ARG(journal->id), ledger->input_tokens, ledger->cached_tokens,
                       ledger->output_tokens, ledger->cost, journal->input_tokens,
                       journal->cached_tokens, journal->output_tokens, journal->cost);
    return rc;
}

static enum rc find_link(struct pass *p, struct str id, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    enum rc rc = stmt_get(p->txn, "SELECT seq FROM usage_chain WHERE usage_id = ?1", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, id);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK && row)
        p->first_seq = stmt_i64(s, 0);
    return rc;
}

static enum rc check_close(struct pass *p, const struct segment_close *close, uint64_t segment,
                           const struct segment_record *record, struct err *err)
{
    struct usage row, ledger = {0};
    bool ok = false;
    enum rc rc = unpack(p, close->row, segment, record->offset, &row, &ok, err);
    if (rc != RC_OK || !ok)
        return rc;
    struct mark m = {.segment = close->segment, .offset = close->offset, .is_close = 1};
    id_hash(row.id, m.id);
    rc = mark_add(p, m, err);
    if (rc != RC_OK)
        return rc;
    p->v->closes++;
    rc = row_get(p->txn, access_system(), &resource_usage, row.id, &p->arena, &ledger, err);
    if (rc == RC_OK && p->first_seq == 0)
        rc = find_link(p, row.id, err);
    if (rc == RC_OK)
        return compare(p, &row, &ledger, err);
    if (rc != RC_NOT_FOUND)
        return rc;
    /* The applied place is the end of the last batch, so this record is beyond it or lost. */
    bool beyond =
        (int64_t)segment > p->applied_segment ||
        ((int64_t)segment == p->applied_segment && (int64_t)record->offset >= p->applied_offset);
    if (beyond)
        p->v->in_flight++;
    else
        verify_differs(p->v, false, "the journal closed " STR_FMT ", the ledger has no row of it",
                       STR_ARG(row.id));
    return RC_OK;
}

static enum rc check_open(struct pass *p, const struct segment_open *open, uint64_t segment,
                          const struct segment_record *record, struct err *err)
{
    struct usage row;
    bool ok = false;
    enum rc rc = unpack(p, open->row, segment, record->offset, &row, &ok, err);
    if (rc != RC_OK || !ok)
        return rc;
    p->v->opens++;
    /* is_close 0: old enough that it must have been closed; -1: may still run. */
    bool old = p->gateway_since_ms > 0 && row.time < p->gateway_since_ms;
    struct mark m = {.segment = segment, .offset = record->offset, .is_close = old ? 0 : -1};
    id_hash(row.id, m.id);
    return mark_add(p, m, err);
}

static enum rc check_record(struct pass *p, uint64_t segment, const struct segment_record *record,
                            struct err *err)
{
    struct segment_open open;
    struct segment_close close;
    if (record->type == SEGMENT_OPEN && segment_open_get(record->payload, &open))
        return check_open(p, &open, segment, record, err);
    if (record->type == SEGMENT_CLOSE && segment_close_get(record->payload, &close))
        return check_close(p, &close, segment, record, err);
    verify_differs(p->v, false, "the record at %016" PRIx64 ":%" PRIu64 " is of no known kind",
                   segment, record->offset);
    return RC_OK;
}

/* ---- segments ---- */

static enum rc read_applied(struct pass *p, struct err *err)
{
    return ledger_applied(p->txn, str_of(p->gateway), &p->applied_segment, &p->applied_offset, err);
}

static enum rc check_bytes(struct pass *p, struct str file, uint64_t number, bool last,
                           struct err *err)
{
    struct segment_head head;
    struct err why;
    if (segment_head_get(file, &head, &why) != RC_OK) {
        /* The next segment is made ahead of its need, and its head is written when it is used. */
        if (!last)
            verify_differs(p->v, false, "journal segment %016" PRIx64 ": %s", number, why.msg);
        return RC_OK;
    }
    enum rc rc = RC_OK;
    if (p->gateway[0] == '\0') {
        memcpy(p->gateway, head.gateway, sizeof p->gateway);
        rc = read_applied(p, err);
    }
    p->v->segments++;
    uint64_t offset = SEGMENT_HEAD_BYTES;
    struct segment_record record;
    while (rc == RC_OK && segment_next(file, number, &offset, &record) == SEGMENT_RECORD)
        rc = check_record(p, number, &record, err);
    return rc;
}

static enum rc check_segment(struct pass *p, uint64_t number, bool last, struct err *err)
{
    char name[SEGMENT_NAME_BYTES], path[PATH_BYTES];
    struct stat st;
    segment_name(number, name);
    snprintf(path, sizeof path, "%.500s/%s", p->dir, name);
    SCOPED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) /* shipped and deleted since we listed it */
        return RC_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_errno(err, errno, "cannot read %.200s", path);
    if (st.st_size < SEGMENT_HEAD_BYTES)
        return RC_OK;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_errno(err, errno, "cannot read %.200s", path);
    enum rc rc = check_bytes(p, str_make(map, (size_t)st.st_size), number, last, err);
    munmap(map, (size_t)st.st_size);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static enum rc list_segments(struct pass *p, struct err *err)
{
    DIR *dir = opendir(p->dir);
    if (!dir)
        return errno == ENOENT ? RC_OK : err_errno(err, errno, "cannot read %.200s", p->dir);
    p->segments = malloc(SEGMENTS_MAX * sizeof *p->segments);
    enum rc rc = p->segments ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for the journals");
    for (struct dirent *e = NULL; rc == RC_OK && (e = readdir(dir)) != NULL;) {
        uint64_t number;
        if (!segment_name_parse(str_of(e->d_name), &number))
            continue;
        if (p->n_segments == SEGMENTS_MAX)
            rc = err_set(err, RC_LIMIT, "more than %d journal segments", SEGMENTS_MAX);
        else
            p->segments[p->n_segments++] = number;
    }
    closedir(dir);
    if (p->n_segments > 0)
        qsort(p->segments, p->n_segments, sizeof *p->segments, by_number);
    return rc;
}

/* ---- after all segments ---- */

static int by_place(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->is_close - y->is_close;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct mark *)a)->id, ((const struct mark *)b)->id, 12);
}

/* Marks of one place: an OPEN (unless its segment is gone), then its CLOSEs. */
static void check_pairs(struct pass *p)
{
    if (p->n_marks == 0)
        return;
    qsort(p->marks, p->n_marks, sizeof *p->marks, by_place);
    for (size_t i = 0; i < p->n_marks;) {
        size_t end = i, closes = 0;
        const struct mark *open = p->marks[i].is_close == 1 ? NULL : &p->marks[i];
        for (; end < p->n_marks && p->marks[end].segment == p->marks[i].segment &&
               p->marks[end].offset == p->marks[i].offset;
             end++)
            closes += p->marks[end].is_close == 1;
        if (closes > 1)
            verify_differs(p->v, false,
                           "the request opened at %016" PRIx64 ":%" PRIu64 " was closed %zu times",
                           p->marks[i].segment, p->marks[i].offset, closes);
        if (open && closes == 0 && open->is_close == 0)
            verify_differs(p->v, true,
                           "the request opened at %016" PRIx64 ":%" PRIu64
                           " by an earlier life of the gateway was never closed",
                           open->segment, open->offset);
        else if (open && closes == 0)
            p->v->running++;
        i = end;
    }
}

/* A gateway ships in the order of its journal, and deletes its oldest segments: so whatever came to
 * the ledger after the oldest CLOSE that is still there has its own CLOSE there too. */
static enum rc check_rows_have_closes(struct pass *p, struct err *err)
{
    if (p->first_seq == 0)
        return RC_OK;
    size_t n = 0; /* only CLOSEs count from here on */
    for (size_t i = 0; i < p->n_marks; i++)
        if (p->marks[i].is_close == 1)
            p->marks[n++] = p->marks[i];
    p->n_marks = n;
    qsort(p->marks, n, sizeof *p->marks, by_id); /* at least the one of first_seq */
    SCOPED_STMT s = NULL;
    enum rc rc = stmt_get(p->txn,
                          "SELECT u.id FROM usage_chain c JOIN usage u ON u.id = c.usage_id "
                          "WHERE c.seq > ?1 AND u.gateway = ?2",
                          &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_i64(s, 1, p->first_seq);
    stmt_bind_str(s, 2, str_of(p->gateway));
    for (bool row = true;;) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            return rc;
        struct mark want = {0};
        struct str id = stmt_str(s, 0);
        id_hash(id, want.id);
        if (!bsearch(&want, p->marks, p->n_marks, sizeof want, by_id))
            verify_differs(p->v, false, "row " STR_FMT " is in the ledger and not in the journal",
                           STR_ARG(id));
    }
}

enum rc verify_journal(struct txn *txn, const char *dir, int64_t gateway_since_ms, struct verify *v,
                       struct err *err)
{
    struct pass p = {.txn = txn, .v = v, .dir = dir, .gateway_since_ms = gateway_since_ms};
    arena_init(&p.arena, ROW_ARENA_BYTES);
    enum rc rc = list_segments(&p, err);
    for (size_t i = 0; rc == RC_OK && i < p.n_segments; i++)
        rc = check_segment(&p, p.segments[i], i + 1 == p.n_segments, err);
    if (rc == RC_OK) {
        check_pairs(&p);
        rc = check_rows_have_closes(&p, err);
    }
    arena_done(&p.arena);
    free(p.segments);
    free(p.marks);
    return rc;
}
