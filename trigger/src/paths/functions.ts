/**
 * The JMESPath functions that a path may call, with the results of Python's jmespath.
 *
 * `engine/jmespath/functions.py` has the same table for Python, and `tests/conformance` compares the two. Functions
 * whose results the library shares with Python are taken from it by name. Computed numbers are doubles in both
 * languages.
 */
import {
  TYPE_ANY,
  TYPE_ARRAY,
  TYPE_ARRAY_NUMBER,
  TYPE_ARRAY_STRING,
  TYPE_EXPREF,
  TYPE_NUMBER,
  TYPE_OBJECT,
  TYPE_STRING,
  type TreeInterpreter,
} from "@jmespath-community/jmespath";

import type { View } from "./view.js";

type Runtime = typeof TreeInterpreter.runtime;
type Table = Runtime["_functionTable"];
type Signature = Table[string]["_signature"];
type Sortable = number | string;
type Visit = (expression: never, value: View) => View;

// Types of arguments, for signatures.
const ANY_VALUE = { types: [TYPE_ANY] };
const ARRAY = { types: [TYPE_ARRAY] };
const EXPRESSION = { types: [TYPE_EXPREF] };
const OBJECTS = { types: [TYPE_OBJECT], variadic: true };
const NUMBER = { types: [TYPE_NUMBER] };
const NUMBERS = { types: [TYPE_ARRAY_NUMBER] };
const NUMBERS_OR_STRINGS = { types: [TYPE_ARRAY_NUMBER, TYPE_ARRAY_STRING] };
const STRING_OR_ARRAY = { types: [TYPE_STRING, TYPE_ARRAY] };

/** Functions that the library computes as Python does. */
const LIBRARY_FUNCTIONS = [
  "ends_with",
  "join",
  "keys",
  "length",
  "map",
  "not_null",
  "starts_with",
  "to_array",
  "type",
  "values",
];

/** Build the table of all functions; a path that calls another one is an error. `visit` evaluates `&expressions`. */
export function buildFunctionTable(library: Table, visit: Visit): Table {
  const kept = LIBRARY_FUNCTIONS.map((name) => [name, library[name]] as const);
  return { ...(Object.fromEntries(kept) as Table), ...buildOwnFunctions(visit) };
}

function buildOwnFunctions(visit: Visit): Table {
  const readSortKeys = (values: View[], expression: unknown) =>
    values.map((value) => requireSortable(visit(expression as never, value)));
  return {
    abs: defineFunction([NUMBER], ([value]: [number]) => checkComputedNumber(Math.abs(value))),
    ceil: defineFunction([NUMBER], ([value]: [number]) => checkComputedNumber(Math.ceil(value))),
    floor: defineFunction([NUMBER], ([value]: [number]) => checkComputedNumber(Math.floor(value))),
    sum: defineFunction([NUMBERS], ([values]: [number[]]) => checkComputedNumber(sumNumbers(values))),
    avg: defineFunction([NUMBERS], ([values]: [number[]]) =>
      values.length > 0 ? checkComputedNumber(sumNumbers(values) / values.length) : null,
    ),
    contains: defineFunction([STRING_OR_ARRAY, ANY_VALUE], ([subject, search]: [string | View[], View]) =>
      containsValue(subject, search),
    ),
    max: defineFunction([NUMBERS_OR_STRINGS], ([values]: [Sortable[]]) => pickExtreme(values, values, 1)),
    min: defineFunction([NUMBERS_OR_STRINGS], ([values]: [Sortable[]]) => pickExtreme(values, values, -1)),
    max_by: defineFunction([ARRAY, EXPRESSION], ([values, key]: [View[], unknown]) =>
      pickExtreme(values, readSortKeys(values, key), 1),
    ),
    min_by: defineFunction([ARRAY, EXPRESSION], ([values, key]: [View[], unknown]) =>
      pickExtreme(values, readSortKeys(values, key), -1),
    ),
    merge: defineFunction([OBJECTS], (objects: View[]) => mergeObjects(objects)),
    reverse: defineFunction([STRING_OR_ARRAY], ([value]: [string | View[]]) => reverseValue(value)),
    sort: defineFunction([NUMBERS_OR_STRINGS], ([values]: [Sortable[]]) => sortByKeys(values, values)),
    sort_by: defineFunction([ARRAY, EXPRESSION], ([values, key]: [View[], unknown]) =>
      sortByKeys(values, readSortKeys(values, key)),
    ),
  };
}

/** Define a function. The library checks the arguments against the signature before it calls. */
function defineFunction(signature: Signature, answer: (given: never) => View): Table[string] {
  return { _func: answer as Table[string]["_func"], _signature: signature };
}

/** Compare two JSON values deeply; `true` is not 1. */
export function isEqual(left: View, right: View): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((value, index) => isEqual(value, right[index] ?? null));
  }
  if (!isMapping(left) || !isMapping(right)) return false;
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && isEqual(left[key] ?? null, right[key] ?? null))
  );
}

/**
 * Compare two numbers, or two strings by code point; the result is below, equal to or above zero. Throws TypeError for
 * a mix.
 */
export function compareValues(left: Sortable, right: Sortable): number {
  if (typeof left === "number" && typeof right === "number") return left - right;
  if (typeof left === "string" && typeof right === "string") return compareText(left, right);
  throw new TypeError("a number cannot be compared with a string");
}

function isMapping(value: View): value is Record<string, View> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Compare by code point: UTF-8 keeps that order, UTF-16, which `<` compares, does not. */
function compareText(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

function containsValue(subject: string | View[], search: View): boolean {
  if (Array.isArray(subject)) return subject.some((value) => isEqual(value, search));
  if (typeof search !== "string") throw new TypeError("contains() looks for a string in a string");
  return subject.includes(search);
}

function checkComputedNumber(value: number): number {
  if (!Number.isFinite(value)) throw new RangeError("the computed number does not fit a double");
  return value + 0; // never -0
}

function sumNumbers(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function requireSortable(value: View): Sortable {
  if (typeof value === "number" || typeof value === "string") return value;
  throw new TypeError(`the key is ${value === null ? "null" : `a ${typeof value}`}, not a number or a string`);
}

/** Return the first value with the greatest (`sign` 1) or the least (-1) key; null when there are no values. */
function pickExtreme(values: View[], keys: Sortable[], sign: number): View {
  let best: [Sortable, View] | undefined;
  for (const [index, key] of keys.entries()) {
    if (best === undefined || sign * compareValues(key, best[0]) > 0) best = [key, values[index] ?? null];
  }
  return best === undefined ? null : best[1];
}

function sortByKeys(values: View[], keys: Sortable[]): View[] {
  const pairs = keys.map((key, index): [Sortable, View] => [key, values[index] ?? null]);
  return pairs.sort(([left], [right]) => compareValues(left, right)).map(([, value]) => value);
}

/** Merge objects, the later keys win. Checks all arguments: the library checks the type of the first one only. */
function mergeObjects(objects: View[]): View {
  if (!objects.every(isMapping)) throw new TypeError("merge() takes objects");
  return Object.assign(Object.create(null) as Record<string, View>, ...objects) as View;
}

function reverseValue(value: string | View[]): View {
  return typeof value === "string" ? Array.from(value).reverse().join("") : value.toReversed();
}
