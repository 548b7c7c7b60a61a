/** Builds the keys of an operation's output besides the answer: its inputs by name, and the keys that its spec adds. */
import type { JsonObject } from "../json/exact.js";
import { toMessage } from "../logger.js";
import { readPath } from "../paths/read.js";
import { buildInputDocument, type Inputs } from "./inputs.js";

interface OutputKeys {
  readonly keys: JsonObject;
  /** Why a key has no value, by the key. */
  readonly problems: Record<string, string>;
}

/**
 * Return the inputs and the values of `output`, whose paths read `inputs`, `context` and `step_input`. A path
 * that fails gives null, with the error in `problems`.
 */
export function buildOutputKeys(
  output: Readonly<Record<string, string>>,
  inputs: Inputs,
  context: JsonObject,
): OutputKeys {
  const document = buildInputDocument(context, { inputs });
  const keys: JsonObject = { ...inputs };
  const problems: Record<string, string> = {};
  for (const [key, path] of Object.entries(output)) {
    try {
      keys[key] = readPath(document, path);
    } catch (error) {
      keys[key] = null;
      problems[key] = toMessage(error);
    }
  }
  return { keys, problems };
}
