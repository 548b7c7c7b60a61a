/**
 * A path of a spec, read from a document.
 *
 * In: a Document and a JMESPath expression that `dex check` has accepted. Out: the exact value, null where there is none.
 * It must not know specs, columns or HTTP.
 */
import { compile } from "@jmespath-community/jmespath";

import type { Document } from "./document.js";
import { Numeral, type Json } from "./exact.js";
import { Interpreter, type Node } from "./jmespath/interpreter.js";
import { respell } from "./jmespath/spelling.js";
import type { View } from "./twin.js";

interface Path {
  readonly node: Node;
  /** Whether a number it answers may have been computed. */
  readonly computed: boolean;
}

const interpreter = new Interpreter();
const compiled = new Map<string, Path>();
const COMPUTING = new Set(["abs", "avg", "ceil", "floor", "length", "sum"]);

/** A path that raised: a function was given a value it does not take. Names the path, never the value. */
export class ReadError extends Error {
  override readonly name = "ReadError";

  constructor(expression: string, cause: unknown) {
    super(`path \`${expression}\` raised: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Evaluate `expression` over `document`. Throws ReadError. */
export function read(document: Document, expression: string): Json {
  return refine(expression, () => document.restore(search(document.roots, expression), isComputed(expression)));
}

/** The array `expression` gives, each element as a document with `item`. Throws ReadError when it gives something else. */
export function readItems(document: Document, expression: string): Document[] {
  return refine(expression, () => {
    const items = search(document.roots, expression);
    if (!Array.isArray(items)) throw new TypeError(`it gives ${items === null ? "null" : `a ${typeof items}`}, not an array`);
    return items.map((item) => document.withItem(item));
  });
}

/** JMESPath's truth: null, false, "", [] and {} are falsy, 0 is not. */
export function truthy(value: Json): boolean {
  if (value === null || value === false || value === "") return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== "object" || value instanceof Numeral || Object.keys(value).length > 0;
}

/** Evaluate over a bare view. Throws whatever the library throws. */
export function search(view: View, expression: string): View {
  return interpreter.visit(path(expression).node, view);
}

/** Whether a number that `expression` answers may have been computed. */
export function isComputed(expression: string): boolean {
  return path(expression).computed;
}

function path(expression: string): Path {
  const known = compiled.get(expression);
  if (known !== undefined) return known;
  const node = compile(respell(expression));
  const made = { node, computed: calls(node, COMPUTING) };
  compiled.set(expression, made);
  return made;
}

function calls(node: unknown, names: Set<string>): boolean {
  if (typeof node !== "object" || node === null) return false;
  if ("type" in node && node.type === "Function" && "name" in node && names.has(String(node.name))) return true;
  return Object.values(node).some((part) => calls(part, names));
}

function refine<Value>(expression: string, evaluate: () => Value): Value {
  try {
    return evaluate();
  } catch (error) {
    throw new ReadError(expression, error);
  }
}
