import { describe, expect, it } from "vitest";
import { bucketsOf, readUsageSearch, spanOf } from "./usage_search";

const NOW = Date.parse("2026-11-21T08:20:31.500Z");

describe("usage_search", () => {
  it("takes only what it knows from an address", () => {
    expect(
      readUsageSearch({ range: "x", from: "2026-13-01", to: "2026-11-02", by: "__proto__", z: 1 }),
    ).toEqual({ to: "2026-11-02" });
    expect(readUsageSearch({ range: "24h", deployment: "dep_1", by: "key" })).toEqual({
      range: "24h",
      deployment: "dep_1",
      by: "key",
    });
  });

  it("spans whole hours and days, the running one included", () => {
    expect(spanOf({ range: "24h" }, NOW)).toEqual({
      start: "2026-11-20T09:00:00.000Z",
      end: "2026-11-21T09:00:00.000Z",
      bucket: "hour",
    });
    expect(spanOf({}, NOW)).toEqual({
      start: "2026-11-15T00:00:00.000Z",
      end: "2026-11-22T00:00:00.000Z",
      bucket: "day",
    });
    expect(spanOf({ range: "month" }, NOW).start).toBe("2026-11-01T00:00:00.000Z");
  });

  it("includes the last day of a custom span, and turns a reversed one into a day", () => {
    expect(spanOf({ range: "custom", from: "2026-10-01", to: "2026-10-31" }, NOW)).toEqual({
      start: "2026-10-01T00:00:00.000Z",
      end: "2026-11-01T00:00:00.000Z",
      bucket: "day",
    });
    expect(spanOf({ range: "custom", from: "2026-11-05", to: "2026-11-01" }, NOW)).toEqual({
      start: "2026-11-01T00:00:00.000Z",
      end: "2026-11-02T00:00:00.000Z",
      bucket: "hour",
    });
  });

  it("lists every bucket of a span, used or not", () => {
    const buckets = bucketsOf(spanOf({ range: "24h" }, NOW));
    expect(buckets).toHaveLength(24);
    expect(buckets[0]).toBe("2026-11-20T09:00:00.000Z");
  });
});
