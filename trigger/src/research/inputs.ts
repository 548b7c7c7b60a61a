/** Reads an operation's inputs (the texts for the placeholders of its prompt) from the context of its step. */
import { isObject, Numeral, type Json, type JsonObject } from "../json/exact.js";
import { toMessage } from "../logger.js";
import { Document } from "../paths/document.js";
import { readPath } from "../paths/read.js";

export interface Input {
  /** Paths over `context` and `step_input`; the first that gives a text is used. */
  readonly paths: readonly string[];
  readonly isRequired: boolean;
  /** Whether the engine normalizes the text; if so, the first path whose value can be normalized is used. */
  readonly isNormalized: boolean;
}

/** Inputs by name; "" for those that the context lacks. */
export type Inputs = Record<string, string>;

/** The values of each input by its name, in the order of its paths. */
export type Candidates = Record<string, Json[]>;

/** A function that requests from the engine the normalized text of each input, or why it has none. */
export type NormalizeInputs = (operationId: string, candidates: Candidates) => Promise<JsonObject>;

interface InputReading {
  readonly inputs: Inputs;
  /** Why the value of an input cannot be used, by the input's name. */
  readonly problems: Record<string, string>;
}

/** Read the text of each input from the context of the step, or why there is none. Throws what `normalize` throws. */
export async function readInputs(
  operation: { readonly id: string; readonly inputs: Readonly<Record<string, Input>> },
  context: JsonObject,
  normalize: NormalizeInputs,
): Promise<InputReading> {
  const document = buildInputDocument(context);
  const inputs: Inputs = {};
  const problems: Record<string, string> = {};
  const candidates: Candidates = {};
  for (const [name, { paths, isNormalized }] of Object.entries(operation.inputs)) {
    inputs[name] = "";
    const values = [];
    try {
      for (const path of paths) values.push(readPath(document, path));
    } catch (error) {
      problems[name] = toMessage(error);
      continue;
    }
    if (isNormalized) candidates[name] = values;
    else inputs[name] = values.map(readText).find((text) => text !== "") ?? "";
  }
  if (Object.keys(candidates).length > 0) {
    const normalized = await normalize(operation.id, candidates);
    for (const name of Object.keys(candidates)) {
      const { text, refused } = asObject(normalized[name]);
      inputs[name] = readText(text);
      if (typeof refused === "string" && inputs[name] === "") problems[name] = refused;
    }
  }
  return { inputs, problems };
}

/** Return the names of required inputs that have no text. */
export function findMissingInputs(inputs: Inputs, wanted: Readonly<Record<string, Input>>): string[] {
  return Object.entries(wanted).flatMap(([name, input]) => (input.isRequired && inputs[name] === "" ? [name] : []));
}

/** Build the document for the paths of `research`: the context, and the other `roots`. */
export function buildInputDocument(context: JsonObject, roots: Record<string, Json> = {}): Document {
  return Document.fromRoots({ context, step_input: context, ...roots });
}

function readText(value: Json | undefined): string {
  if (typeof value === "string") return value.trim();
  if (value instanceof Numeral) return value.text;
  return typeof value === "number" ? String(value) : "";
}

function asObject(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}
