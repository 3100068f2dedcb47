/* requests_section - the newest requests, one by one, page after page. */
import { Button, Center, Code, Group } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { deploymentsQuery } from "../api/catalog";
import type { Usage } from "../api/types";
import { type UsageFilter, requestsQuery } from "../api/usage";
import { CopyButton } from "./copy_button";
import classes from "./requests_section.module.css";
import { CsvButton } from "./csv_button";
import { formatCount, formatMs } from "./format";
import { Money } from "./money";
import { Section } from "./page";
import { Empty, Failed, Loading } from "./states";
import { type Column, DataTable, tableCsv } from "./table";
import { Tag, type TagColor } from "./tag";
import { Time } from "./time";
import { fileOnly } from "./usage_columns";
import type { Span } from "./usage_search";

export function RequestsSection({ filter, span }: { filter: UsageFilter; span: Span }) {
  const query = useInfiniteQuery(requestsQuery(filter));
  const deployments = useQuery(deploymentsQuery);
  const columns = useMemo(() => {
    const names = new Map((deployments.data ?? []).map(({ id, name }) => [id, name]));
    return requestColumns((id) => names.get(id) ?? id);
  }, [deployments.data]);
  const rows = query.data?.pages.flatMap((page) => page.data) ?? [];

  return (
    <Section
      title="Recent requests"
      actions={
        rows.length > 0 && (
          <CsvButton name="requests" span={span} text={() => tableCsv(columns, rows)} />
        )
      }
    >
      {query.isPending && <Loading />}
      {query.error && <Failed error={query.error} onRetry={() => void query.refetch()} />}
      {query.data && rows.length === 0 && <Empty icon="chat" title="No request in this time" />}
      {rows.length > 0 && (
        <DataTable
          label="Recent requests"
          columns={columns}
          rows={rows}
          rowKey={(row) => row.id}
          minWidth={1080}
        />
      )}
      {query.hasNextPage && (
        <Center p="sm">
          <Button
            size="xs"
            variant="default"
            loading={query.isFetchingNextPage}
            onClick={() => void query.fetchNextPage()}
          >
            Show more
          </Button>
        </Center>
      )}
    </Section>
  );
}

const OUTCOME_COLORS: Record<Usage["outcome"], TagColor> = {
  stop: "teal",
  length: "teal",
  aborted: "yellow",
  timeout: "orange",
  failed: "red",
  broken: "red",
  refused: "gray",
  recovered: "orange",
};

function requestColumns(deploymentName: (id: string) => string): Column<Usage>[] {
  const ms = (value: number | null | undefined) => (value == null ? "–" : formatMs(value));
  return [
    { title: "Time", cell: (row) => <Time at={row.time} by="second" />, csv: (row) => row.time },
    {
      title: "Deployment",
      cell: (row) => deploymentName(row.deployment_id),
      csv: (row) => deploymentName(row.deployment_id),
    },
    {
      title: "Outcome",
      cell: (row) => (
        <Group gap={4} wrap="nowrap">
          <Tag color={OUTCOME_COLORS[row.outcome]}>{row.outcome}</Tag>
          {row.degraded && <Tag color="orange">{row.degraded}</Tag>}
        </Group>
      ),
      csv: (row) => row.outcome,
    },
    count("Input", (row) => row.input_tokens),
    count("Cached", (row) => row.cached_tokens),
    count("Output", (row) => row.output_tokens),
    { title: "TTFT", numeric: true, cell: (row) => ms(row.ttft_ms) },
    { title: "Duration", numeric: true, cell: (row) => ms(row.duration_ms) },
    {
      title: "Cost",
      numeric: true,
      cell: (row) => <Money amount={row.cost} currency={row.currency} />,
      csv: (row) => row.cost,
    },
    {
      title: "Request",
      cell: (row) => (
        <Group gap={2} wrap="nowrap">
          <Code fz={11} bg="transparent" maw={120} className={classes.id} title={row.id}>
            {row.id}
          </Code>
          <CopyButton text={row.id} label="Copy the request id" />
        </Group>
      ),
      csv: (row) => row.id,
    },
    ...fileOnly<Usage>([
      ["Currency", (row) => row.currency],
      ["TTFT ms", (row) => String(row.ttft_ms ?? "")],
      ["Duration ms", (row) => String(row.duration_ms)],
      ["Model", (row) => row.model],
      ["Deployment id", (row) => row.deployment_id],
      ["Org id", (row) => row.org_id],
      ["User id", (row) => row.user_id],
      ["Key id", (row) => row.key_id ?? ""],
    ]),
  ];
}

function count(title: string, pick: (row: Usage) => number): Column<Usage> {
  return { title, numeric: true, cell: (row) => formatCount(pick(row)), csv: pick };
}
