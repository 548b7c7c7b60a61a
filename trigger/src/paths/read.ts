/** Evaluates the paths of specs, JMESPath expressions that `dex check` has accepted, over documents. */
import { compile } from "@jmespath-community/jmespath";

import type { Json } from "../json/exact.js";
import type { Document } from "./document.js";
import { evaluateNode, type Node } from "./interpreter.js";
import { rewriteLiterals } from "./literals.js";

export { isTruthy } from "./values.js";

const compiledPaths = new Map<string, Node>();

/** A path that cannot be evaluated over a document. Names the path, never the value. */
export class ReadError extends Error {
  override readonly name = "ReadError";

  constructor(expression: string, cause: unknown) {
    super(`path \`${expression}\` raised: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Return the exact value at the path `expression`, null where there is none. Throws ReadError. */
export function readPath(document: Document, expression: string): Json {
  return rethrowAsReadError(expression, () => searchPath(document.roots, expression));
}

/**
 * Return a document with the root `item` for each element of the array at `expression`. Throws ReadError without an
 * array.
 */
export function readItems(document: Document, expression: string): Document[] {
  return rethrowAsReadError(expression, () => {
    const items = searchPath(document.roots, expression);
    if (!Array.isArray(items)) {
      throw new TypeError(`it gives ${items === null ? "null" : `a ${typeof items}`}, not an array`);
    }
    return items.map((item) => document.withItem(item));
  });
}

/** Evaluate `expression` over any JSON value. Throws what the evaluation throws. */
export function searchPath(value: Json, expression: string): Json {
  return evaluateNode(compilePath(expression), value);
}

function compilePath(expression: string): Node {
  const known = compiledPaths.get(expression);
  if (known !== undefined) return known;
  const node = compile(rewriteLiterals(expression));
  compiledPaths.set(expression, node);
  return node;
}

function rethrowAsReadError<Value>(expression: string, evaluate: () => Value): Value {
  try {
    return evaluate();
  } catch (error) {
    throw new ReadError(expression, error);
  }
}
