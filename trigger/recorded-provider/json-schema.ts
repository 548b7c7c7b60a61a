/** Reads the parts of JSON Schema that an order may carry. */
import { isObject, type Json, type JsonObject } from "../src/json/exact.js";

interface SchemaNode {
  readonly schema: JsonObject;
  /** The level of nested objects and arrays at which the schema is; 1 for the root. */
  readonly level: number;
  /** Whether it is one of the alternatives of `anyOf` and the like. */
  readonly isAlternative: boolean;
}

const MOST_REFERENCES = 20;

/** Return a schema and all schemas within it, in their order. */
export function walkSchema(schema: Json, level = 1, isAlternative = false): SchemaNode[] {
  if (!isObject(schema)) return [];
  const inner = [
    ...Object.values(asObject(schema["properties"])).flatMap((part) => walkSchema(part, level + 1)),
    ...walkSchema(schema["items"] ?? null, level + 1),
    ...walkSchema(schema["additionalProperties"] ?? null, level + 1),
    ...listAlternatives(schema).flatMap((part) => walkSchema(part, level, true)),
    ...Object.values(asObject(schema["$defs"])).flatMap((part) => walkSchema(part, level)),
  ];
  return [{ schema, level, isAlternative }, ...inner];
}

/** Return the types that a schema names. */
export function listTypes(schema: JsonObject): string[] {
  const { type } = schema;
  const types = Array.isArray(type) ? type : [type];
  const named = types.filter((name) => typeof name === "string");
  return named.length === 0 && "properties" in schema ? ["object"] : named;
}

/** Return the names of a schema's own properties. */
export function listProperties(schema: JsonObject): string[] {
  return Object.keys(asObject(schema["properties"]));
}

/** Return the alternatives of a schema. */
export function listAlternatives(schema: JsonObject): JsonObject[] {
  return ["anyOf", "oneOf", "allOf"].flatMap((keyword) => {
    const parts = schema[keyword];
    return Array.isArray(parts) ? parts.filter(isObject) : [];
  });
}

/** Follow the references of a schema into the definitions of `root`. */
export function resolveReference(root: JsonObject, schema: JsonObject): JsonObject {
  let found: JsonObject = schema;
  for (let count = 0; count < MOST_REFERENCES; count += 1) {
    const reference = found["$ref"];
    if (typeof reference !== "string") return found;
    const steps = reference.replace(/^#\/?/, "").split("/").filter(Boolean);
    found = steps.reduce<JsonObject>((node, step) => asObject(node[step]), root);
  }
  return {};
}

/** Tell whether a value is one that a schema allows. */
export function fitsSchema(root: JsonObject, schema: JsonObject, value: Json): boolean {
  const node = resolveReference(root, schema);
  const alternatives = listAlternatives(node);
  if (alternatives.length > 0 && !alternatives.some((part) => fitsSchema(root, part, value))) return false;
  const types = listTypes(node);
  if (types.length > 0 && !types.some((type) => isOfType(value, type))) return false;
  if (Array.isArray(node["enum"]) && !node["enum"].includes(value)) return false;
  if (Array.isArray(value)) {
    const items = asObject(node["items"]);
    return value.every((part) => fitsSchema(root, items, part));
  }
  return !isObject(value) || fitsProperties(root, node, value);
}

function fitsProperties(root: JsonObject, node: JsonObject, value: JsonObject): boolean {
  const properties = asObject(node["properties"]);
  const required = Array.isArray(node["required"]) ? node["required"] : [];
  return (
    required.every((name) => typeof name === "string" && Object.hasOwn(value, name)) &&
    Object.entries(value).every(([name, part]) =>
      Object.hasOwn(properties, name)
        ? fitsSchema(root, asObject(properties[name]), part)
        : node["additionalProperties"] !== false,
    )
  );
}

function isOfType(value: Json, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  if (type === "string" || type === "boolean") return typeof value === type;
  return value !== null && !Number.isNaN(Number(value)) && typeof value !== "string" && typeof value !== "boolean";
}

/** Return an object as it is, anything else as an empty one. */
export function asObject(value: Json | undefined): JsonObject {
  return isObject(value ?? null) ? (value as JsonObject) : {};
}
