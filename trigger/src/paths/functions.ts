/**
 * The JMESPath functions that a path may call, with the results of Python's jmespath.
 *
 * `engine/jmespath/functions.py` has the same table for Python, and `tests/conformance` compares the two. Functions
 * that select return values unchanged; functions that compute return doubles, written as Python writes them.
 */
import { parseEmbeddedJson } from "../json/embedded.js";
import { isObject, type Json, type JsonObject, type Numeral } from "../json/exact.js";
import {
  buildObject,
  compareText,
  fromDouble,
  getField,
  getKind,
  isEqual,
  isNumber,
  listKeys,
  listValues,
  toDouble,
  type Kind,
} from "./values.js";

/** An argument `&expression`, which the function evaluates over each element. */
export class Reference {
  constructor(readonly evaluate: (element: Json) => Json) {}
}

export type Argument = Json | Reference;
type Num = number | Numeral;
/** What a parameter accepts; `numbers` and `strings` are arrays of only numbers or only strings. */
type Parameter = "any" | "reference" | "numbers" | "strings" | Kind;
type SortKey = number | string;

interface FunctionDefinition {
  /** The kinds that each parameter accepts, as in Python's signatures. */
  readonly parameters: readonly (readonly Parameter[])[];
  readonly isVariadic: boolean;
  readonly call: (given: never) => Json;
}

const SORTABLE = ["numbers", "strings"] as const;
const ANY = ["any"] as const;

const FUNCTIONS = new Map<string, FunctionDefinition>(
  Object.entries({
    abs: defineFunction([["number"]], ([value]: [Num]) => fromDouble(Math.abs(toDouble(value)))),
    ceil: defineFunction([["number"]], ([value]: [Num]) => fromDouble(Math.ceil(toDouble(value)))),
    floor: defineFunction([["number"]], ([value]: [Num]) => fromDouble(Math.floor(toDouble(value)))),
    sum: defineFunction([["numbers"]], ([values]: [Num[]]) => fromDouble(sumNumbers(values))),
    avg: defineFunction([["numbers"]], ([values]: [Num[]]) =>
      values.length > 0 ? fromDouble(sumNumbers(values) / values.length) : null,
    ),
    contains: defineFunction([["string", "array"], ANY], ([subject, search]: [string | Json[], Json]) =>
      containsValue(subject, search),
    ),
    ends_with: defineFunction([["string"], ["string"]], ([text, end]: [string, string]) => text.endsWith(end)),
    starts_with: defineFunction([["string"], ["string"]], ([text, start]: [string, string]) => text.startsWith(start)),
    join: defineFunction([["string"], ["strings"]], ([glue, texts]: [string, string[]]) => texts.join(glue)),
    keys: defineFunction([["object"]], ([object]: [JsonObject]) => listKeys(object)),
    values: defineFunction([["object"]], ([object]: [JsonObject]) => listValues(object)),
    length: defineFunction([["string", "array", "object"]], ([value]: [string | Json[] | JsonObject]) =>
      measureLength(value),
    ),
    map: defineFunction([["reference"], ["array"]], ([expression, values]: [Reference, Json[]]) =>
      values.map((value) => expression.evaluate(value)),
    ),
    max: defineFunction([SORTABLE], ([values]: [Json[]]) => pickExtreme(values, readKeys(values), 1)),
    min: defineFunction([SORTABLE], ([values]: [Json[]]) => pickExtreme(values, readKeys(values), -1)),
    max_by: defineFunction([["array"], ["reference"]], ([values, key]: [Json[], Reference]) =>
      pickExtreme(values, readKeys(values, key), 1),
    ),
    min_by: defineFunction([["array"], ["reference"]], ([values, key]: [Json[], Reference]) =>
      pickExtreme(values, readKeys(values, key), -1),
    ),
    merge: defineFunction([["object"]], (objects: Json[]) => mergeObjects(objects), true),
    not_null: defineFunction([ANY], (values: Json[]) => values.find((value) => value !== null) ?? null, true),
    parse_json: defineFunction([ANY], ([value]: [Json]) =>
      typeof value === "string" ? parseEmbeddedJson(value) : value,
    ),
    reverse: defineFunction([["string", "array"]], ([value]: [string | Json[]]) => reverseValue(value)),
    sort: defineFunction([SORTABLE], ([values]: [Json[]]) => sortByKeys(values, readKeys(values))),
    sort_by: defineFunction([["array"], ["reference"]], ([values, key]: [Json[], Reference]) =>
      sortByKeys(values, readKeys(values, key)),
    ),
    to_array: defineFunction([ANY], ([value]: [Json]) => (Array.isArray(value) ? value : [value])),
    type: defineFunction([ANY], ([value]: [Json]) => getKind(value)),
  }),
);

/**
 * Call a function. Throws TypeError for an unknown name, a wrong number of arguments, or an argument of a wrong kind;
 * RangeError for a number that does not fit a double.
 */
export function callFunction(name: string, given: Argument[]): Json {
  const definition = FUNCTIONS.get(name);
  if (definition === undefined) throw new TypeError(`there is no function ${name}()`);
  const { parameters, isVariadic, call } = definition;
  if (isVariadic ? given.length < parameters.length : given.length !== parameters.length) {
    throw new TypeError(`${name}() takes ${parameters.length} arguments, found ${given.length}`);
  }
  for (const [index, parameter] of parameters.entries()) {
    const argument = given[index] ?? null;
    if (!parameter.some((wanted) => isTaken(argument, wanted))) {
      const found = argument instanceof Reference ? "an expression" : getKind(argument);
      throw new TypeError(`${name}() takes ${parameter.join(" or ")}, found ${found}`);
    }
  }
  return call(given as never);
}

/** Return a number below, equal to or above 0: the order of two sort keys. Throws TypeError for keys of two kinds. */
export function compareKeys(left: SortKey, right: SortKey): number {
  if (typeof left === "number" && typeof right === "number") return left - right;
  if (typeof left === "string" && typeof right === "string") return compareText(left, right);
  throw new TypeError("a number cannot be compared with a string");
}

function defineFunction(
  parameters: readonly (readonly Parameter[])[],
  call: FunctionDefinition["call"],
  isVariadic = false,
): FunctionDefinition {
  return { parameters, isVariadic, call };
}

function isTaken(argument: Argument, wanted: Parameter): boolean {
  if (argument instanceof Reference || wanted === "reference") {
    return argument instanceof Reference && wanted === "reference";
  }
  if (wanted === "any") return true;
  if (wanted === "numbers") return Array.isArray(argument) && argument.every(isNumber);
  if (wanted === "strings") return Array.isArray(argument) && argument.every((value) => typeof value === "string");
  return getKind(argument) === wanted;
}

function containsValue(subject: string | Json[], search: Json): boolean {
  if (Array.isArray(subject)) return subject.some((value) => isEqual(value, search));
  if (typeof search !== "string") throw new TypeError("contains() looks for a string in a string");
  return subject.includes(search);
}

/** Return the length of an array, an object or a string; of a string the code points, as in Python. */
function measureLength(value: string | Json[] | JsonObject): number {
  if (Array.isArray(value)) return value.length;
  return typeof value === "string" ? Array.from(value).length : Object.keys(value).length;
}

/** Merge objects; later values win. It checks every argument, since the signature covers only the first. */
function mergeObjects(objects: Json[]): JsonObject {
  return buildObject(
    objects.flatMap((object) => {
      if (!isObject(object)) throw new TypeError(`merge() takes objects, found ${getKind(object)}`);
      return listKeys(object).map((key): [string, Json] => [key, getField(object, key)]);
    }),
  );
}

function sumNumbers(values: Num[]): number {
  return values.reduce((sum: number, value) => sum + toDouble(value), 0);
}

function readKeys(values: Json[], expression?: Reference): SortKey[] {
  return values.map((value) => toSortKey(expression === undefined ? value : expression.evaluate(value)));
}

function toSortKey(value: Json): SortKey {
  if (isNumber(value)) return toDouble(value);
  if (typeof value === "string") return value;
  throw new TypeError(`the key is ${getKind(value)}, not a number or a string`);
}

/** Return the first value with the greatest (`sign` 1) or least (`sign` -1) key; null if there are no values. */
function pickExtreme(values: Json[], keys: SortKey[], sign: number): Json {
  let best: [SortKey, Json] | undefined;
  for (const [index, key] of keys.entries()) {
    if (best === undefined || sign * compareKeys(key, best[0]) > 0) best = [key, values[index] ?? null];
  }
  return best === undefined ? null : best[1];
}

function sortByKeys(values: Json[], keys: SortKey[]): Json[] {
  const pairs = keys.map((key, index): [SortKey, Json] => [key, values[index] ?? null]);
  return pairs.sort(([left], [right]) => compareKeys(left, right)).map(([, value]) => value);
}

function reverseValue(value: string | Json[]): Json {
  return typeof value === "string" ? Array.from(value).reverse().join("") : value.toReversed();
}
