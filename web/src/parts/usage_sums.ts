/* usage_sums - the summary's rows, added up one way or another. Costs are added as decimals. */
import type { UsageSummaryRow } from "../api/types";
import type { Dimension } from "../api/usage";
import { sumByCurrency } from "./decimal";

export interface Sums {
  requests: number;
  input: number;
  cached: number;
  output: number;
  costs: { currency: string; cost: string }[];
}
export interface Group extends Sums {
  id: string;
  name: string;
}
export interface BucketSums extends Sums {
  bucket: string;
}

export function sumRows(rows: readonly UsageSummaryRow[]): Sums {
  const sum = (pick: (row: UsageSummaryRow) => number) => rows.reduce((n, row) => n + pick(row), 0);
  return {
    requests: sum((row) => row.requests),
    input: sum((row) => row.input_tokens),
    cached: sum((row) => row.cached_tokens),
    output: sum((row) => row.output_tokens),
    costs: sumByCurrency(rows),
  };
}

/* One entry for each deployment (user, key …); the one with most tokens first. */
export function groupRows(rows: readonly UsageSummaryRow[], by: Dimension): Group[] {
  return [...split(rows, (row) => idOf(row, by))]
    .map(([id, part]) => ({ id, name: (part[0] && nameOf(part[0], by)) ?? id, ...sumRows(part) }))
    .sort((a, b) => b.input + b.cached + b.output - (a.input + a.cached + a.output));
}

/* One entry for each of `buckets`, in their order. */
export function bucketRows(rows: readonly UsageSummaryRow[], buckets: string[]): BucketSums[] {
  const parts = split(rows, (row) => new Date(row.bucket ?? 0).toISOString());
  return buckets.map((bucket) => ({ bucket, ...sumRows(parts.get(bucket) ?? []) }));
}

function idOf(row: UsageSummaryRow, by: Dimension): string {
  return (by === "model" ? row.model : row[`${by}_id`]) ?? "";
}

function nameOf(row: UsageSummaryRow, by: Dimension): string | null {
  return row[by] ?? null;
}

function split<Row>(rows: readonly Row[], keyOf: (row: Row) => string): Map<string, Row[]> {
  const parts = new Map<string, Row[]>();
  for (const row of rows) {
    const part = parts.get(keyOf(row));
    if (part) part.push(row);
    else parts.set(keyOf(row), [row]);
  }
  return parts;
}
