/** Which part of a document each piece of evidence is about. */
import { isObject, type Json } from "./json";
import type { Evidence } from "./types";

/** Group evidence by the path in the document that its `field` names; what names no part is about the whole. */
export function placeEvidence(document: Json, evidence: Evidence[]): Map<string, Evidence[]> {
  const placed = new Map<string, Evidence[]>();
  for (const note of evidence) {
    const path = findPath(document, note.field);
    placed.set(path, [...(placed.get(path) ?? []), note]);
  }
  return placed;
}

/** Return the longest beginning of a field's name that leads to a part: `founders.0.name`, `founders[0].name`. */
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
