/* format - how numbers, money and time look, everywhere the same. */
import { formatDecimal, parseDecimal } from "./decimal";

const LOCALE = "en-US";
const integer = new Intl.NumberFormat(LOCALE);
const compact = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });
const MINUTE = {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
} as const;
const day = new Intl.DateTimeFormat(LOCALE, { year: "numeric", month: "short", day: "numeric" });
const minute = new Intl.DateTimeFormat(LOCALE, MINUTE);
const second = new Intl.DateTimeFormat(LOCALE, { ...MINUTE, second: "2-digit" });

export const formatCount = (n: number) => integer.format(n);
export const formatCompact = (n: number) => compact.format(n);

export function currencySign(currency: string): string {
  try {
    const parts = new Intl.NumberFormat(LOCALE, { style: "currency", currency }).formatToParts(0);
    const sign = parts.find((part) => part.type === "currency")?.value ?? currency;
    return sign === currency ? `${currency} ` : sign;
  } catch {
    return `${currency} `; /* not a code that Intl accepts */
  }
}

/* Exact: every digit of the amount, at least two after the point. "$1,204.5000071" stays that. */
export function formatMoney(amount: string, currency: string): string {
  const text = formatDecimal(parseDecimal(amount), 2);
  const negative = text.startsWith("-");
  const [whole = "0", fraction = ""] = (negative ? text.slice(1) : text).split(".");
  const grouped = integer.format(BigInt(whole));
  return `${negative ? "-" : ""}${currencySign(currency)}${grouped}.${fraction}`;
}

export function formatMs(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/* Whole seconds, rounded up: for something that is counted down. */
export function formatSeconds(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export const formatRate = (perSecond: number) =>
  perSecond >= 100 ? Math.round(perSecond).toString() : perSecond.toFixed(1);

export const formatDate = (rfc3339: string) => day.format(new Date(rfc3339));
export const formatMinute = (rfc3339: string) => minute.format(new Date(rfc3339));
export const formatTime = (rfc3339: string) => second.format(new Date(rfc3339));

/* Buckets of usage are days and hours of UTC, so their labels are too. */
export function formatBucket(rfc3339: string, bucket: "hour" | "day"): string {
  const time = new Date(rfc3339);
  return new Intl.DateTimeFormat(LOCALE, {
    timeZone: "UTC",
    month: "short",
    day: "numeric",
    ...(bucket === "hour" ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : {}),
  }).format(time);
}
