/**
 * Exact JSON seen as a path evaluator wants it, and the way back.
 *
 * In: JSON with exact numbers. Out: a view of it (plain numbers, keys in jsonb's order), and for what a path selected
 * from the view the exact value behind it. It must not know paths or documents.
 *
 * Python evaluates the same paths over documents as `jsonb` gives them back, so `*`, `keys` and `values` have to meet the
 * keys in jsonb's order here too, while what is sent on must be what the provider wrote.
 */
import { Numeral, numberText, type Json } from "./exact.js";

/** JSON with plain numbers; its objects have no prototype, so `constructor` is a key like any other. */
export type View = null | boolean | number | string | View[] | { [key: string]: View };

export class Twin {
  readonly #originals = new WeakMap<object, Json>();
  /** Texts of the numerals, by the double that stands for them. */
  readonly #texts = new Map<number, Set<string>>();
  readonly #plain = new Set<number>();

  view(value: Json): View {
    if (value instanceof Numeral) return this.#note(value);
    if (typeof value === "number") this.#plain.add(value);
    if (value === null || typeof value !== "object") return value;
    const view = Array.isArray(value)
      ? value.map((part) => this.view(part))
      : inOrder(Object.entries(value).map(([key, part]) => [key, this.view(part)]));
    this.#originals.set(view, value);
    return view;
  }

  /** The exact value behind `answer`. `computed`: its numbers may have been computed, and not selected from the view. */
  restore(answer: View, computed = false): Json {
    if (typeof answer === "number") return this.#restoreNumber(answer, computed);
    if (answer === null || typeof answer !== "object") return answer;
    const original = this.#originals.get(answer);
    if (original !== undefined) return original;
    if (Array.isArray(answer)) return answer.map((part) => this.restore(part, computed));
    return Object.fromEntries(Object.entries(answer).map(([key, part]) => [key, this.restore(part, computed)]));
  }

  #note(numeral: Numeral): number {
    const value = numeral.valueOf();
    const texts = this.#texts.get(value) ?? new Set<string>();
    this.#texts.set(value, texts.add(numeral.text));
    return value;
  }

  /** A single number carries no mark of where it came from, only its value: enough unless two texts share the double. */
  #restoreNumber(value: number, computed: boolean): Json {
    const texts = [...(this.#texts.get(value) ?? [])];
    if (texts.length > 0 && (computed || this.#plain.has(value))) texts.push(numberText(value));
    const [first, ...others] = texts;
    if (first === undefined) return value;
    if (others.length === 0) return new Numeral(first);
    if (others.every((text) => sameValue(text, first))) return value;
    throw new RangeError(`${value} may be one of several numbers that are the same double; the backfill tells them apart`);
  }
}

/** Compare keys as `jsonb` orders them: the shorter in UTF-8 first, then byte by byte. */
function compareKeys([left]: [string, View], [right]: [string, View]): number {
  const [first, second] = [Buffer.from(left), Buffer.from(right)];
  return first.length - second.length || Buffer.compare(first, second);
}

function inOrder(entries: [string, View][]): Record<string, View> {
  entries.sort(compareKeys);
  const object = Object.create(null) as Record<string, View>;
  for (const [key, value] of entries) object[key] = value;
  const wanted = entries.map(([key]) => key);
  const found = Object.keys(object);
  if (found.every((key, index) => key === wanted[index])) return object;
  // JavaScript puts keys that look like an index first, jsonb the shorter ones.
  return new Proxy(object, { ownKeys: () => wanted });
}

function sameValue(left: string, right: string): boolean {
  return bare(left) === bare(right);
}

function bare(decimal: string): string {
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}
