/* usage_columns - the columns of the usage tables: by deployment, by time. */
import type { Bucket } from "../api/usage";
import { formatBucket, formatCount } from "./format";
import { MoneySums } from "./money";
import type { Column } from "./table";
import type { BucketSums, Group, Sums } from "./usage_sums";

function sumColumns<Row extends Sums>(total?: Sums): Column<Row>[] {
  const count = (title: string, pick: (sums: Sums) => number): Column<Row> => ({
    title,
    numeric: true,
    cell: (row) => formatCount(pick(row)),
    csv: pick,
    ...(total ? { foot: formatCount(pick(total)) } : {}),
  });
  return [
    count("Requests", (sums) => sums.requests),
    count("Input", (sums) => sums.input),
    count("Cached input", (sums) => sums.cached),
    count("Output", (sums) => sums.output),
    {
      title: "Cost",
      numeric: true,
      cell: (row) => <MoneySums sums={row.costs} />,
      csv: (row) => row.costs.map((sum) => sum.cost).join(" + "),
      ...(total ? { foot: <MoneySums sums={total.costs} /> } : {}),
    },
  ];
}

const currencies = (sums: Sums) => sums.costs.map((sum) => sum.currency).join(" + ");

export function groupColumns(title: string, total: Sums): Column<Group>[] {
  const sums = sumColumns<Group>(total);
  return [
    { title, cell: (group) => group.name, csv: (group) => group.name, foot: "Total" },
    ...sums,
    ...fileOnly<Group>([
      ["Currency", currencies],
      [`${title} id`, (group) => group.id],
    ]),
  ];
}

export function bucketColumns(bucket: Bucket): Column<BucketSums>[] {
  return [
    {
      title: bucket === "hour" ? "Hour (UTC)" : "Day (UTC)",
      cell: (sums) => formatBucket(sums.bucket, bucket),
      csv: (sums) => sums.bucket,
    },
    ...sumColumns<BucketSums>(),
    ...fileOnly<BucketSums>([["Currency", currencies]]),
  ];
}

/* Columns that a file has and the screen has not. */
export function fileOnly<Row>(columns: [string, (row: Row) => string][]): Column<Row>[] {
  return columns.map(([title, csv]) => ({ title, csv }));
}
