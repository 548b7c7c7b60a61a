/** Evaluates the paths of specs over documents. They are JMESPath expressions that `dex check` has accepted. */
import { compile } from "@jmespath-community/jmespath";

import { isObject, type Json } from "../json/exact.js";
import type { Document } from "./document.js";
import { evaluateNode, type Node } from "./interpreter.js";
import { rewriteLiterals } from "./literals.js";
import { getKind } from "./values.js";

export { isTruthy } from "./values.js";

const compiledPaths = new Map<string, Node>();

/** A path cannot be evaluated over a document; the message contains the path, but no value. */
export class ReadError extends Error {
  override readonly name = "ReadError";

  constructor(expression: string, cause: unknown) {
    super(`path \`${expression}\` raised: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Return the value at the path `expression` with all its digits, null if there is none. Throws ReadError. */
export function readPath(document: Document, expression: string): Json {
  return rethrowAsReadError(expression, () => searchPath(document.roots, expression));
}

/** An element of a `rows` array: a document with the root `item`, or why there is none. */
type Item = { readonly document: Document } | { readonly refused: string };

/**
 * Return an item for each element of the array at the path `rows`. With two paths, the second is that of an array in
 * each element of the first, and its elements are returned; `parent` is the element of the first. `needsObjects`
 * refuses elements that are not objects. Throws ReadError if the first path gives no array.
 */
export function readItems(document: Document, rows: string | readonly string[], needsObjects: boolean): Item[] {
  const [outer = "", inner] = typeof rows === "string" ? [rows] : rows;
  const items = readElements(document, outer);
  if (inner === undefined) {
    return items.map((item) => checkItem(item, needsObjects) ?? { document: document.withItem(item) });
  }
  return items.flatMap((parent) => {
    try {
      return readElements(document.withItem(parent), inner).map(
        (item) => checkItem(item, needsObjects) ?? { document: document.withItem(item, parent) },
      );
    } catch (error) {
      if (error instanceof ReadError) return [{ refused: error.message }];
      throw error;
    }
  });
}

function readElements(document: Document, expression: string): Json[] {
  return rethrowAsReadError(expression, () => {
    const items = searchPath(document.roots, expression);
    if (!Array.isArray(items)) throw new TypeError(`it gives ${describeKind(items)}, not an array`);
    return items;
  });
}

function checkItem(item: Json, needsObjects: boolean): { readonly refused: string } | null {
  return needsObjects && !isObject(item) ? { refused: `it is ${describeKind(item)}, not an object` } : null;
}

function describeKind(value: Json): string {
  const kind = getKind(value);
  return kind === "null" ? kind : `${/^[ao]/.test(kind) ? "an" : "a"} ${kind}`;
}

/** Evaluate `expression` over any JSON value. Throws the errors of `evaluateNode`. */
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
