/**
 * Fills the prompt templates of `src/prompts/`.
 *
 * `{{name}}` stands for an input; a line whose inputs are all blank is left out.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import type { Inputs } from "./inputs.js";

const PLACEHOLDER = /\{\{(\w+)\}\}/g;
// Beside the sources; in a deployed bundle, where `trigger.config.ts` copies them, below the working directory.
const FOLDERS = [fileURLToPath(new URL("../prompts", import.meta.url)), resolve("src/prompts")];

/** Fill the template `file`. Throws when the file is absent or names an input that the operation does not have. */
export function fillPrompt(file: string, inputs: Inputs): string {
  const lines = loadTemplate(file).split("\n");
  const kept = lines.filter((line) => {
    const names = [...line.matchAll(PLACEHOLDER)].map(([, name = ""]) => name);
    return names.length === 0 || names.some((name) => readInput(file, inputs, name) !== "");
  });
  return kept
    .join("\n")
    .replaceAll(PLACEHOLDER, (_, name: string) => readInput(file, inputs, name))
    .trim();
}

function readInput(file: string, inputs: Inputs, name: string): string {
  const text = inputs[name];
  if (text === undefined) throw new Error(`prompt \`${file}\` names \`${name}\`, which is no input of its operation`);
  return text;
}

function loadTemplate(file: string): string {
  const found = FOLDERS.map((folder) => join(folder, file)).find(existsSync);
  if (found === undefined) throw new Error(`prompt \`${file}\` is in none of ${FOLDERS.join(", ")}`);
  return readFileSync(found, "utf8");
}
