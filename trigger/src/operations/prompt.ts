/**
 * A template file and inputs -> a prompt.
 *
 * In: the name of a file under `src/prompts/`, and texts. Out: the prompt. It must not know operations or providers.
 *
 * `{{name}}` stands for an input; a line whose inputs are all blank is left out.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import type { Inputs } from "./inputs.js";

// Beside the sources; in a deployed bundle, where `trigger.config.ts` copies them, below the working directory.
const FOLDERS = [fileURLToPath(new URL("../prompts", import.meta.url)), resolve("src/prompts")];

/** Fill the template `file`. Throws when there is no such file or when it names an input the operation does not have. */
export function fillPrompt(file: string, inputs: Inputs): string {
  const lines = load(file).split("\n");
  const kept = lines.filter((line) => {
    const names = [...line.matchAll(PLACE)].map(([, name = ""]) => name);
    return names.length === 0 || names.some((name) => value(file, inputs, name) !== "");
  });
  return kept.join("\n").replaceAll(PLACE, (_, name: string) => value(file, inputs, name)).trim();
}

const PLACE = /\{\{(\w+)\}\}/g;

function value(file: string, inputs: Inputs, name: string): string {
  const text = inputs[name];
  if (text === undefined) throw new Error(`prompt \`${file}\` names \`${name}\`, which is no input of its operation`);
  return text;
}

function load(file: string): string {
  const found = FOLDERS.map((folder) => join(folder, file)).find(existsSync);
  if (found === undefined) throw new Error(`prompt \`${file}\` is in none of ${FOLDERS.join(", ")}`);
  return readFileSync(found, "utf8");
}
