/** Which part of a document each piece of evidence is about. */
import { formatJson, isObject, type Json } from "./json";
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

/** Read the evidence out of an operation's output, where the provider puts it beside its answer. */
export function readBasis(payload: Json): Evidence[] {
  const basis = follow(payload, ["operation_result", "output", "parallel_raw_response", "output", "basis"]);
  if (!Array.isArray(basis)) return [];
  return basis.filter(isObject).map((note) => ({
    field: typeof note["field"] === "string" ? note["field"] : "",
    citations: Array.isArray(note["citations"]) ? (note["citations"] as Evidence["citations"]) : [],
    reasoning: typeof note["reasoning"] === "string" ? note["reasoning"] : null,
    confidence: typeof note["confidence"] === "string" ? note["confidence"] : null,
  }));
}

/** Whether a column holds the answer that the evidence of its step result is about. */
export function isAnswer(payload: Json, value: Json): boolean {
  const answer = follow(payload, ["operation_result", "output", "parallel_raw_response", "output", "content"]);
  return answer !== undefined && formatJson(answer, 0) === formatJson(value, 0);
}

function follow(value: Json, names: string[]): Json | undefined {
  return names.reduce<Json | undefined>((part, name) => (isObject(part) ? part[name] : undefined), value);
}
