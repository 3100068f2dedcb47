/* usage_chart - tokens by hour or day, input, cached input and output stacked. The chart library is
 * the largest thing in the console, so this file is a chunk of its own. */
import "@mantine/charts/styles.css";
import { BarChart } from "@mantine/charts";
import type { Bucket } from "../api/usage";
import { formatBucket, formatCompact, formatCount } from "./format";
import type { BucketSums } from "./usage_sums";

export default function UsageChart(props: { buckets: readonly BucketSums[]; unit: Bucket }) {
  const data = props.buckets.map((sums) => ({
    label: formatBucket(sums.bucket, props.unit),
    input: sums.input,
    cached: sums.cached,
    output: sums.output,
  }));
  const hasCached = props.buckets.some((sums) => sums.cached > 0);
  return (
    <div role="img" aria-label={`Tokens by ${props.unit}, stacked: input, cached input, output`}>
      <BarChart
        h={260}
        data={data}
        dataKey="label"
        type="stacked"
        withLegend
        maxBarWidth={44}
        tickLine="none"
        gridAxis="x"
        valueFormatter={formatCount}
        yAxisProps={{ tickFormatter: (n: number) => formatCompact(n), width: 48 }}
        xAxisProps={{ minTickGap: 24 }}
        series={[
          { name: "input", label: "Input", color: "cyan.7" },
          ...(hasCached ? [{ name: "cached", label: "Cached input", color: "cyan.3" }] : []),
          { name: "output", label: "Output", color: "orange.5" },
        ]}
      />
    </div>
  );
}
