/**
 * Makes up the answer to an order that nothing was recorded for: valid for the order's schema, with a basis entry for
 * every leaf, and marked as made up. The same order gets the same answer.
 */
import { isObject, type Json, type JsonObject } from "../src/json/exact.js";
import { isTextOrder, readJsonSchema } from "./order-checks.js";
import { asObject, listAlternatives, listTypes, resolveReference } from "./json-schema.js";

/** How many elements a list has. */
const LIST_LENGTH = 2;
/** A schema that refers to itself ends here. */
const MOST_LEVELS = 12;
export const MADE_UP = "made up by the recorded provider, which has no recording for this order";

/** What is answered where the order leaves the shape to the provider. */
const AUTO_SCHEMA: JsonObject = {
  type: "object",
  properties: {
    summary: { type: "string" },
    findings: {
      type: "array",
      items: { type: "object", properties: { title: { type: "string" }, detail: { type: "string" } } },
    },
  },
};

/** Make up the result of an order. */
export function makeUpResult(order: JsonObject): JsonObject {
  const text = "# Made-up report\n\nThe recorded provider has no recording for this order, so it made this text up.";
  const schema = readJsonSchema(order) ?? AUTO_SCHEMA;
  const content = isTextOrder(order) ? text : makeUpValue(schema, schema, [], 1);
  const type = isTextOrder(order) ? "text" : "json";
  return { run: {}, output: { type, content, basis: listLeaves(content).map(buildBasisEntry) } };
}

function makeUpValue(root: JsonObject, schema: JsonObject, path: string[], number: number): Json {
  const node = resolveReference(root, schema);
  const values = (Array.isArray(node["enum"]) ? node["enum"] : []).filter((value) => value !== null);
  const value = values[(number - 1) % values.length];
  if (value !== undefined) return value;
  if (node["const"] !== undefined) return node["const"];
  const alternative = listAlternatives(node).find((part) => resolveReference(root, part)["type"] !== "null");
  if (alternative !== undefined) {
    return makeUpValue(root, { ...dropAlternatives(node), ...alternative }, path, number);
  }
  const type = listTypes(node).find((name) => name !== "null") ?? "string";
  if (type === "object") return makeUpObject(root, node, path, number);
  if (type === "array") {
    if (path.length >= MOST_LEVELS) return [];
    const items = asObject(node["items"]);
    return Array.from({ length: LIST_LENGTH }, (_, index) =>
      makeUpValue(root, items, [...path, String(index)], number * LIST_LENGTH - LIST_LENGTH + index + 1),
    );
  }
  if (type === "boolean") return number % 2 === 1;
  if (type === "integer") return number;
  if (type === "number") return number + 0.5;
  return makeUpText(node, path, number);
}

function makeUpObject(root: JsonObject, node: JsonObject, path: string[], number: number): Json {
  const properties = Object.entries(asObject(node["properties"]));
  if (properties.length === 0 && node["additionalProperties"] !== false) return { made_up: `Made up ${number}` };
  if (path.length >= MOST_LEVELS) return {};
  const values = properties.map(([name, part]) => [name, makeUpValue(root, asObject(part), [...path, name], number)]);
  return Object.fromEntries(values) as JsonObject;
}

/** Make up a text; what its name or its description asks for is written as such. */
function makeUpText(node: JsonObject, path: string[], number: number): string {
  const name = [...path].reverse().find((step) => !/^\d+$/.test(step)) ?? "text";
  const asked = `${name.replaceAll("_", " ")} ${typeof node["description"] === "string" ? node["description"] : ""}`;
  const day = `2026-01-${String(1 + (number % 28)).padStart(2, "0")}`;
  const spellings: [RegExp, string][] = [
    [/timestamp|date-time/i, `${day}T09:00:00Z`],
    [/\bdate\b|YYYY-MM-DD/i, day],
    [/\buuid\b/i, `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`],
    [/\be-?mail\b/i, `person-${number}@made-up.example.com`],
    [/\blinkedin\b/i, `https://www.linkedin.com/in/made-up-${number}`],
    [/\b(url|link)s?\b/i, `https://made-up-${number}.example.com/`],
    [/\b(domain|website)s?\b/i, `made-up-${number}.example.com`],
    [/\b(phone|telephone)\b/i, `+4930${String(1_000_000 + number)}`],
  ];
  return spellings.find(([pattern]) => pattern.test(asked))?.[1] ?? `Made-up ${name.replaceAll("_", " ")} ${number}`;
}

/** Return the path of every leaf, in the provider's dotted notation; that of a text is `output`. */
function listLeaves(content: Json, path: string[] = []): string[] {
  if (Array.isArray(content) && content.length > 0) {
    return content.flatMap((part, index) => listLeaves(part, [...path, String(index)]));
  }
  if (isObject(content) && Object.keys(content).length > 0) {
    return Object.entries(content).flatMap(([name, part]) => listLeaves(part, [...path, name]));
  }
  return [path.join(".") || "output"];
}

function buildBasisEntry(field: string): JsonObject {
  return {
    field,
    reasoning: `Nothing was researched: this is ${MADE_UP}.`,
    citations: [
      {
        title: `Made-up page on ${field}`,
        url: `https://made-up.example.com/${encodeURIComponent(field)}`,
        excerpts: [`A made-up excerpt for ${field}.`],
      },
    ],
    confidence: "low",
  };
}

function dropAlternatives(node: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(node).filter(([key]) => !["anyOf", "oneOf", "allOf"].includes(key)));
}
