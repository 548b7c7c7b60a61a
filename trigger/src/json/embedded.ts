/**
 * Reads JSON inside a string, for the function `parse_json` of paths; `engine/jmespath/functions.py` does the same.
 */
import { isObject, Numeral, parseJson, type Json } from "./exact.js";

/**
 * The most levels of nesting. Deeper JSON gives null, since the two languages overflow their stacks at other depths.
 */
const MAX_DEPTH = 256;
/** Limits of Postgres's `numeric`: digits before and after the point. */
const MAX_WHOLE_DIGITS = 131_072;
const MAX_FRACTION_DIGITS = 16_383;

/** The text that was parsed last, and its value: the paths of a spec parse the same text of a document repeatedly. */
let last: { readonly text: string; readonly value: Json } | undefined;

/** Parse JSON inside a string; null for text that is not JSON, or that `jsonb` cannot store. */
export function parseEmbeddedJson(text: string): Json {
  if (last?.text !== text) last = { text, value: readText(text) };
  return last.value;
}

function readText(text: string): Json {
  let value: Json;
  try {
    value = parseJson(text);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null;
    throw error;
  }
  return isStorable(value) ? value : null;
}

function isStorable(value: Json): boolean {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (!level.every(isStorableScalar)) return false;
    if (depth >= MAX_DEPTH && level.some((part) => Array.isArray(part) || isObject(part))) return false;
    level = level.flatMap(listParts);
  }
  return true;
}

/** List the parts of an array or object; null and other scalars have none. */
function listParts(value: Json): Json[] {
  if (Array.isArray(value)) return value;
  return isObject(value) ? Object.values(value) : [];
}

function isStorableScalar(value: Json): boolean {
  if (typeof value === "string") return isStorableText(value);
  if (value instanceof Numeral) return isStorableNumber(value.text);
  return !isObject(value) || Object.keys(value).every(isStorableText);
}

function isStorableText(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed();
}

function isStorableNumber(text: string): boolean {
  const parts = /^-?(\d+)(?:\.(\d+))?$/.exec(text); // no match if an exponent was too large to expand
  if (parts === null) return false;
  return (parts[1] ?? "").length <= MAX_WHOLE_DIGITS && (parts[2] ?? "").length <= MAX_FRACTION_DIGITS;
}
