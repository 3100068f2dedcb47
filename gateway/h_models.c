/* h_models.c - GET /v1/models and /v1/models/{id}: what is shared with the key's org. */
#include "base/units.h"
#include "gateway/caller.h"
#include "gateway/route.h"
#include "schema/money.h"

static void add_price(struct buf *to, const struct price *p)
{
    char input[MONEY_TEXT_BYTES], output[MONEY_TEXT_BYTES];
    if (!p)
        return;
    money_price_text(p->input_per_1m, input);
    money_price_text(p->output_per_1m, output);
    buf_printf(to,
               ",\"pricing\":{\"currency\":\"" STR_FMT "\",\"input_per_1m\":\"%s\","
               "\"output_per_1m\":\"%s\"}",
               STR_ARG(p->currency), input, output);
}

static void add_model(struct caller *c, const struct tables_dep *d, struct buf *to)
{
    struct pool *pool = pools_find(c->worker->pools, d->row->id);
    int64_t n_ctx = pool ? pool_ctx(pool) : 0;
    if (d->row->context_length > 0 && (n_ctx == 0 || d->row->context_length < n_ctx))
        n_ctx = d->row->context_length;
    buf_z(to, "{\"id\":");
    buf_json(to, d->name);
    buf_z(to, ",\"object\":\"model\",\"created\":");
    buf_i64(to, d->row->created_at / MS_PER_SEC);
    buf_z(to, ",\"owned_by\":\"sluice\"");
    if (n_ctx > 0) {
        buf_z(to, ",\"max_model_len\":");
        buf_i64(to, n_ctx);
    }
    add_price(to, tables_price(d, clock_wall_ms(c->worker->gate->clock)));
    buf_byte(to, '}');
}

/* Deployments are ordered by name; a name that several of them serve is listed once. */
void h_models_list(struct caller *c)
{
    const struct tables_dep *deps;
    int32_t n = tables_deps(c->tables, &deps);
    struct buf *b = &c->worker->scratch;
    struct str last = STR_NONE;
    buf_z(b, "{\"object\":\"list\",\"data\":[");
    for (int32_t i = 0; i < n; i++) {
        if (!tables_is_shared(&deps[i], c->auth.org->id) || !deps[i].name.len ||
            (last.p && str_eq(last, deps[i].name)))
            continue;
        if (last.p)
            buf_byte(b, ',');
        last = deps[i].name;
        add_model(c, &deps[i], b);
    }
    buf_z(b, "]}");
    caller_reply(c, buf_view(b));
    buf_clear(b);
}

void h_models_get(struct caller *c)
{
    const struct tables_dep *d =
        tables_route(c->tables, route_host(http_header(c->http, "Host")), c->arg, c->auth.org->id);
    if (!d) {
        struct fault f =
            fault_make(RC_NOT_FOUND, "model_not_found", "model",
                       "The model `" STR_FMT "` does not exist or you do not have access to it.",
                       (int)MIN_OF(c->arg.len, (size_t)63), c->arg.p);
        caller_fail(c, &f);
        return;
    }
    struct buf *b = &c->worker->scratch;
    add_model(c, d, b);
    caller_reply(c, buf_view(b));
    buf_clear(b);
}
