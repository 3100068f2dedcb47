#include "gateway/stats.h"

#include <stdlib.h>

#include "base/units.h"
#include "gateway/worker.h"

static void print_meter(struct gateway *g, struct buf *to)
{
    struct meter_sums sums = {0};
    struct err err = {0};
    struct limit_sums limits = limit_total(g->limits);
    enum rc rc = meter_check(g->meter, &sums, &err);
    metrics_gauge(to, "sluice_gateway_balanced", "1: meter, journal and limits agree.",
                  rc == RC_OK);
    metrics_gauge(to, "sluice_gateway_holds_open", "Reserved and not settled.", (double)sums.open);
    metrics_gauge(to, "sluice_gateway_held_tokens", "Tokens of open holds.", (double)sums.held_tok);
    metrics_counter(to, "sluice_gateway_settled_total", "Requests settled.", sums.settled);
    metrics_counter(to, "sluice_gateway_limited_total", "Requests refused by a limit.",
                    limits.refused);
}

static void print_journal(struct gateway *g, struct buf *to)
{
    struct journal_stats s = {0};
    struct ship_stats ship = {0};
    journal_stat(g->journal, &s);
    metrics_counter(to, "sluice_gateway_journal_records_total", "Records written.", s.records);
    metrics_counter(to, "sluice_gateway_journal_commits_total", "Group commits.", s.commits);
    metrics_counter(to, "sluice_gateway_journal_recovered_total",
                    "Requests found open at the start.", s.recovered);
    metrics_gauge(to, "sluice_gateway_journal_segments", "Segments on disk.", s.segments);
    metrics_gauge(to, "sluice_gateway_journal_failed", "1: a sync has failed.", s.failed);
    metrics_gauge(to, "sluice_gateway_journal_shedding", "1: new requests are refused.",
                  s.shedding);
    if (!g->ship)
        return;
    ship_stat(g->ship, &ship);
    metrics_counter(to, "sluice_gateway_shipped_rows_total", "Rows given to the ledger.",
                    ship.rows);
    metrics_counter(to, "sluice_gateway_ship_failures_total", "Batches that failed.",
                    ship.failures);
    metrics_gauge(to, "sluice_gateway_ship_lag_bytes", "Journal bytes not yet in the ledger.",
                  (double)ship.lag_bytes);
    metrics_gauge(to, "sluice_gateway_ship_connected", "1: the ledger answers.", ship.connected);
}

static void print_replica(struct gateway *g, struct buf *to)
{
    struct replica_stats s = {0};
    replica_stat(g->replica, &s);
    metrics_gauge(to, "sluice_gateway_tables_revision", "Of the control plane's tables.",
                  (double)s.rev);
    metrics_gauge(to, "sluice_gateway_tables_rows", "Rows in the replica.", (double)s.rows);
    metrics_gauge(to, "sluice_gateway_feed_connected", "1: the change feed is up.", s.connected);
    metrics_gauge(to, "sluice_gateway_feed_quiet_seconds",
                  "Since the control plane last answered; -1: never.",
                  s.quiet_ms < 0 ? -1 : (double)s.quiet_ms / MS_PER_SEC);
    metrics_counter(to, "sluice_gateway_feed_failures_total", "Polls that failed.", s.failures);
    metrics_counter(to, "sluice_gateway_key_asks_total", "Keys asked for one by one.", s.asks);
}

void stats_print(struct gateway *g, struct buf *to)
{
    struct metrics *sets[WORKERS_MAX];
    for (int i = 0; i < g->n_workers; i++)
        sets[i] = g->worker[i]->metrics;
    metrics_print(sets, g->n_workers, to);
    print_meter(g, to);
    print_journal(g, to);
    print_replica(g, to);
    metrics_gauge(to, "sluice_gateway_workers", "Threads.", g->n_workers);
    metrics_gauge(to, "sluice_gateway_uptime_seconds", "Since the start.",
                  (double)(clock_mono_ms(g->clock) - g->started_ms) / MS_PER_SEC);
}
