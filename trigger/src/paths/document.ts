/** The document that a spec's paths are evaluated over. */
import type { Json, JsonObject } from "../json/exact.js";

export class Document {
  /** The values of the roots; for an element of a `rows` array, `item` and `parent` are among them. */
  readonly roots: JsonObject;

  private constructor(roots: JsonObject) {
    this.roots = roots;
  }

  /** Build a document from the JSON value of each root. */
  static fromRoots(values: Record<string, Json>): Document {
    return new Document(values);
  }

  /** Return the same document with an element of a `rows` array as the root `item`, and the one around it. */
  withItem(item: Json, parent?: Json): Document {
    return new Document({ ...this.roots, ...(parent === undefined ? {} : { parent }), item });
  }
}
