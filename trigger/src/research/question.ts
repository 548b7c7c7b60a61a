/** The digest of a question. Steps whose questions have the same digest share one order. */
import { createHash } from "node:crypto";

import { isObject, stringifyJson, type Json } from "../json/exact.js";

/** Everything on which an answer depends, except the organisation, which the engine adds. */
interface Question {
  readonly operation: string;
  readonly provider: string;
  readonly processor: string;
  readonly inputs: Readonly<Record<string, string>>;
  readonly prompt: string;
  readonly outputSchema: unknown;
}

/** Compute the SHA-256 of a question, in hexadecimal; the order of its keys does not matter. */
export function digestQuestion(question: Question): string {
  const { operation, provider, processor, inputs, prompt, outputSchema } = question;
  const parts = { operation, provider, processor, inputs, prompt, output_schema: outputSchema ?? null };
  return createHash("sha256")
    .update(stringifyJson(sortKeys(parts as unknown as Json)))
    .digest("hex");
}

function sortKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sortKeys(value[key] ?? null)]),
  );
}
