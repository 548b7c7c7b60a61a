/**
 * The cumulative context -> what an operation's prompt is about.
 *
 * In: a context, and for each input the names it may go by. Out: texts, "" for what is absent, and which needed ones are
 * absent. It must not know providers.
 */
import { Numeral, type Json, type JsonObject } from "../exact.js";

export interface Input {
  readonly names: readonly string[];
  readonly needed: boolean;
}

export type Inputs<Name extends string = string> = Record<Name, string>;

/** An input the operation cannot do without, by the names it may have in the context. */
export function needed(...names: string[]): Input {
  return { names, needed: true };
}

/** An input that improves the research where it is known. */
export function optional(...names: string[]): Input {
  return { names, needed: false };
}

/** Read `wanted` from the context: of each input the first name that has a text, in snake case or camel case. */
export function readInputs<Name extends string>(context: JsonObject, wanted: Record<Name, Input>): Inputs<Name> {
  const texts = Object.entries<Input>(wanted).map(([name, { names }]) => [name, firstText(context, names)]);
  return Object.fromEntries(texts) as Inputs<Name>;
}

/** The names of needed inputs that have no text. */
export function missingInputs(inputs: Inputs, wanted: Record<string, Input>): string[] {
  return Object.entries(wanted).flatMap(([name, input]) => (input.needed && inputs[name] === "" ? [name] : []));
}

function firstText(context: JsonObject, names: readonly string[]): string {
  const spellings = names.flatMap((name) => [name, camelCase(name)]);
  return spellings.map((name) => text(context[name])).find((value) => value !== "") ?? "";
}

function text(value: Json | undefined): string {
  if (typeof value === "string") return value.trim();
  if (value instanceof Numeral) return value.text;
  return typeof value === "number" ? String(value) : "";
}

function camelCase(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
