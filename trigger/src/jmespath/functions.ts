/**
 * The functions a path may call, answering as Python's jmespath does.
 *
 * In: an interpreter to evaluate `&expressions` with. Out: the table of functions. It must not know documents.
 *
 * `engine/function.py` holds the same table for Python; `tests/conformance` runs both. What the library already answers the
 * same way is taken from it by name; the rest is here. Computed numbers are doubles in both languages.
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

import type { View } from "../twin.js";

type Runtime = typeof TreeInterpreter.runtime;
type Table = Runtime["_functionTable"];
type Signature = Table[string]["_signature"];
type Sortable = number | string;
type Visit = (expression: never, value: View) => View;

const SAME_IN_THE_LIBRARY = [
  "ends_with", "join", "keys", "length", "map", "not_null", "starts_with", "to_array", "type", "values",
];

/** The whole table; a function that is not in it is unknown. */
export function functionTable(library: Table, visit: Visit): Table {
  const kept = SAME_IN_THE_LIBRARY.map((name) => [name, library[name]] as const);
  return { ...(Object.fromEntries(kept) as Table), ...replaced(visit) };
}

function replaced(visit: Visit): Table {
  const by = (values: View[], expression: unknown) => values.map((value) => sortable(visit(expression as never, value)));
  return {
    abs: define([number], ([value]: [number]) => computed(Math.abs(value))),
    ceil: define([number], ([value]: [number]) => computed(Math.ceil(value))),
    floor: define([number], ([value]: [number]) => computed(Math.floor(value))),
    sum: define([numbers], ([values]: [number[]]) => computed(total(values))),
    avg: define([numbers], ([values]: [number[]]) => (values.length > 0 ? computed(total(values) / values.length) : null)),
    contains: define([textOrArray, any], ([subject, search]: [string | View[], View]) => contains(subject, search)),
    max: define([numbersOrTexts], ([values]: [Sortable[]]) => pick(values, values, 1)),
    min: define([numbersOrTexts], ([values]: [Sortable[]]) => pick(values, values, -1)),
    max_by: define([array, expression], ([values, key]: [View[], unknown]) => pick(values, by(values, key), 1)),
    min_by: define([array, expression], ([values, key]: [View[], unknown]) => pick(values, by(values, key), -1)),
    merge: define([manyObjects], (objects: View[]) => merge(objects)),
    reverse: define([textOrArray], ([value]: [string | View[]]) => reverse(value)),
    sort: define([numbersOrTexts], ([values]: [Sortable[]]) => sort(values, values)),
    sort_by: define([array, expression], ([values, key]: [View[], unknown]) => sort(values, by(values, key))),
  };
}

const any = { types: [TYPE_ANY] };
const array = { types: [TYPE_ARRAY] };
const expression = { types: [TYPE_EXPREF] };
const manyObjects = { types: [TYPE_OBJECT], variadic: true };
const number = { types: [TYPE_NUMBER] };
const numbers = { types: [TYPE_ARRAY_NUMBER] };
const numbersOrTexts = { types: [TYPE_ARRAY_NUMBER, TYPE_ARRAY_STRING] };
const textOrArray = { types: [TYPE_STRING, TYPE_ARRAY] };

// The library has checked the arguments against the signature before it calls.
function define(signature: Signature, answer: (given: never) => View): Table[string] {
  return { _func: answer as Table[string]["_func"], _signature: signature };
}

/** JSON's equality: deep, and without the surprise that in Python 1 == True. */
export function equal(left: View, right: View): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((value, index) => equal(value, right[index] ?? null));
  }
  if (!isMapping(left) || !isMapping(right)) return false;
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && equal(left[key] ?? null, right[key] ?? null))
  );
}

/** Below, equal or above zero, strings by code point. Throws for a number beside a string, as Python does. */
export function compare(left: Sortable, right: Sortable): number {
  if (typeof left === "number" && typeof right === "number") return left - right;
  if (typeof left === "string" && typeof right === "string") return compareText(left, right);
  throw new TypeError("a number cannot be compared with a string");
}

function isMapping(value: View): value is Record<string, View> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** UTF-8 keeps the order of code points; UTF-16, which `<` compares, does not. */
function compareText(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

function contains(subject: string | View[], search: View): boolean {
  if (Array.isArray(subject)) return subject.some((value) => equal(value, search));
  if (typeof search !== "string") throw new TypeError("contains() looks for a string in a string");
  return subject.includes(search);
}

function computed(value: number): number {
  if (!Number.isFinite(value)) throw new RangeError("the computed number does not fit a double");
  return value + 0; // never -0
}

function total(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function sortable(value: View): Sortable {
  if (typeof value === "number" || typeof value === "string") return value;
  throw new TypeError(`the key is ${value === null ? "null" : `a ${typeof value}`}, not a number or a string`);
}

/** The first of the values whose key is the greatest (`sign` 1) or the least (-1); null of none. */
function pick(values: View[], keys: Sortable[], sign: number): View {
  let best: [Sortable, View] | undefined;
  for (const [index, key] of keys.entries()) {
    if (best === undefined || sign * compare(key, best[0]) > 0) best = [key, values[index] ?? null];
  }
  return best === undefined ? null : best[1];
}

function sort(values: View[], keys: Sortable[]): View[] {
  const pairs = keys.map((key, index): [Sortable, View] => [key, values[index] ?? null]);
  return pairs.sort(([left], [right]) => compare(left, right)).map(([, value]) => value);
}

/** The library looks at the first argument only. */
function merge(objects: View[]): View {
  if (!objects.every(isMapping)) throw new TypeError("merge() takes objects");
  return Object.assign(Object.create(null) as Record<string, View>, ...objects) as View;
}

function reverse(value: string | View[]): View {
  return typeof value === "string" ? Array.from(value).reverse().join("") : value.toReversed();
}
