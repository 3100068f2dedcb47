import { describe, expect, it } from "vitest";
import { csvOf } from "./csv";

describe("csv", () => {
  it("quotes what would break a row", () => {
    expect(csvOf([['a "b"', "c,d", "e\nf", null, 7]])).toBe('"a ""b""","c,d","e\nf",,7\r\n');
  });

  it("disarms names that a spreadsheet would run", () => {
    for (const name of ["=cmd()", "+1", "-1", "@x", "\tx"])
      expect(csvOf([[name]])).toBe(`'${name}\r\n`);
    expect(csvOf([[-1]])).toBe("-1\r\n");
  });
});
