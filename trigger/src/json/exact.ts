/**
 * Lossless JSON: parses and writes JSON with every number as it was written.
 *
 * A double loses the last digit of `1.10`, most of an id of twenty digits and all of `1e400`. A number whose text a
 * double cannot reproduce is parsed into a `Numeral`, which carries the text that `jsonb` prints for it.
 */
import { parse as parseLossless, stringify as stringifyLossless } from "lossless-json";

/** Larger exponents are not expanded: `numeric` refuses such numbers, and their digits would fill the memory. */
const LARGEST_EXPONENT = 150_000;

export type Json = null | boolean | number | Numeral | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** A number whose text a double cannot reproduce. */
export class Numeral {
  constructor(readonly text: string) {}

  valueOf(): number {
    return Number(this.text);
  }

  /** Return a double, for logs; `stringifyJson` writes the exact text. */
  toJSON(): number {
    return this.valueOf();
  }
}

/**
 * Parse JSON text. The last value of a repeated key wins, as in `jsonb`. Throws SyntaxError when the text is not JSON,
 * RangeError when it is nested too deeply.
 */
export function parseJson(text: string): Json {
  const options = { parseNumber, onDuplicateKey: ({ newValue }: { newValue: unknown }) => newValue };
  return boundDepth(() => parseLossless(text.replace(/^\uFEFF/, ""), null, options)) as Json;
}

/**
 * Return JSON text in which numbers keep their digits. Throws RangeError for NaN and infinities, which JSON lacks, and
 * for a value that is nested too deeply.
 */
export function stringifyJson(value: unknown): string {
  const text = boundDepth(() =>
    stringifyLossless(value, null, undefined, [
      { test: (part) => part instanceof Numeral, stringify: (part) => (part as Numeral).text },
      { test: (part) => typeof part === "number", stringify: (part) => formatFinite(part as number) },
    ]),
  );
  if (text === undefined) throw new TypeError("the value cannot be written as JSON");
  return text;
}

/** Parse the text of a JSON number: to a double if that loses nothing, else to a Numeral. */
export function parseNumber(text: string): number | Numeral {
  const decimal = expandDecimal(text);
  const value = Number(decimal);
  return String(value) === decimal ? value : new Numeral(decimal);
}

/**
 * Replace every NUL and lone surrogate, which Postgres cannot store, by U+FFFD, in keys too. Throws RangeError for a
 * value that is nested too deeply.
 */
export function replaceUnstorable(value: Json): Json {
  return boundDepth(() => replaceInPart(value));
}

function replaceInPart(value: Json): Json {
  if (typeof value === "string") return value.replaceAll("\0", "\uFFFD").toWellFormed();
  if (value === null || typeof value !== "object" || value instanceof Numeral) return value;
  if (Array.isArray(value)) return value.map(replaceInPart);
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => [replaceInPart(key) as string, replaceInPart(part)]),
  );
}

/** Call a function that recurses into JSON; of an exhausted stack say what it means. */
function boundDepth<Value>(call: () => Value): Value {
  try {
    return call();
  } catch (error) {
    if (error instanceof RangeError && error.message.includes("call stack")) {
      throw new RangeError("the JSON is nested too deeply", { cause: error });
    }
    throw error;
  }
}

/** Return whether `value` is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Numeral);
}

/** Return a JSON number without exponent, as Postgres's `numeric` prints it: 1.50e1 is 15.0, 1e2 is 100, -0 is 0. */
function expandDecimal(text: string): string {
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (parts === null) throw new SyntaxError(`\`${text.slice(0, 40)}\` is not a JSON number`);
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = parts;
  const shift = Number(exponent);
  if (Math.abs(shift) > LARGEST_EXPONENT) return text;
  const digits = (whole + fraction).padStart(1 + fraction.length - shift, "0");
  const scale = Math.max(0, fraction.length - shift);
  const spread = digits.padEnd(digits.length + Math.max(0, shift - fraction.length), "0");
  const integer = spread.slice(0, spread.length - scale).replace(/^0+(?=\d)/, "");
  const decimal = scale === 0 ? integer : `${integer}.${spread.slice(spread.length - scale)}`;
  return /[1-9]/.test(decimal) ? sign + decimal : decimal;
}

function formatFinite(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a JSON number`);
  return String(value);
}
