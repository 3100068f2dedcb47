#include "gateway/pick.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/units.h"

enum { SEATS_MAX = 1024, POOLS_MAX = 1024, SAME_LOAD = 2 };

struct seat {
    char address[256];
    atomic_int used;
};

struct seats {
    pthread_mutex_t lock;
    struct seat *seat[SEATS_MAX];
    int n;
};

struct place {
    struct engine_link *link; /* NULL: free */
    struct seat *seat;
    bool retired; /* not in the tables any more: closed when its last call is over */
};

struct pool {
    struct pools *pools;
    char deployment[40];
    struct place place[TABLES_REPLICAS_MAX];
    struct queue line;
    struct text_model *text;
    struct loop_timer timer;
    int32_t items; /* in line and seated */
    bool pumping, gone;
};

struct pools {
    struct pools_opts opts;
    struct pool *pool[POOLS_MAX];
    int n;
    struct loop_timer sweep;
};

/* ---- seats ---- */

enum rc seats_new(struct seats **ret, struct err *err)
{
    struct seats *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, RC_NO_MEMORY, "no memory for seats");
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return RC_OK;
}

void seats_free(struct seats *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++)
        free(s->seat[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Addresses come back (a restarted replica has its old one), so they are never forgotten: workers
 * hold views of their seats. A full table has no seat for a new address. */
static struct seat *seat_of(struct seats *s, struct str address)
{
    struct seat *found = NULL;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n && !found; i++)
        if (str_is(address, s->seat[i]->address))
            found = s->seat[i];
    if (!found && s->n < SEATS_MAX && address.len < sizeof found->address) {
        found = calloc(1, sizeof *found);
        if (found) {
            memcpy(found->address, address.p, address.len);
            s->seat[s->n++] = found;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* ---- which replica ---- */

static int32_t room_of(const struct place *pl)
{
    const struct engine_link_state *st = engine_link_state(pl->link);
    int32_t seats = st->max_seqs + MIN_OF(st->max_waiting, POOL_EXTRA_SEATS);
    return seats - atomic_load_explicit(&pl->seat->used, memory_order_relaxed);
}

static bool place_usable(const struct place *pl)
{
    return pl->link && !pl->retired && engine_link_ready(pl->link);
}

static uint64_t rendezvous(uint64_t affinity, const struct place *pl)
{
    uint64_t h = affinity ^ (uint64_t)(uintptr_t)pl->seat;
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    return (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
}

static struct place *pick_place(struct pool *p, uint64_t affinity)
{
    int32_t least = INT32_MAX;
    struct place *best = NULL;
    uint64_t best_hash = 0;
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++) {
        struct place *pl = &p->place[i];
        if (place_usable(pl) && room_of(pl) > 0)
            least = MIN_OF(least, atomic_load_explicit(&pl->seat->used, memory_order_relaxed));
    }
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++) {
        struct place *pl = &p->place[i];
        if (!place_usable(pl) || room_of(pl) <= 0 ||
            atomic_load_explicit(&pl->seat->used, memory_order_relaxed) > least + SAME_LOAD)
            continue;
        uint64_t h = rendezvous(affinity, pl);
        if (!best || h > best_hash) {
            best = pl;
            best_hash = h;
        }
    }
    return best;
}

static void look_again(struct pool *p)
{
    if (p->line.n && !p->timer.slot)
        loop_timer_set(p->pools->opts.loop, &p->timer,
                       loop_now_ms(p->pools->opts.loop) + POOL_POLL_MS, NULL);
}

/* Requests to seats, as long as there are both. on_seat may come back here; then the outer run
 * goes on. */
static void pump(struct pool *p)
{
    if (p->pumping)
        return;
    p->pumping = true;
    while (p->line.n) {
        if (!pick_place(p, 0))
            break;
        struct queue_item *q = queue_pop(&p->line);
        struct pool_item *it = q->user;
        struct place *pl = pick_place(p, it->affinity);
        it->seat = pl->seat;
        atomic_fetch_add(&pl->seat->used, it->seqs);
        p->pools->opts.on_seat(it, pl->link);
    }
    p->pumping = false;
    look_again(p);
}

static void on_pool_time(struct loop_timer *t)
{
    pump(t->user);
}

enum rc pool_enter(struct pool *p, struct pool_item *it, struct str org, struct err *err)
{
    it->pool = p;
    it->org = org;
    it->seat = NULL;
    it->line.user = it;
    enum rc rc = queue_push(&p->line, &it->line, org, it->cost_tok, err);
    if (rc != RC_OK) {
        it->pool = NULL;
        return rc;
    }
    p->items++;
    pump(p);
    return RC_OK;
}

void pool_leave(struct pool_item *it, int64_t used_tok)
{
    struct pool *p = it->pool;
    if (!p)
        return;
    it->pool = NULL;
    p->items--;
    if (!it->seat) {
        queue_remove(&p->line, &it->line);
        return;
    }
    atomic_fetch_sub(&it->seat->used, it->seqs);
    it->seat = NULL;
    if (used_tok >= 0)
        queue_charge(&p->line, it->org, used_tok - it->cost_tok);
    pump(p);
}

bool pool_ready(const struct pool *p)
{
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++)
        if (place_usable(&p->place[i]))
            return true;
    return false;
}

struct text_model *pool_text(const struct pool *p)
{
    return p->text;
}

int32_t pool_waiting(const struct pool *p)
{
    return p->line.n;
}

int32_t pool_ctx(const struct pool *p)
{
    int32_t n = INT32_MAX;
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++)
        if (place_usable(&p->place[i]))
            n = MIN_OF(n, engine_link_state(p->place[i].link)->n_ctx);
    return n == INT32_MAX ? 0 : n;
}

/* ---- following the tables ---- */

static void on_link_change(struct engine_link *l, void *user)
{
    struct pool *p = user;
    if (engine_link_ready(l) && engine_link_text(l) != p->text) {
        text_model_unref(p->text);
        p->text = text_model_ref(engine_link_text(l));
    }
    pump(p);
}

static void add_place(struct pool *p, struct str address)
{
    struct place *open = NULL;
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++) {
        struct place *pl = &p->place[i];
        if (pl->link && str_eq(engine_link_address(pl->link), address)) {
            pl->retired = false;
            return;
        }
        if (!pl->link && !open)
            open = pl;
    }
    struct err err = {0};
    struct seat *seat = open ? seat_of(p->pools->opts.seats, address) : NULL;
    struct engine_link_opts opts = {.loop = p->pools->opts.loop,
                                    .address = address,
                                    .gateway = p->pools->opts.gateway,
                                    .texts = p->pools->opts.texts,
                                    .on_change = on_link_change,
                                    .user = p};
    if (!seat)
        err_set(&err, RC_UNAVAILABLE, "too many replicas");
    else if (engine_link_open(&opts, &open->link, &err) == RC_OK) {
        open->seat = seat;
        open->retired = false; /* sync_pool marked every place, free ones too */
    }
    if (err.rc != RC_OK)
        log_warn("pool.replica", "address=%s error=%s", LOG_STR(address), err.msg);
}

static void close_retired(struct pool *p)
{
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++) {
        struct place *pl = &p->place[i];
        if (pl->link && pl->retired && engine_link_state(pl->link)->calls == 0) {
            engine_link_close(pl->link);
            *pl = (struct place){0};
        }
    }
}

static void sync_pool(struct pool *p, const struct tables_dep *d)
{
    p->gone = !d;
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++)
        p->place[i].retired = true;
    for (int32_t i = 0; d && d->row->engine == ENGINE_INTEGRATED && i < d->n_addresses; i++)
        add_place(p, d->address[i]);
    close_retired(p);
    pump(p);
}

static struct pool *new_pool(struct pools *ps, struct str deployment)
{
    struct err err = {0};
    struct pool *p = ps->n < POOLS_MAX ? calloc(1, sizeof *p) : NULL;
    if (!p || deployment.len >= sizeof p->deployment || queue_init(&p->line, &err) != RC_OK) {
        free(p);
        return NULL;
    }
    p->pools = ps;
    memcpy(p->deployment, deployment.p, deployment.len);
    p->timer = (struct loop_timer){.on_time = on_pool_time, .user = p};
    ps->pool[ps->n++] = p;
    return p;
}

static void free_pool(struct pool *p)
{
    ASSERT(p->items == 0);
    loop_timer_clear(p->pools->opts.loop, &p->timer);
    for (size_t i = 0; i < TABLES_REPLICAS_MAX; i++)
        engine_link_close(p->place[i].link);
    text_model_unref(p->text);
    queue_done(&p->line);
    free(p);
}

struct pool *pools_find(struct pools *ps, struct str deployment_id)
{
    for (int i = 0; i < ps->n; i++)
        if (str_is(deployment_id, ps->pool[i]->deployment))
            return ps->pool[i];
    return NULL;
}

void pools_sync(struct pools *ps, const struct tables *t)
{
    const struct tables_dep *deps = NULL;
    int32_t n = t ? tables_deps(t, &deps) : 0;
    for (int i = 0; i < ps->n; i++) {
        const struct tables_dep *mine = NULL;
        for (int32_t k = 0; k < n; k++)
            if (str_is(deps[k].row->id, ps->pool[i]->deployment))
                mine = &deps[k];
        if (!mine)
            sync_pool(ps->pool[i], NULL);
    }
    for (int32_t k = 0; k < n; k++) {
        struct pool *p = pools_find(ps, deps[k].row->id);
        if (!p)
            p = new_pool(ps, deps[k].row->id);
        if (p)
            sync_pool(p, &deps[k]);
    }
}

/* Connections and pools that nobody needs any more. */
static void on_sweep(struct loop_timer *t)
{
    struct pools *ps = t->user;
    for (int i = 0; i < ps->n; i++) {
        struct pool *p = ps->pool[i];
        close_retired(p);
        if (p->gone && p->items == 0) {
            free_pool(p);
            ps->pool[i--] = ps->pool[--ps->n];
        }
    }
    loop_timer_set(ps->opts.loop, t, loop_now_ms(ps->opts.loop) + MS_PER_SEC, NULL);
}

enum rc pools_open(const struct pools_opts *opts, struct pools **ret, struct err *err)
{
    struct pools *ps = calloc(1, sizeof *ps);
    if (!ps)
        return err_set(err, RC_NO_MEMORY, "no memory for pools");
    ps->opts = *opts;
    ps->sweep = (struct loop_timer){.on_time = on_sweep, .user = ps};
    enum rc rc = loop_timer_set(opts->loop, &ps->sweep, loop_now_ms(opts->loop) + MS_PER_SEC, err);
    if (rc != RC_OK) {
        free(ps);
        return rc;
    }
    *ret = ps;
    return RC_OK;
}

void pools_close(struct pools *ps)
{
    if (!ps)
        return;
    loop_timer_clear(ps->opts.loop, &ps->sweep);
    while (ps->n)
        free_pool(ps->pool[--ps->n]);
    free(ps);
}
