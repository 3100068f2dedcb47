/* decimal - exact arithmetic on the decimal strings that the API sends for money.
 *
 * Inside, an amount is a bigint of pico-units (10^-12 of the currency), the ledger's own unit, so a
 * sum of rows on the screen is the ledger's sum and never a float's. */
const PICO_DIGITS = 12;
const PICO = 10n ** BigInt(PICO_DIGITS);

export function parseDecimal(text: string): bigint {
  const match = /^(-?)(\d+)(?:\.(\d{1,12}))?$/.exec(text);
  if (!match) throw new Error(`not a decimal: ${text}`);
  const [, sign, whole = "0", fraction = ""] = match;
  const pico = BigInt(whole) * PICO + BigInt(fraction.padEnd(PICO_DIGITS, "0"));
  return sign ? -pico : pico;
}

/* At least `minFraction` digits after the point, and as many more as the amount has. */
export function formatDecimal(pico: bigint, minFraction = 0): string {
  const sign = pico < 0n ? "-" : "";
  const size = pico < 0n ? -pico : pico;
  const digits = (size % PICO).toString().padStart(PICO_DIGITS, "0").replace(/0+$/, "");
  const fraction = digits.padEnd(minFraction, "0");
  return `${sign}${size / PICO}${fraction ? `.${fraction}` : ""}`;
}

export function sumDecimals(texts: Iterable<string>): string {
  let sum = 0n;
  for (const text of texts) sum += parseDecimal(text);
  return formatDecimal(sum);
}

/* Sums for each currency: amounts in different currencies never add up. */
export function sumByCurrency(
  rows: Iterable<{ currency: string; cost: string }>,
): { currency: string; cost: string }[] {
  const sums = new Map<string, bigint>();
  for (const row of rows)
    sums.set(row.currency, (sums.get(row.currency) ?? 0n) + parseDecimal(row.cost));
  return [...sums].map(([currency, pico]) => ({ currency, cost: formatDecimal(pico) }));
}
