/** Evaluates the paths of specs, JMESPath expressions that `dex check` has accepted, over documents. */
import { compile } from "@jmespath-community/jmespath";

import { Numeral, type Json } from "../json/exact.js";
import type { Document } from "./document.js";
import { Interpreter, type Node } from "./interpreter.js";
import { rewriteLiterals } from "./literals.js";
import type { View } from "./view.js";

interface CompiledPath {
  readonly node: Node;
  /** Whether a number in its result may have been computed. */
  readonly isComputed: boolean;
}

const interpreter = new Interpreter();
const compiledPaths = new Map<string, CompiledPath>();
const COMPUTING_FUNCTIONS = new Set(["abs", "avg", "ceil", "floor", "length", "sum"]);

/** A path that cannot be evaluated over a document. Names the path, never the value. */
export class ReadError extends Error {
  override readonly name = "ReadError";

  constructor(expression: string, cause: unknown) {
    super(`path \`${expression}\` raised: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Return the exact value at the path `expression`, null where there is none. Throws ReadError. */
export function readPath(document: Document, expression: string): Json {
  return rethrowAsReadError(expression, () =>
    document.restoreValue(searchView(document.roots, expression), isComputed(expression)),
  );
}

/**
 * Return a document with the root `item` for each element of the array at `expression`. Throws ReadError without an
 * array.
 */
export function readItems(document: Document, expression: string): Document[] {
  return rethrowAsReadError(expression, () => {
    const items = searchView(document.roots, expression);
    if (!Array.isArray(items)) {
      throw new TypeError(`it gives ${items === null ? "null" : `a ${typeof items}`}, not an array`);
    }
    return items.map((item) => document.withItem(item));
  });
}

/** Tell whether JMESPath takes `value` for true: null, false, "", [] and {} are falsy, 0 is not. */
export function isTruthy(value: Json): boolean {
  if (value === null || value === false || value === "") return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== "object" || value instanceof Numeral || Object.keys(value).length > 0;
}

/** Evaluate `expression` over a view. Throws what the library throws. */
export function searchView(view: View, expression: string): View {
  return interpreter.visit(compilePath(expression).node, view);
}

/** Tell whether a number in the result of `expression` may have been computed. */
export function isComputed(expression: string): boolean {
  return compilePath(expression).isComputed;
}

function compilePath(expression: string): CompiledPath {
  const known = compiledPaths.get(expression);
  if (known !== undefined) return known;
  const node = compile(rewriteLiterals(expression));
  const compiled = { node, isComputed: callsFunction(node, COMPUTING_FUNCTIONS) };
  compiledPaths.set(expression, compiled);
  return compiled;
}

function callsFunction(node: unknown, names: Set<string>): boolean {
  if (typeof node !== "object" || node === null) return false;
  if ("type" in node && node.type === "Function" && "name" in node && names.has(String(node.name))) return true;
  return Object.values(node).some((part) => callsFunction(part, names));
}

function rethrowAsReadError<Value>(expression: string, evaluate: () => Value): Value {
  try {
    return evaluate();
  } catch (error) {
    throw new ReadError(expression, error);
  }
}
