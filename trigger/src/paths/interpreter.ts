/**
 * Evaluates parsed paths of JMESPath's reference grammar with the results of Python's jmespath.
 *
 * The library only parses. Its interpreter works on doubles and plain objects, and so loses what has to be kept here:
 * the digits of a number that is only selected, and the order of the keys of an object that a path builds.
 */
import type { compile } from "@jmespath-community/jmespath";

import { isObject, parseJson, type Json, type Numeral } from "../json/exact.js";
import { callFunction, compareKeys, Reference, type Argument } from "./functions.js";
import { buildObject, getField, isEqual, isNumber, isTruthy, listValues, toDouble } from "./values.js";

export type Node = ReturnType<typeof compile>;
type NodeOf<Type extends Node["type"]> = Extract<Node, { type: Type }>;

/** Evaluate `node` over `value`. Throws TypeError or RangeError for a value that a function or comparator refuses. */
export function evaluateNode(node: Node, value: Json): Json {
  switch (node.type) {
    case "Current":
    case "Identity":
      return value;
    case "Literal": // numbers in a path are doubles in both languages, and written as `jsonb` writes them
      return parseJson(JSON.stringify(node.value));
    case "Field":
      return getField(value, node.name);
    case "Subexpression": // a function on the right is also called with null
    case "IndexExpression":
    case "Pipe":
      return evaluateNode(node.right, evaluateNode(node.left, value));
    case "Index":
      return Array.isArray(value) ? (value.at(node.value) ?? null) : null;
    case "Slice":
      return Array.isArray(value) ? sliceArray(value, node) : null;
    case "Flatten": {
      const base = evaluateNode(node.child, value);
      return Array.isArray(base) ? base.flatMap((element) => element) : null;
    }
    case "Projection": {
      const base = evaluateNode(node.left, value);
      return Array.isArray(base) ? projectValues(base, node.right) : null;
    }
    case "ValueProjection": {
      const base = evaluateNode(node.left, value);
      return isObject(base) ? projectValues(listValues(base), node.right) : null;
    }
    case "FilterProjection": {
      const base = evaluateNode(node.left, value);
      return Array.isArray(base) ? projectValues(base, node.right, node.condition) : null;
    }
    case "MultiSelectList":
      return value === null ? null : node.children.map((child) => evaluateNode(child, value));
    case "MultiSelectHash":
      return value === null
        ? null
        : buildObject(node.children.map((child) => [child.name, evaluateNode(child.value, value)]));
    case "OrExpression": {
      const left = evaluateNode(node.left, value);
      return isTruthy(left) ? left : evaluateNode(node.right, value);
    }
    case "AndExpression": {
      const left = evaluateNode(node.left, value);
      return isTruthy(left) ? evaluateNode(node.right, value) : left;
    }
    case "NotExpression":
      return !isTruthy(evaluateNode(node.child, value));
    case "Comparator":
      return evaluateComparator(node, value);
    case "Function":
      return callFunction(
        node.name,
        node.children.map((child) => evaluateArgument(child, value)),
      );
    default: // the library parses a later specification with string slices, `let`, arithmetic
      throw new SyntaxError(`${node.type} is not part of JMESPath's reference grammar`);
  }
}

function evaluateArgument(node: Node, value: Json): Argument {
  if (node.type !== "ExpressionReference") return evaluateNode(node, value);
  return new Reference((element) => evaluateNode(node.child, element));
}

function evaluateComparator(node: NodeOf<"Comparator">, value: Json): boolean | null {
  const [left, right] = [evaluateNode(node.left, value), evaluateNode(node.right, value)];
  if (node.name === "EQ") return isEqual(left, right);
  if (node.name === "NE") return !isEqual(left, right);
  if (!isOrdered(left) || !isOrdered(right)) return null;
  const order = compareKeys(unboxNumber(left), unboxNumber(right));
  const answers = { GT: order > 0, GTE: order >= 0, LT: order < 0, LTE: order <= 0 };
  return answers[node.name];
}

function isOrdered(value: Json): value is string | number | Numeral {
  return typeof value === "string" || isNumber(value);
}

function unboxNumber(value: string | number | Numeral): string | number {
  return typeof value === "string" ? value : toDouble(value);
}

/** Evaluate `right` over each value that fulfils `condition`; leave out results that are null. */
function projectValues(values: Json[], right: Node, condition?: Node): Json[] {
  const matching =
    condition === undefined ? values : values.filter((element) => isTruthy(evaluateNode(condition, element)));
  return matching.map((element) => evaluateNode(right, element)).filter((result) => result !== null);
}

/** Slice an array as Python does. Throws RangeError for the step 0. */
function sliceArray(values: Json[], { start, stop, step: given }: NodeOf<"Slice">): Json[] {
  const step = given ?? 1;
  if (step === 0) throw new RangeError("the step of a slice is 0");
  const [lowest, highest] = step > 0 ? [0, values.length] : [-1, values.length - 1];
  const clamp = (index: number) => Math.min(Math.max(index < 0 ? index + values.length : index, lowest), highest);
  const first = start === null ? (step > 0 ? lowest : highest) : clamp(start);
  const end = stop === null ? (step > 0 ? highest : lowest) : clamp(stop);
  const sliced: Json[] = [];
  for (let index = first; step > 0 ? index < end : index > end; index += step) sliced.push(values[index] ?? null);
  return sliced;
}
