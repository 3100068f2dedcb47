/* usage - rows of the ledger, one for each request, and their sums. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { ApiError, api, must } from "./client";
import type { Usage } from "./types";

export type Bucket = "hour" | "day";
export type Dimension = "deployment" | "model" | "key" | "user" | "org";
export interface UsageFilter {
  start: string; /* RFC 3339, inclusive */
  end: string; /* exclusive */
  deployment?: string | undefined;
}

function queryOf(filter: UsageFilter) {
  return {
    start: filter.start,
    end: filter.end,
    ...(filter.deployment ? { deployment_id: filter.deployment } : {}),
  };
}

export const summaryQuery = (filter: UsageFilter, by: Dimension, bucket: Bucket) =>
  queryOptions({
    queryKey: ["usage", "summary", filter, by, bucket],
    queryFn: async () => {
      const query = { ...queryOf(filter), group_by: by, bucket };
      return must(await api.GET("/api/v1/usage/summary", { params: { query } })).data;
    },
  });

const ROWS_A_PAGE = 25;
export const requestsQuery = (filter: UsageFilter) =>
  infiniteQueryOptions({
    queryKey: ["usage", "requests", filter],
    initialPageParam: null as string | null,
    queryFn: async ({ pageParam }) => {
      const query = {
        ...queryOf(filter),
        limit: ROWS_A_PAGE,
        ...(pageParam ? { after: pageParam } : {}),
      };
      return must(await api.GET("/api/v1/usage/requests", { params: { query } }));
    },
    getNextPageParam: (page) => page.next,
  });

/* The row of one request, or null while it is still on its way from the gateway's journal. */
export async function findUsage(id: string): Promise<Usage | null> {
  try {
    return must(await api.GET("/api/v1/usage/requests/{id}", { params: { path: { id } } }));
  } catch (err) {
    if (err instanceof ApiError && err.status === 404) return null;
    throw err;
  }
}

const ROW_WAITS_MS = [150, 250, 400, 700, 1000, 1500, 2000, 3000, 5000];

/* Asks until the row is there; null when it has not come after about 14 s. */
export async function awaitUsage(id: string): Promise<Usage | null> {
  for (const wait of ROW_WAITS_MS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    const row = await findUsage(id);
    if (row) return row;
  }
  return null;
}
