/** Fills the placeholders `{{name}}` of a prompt with inputs; a line whose inputs are all blank is left out. */
import type { Inputs } from "./inputs.js";

const PLACE = /\{\{([A-Za-z0-9_]+)\}\}/g;

/** Return the prompt with its placeholders replaced. `dex check` ensures that every placeholder has an input. */
export function fillPrompt(prompt: string, inputs: Inputs): string {
  const kept = prompt.split("\n").filter((line) => {
    const names = [...line.matchAll(PLACE)].map(([, name = ""]) => name);
    return names.length === 0 || names.some((name) => inputs[name]);
  });
  return kept
    .join("\n")
    .replaceAll(PLACE, (_, name: string) => inputs[name] ?? "")
    .trim();
}
