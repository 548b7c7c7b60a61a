/** Parse and format JSON. A number whose text JavaScript would change is kept as an ExactNumber. */

export class ExactNumber {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
  toJSON(): unknown {
    return Number(this.text);
  }
}

export type Json = null | boolean | number | string | ExactNumber | Json[] | { [key: string]: Json };
export type JsonObject = Record<string, Json>;

/** Parse JSON; 1.10 and 12345678901234567890 stay exact in browsers that pass the source text to the reviver. */
export function parseJson(text: string): unknown {
  const revive = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source
      ? new ExactNumber(context.source)
      : value;
  return JSON.parse(text, revive);
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof ExactNumber);
}

export function isScalar(value: Json): boolean {
  return !Array.isArray(value) && !isObject(value);
}

/** Format a value as indented JSON text, with numbers as they were sent. */
export function formatJson(value: Json | undefined, indent = 2): string {
  return writeValue(value ?? null, "", " ".repeat(indent));
}

function writeValue(value: Json, before: string, step: string): string {
  if (value instanceof ExactNumber) return value.text;
  const inside = before + step;
  const line = step ? "\n" : "";
  const gap = step ? " " : "";
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[${line}${value.map((entry) => (step ? inside : "") + writeValue(entry, inside, step)).join("," + line)}${line}${step ? before : ""}]`;
  }
  if (isObject(value)) {
    const entries = Object.entries(value);
    if (entries.length === 0) return "{}";
    const parts = entries.map(
      ([key, entry]) => `${step ? inside : ""}${JSON.stringify(key)}:${gap}${writeValue(entry, inside, step)}`,
    );
    return `{${line}${parts.join("," + line)}${line}${step ? before : ""}}`;
  }
  return JSON.stringify(value);
}
