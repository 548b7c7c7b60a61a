/** Assign evidence to the parts of a document. */
import { isObject, type Json } from "./json";
import type { Evidence } from "./types";

/** Group evidence by the path that its `field` names; evidence whose field the document lacks is under "". */
export function placeEvidence(document: Json, evidence: Evidence[]): Map<string, Evidence[]> {
  const placed = new Map<string, Evidence[]>();
  for (const note of evidence) {
    const path = findPath(document, note.field);
    placed.set(path, [...(placed.get(path) ?? []), note]);
  }
  return placed;
}

/**
 * Return the longest part of a path (`founders.0.name` or `founders[0].name`), from its start, that the document has.
 */
function findPath(document: Json, field: string): string {
  const found: string[] = [];
  let part: Json | undefined = document;
  for (const name of field.replaceAll(/\[(\d+)\]/g, ".$1").split(".")) {
    part = Array.isArray(part) ? part[Number(name)] : isObject(part) ? part[name] : undefined;
    if (part === undefined) break;
    found.push(name);
  }
  return found.join(".");
}
