/* usage_search - what the usage page shows, as it stands in the address: a link or a reload shows
 * the same. Days are days of UTC, like the sums that are billed. */
import type { Bucket, Dimension } from "../api/usage";

export const RANGES = {
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
  month: "This month",
  custom: "Other days",
} as const;
export type Range = keyof typeof RANGES;
export const DIMENSIONS: Record<Dimension, string> = {
  deployment: "Deployment",
  model: "Model",
  key: "API key",
  user: "User",
  org: "Org",
};

export interface UsageSearch {
  range?: Range | undefined; /* absent: 7d */
  from?: string | undefined; /* YYYY-MM-DD, first day; custom only */
  to?: string | undefined; /* last day */
  deployment?: string | undefined;
  by?: Dimension | undefined; /* absent: deployment */
}

const DAY = /^\d{4}-\d\d-\d\d$/;
const isDay = (value: unknown): value is string =>
  typeof value === "string" && DAY.test(value) && !Number.isNaN(Date.parse(value));

/* Each key is set, also to undefined: the router keeps what the address says for one left out. */
export function readUsageSearch(search: Record<string, unknown>): UsageSearch {
  const { range, from, to, deployment, by } = search;
  const isOneOf = (table: object, value: unknown): value is string =>
    typeof value === "string" && Object.hasOwn(table, value);
  return {
    range: isOneOf(RANGES, range) ? (range as Range) : undefined,
    from: isDay(from) ? from : undefined,
    to: isDay(to) ? to : undefined,
    deployment: typeof deployment === "string" && deployment ? deployment : undefined,
    by: isOneOf(DIMENSIONS, by) ? (by as Dimension) : undefined,
  };
}

export interface Span {
  start: string; /* RFC 3339 */
  end: string; /* exclusive */
  bucket: Bucket;
}

const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
const BUCKET_MS: Record<Bucket, number> = { hour: HOUR_MS, day: DAY_MS };
const HOURLY_UP_TO_MS = 3 * DAY_MS;
const iso = (ms: number) => new Date(ms).toISOString();
export const dayOf = (ms: number) => iso(ms).slice(0, 10);

/* The span that a search means at a time. Its end is that of the running hour or day, so that the
 * span, and with it the query, stays the same while the page is open. */
export function spanOf(search: UsageSearch, now: number): Span {
  const hourEnd = (Math.floor(now / HOUR_MS) + 1) * HOUR_MS;
  const dayEnd = (Math.floor(now / DAY_MS) + 1) * DAY_MS;
  switch (search.range ?? "7d") {
    case "24h":
      return { start: iso(hourEnd - DAY_MS), end: iso(hourEnd), bucket: "hour" };
    case "7d":
      return { start: iso(dayEnd - 7 * DAY_MS), end: iso(dayEnd), bucket: "day" };
    case "30d":
      return { start: iso(dayEnd - 30 * DAY_MS), end: iso(dayEnd), bucket: "day" };
    case "month":
      return {
        start: `${dayOf(now).slice(0, 7)}-01T00:00:00.000Z`,
        end: iso(dayEnd),
        bucket: "day",
      };
    case "custom":
      return customSpan(search, now);
  }
}

function customSpan(search: UsageSearch, now: number): Span {
  const last = Date.parse(search.to ?? dayOf(now));
  const first = Math.min(Date.parse(search.from ?? dayOf(last)), last);
  const end = last + DAY_MS;
  return {
    start: iso(first),
    end: iso(end),
    bucket: end - first <= HOURLY_UP_TO_MS ? "hour" : "day",
  };
}

const BUCKETS_MAX = 400;

/* Every bucket of a span, used or not: a chart without gaps. */
export function bucketsOf(span: Span): string[] {
  const step = BUCKET_MS[span.bucket];
  const buckets: string[] = [];
  for (let at = Date.parse(span.start); at < Date.parse(span.end); at += step) {
    if (buckets.length === BUCKETS_MAX) break;
    buckets.push(iso(at));
  }
  return buckets;
}
