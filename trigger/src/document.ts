/**
 * The document that paths are evaluated over.
 *
 * In: JSON by root. Out: a view of it to evaluate over, and exact values for what was selected. It must not know specs or
 * paths.
 */
import type { Json } from "./exact.js";
import { Twin, type View } from "./twin.js";

export class Document {
  private constructor(
    /** `output`, `context`, `run`, `operation` and, under `rows`, `item`. */
    readonly roots: Record<string, View>,
    private readonly twin: Twin,
  ) {}

  static of(parts: Record<string, Json>): Document {
    const twin = new Twin();
    return new Document(Object.fromEntries(Object.entries(parts).map(([root, part]) => [root, twin.view(part)])), twin);
  }

  /** The same document with one element of a `rows` array beside its roots. */
  withItem(item: View): Document {
    return new Document({ ...this.roots, item }, this.twin);
  }

  /** The exact value behind a path's answer. Throws where two numbers of the document cannot be told apart. */
  restore(answer: View, computed: boolean): Json {
    return this.twin.restore(answer, computed);
  }
}
