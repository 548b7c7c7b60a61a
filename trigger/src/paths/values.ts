/**
 * The operations on JSON values that evaluating a path needs: kinds, truth, fields, keys, comparison.
 *
 * A number stays the `Numeral` that the parser made, so that a selected value keeps its digits; only computing and
 * comparing convert it to a double. Python evaluates the same paths over documents that `jsonb` returns, so the keys of
 * a document's objects are listed in the order of `jsonb`. Objects that a path builds keep their insertion order, as a
 * Python `dict` does.
 */
import { isObject, Numeral, parseNumber, type Json, type JsonObject } from "../json/exact.js";

/** The keys of objects that paths have built, in insertion order; JavaScript itself lists keys such as `10` first. */
const builtKeys = new WeakMap<JsonObject, string[]>();

export type Kind = "null" | "boolean" | "number" | "string" | "array" | "object";

/** Return the JMESPath type of `value`. */
export function getKind(value: Json): Kind {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "object") return value instanceof Numeral ? "number" : "object";
  return typeof value as "boolean" | "number" | "string";
}

export function isNumber(value: Json): value is number | Numeral {
  return typeof value === "number" || value instanceof Numeral;
}

/** Return whether JMESPath regards `value` as true: null, false, "", [] and {} are falsy, 0 is not. */
export function isTruthy(value: Json): boolean {
  if (value === null || value === false || value === "") return false;
  if (Array.isArray(value)) return value.length > 0;
  return !isObject(value) || Object.keys(value).length > 0;
}

/** Return the value of a key, null if there is none; `constructor` is a key like any other. */
export function getField(value: Json, name: string): Json {
  return isObject(value) && Object.hasOwn(value, name) ? (value[name] ?? null) : null;
}

/** Build an object from entries; a repeated key has its first place and its last value. */
export function buildObject(entries: [string, Json][]): JsonObject {
  const object = Object.fromEntries(entries);
  builtKeys.set(object, [...new Set(entries.map(([key]) => key))]);
  return object;
}

/** List the keys of an object: in the order of `jsonb`, or of insertion if a path has built the object. */
export function listKeys(value: JsonObject): string[] {
  return builtKeys.get(value) ?? Object.keys(value).sort(compareKeys);
}

/** List the values of an object in the order of `listKeys`. */
export function listValues(value: JsonObject): Json[] {
  return listKeys(value).map((key) => getField(value, key));
}

/** Compare two JSON values deeply, numbers as doubles; `true` is not 1. Throws RangeError as `toDouble` does. */
export function isEqual(left: Json, right: Json): boolean {
  if (isNumber(left) && isNumber(right)) return toDouble(left) === toDouble(right);
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((value, index) => isEqual(value, right[index] ?? null));
  }
  if (!isObject(left) || !isObject(right)) return left === right;
  const keys = listKeys(left);
  const others = new Set(listKeys(right));
  return (
    keys.length === others.size &&
    keys.every((key) => others.has(key)) &&
    keys.every((key) => isEqual(getField(left, key), getField(right, key)))
  );
}

/** Convert a number to the double that functions and comparators use. Throws RangeError if it is too large for one. */
export function toDouble(value: number | Numeral): number {
  const double = Number(value);
  if (!Number.isFinite(double)) throw new RangeError("a number does not fit a double");
  return double;
}

/** Convert a computed double to the number that `jsonb` prints for it. Throws RangeError for NaN and infinities. */
export function fromDouble(double: number): number | Numeral {
  if (!Number.isFinite(double)) throw new RangeError("the computed number does not fit a double");
  return parseNumber(String(double));
}

/** Compare strings by code point, through their UTF-8 bytes; `<` would compare UTF-16 units, in another order. */
export function compareText(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** Compare keys in the order of `jsonb`: first by length in UTF-8, then byte by byte. */
function compareKeys(left: string, right: string): number {
  return Buffer.byteLength(left) - Buffer.byteLength(right) || compareText(left, right);
}
