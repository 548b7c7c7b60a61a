/**
 * The library's interpreter, held to the reference grammar and to Python's answers.
 *
 * In: the tree of an expression. Out: its answer over a view of a document. It must not know documents or steps.
 *
 * The library follows a later specification (string slices, `let`, arithmetic) and differs in a few answers; the nodes
 * named below are the difference, all others are its own.
 */
import { TreeInterpreter, type compile } from "@jmespath-community/jmespath";

import type { View } from "../twin.js";
import { compare, equal, functionTable } from "./functions.js";

export type Node = ReturnType<typeof compile>;
type Of<Type extends Node["type"]> = Extract<Node, { type: Type }>;

interface LibraryInterpreter extends Omit<typeof TreeInterpreter, "visit"> {
  visit(node: Node, value: View): View;
}
// The library exports one instance and not its class.
const Library = TreeInterpreter.constructor as unknown as new () => LibraryInterpreter;

const LATER_GRAMMAR = new Set<string>(["Arithmetic", "Binding", "LetExpression", "Root", "Ternary", "Unary", "Variable"]);

export class Interpreter extends Library {
  readonly #references = new WeakSet<object>();

  constructor() {
    super();
    this.runtime._functionTable = functionTable(this.runtime._functionTable, (node, value) => this.visit(node, value));
    this.#tellReferencesFromData();
  }

  override visit(node: Node, value: View): View {
    switch (node.type) {
      case "Field":
        return field(value, node.name);
      case "Subexpression": // the library stops at null; a function to the right of the dot wants to see it
        return this.visit(node.right, this.visit(node.left, value));
      case "Slice":
        return typeof value === "string" ? null : super.visit(node, value);
      case "MultiSelectList":
      case "MultiSelectHash":
        return value === null ? null : super.visit(node, value);
      case "Comparator":
        return this.#compare(node, value);
      case "ExpressionReference":
        return this.#reference(node, value);
      default:
        if (LATER_GRAMMAR.has(node.type)) throw new SyntaxError(`${node.type} is not part of JMESPath's reference grammar`);
        return super.visit(node, value);
    }
  }

  #compare(node: Of<"Comparator">, value: View): View {
    const [left, right] = [this.visit(node.left, value), this.visit(node.right, value)];
    if (node.name === "EQ") return equal(left, right);
    if (node.name === "NE") return !equal(left, right);
    if (!isOrdered(left) || !isOrdered(right)) return null;
    const order = compare(left, right);
    const answers = { GT: order > 0, GTE: order >= 0, LT: order < 0, LTE: order <= 0 };
    return answers[node.name];
  }

  #reference(node: Node, value: View): View {
    const reference = super.visit(node, value);
    this.#references.add(reference as object);
    return reference;
  }

  /** The library takes any object with a true `expref` for an expression, a provider's object included. */
  #tellReferencesFromData(): void {
    const runtime = this.runtime as unknown as { getTypeName(value: unknown): unknown };
    const typeName = runtime.getTypeName.bind(runtime);
    runtime.getTypeName = (value) => {
      const isData = typeof value === "object" && value !== null && !Array.isArray(value) && !this.#references.has(value);
      return typeName(isData ? {} : value);
    };
  }
}

function field(value: View, name: string): View {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return Object.hasOwn(value, name) ? (value[name] ?? null) : null;
}

function isOrdered(value: View): value is number | string {
  return typeof value === "number" || typeof value === "string";
}
