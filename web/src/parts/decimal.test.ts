import { describe, expect, it } from "vitest";
import { formatDecimal, parseDecimal, sumByCurrency, sumDecimals } from "./decimal";

describe("decimal", () => {
  it("keeps every digit of a pico-unit", () => {
    for (const text of ["0.000000000001", "12345678901234567890.123456789012", "7", "-0.5"])
      expect(formatDecimal(parseDecimal(text))).toBe(text);
  });

  it("adds what floats cannot", () => {
    expect(sumDecimals(["0.1", "0.2"])).toBe("0.3");
    expect(sumDecimals(Array<string>(1000).fill("0.000000000001"))).toBe("0.000000001");
    expect(sumDecimals(["9007199254740993.00", "0.01"])).toBe("9007199254740993.01");
    expect(sumDecimals([])).toBe("0");
  });

  it("pads to the digits that are asked for, and no further", () => {
    expect(formatDecimal(parseDecimal("1.5"), 2)).toBe("1.50");
    expect(formatDecimal(parseDecimal("1.5001"), 2)).toBe("1.5001");
  });

  it("refuses what is no decimal, rather than showing a wrong amount", () => {
    for (const text of ["", "1e-7", "1,5", ".5", "0.1234567890123", "NaN", "--1"])
      expect(() => parseDecimal(text)).toThrow();
  });

  it("never adds up different currencies", () => {
    expect(
      sumByCurrency([
        { currency: "USD", cost: "0.1" },
        { currency: "EUR", cost: "1" },
        { currency: "USD", cost: "0.2" },
      ]),
    ).toEqual([
      { currency: "USD", cost: "0.3" },
      { currency: "EUR", cost: "1" },
    ]);
  });
});
