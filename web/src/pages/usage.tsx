/* usage - what was used and what it costs: sums by deployment, over time, and request by request. */
import { Box, Button, Group, SegmentedControl, SimpleGrid } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { Suspense, lazy, useMemo, useState } from "react";
import type { UsageSummaryRow } from "../api/types";
import { type Dimension, type UsageFilter, summaryQuery } from "../api/usage";
import { CsvButton } from "../parts/csv_button";
import { formatCount } from "../parts/format";
import { Icon } from "../parts/icon";
import { MoneySums } from "../parts/money";
import { Page, Section } from "../parts/page";
import { RequestsSection } from "../parts/requests_section";
import { Stat } from "../parts/stat";
import { Await, Empty, Loading } from "../parts/states";
import { DataTable, tableCsv } from "../parts/table";
import { bucketColumns, groupColumns } from "../parts/usage_columns";
import { UsageFilters } from "../parts/usage_filters";
import { DIMENSIONS, type Span, bucketsOf, spanOf } from "../parts/usage_search";
import { bucketRows, groupRows, sumRows } from "../parts/usage_sums";

const UsageChart = lazy(() => import("../parts/usage_chart"));
const route = getRouteApi("/inside/usage");

export function UsagePage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const client = useQueryClient();
  const [now, setNow] = useState(Date.now);
  const { start, end, bucket } = spanOf(search, now);
  const span = useMemo(() => ({ start, end, bucket }), [start, end, bucket]);
  const filter = useMemo(
    (): UsageFilter => ({ start, end, deployment: search.deployment }),
    [start, end, search.deployment],
  );
  const by = search.by ?? "deployment";
  const summary = useQuery(summaryQuery(filter, by, bucket));
  const refresh = () => {
    setNow(Date.now());
    void client.invalidateQueries({ queryKey: ["usage"] });
  };

  return (
    <Page
      title="Usage"
      lead="One row for each request, metered by token. Days and hours are those of UTC."
      actions={
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="retry" size={15} />}
          onClick={refresh}
        >
          Refresh
        </Button>
      }
    >
      <UsageFilters
        search={search}
        now={now}
        onSearch={(next) => void navigate({ search: next, replace: true })}
      />
      <Await query={summary}>{(rows) => <Sums rows={rows} by={by} span={span} />}</Await>
      <RequestsSection filter={filter} span={span} />
    </Page>
  );
}

function Sums({ rows, by, span }: { rows: readonly UsageSummaryRow[]; by: Dimension; span: Span }) {
  const total = useMemo(() => sumRows(rows), [rows]);
  const groups = useMemo(() => groupRows(rows, by), [rows, by]);
  const columns = useMemo(() => groupColumns(DIMENSIONS[by], total), [by, total]);
  if (total.requests === 0)
    return (
      <Section title="Sums">
        <Empty icon="chart" title="Nothing was used in this time">
          Choose another time or deployment, or send a first message in the playground.
        </Empty>
      </Section>
    );
  return (
    <>
      <SimpleGrid cols={{ base: 2, md: 5 }} spacing="md">
        <Stat label="Requests">{formatCount(total.requests)}</Stat>
        <Stat label="Input tokens">{formatCount(total.input)}</Stat>
        <Stat label="Cached input tokens">{formatCount(total.cached)}</Stat>
        <Stat label="Output tokens">{formatCount(total.output)}</Stat>
        <Stat label="Cost" isWide>
          <MoneySums sums={total.costs} />
        </Stat>
      </SimpleGrid>
      <OverTime rows={rows} span={span} />
      <Section
        title={`By ${DIMENSIONS[by] === "API key" ? "API key" : DIMENSIONS[by].toLowerCase()}`}
        actions={
          <CsvButton name={`usage-by-${by}`} span={span} text={() => tableCsv(columns, groups)} />
        }
      >
        <DataTable
          label={`Usage by ${by}`}
          columns={columns}
          rows={groups}
          rowKey={(group) => group.id}
          minWidth={640}
        />
      </Section>
    </>
  );
}

function OverTime({ rows, span }: { rows: readonly UsageSummaryRow[]; span: Span }) {
  const [view, setView] = useState("chart");
  const buckets = useMemo(() => bucketRows(rows, bucketsOf(span)), [rows, span]);
  const columns = useMemo(() => bucketColumns(span.bucket), [span.bucket]);
  const used = buckets.filter((sums) => sums.requests > 0);
  return (
    <Section
      title={`Tokens by ${span.bucket}`}
      actions={
        <Group gap="xs">
          <SegmentedControl
            size="xs"
            aria-label="Show as"
            value={view}
            onChange={setView}
            data={[
              { value: "chart", label: "Chart" },
              { value: "table", label: "Table" },
            ]}
          />
          <CsvButton
            name={`usage-by-${span.bucket}`}
            span={span}
            text={() => tableCsv(columns, used)}
          />
        </Group>
      }
    >
      {view === "chart" ? (
        <Box px="md" pb="md" mih={276}>
          <Suspense fallback={<Loading label="Loading the chart" />}>
            <UsageChart buckets={buckets} unit={span.bucket} />
          </Suspense>
        </Box>
      ) : (
        <DataTable
          label={`Usage by ${span.bucket}`}
          columns={columns}
          rows={used}
          rowKey={(sums) => sums.bucket}
        />
      )}
    </Section>
  );
}
