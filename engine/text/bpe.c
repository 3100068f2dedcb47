/* bpe.c - merges by rank. Words of a few letters scan an array; long pieces (a megabyte of one
 * letter is one piece) use a linked list and a heap, so the work is n log n for any text. */

#include "engine/text/bpe.h"

#include <stdlib.h>

#include "base/units.h"

#define NO_PAIR     UINT64_MAX
#define NONE        UINT32_MAX
#define SHORT_PIECE 32 /* up to here n * n array moves beat the heap */
#define PIECE_MAX   ((size_t)1 << 30)

struct bpe_symbol {
    int32_t id; /* -1 once merged into its left neighbour */
    uint32_t prev, next;
};

/* An offer to merge the symbol at `pos` with its right neighbour; stale when they changed. */
struct bpe_entry {
    uint64_t order; /* rank << 32 | pos: least first, leftmost among equals */
    uint64_t pair;
};

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint32_t slot_of(const struct bpe *b, uint64_t pair)
{
    uint64_t h = pair * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32; /* ids sit in both halves: fold before the last product */
    return (uint32_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> b->shift);
}

static const struct bpe_merge *find(const struct bpe *b, uint64_t pair)
{
    uint32_t mask = (uint32_t)((UINT64_C(1) << (64 - b->shift)) - 1);
    for (uint32_t at = slot_of(b, pair);; at = (at + 1) & mask) {
        if (b->merge[at].pair == pair)
            return &b->merge[at];
        if (b->merge[at].pair == NO_PAIR)
            return NULL;
    }
}

static void put(struct bpe *b, uint64_t pair, uint32_t rank, int32_t id)
{
    uint32_t mask = (uint32_t)((UINT64_C(1) << (64 - b->shift)) - 1);
    uint32_t at = slot_of(b, pair);
    while (b->merge[at].pair != NO_PAIR && b->merge[at].pair != pair)
        at = (at + 1) & mask;
    b->merge[at] = (struct bpe_merge){pair, rank, id}; /* the last of equals, as the oracle */
}

/* "left right" in the byte-level alphabet; the texts have no blank inside. */
static enum rc add_merge(struct bpe *b, const struct vocab *v, struct str text, uint32_t rank,
                         char *room, struct err *err)
{
    ptrdiff_t cut = str_find_byte(text, ' ');
    if (cut <= 0 || (size_t)cut + 1 >= text.len)
        return err_set(err, RC_CORRUPT, "merge %u is not two texts: '%.*s'", rank,
                       (int)MIN_OF(text.len, (size_t)64), text.p);
    size_t n = vocab_from_alphabet(str_sub(text, 0, (size_t)cut), room);
    size_t m = vocab_from_alphabet(str_sub(text, (size_t)cut + 1, text.len), room + n);
    int32_t left = vocab_find(v, str_make(room, n));
    int32_t right = vocab_find(v, str_make(room + n, m));
    int32_t both = vocab_find(v, str_make(room, n + m));
    if (left < 0 || right < 0 || both < 0)
        return err_set(err, RC_CORRUPT, "merge %u names no tokens: '%.*s'", rank,
                       (int)MIN_OF(text.len, (size_t)64), text.p);
    put(b, pair_of(left, right), rank, both);
    return RC_OK;
}

enum rc bpe_init(struct bpe *b, const struct vocab *v, const struct card *card, struct err *err)
{
    uint32_t bits = 6;
    while ((UINT64_C(1) << bits) < (uint64_t)card->n_merges * 2)
        bits++;
    size_t slots = (size_t)1 << bits;
    *b = (struct bpe){.byte_id = v->byte_id, .shift = 64 - bits};
    b->merge = reallocarray(NULL, slots, sizeof(*b->merge));
    if (!b->merge)
        return err_set(err, RC_NO_MEMORY, "no memory for %d merges", card->n_merges);
    for (size_t i = 0; i < slots; i++)
        b->merge[i].pair = NO_PAIR;

    char room[CARD_MERGE_MAX_BYTES];
    enum rc rc = RC_OK;
    for (int32_t i = 0; rc == RC_OK && i < card->n_merges; i++) {
        if (card->merge[i].len > sizeof(room))
            return err_set(err, RC_CORRUPT, "merge %d has %zu bytes", i, card->merge[i].len);
        rc = add_merge(b, v, card->merge[i], (uint32_t)i, room, err);
    }
    return rc;
}

void bpe_done(struct bpe *b)
{
    free(b->merge);
    *b = (struct bpe){0};
}

void bpe_work_done(struct bpe_work *w)
{
    free(w->sym);
    free(w->heap);
    free(w->id);
    *w = (struct bpe_work){0};
}

static bool room_for(void *pp, size_t *cap, size_t want, size_t size)
{
    if (want <= *cap)
        return true;
    size_t n = MAX_OF(want, *cap * 2);
    void *p = reallocarray(*(void **)pp, n, size);
    if (!p)
        return false;
    *(void **)pp = p;
    *cap = n;
    return true;
}

/* Ranks beside the ids; the least is found by a scan, the hole closed by a move. */
static void merge_short(const struct bpe *b, struct bpe_work *w)
{
    const struct bpe_merge *of[SHORT_PIECE];
    int32_t *id = w->id;
    size_t n = w->n;
    for (size_t i = 0; i + 1 < n; i++)
        of[i] = find(b, pair_of(id[i], id[i + 1]));
    for (;;) {
        size_t best = SIZE_MAX;
        uint32_t least = NONE;
        for (size_t i = 0; i + 1 < n; i++) {
            if (of[i] && of[i]->rank < least) {
                least = of[i]->rank;
                best = i;
            }
        }
        w->steps += n;
        if (best == SIZE_MAX)
            break;
        id[best] = of[best]->id;
        n--;
        memmove(id + best + 1, id + best + 2, (n - best - 1) * sizeof(*id));
        if (best + 1 < n) {
            memmove(of + best, of + best + 1, (n - best - 1) * sizeof(of[0]));
            of[best] = find(b, pair_of(id[best], id[best + 1]));
        }
        if (best > 0)
            of[best - 1] = find(b, pair_of(id[best - 1], id[best]));
    }
    w->n = n;
}

static void heap_up(struct bpe_work *w, size_t i)
{
    struct bpe_entry e = w->heap[i];
    for (; i > 0 && e.order < w->heap[(i - 1) / 2].order; i = (i - 1) / 2, w->steps++)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct bpe_entry heap_take(struct bpe_work *w)
{
    struct bpe_entry top = w->heap[0], e = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_n; i = child, w->steps++) {
        if (child + 1 < w->heap_n && w->heap[child + 1].order < w->heap[child].order)
            child++;
        if (e.order <= w->heap[child].order)
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = e;
    return top;
}

/* Offers the pair at pos, when it has a right neighbour and a rank. False: no memory. */
static bool offer(const struct bpe *b, struct bpe_work *w, uint32_t pos)
{
    uint32_t next = w->sym[pos].next;
    if (next == NONE)
        return true;
    uint64_t pair = pair_of(w->sym[pos].id, w->sym[next].id);
    const struct bpe_merge *m = find(b, pair);
    w->steps++;
    if (!m)
        return true;
    if (!room_for(&w->heap, &w->heap_cap, w->heap_n + 1, sizeof(*w->heap)))
        return false;
    w->heap[w->heap_n] = (struct bpe_entry){(uint64_t)m->rank << 32 | pos, pair};
    heap_up(w, w->heap_n++);
    return true;
}

static bool merge_long(const struct bpe *b, struct bpe_work *w)
{
    if (!room_for(&w->sym, &w->sym_cap, w->n, sizeof(*w->sym)))
        return false;
    struct bpe_symbol *sym = w->sym;
    uint32_t n = (uint32_t)w->n;
    for (uint32_t i = 0; i < n; i++)
        sym[i] = (struct bpe_symbol){w->id[i], i == 0 ? NONE : i - 1, i + 1 == n ? NONE : i + 1};
    w->heap_n = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = offer(b, w, i);

    while (ok && w->heap_n > 0) {
        struct bpe_entry e = heap_take(w);
        uint32_t pos = (uint32_t)e.order, next = sym[pos].next;
        if (sym[pos].id < 0 || next == NONE || pair_of(sym[pos].id, sym[next].id) != e.pair)
            continue;
        sym[pos].id = find(b, e.pair)->id;
        sym[pos].next = sym[next].next;
        sym[next].id = -1;
        if (sym[pos].next != NONE)
            sym[sym[pos].next].prev = pos;
        ok = offer(b, w, pos) && (sym[pos].prev == NONE || offer(b, w, sym[pos].prev));
    }
    w->n = 0;
    for (uint32_t i = 0; i != NONE; i = sym[i].next)
        w->id[w->n++] = sym[i].id;
    return ok;
}

enum rc bpe_run(const struct bpe *b, struct str piece, struct bpe_work *w, struct err *err)
{
    w->n = 0;
    if (piece.len > PIECE_MAX)
        return err_set(err, RC_TOO_LARGE, "a word of %zu bytes", piece.len);
    if (!room_for(&w->id, &w->id_cap, piece.len, sizeof(*w->id)))
        return err_set(err, RC_NO_MEMORY, "no memory for a word of %zu bytes", piece.len);
    for (size_t i = 0; i < piece.len; i++) {
        int32_t id = b->byte_id[(unsigned char)piece.p[i]];
        if (id >= 0)
            w->id[w->n++] = id;
    }
    if (w->n < 2)
        return RC_OK;
    if (w->n <= SHORT_PIECE)
        merge_short(b, w);
    else if (!merge_long(b, w))
        return err_set(err, RC_NO_MEMORY, "no memory for a word of %zu bytes", piece.len);
    return RC_OK;
}
