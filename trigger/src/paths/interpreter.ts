/**
 * The JMESPath library's interpreter, restricted to the reference grammar and with the results of Python's jmespath.
 *
 * The library implements a later specification (string slices, `let`, arithmetic) and differs in a few results. The
 * nodes that `visit` names are the differences; all others are left to the library.
 */
import { TreeInterpreter, type compile } from "@jmespath-community/jmespath";

import { buildFunctionTable, compareValues, isEqual } from "./functions.js";
import type { View } from "./view.js";

export type Node = ReturnType<typeof compile>;
type NodeOf<Type extends Node["type"]> = Extract<Node, { type: Type }>;

interface LibraryInterpreter extends Omit<typeof TreeInterpreter, "visit"> {
  visit(node: Node, value: View): View;
}
// The library exports one instance, but not its class.
const Library = TreeInterpreter.constructor as unknown as new () => LibraryInterpreter;

/** Nodes of the later grammar, which a path must not contain. */
const LATER_GRAMMAR = new Set<string>([
  "Arithmetic",
  "Binding",
  "LetExpression",
  "Root",
  "Ternary",
  "Unary",
  "Variable",
]);

export class Interpreter extends Library {
  readonly #references = new WeakSet<object>();

  constructor() {
    super();
    this.runtime._functionTable = buildFunctionTable(this.runtime._functionTable, (node, value) =>
      this.visit(node, value),
    );
    this.#distinguishReferencesFromData();
  }

  override visit(node: Node, value: View): View {
    switch (node.type) {
      case "Field":
        return readField(value, node.name);
      case "Subexpression": // the library stops at null; a function on the right has to be called with it
        return this.visit(node.right, this.visit(node.left, value));
      case "Slice":
        return typeof value === "string" ? null : super.visit(node, value);
      case "MultiSelectList":
      case "MultiSelectHash":
        return value === null ? null : super.visit(node, value);
      case "Comparator":
        return this.#evaluateComparator(node, value);
      case "ExpressionReference":
        return this.#evaluateReference(node, value);
      default:
        if (LATER_GRAMMAR.has(node.type)) {
          throw new SyntaxError(`${node.type} is not part of JMESPath's reference grammar`);
        }
        return super.visit(node, value);
    }
  }

  #evaluateComparator(node: NodeOf<"Comparator">, value: View): View {
    const [left, right] = [this.visit(node.left, value), this.visit(node.right, value)];
    if (node.name === "EQ") return isEqual(left, right);
    if (node.name === "NE") return !isEqual(left, right);
    if (!isOrdered(left) || !isOrdered(right)) return null;
    const order = compareValues(left, right);
    const answers = { GT: order > 0, GTE: order >= 0, LT: order < 0, LTE: order <= 0 };
    return answers[node.name];
  }

  #evaluateReference(node: Node, value: View): View {
    const reference = super.visit(node, value);
    this.#references.add(reference as object);
    return reference;
  }

  /** Make the library accept only our own `&expressions`: it takes any object with a true `expref` for one. */
  #distinguishReferencesFromData(): void {
    const runtime = this.runtime as unknown as { getTypeName(value: unknown): unknown };
    const typeName = runtime.getTypeName.bind(runtime);
    runtime.getTypeName = (value) => {
      const isData =
        typeof value === "object" && value !== null && !Array.isArray(value) && !this.#references.has(value);
      return typeName(isData ? {} : value);
    };
  }
}

function readField(value: View, name: string): View {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return Object.hasOwn(value, name) ? (value[name] ?? null) : null;
}

function isOrdered(value: View): value is number | string {
  return typeof value === "number" || typeof value === "string";
}
