/** The document over which a spec's paths are evaluated. */
import type { Json, JsonObject } from "../json/exact.js";

export class Document {
  /** The values by root: `output`, `context` and so on; for an element of a `rows` array also `item` and `parent`. */
  readonly roots: JsonObject;

  private constructor(roots: JsonObject) {
    this.roots = roots;
  }

  /** Build a document from the JSON value of each root. */
  static fromRoots(values: Record<string, Json>): Document {
    return new Document(values);
  }

  /**
   * Return a copy whose root `item` is an element of a `rows` array, and whose root `parent` is the element around it.
   */
  withItem(item: Json, parent?: Json): Document {
    return new Document({ ...this.roots, ...(parent === undefined ? {} : { parent }), item });
  }
}
