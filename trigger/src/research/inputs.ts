/** Reads an operation's inputs from the cumulative context, where each may stand under one of several names. */
import { Numeral, type Json, type JsonObject } from "../json/exact.js";

export interface Input {
  readonly names: readonly string[];
  readonly isRequired: boolean;
}

/** Inputs by name, "" for those the context does not have. */
export type Inputs<Name extends string = string> = Record<Name, string>;

/** Declare an input that the operation needs, by the names it may have in the context. */
export function requiredInput(...names: string[]): Input {
  return { names, isRequired: true };
}

/** Declare an input that improves the research where the context has it. */
export function optionalInput(...names: string[]): Input {
  return { names, isRequired: false };
}

/** Read each input from the first of its names that has a text in the context, in snake case or camel case. */
export function readInputs<Name extends string>(context: JsonObject, wanted: Record<Name, Input>): Inputs<Name> {
  const texts = Object.entries<Input>(wanted).map(([name, { names }]) => [name, findFirstText(context, names)]);
  return Object.fromEntries(texts) as Inputs<Name>;
}

/** Return the names of required inputs that have no text. */
export function findMissingInputs(inputs: Inputs, wanted: Record<string, Input>): string[] {
  return Object.entries(wanted).flatMap(([name, input]) => (input.isRequired && inputs[name] === "" ? [name] : []));
}

function findFirstText(context: JsonObject, names: readonly string[]): string {
  const spellings = names.flatMap((name) => [name, toCamelCase(name)]);
  return spellings.map((name) => readText(context[name])).find((value) => value !== "") ?? "";
}

function readText(value: Json | undefined): string {
  if (typeof value === "string") return value.trim();
  if (value instanceof Numeral) return value.text;
  return typeof value === "number" ? String(value) : "";
}

function toCamelCase(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
