/** The document that a spec's paths are evaluated over. */
import type { Json } from "../json/exact.js";
import { ViewRegistry, type View } from "./view.js";

export class Document {
  /** Views of `output`, `context`, `run`, `operation` and, for an element of a `rows` array, `item`. */
  readonly roots: Record<string, View>;
  readonly #registry: ViewRegistry;

  private constructor(roots: Record<string, View>, registry: ViewRegistry) {
    this.roots = roots;
    this.#registry = registry;
  }

  /** Build a document from the JSON value of each root. */
  static fromRoots(values: Record<string, Json>): Document {
    const registry = new ViewRegistry();
    const views = Object.entries(values).map(([root, value]) => [root, registry.createView(value)]);
    return new Document(Object.fromEntries(views) as Record<string, View>, registry);
  }

  /** Return the same document with one element of a `rows` array as the root `item`. */
  withItem(item: View): Document {
    return new Document({ ...this.roots, item }, this.#registry);
  }

  /**
   * Return the exact value of a path's result. Throws RangeError where two numbers of the document are the same double.
   */
  restoreValue(result: View, isComputed: boolean): Json {
    return this.#registry.restoreValue(result, isComputed);
  }
}
