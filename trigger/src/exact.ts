/**
 * JSON to JavaScript and back with every number as it was written.
 *
 * In: JSON text, or values made of it. Out: the same values, or JSON text. It must not know steps, specs or HTTP.
 *
 * A double loses `1.10`, an id of twenty digits and `1e400`; research that was paid for has them all. A number whose text
 * a double would not give back becomes a `Numeral`, which carries the text that `jsonb` would print for it.
 */
import { parse as parseLossless, stringify as stringifyLossless } from "lossless-json";

export type Json = null | boolean | number | Numeral | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** A number whose text says more than a double can hold. */
export class Numeral {
  constructor(readonly text: string) {}

  valueOf(): number {
    return Number(this.text);
  }

  /** For logs only; `stringify` writes the text. */
  toJSON(): number {
    return this.valueOf();
  }
}

/** Read JSON. Of a repeated key the last value stays, as in `jsonb`. Throws SyntaxError for what is not JSON. */
export function parse(text: string): Json {
  const value = parseLossless(text.replace(/^\uFEFF/, ""), null, {
    parseNumber: number,
    onDuplicateKey: ({ newValue }) => newValue,
  });
  return value as Json;
}

/** Write JSON, each number in its own text. Throws for NaN and infinities, which JSON does not know. */
export function stringify(value: unknown): string {
  const text = stringifyLossless(value, null, undefined, [
    { test: (part) => part instanceof Numeral, stringify: (part) => (part as Numeral).text },
    { test: (part) => typeof part === "number", stringify: (part) => finite(part as number) },
  ]);
  if (text === undefined) throw new TypeError("a value without a JSON form cannot be written");
  return text;
}

/** The number a JSON text stands for: a plain one where nothing is lost by it. */
export function number(text: string): number | Numeral {
  const decimal = plainDecimal(text);
  const value = Number(decimal);
  return String(value) === decimal ? value : new Numeral(decimal);
}

/** The text of a number as `jsonb` prints it. */
export function numberText(value: number | Numeral): string {
  return value instanceof Numeral ? value.text : plainDecimal(finite(value));
}

/** `value` with every NUL and lone surrogate, which Postgres cannot store, replaced by U+FFFD. */
export function mend(value: Json): Json {
  if (typeof value === "string") return value.replaceAll("\0", "\uFFFD").toWellFormed();
  if (value === null || typeof value !== "object" || value instanceof Numeral) return value;
  if (Array.isArray(value)) return value.map(mend);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [mend(key) as string, mend(part)]));
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Numeral);
}

const FURTHEST_EXPONENT = 150_000; // beyond it `numeric` refuses the number; spelling it out would fill the memory

/** A JSON number without an exponent, by the rules of Postgres' `numeric`: 1.50e1 is 15.0, 1e2 is 100, -0 is 0. */
function plainDecimal(text: string): string {
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (parts === null) throw new SyntaxError(`\`${text.slice(0, 40)}\` is not a JSON number`);
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = parts;
  const shift = Number(exponent);
  if (Math.abs(shift) > FURTHEST_EXPONENT) return text;
  const digits = (whole + fraction).padStart(1 + fraction.length - shift, "0");
  const scale = Math.max(0, fraction.length - shift);
  const spread = digits.padEnd(digits.length + Math.max(0, shift - fraction.length), "0");
  const integer = spread.slice(0, spread.length - scale).replace(/^0+(?=\d)/, "");
  const decimal = scale === 0 ? integer : `${integer}.${spread.slice(spread.length - scale)}`;
  return /[1-9]/.test(decimal) ? sign + decimal : decimal;
}

function finite(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a JSON number`);
  return String(value);
}
