/** Checks an order as the provider does: what it refuses, and what it accepts with a warning. */
import { isObject, stringifyJson, type Json, type JsonObject } from "../src/json/exact.js";
import { listProperties, listTypes, walkSchema } from "./json-schema.js";

/** A wire object: an entry of a run's `warnings`. */
export interface Warning extends JsonObject {
  readonly type: string;
  readonly message: string;
  readonly detail: Json;
}

const PROCESSORS = ["lite", "base", "core", "core2x", "pro", "ultra", "ultra2x", "ultra4x", "ultra8x"];
const UNSUPPORTED_KEYWORDS = [
  ...["contains", "format", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains"],
  ...["minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "patternProperties"],
  ...["propertyNames", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"],
];
/** Names that the provider answers in `basis` for every property. */
const RESERVED_NAMES = ["citations", "confidence", "evidence", "reasoning", "source", "sources"];
const MOST_LEVELS = 5;
const MOST_PROPERTIES = 100;
const MOST_ENUM_VALUES = 500;
const MOST_SCHEMA_CHARACTERS = 15_000;
const MOST_ORDER_CHARACTERS = 25_000;
const MOST_KEY_CHARACTERS = 16;
const MOST_VALUE_CHARACTERS = 512;

/** Return why an order is refused; undefined when it is accepted. */
export function findOrderMistake(order: JsonObject): string | undefined {
  return (
    findProcessorMistake(order["processor"] ?? null) ??
    findMetadataMistake(order["metadata"] ?? null) ??
    findSpecMistake(order)
  );
}

/** Return the warnings that an accepted order gets. */
export function listWarnings(order: JsonObject): Warning[] {
  const schema = readJsonSchema(order);
  if (schema === null) return [];
  const nodes = walkSchema(schema);
  const names = nodes.flatMap((node) => listProperties(node.schema)).filter((name) => RESERVED_NAMES.includes(name));
  return [
    ...names.map((name) => buildWarning(`property \`${name}\` is answered in \`basis\` already`)),
    ...nodes.flatMap((node) => listStrictnessWarnings(node.schema)),
  ];
}

/** Return the JSON Schema that an order carries; null when it carries none. */
export function readJsonSchema(order: JsonObject): JsonObject | null {
  const schema = readOutputSchema(order);
  return isObject(schema) && schema["type"] !== "text" && isObject(schema["json_schema"] ?? null)
    ? (schema["json_schema"] as JsonObject)
    : null;
}

/** Tell whether an order asks for a report in prose. */
export function isTextOrder(order: JsonObject): boolean {
  const schema = readOutputSchema(order);
  return typeof schema === "string" || (isObject(schema) && schema["type"] === "text");
}

function readOutputSchema(order: JsonObject): Json {
  const spec = order["task_spec"] ?? null;
  return isObject(spec) ? (spec["output_schema"] ?? null) : null;
}

function findProcessorMistake(processor: Json): string | undefined {
  if (typeof processor !== "string") return "processor is missing";
  const isKnown = PROCESSORS.includes(processor.replace(/-fast$/, ""));
  return isKnown
    ? undefined
    : `processor \`${processor}\` is unknown; known: ${PROCESSORS.join(", ")}, each with -fast`;
}

function findMetadataMistake(metadata: Json): string | undefined {
  const isTooLong = ([key, value]: [string, Json]) =>
    key.length > MOST_KEY_CHARACTERS || stringifyJson(value).length > MOST_VALUE_CHARACTERS + 2;
  const pairs = isObject(metadata) ? Object.entries(metadata) : [];
  return pairs.some(isTooLong) ? "metadata keys have at most 16 characters, values at most 512" : undefined;
}

function findSpecMistake(order: JsonObject): string | undefined {
  const spec = order["task_spec"] ?? null;
  if (spec === null) return undefined;
  const schema = readOutputSchema(order);
  if (schema === null) return "task_spec has no output_schema";
  if (typeof schema === "string") return undefined;
  if (!isObject(schema)) return "output_schema is an object or a string";
  const type = schema["type"] ?? "json";
  if (type === "text" || type === "auto") return undefined;
  if (type !== "json") return `output_schema is json, text or auto, not ${stringifyJson(type)}`;
  const jsonSchema = schema["json_schema"] ?? null;
  if (!isObject(jsonSchema)) return "json_schema is no object";
  return findSchemaMistake(jsonSchema) ?? findSizeMistake(order, jsonSchema);
}

function findSchemaMistake(root: JsonObject): string | undefined {
  if (root["type"] !== "object") return "the root of an output schema is of type object";
  if (listProperties(root).length === 0) return "the root of an output schema has properties";
  const combined = ["anyOf", "oneOf", "allOf"].find((keyword) => keyword in root);
  if (combined !== undefined) return `the root of an output schema cannot use ${combined}`;
  const nodes = walkSchema(root);
  const count = nodes.reduce((sum, { schema }) => sum + listProperties(schema).length, 0);
  if (count > MOST_PROPERTIES) {
    return `the output schema has ${count} properties, at most ${MOST_PROPERTIES} are allowed`;
  }
  const values = nodes.reduce(
    (sum, { schema }) => sum + (Array.isArray(schema["enum"]) ? schema["enum"].length : 0),
    0,
  );
  if (values > MOST_ENUM_VALUES) {
    return `the output schema has ${values} enum values, at most ${MOST_ENUM_VALUES} are allowed`;
  }
  for (const { schema, level, isAlternative } of nodes) {
    const keyword = UNSUPPORTED_KEYWORDS.find((name) => name in schema);
    if (keyword !== undefined) return `the output schema uses the unsupported keyword ${keyword}`;
    if (schema["type"] === "null" && !isAlternative) return "null is only allowed in a union of types";
    const isNested = listTypes(schema).some((type) => type === "object" || type === "array");
    if (isNested && level > MOST_LEVELS) return `the output schema nests deeper than ${MOST_LEVELS} levels`;
  }
  return undefined;
}

function findSizeMistake(order: JsonObject, schema: JsonObject): string | undefined {
  const length = stringifyJson(schema).length;
  if (length > MOST_SCHEMA_CHARACTERS) {
    return `the output schema has ${length} characters, at most ${MOST_SCHEMA_CHARACTERS} are allowed`;
  }
  const total = length + stringifyJson(order["input"] ?? null).length;
  return total > MOST_ORDER_CHARACTERS
    ? `input and task spec have ${total} characters, at most ${MOST_ORDER_CHARACTERS} are allowed`
    : undefined;
}

function listStrictnessWarnings(schema: JsonObject): Warning[] {
  if (!listTypes(schema).includes("object")) return [];
  const required = Array.isArray(schema["required"]) ? schema["required"] : [];
  const missing = listProperties(schema).filter((name) => !required.includes(name));
  return [
    ...missing.map((name) => buildWarning(`property \`${name}\` is not listed in \`required\``)),
    ...(schema["additionalProperties"] === false ? [] : [buildWarning("`additionalProperties` is not false")]),
  ];
}

function buildWarning(message: string): Warning {
  return { type: "spec_validation_warning", message, detail: null };
}
