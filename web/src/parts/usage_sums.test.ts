import { describe, expect, it } from "vitest";
import type { UsageSummaryRow } from "../api/types";
import { bucketRows, groupRows, sumRows } from "./usage_sums";

const row = (more: Partial<UsageSummaryRow>): UsageSummaryRow => ({
  bucket: "2026-11-21T00:00:00Z",
  deployment_id: "dep_1",
  deployment: "small",
  requests: 1,
  input_tokens: 10,
  cached_tokens: 2,
  output_tokens: 5,
  cost: "0.1",
  currency: "USD",
  ...more,
});

describe("usage_sums", () => {
  it("puts the rows of a deployment together, the most used one first", () => {
    const rows = [
      row({}),
      row({ deployment_id: "dep_2", deployment: null, output_tokens: 900 }),
      row({ bucket: "2026-11-20T00:00:00Z", cost: "0.2" }),
    ];
    const [first, second] = groupRows(rows, "deployment");
    expect(first).toMatchObject({ id: "dep_2", name: "dep_2", output: 900 }); /* deleted: its id */
    expect(second).toMatchObject({ name: "small", requests: 2, input: 20, cached: 4, output: 10 });
    expect(second?.costs).toEqual([{ currency: "USD", cost: "0.3" }]);
    expect(sumRows(rows).costs).toEqual([{ currency: "USD", cost: "0.4" }]);
  });

  it("finds a row's bucket however its time is written", () => {
    const buckets = ["2026-11-20T00:00:00.000Z", "2026-11-21T00:00:00.000Z"];
    const sums = bucketRows([row({ bucket: "2026-11-21T00:00:00.000Z" }), row({})], buckets);
    expect(sums.map((s) => s.requests)).toEqual([0, 2]);
  });
});
