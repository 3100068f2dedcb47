#include "gateway/recover.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"

enum { BUCKETS = 4096, NOBODY = -1 };

struct node {
    struct recover_open open;
    uint32_t turn; /* of the counts taken so far; 0: none */
    int32_t next;  /* in its bucket or the free list; NOBODY ends it */
    bool live;
};

struct recover {
    const struct shelf *shelf;
    struct recover_segment *segments;
    struct str *files; /* mapped: the opens' views */
    size_t n_segments;
    struct node *nodes;
    int32_t n_nodes, cap_nodes, free_node;
    int32_t buckets[BUCKETS];
    struct recover_open *opens;
    size_t n_opens;
};

/* ---- open requests by the place of their OPEN ---- */

static int32_t *bucket_of(struct recover *r, uint64_t segment, uint64_t offset)
{
    uint64_t h = recover_owner(segment, offset) * UINT64_C(0x9e3779b97f4a7c15);
    return &r->buckets[h >> 52];
}

static int32_t *node_find(struct recover *r, uint64_t segment, uint64_t offset)
{
    int32_t *at = bucket_of(r, segment, offset);
    while (*at != NOBODY &&
           (r->nodes[*at].open.segment != segment || r->nodes[*at].open.offset != offset))
        at = &r->nodes[*at].next;
    return at;
}

static enum rc node_add(struct recover *r, const struct recover_open *open, struct err *err)
{
    int32_t i = r->free_node;
    if (i != NOBODY) {
        r->free_node = r->nodes[i].next;
    } else {
        if (r->n_nodes == r->cap_nodes) {
            int32_t cap = r->cap_nodes ? 2 * r->cap_nodes : 1024;
            struct node *more = realloc(r->nodes, (size_t)cap * sizeof *more);
            if (!more)
                return err_set(err, RC_NO_MEMORY, "no memory for the journal's open requests");
            r->nodes = more;
            r->cap_nodes = cap;
        }
        i = r->n_nodes++;
    }
    int32_t *bucket = bucket_of(r, open->segment, open->offset);
    r->nodes[i] = (struct node){.open = *open, .next = *bucket, .live = true};
    *bucket = i;
    return RC_OK;
}

static void node_drop(struct recover *r, uint64_t segment, uint64_t offset)
{
    int32_t *at = node_find(r, segment, offset), i = *at;
    if (i == NOBODY)
        return; /* its OPEN's segment is deleted already: all its rows were applied */
    *at = r->nodes[i].next;
    r->nodes[i].live = false;
    r->nodes[i].next = r->free_node;
    r->free_node = i;
}

/* ---- reading ---- */

static enum rc head_check(const struct recover *r, uint64_t number, struct str file,
                          struct err *err)
{
    struct segment_head head;
    enum rc rc = segment_head_get(file, &head, err);
    if (rc != RC_OK)
        return err_set(err, RC_CORRUPT, "journal segment %" PRIx64 " has a broken head", number);
    if (head.segment != number || !str_eq(str_of(head.gateway), id_str(&r->shelf->gateway)))
        return err_set(err, RC_CORRUPT, "journal segment %" PRIx64 " belongs to another journal",
                       number);
    return RC_OK;
}

static enum rc records_read(struct recover *r, uint64_t number, struct str file, uint64_t *ret_end,
                            bool *ret_torn, struct err *err)
{
    uint64_t at = SEGMENT_HEAD_BYTES;
    struct segment_record rec;
    enum segment_step step;
    while ((step = segment_next(file, number, &at, &rec)) == SEGMENT_RECORD) {
        struct segment_close close;
        struct recover_open open = {.segment = number, .offset = rec.offset};
        if (rec.type == SEGMENT_CLOSE && segment_close_get(rec.payload, &close)) {
            node_drop(r, close.segment, close.offset);
        } else if (rec.type == SEGMENT_OPEN && segment_open_get(rec.payload, &open.open)) {
            enum rc rc = node_add(r, &open, err);
            if (rc != RC_OK)
                return rc;
        }
    }
    *ret_end = at;
    *ret_torn = step == SEGMENT_TORN;
    return RC_OK;
}

static enum rc segment_read(struct recover *r, size_t i, struct err *err)
{
    struct recover_segment *seg = &r->segments[i];
    enum rc rc = shelf_load(r->shelf, seg->number, &r->files[i], err);
    if (rc == RC_OK)
        rc = head_check(r, seg->number, r->files[i], err);
    if (rc == RC_OK)
        rc = records_read(r, seg->number, r->files[i], &seg->end, &seg->torn, err);
    seg->untouched = rc == RC_OK && !seg->torn && seg->end == SEGMENT_HEAD_BYTES;
    if (rc == RC_OK && seg->torn)
        log_warn("journal.torn", "segment=%" PRIx64 " good_bytes=%" PRIu64, seg->number, seg->end);
    return rc;
}

static void counts_take(struct recover *r, const struct cells *cells)
{
    for (int32_t c = 0; c < cells->n; c++) {
        struct cells_found found[2];
        int n = cells_get(cells, c, found);
        for (int i = 0; i < n; i++) {
            uint64_t segment = found[i].owner >> 32, offset = (found[i].owner << 3) & 0x7ffffffff;
            int32_t at = *node_find(r, segment, offset);
            if (at == NOBODY || r->nodes[at].turn >= found[i].turn)
                continue;
            r->nodes[at].turn = found[i].turn;
            r->nodes[at].open.counted = found[i].tok;
        }
    }
}

static int by_place(const void *a, const void *b)
{
    const struct recover_open *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static enum rc opens_collect(struct recover *r, struct err *err)
{
    r->opens = calloc((size_t)r->n_nodes + 1, sizeof *r->opens);
    if (!r->opens)
        return err_set(err, RC_NO_MEMORY, "no memory for the journal's open requests");
    for (int32_t i = 0; i < r->n_nodes; i++)
        if (r->nodes[i].live)
            r->opens[r->n_opens++] = r->nodes[i].open;
    qsort(r->opens, r->n_opens, sizeof *r->opens, by_place);
    return RC_OK;
}

static enum rc tails_cut(struct recover *r, struct err *err)
{
    enum rc rc = RC_OK;
    size_t n = r->n_segments;
    while (n > 0 && r->segments[n - 1].untouched) /* to be appended to: shelf_reuse */
        n--;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        const struct recover_segment *seg = &r->segments[i];
        /* What lies behind a tear is passed over, here and by every later start, but kept for
         * people: it may be a bad sector and not a crash. */
        uint64_t keep = seg->torn ? r->files[i].len : seg->end;
        if (keep < r->files[i].len || seg->torn)
            rc = shelf_cut(r->shelf, seg->number, keep, err);
    }
    return rc;
}

enum rc recover_new(const struct shelf *shelf, const struct cells *cells, struct recover **ret,
                    struct err *err)
{
    uint64_t *numbers = NULL;
    size_t n = 0;
    struct recover *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, RC_NO_MEMORY, "no memory to read the journal");
    r->shelf = shelf;
    r->free_node = NOBODY;
    for (int i = 0; i < BUCKETS; i++)
        r->buckets[i] = NOBODY;
    enum rc rc = shelf_list(shelf, &numbers, &n, err);
    if (rc == RC_OK) {
        r->segments = calloc(n + 1, sizeof *r->segments);
        r->files = calloc(n + 1, sizeof *r->files);
        if (!r->segments || !r->files)
            rc = err_set(err, RC_NO_MEMORY, "no memory to read the journal");
    }
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        r->segments[i].number = numbers[i];
        r->n_segments = i + 1;
        rc = segment_read(r, i, err);
    }
    free(numbers);
    if (rc == RC_OK) {
        counts_take(r, cells);
        rc = opens_collect(r, err);
    }
    if (rc == RC_OK)
        rc = tails_cut(r, err);
    if (rc != RC_OK) {
        recover_free(r);
        return rc;
    }
    *ret = r;
    return RC_OK;
}

void recover_free(struct recover *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->files && i < r->n_segments; i++)
        shelf_unload(r->files[i]);
    free(r->segments);
    free(r->files);
    free(r->nodes);
    free(r->opens);
    free(r);
}

size_t recover_segments(const struct recover *r, const struct recover_segment **ret)
{
    *ret = r->segments;
    return r->n_segments;
}

size_t recover_opens(const struct recover *r, const struct recover_open **ret)
{
    *ret = r->opens;
    return r->n_opens;
}
