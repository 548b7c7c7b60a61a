/** Format values for people. Numbers keep every digit; times are in the browser's time zone. */
import { ExactNumber, isObject, type Json } from "./json";

const GROUPS = new Intl.NumberFormat("en-US", { maximumFractionDigits: 20 });
const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const FULL_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** Format a count with thousands separators: 12,345. */
export function formatCount(value: number): string {
  return GROUPS.format(value);
}

export function formatTime(text: string): string {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? text : TIME.format(time);
}

export function formatFullTime(text: string): string {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? text : FULL_TIME.format(time);
}

/** Format a date without a time, to which no time zone applies. */
export function formatDay(text: string): string {
  const time = new Date(`${text}T00:00:00Z`);
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(time.getTime()) ? DAY.format(time) : text;
}

/** Format how long ago a time was: "3 days ago". */
export function formatAgo(text: string, now = Date.now()): string {
  const seconds = (new Date(text).getTime() - now) / 1000;
  if (Number.isNaN(seconds)) return "";
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return AGO.format(Math.round(seconds / size), unit);
  }
  return "just now";
}

/** Format an amount of USD with all its decimals, at least two. */
export function formatUsd(text: string | null | undefined): string {
  if (text === null || text === undefined) return "unknown";
  const [whole = "0", decimals = ""] = text.split(".");
  const kept = decimals.replace(/0+$/, "").padEnd(2, "0");
  return `$${GROUPS.format(BigInt(whole))}.${kept}`;
}

/** Convert a column's name to words: `total_funding_usd` to "Total funding usd". */
export function humanize(name: string): string {
  const words = name
    .replace(/([a-z\d])([A-Z])/g, "$1 $2")
    .replace(/[_-]+/g, " ")
    .trim();
  return words ? capitalize(words) : name;
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function shortenId(id: string): string {
  return id.slice(0, 8);
}

/** Format a value as one line of text. */
export function formatInline(value: Json | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number" || value instanceof ExactNumber) return String(value);
  if (Array.isArray(value)) {
    return value.every((entry) => typeof entry === "string") ? value.join(", ") : `${value.length} elements`;
  }
  return isObject(value) ? `${Object.keys(value).length} keys` : "";
}

/** Return a URL if its scheme is http or https, else null, since `javascript:` must not become a link. */
export function safeUrl(text: string | null | undefined): string | null {
  if (!text || !/^https?:\/\//i.test(text)) return null;
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
