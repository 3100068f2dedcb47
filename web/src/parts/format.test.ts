import { describe, expect, it } from "vitest";
import { formatBucket, formatMoney, formatMs, formatRate, formatSeconds } from "./format";

describe("format", () => {
  it("shows money whole: grouped units, two digits at least, every digit there is", () => {
    expect(formatMoney("1204.5000071", "USD")).toBe("$1,204.5000071");
    expect(formatMoney("0", "USD")).toBe("$0.00");
    expect(formatMoney("-3.1", "EUR")).toBe("-€3.10");
    expect(formatMoney("12345678901234567890.5", "USD")).toBe("$12,345,678,901,234,567,890.50");
    expect(formatMoney("1", "not a currency")).toBe("not a currency 1.00");
  });

  it("gives times in the unit that reads best", () => {
    expect(formatMs(83.6)).toBe("84 ms");
    expect(formatMs(1234)).toBe("1.23 s");
    expect(formatMs(12_345)).toBe("12.3 s");
    expect(formatMs(125_000)).toBe("2 min 5 s");
  });

  it("counts down in whole seconds, the last one included", () => {
    expect(formatSeconds(1)).toBe("1 s");
    expect(formatSeconds(5000)).toBe("5 s");
    expect(formatSeconds(61_001)).toBe("1 min 2 s");
  });

  it("rounds rates to what can be read", () => {
    expect(formatRate(63.24)).toBe("63.2");
    expect(formatRate(1234.5)).toBe("1235");
  });

  it("labels buckets in UTC wherever the reader is", () => {
    expect(formatBucket("2026-11-21T00:00:00Z", "day")).toBe("Nov 21");
    expect(formatBucket("2026-11-21T23:00:00Z", "hour")).toBe("Nov 21, 23:00");
  });
});
