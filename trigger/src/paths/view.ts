/**
 * Views of lossless JSON that a path can be evaluated over, and the exact values they stand for.
 *
 * Python evaluates the same paths over documents as `jsonb` returns them, so `*`, `keys` and `values` have to see the
 * keys in jsonb's order here too. What is sent to the engine must be what the provider wrote, with its digits and its
 * order.
 */
import { formatNumber, Numeral, type Json } from "../json/exact.js";

/** JSON with plain numbers; its objects have no prototype, so `constructor` is a key like any other. */
export type View = null | boolean | number | string | View[] | { [key: string]: View };

/** Creates views and remembers the exact value of each. */
export class ViewRegistry {
  readonly #originals = new WeakMap<object, Json>();
  /** The texts of numerals by their double. */
  readonly #numeralTexts = new Map<number, Set<string>>();
  readonly #plainNumbers = new Set<number>();

  /** Create a view of `value`: doubles for numbers, objects with their keys in jsonb's order. */
  createView(value: Json): View {
    if (value instanceof Numeral) return this.#rememberNumeral(value);
    if (typeof value === "number") this.#plainNumbers.add(value);
    if (value === null || typeof value !== "object") return value;
    const view = Array.isArray(value)
      ? value.map((part) => this.createView(part))
      : createOrderedObject(Object.entries(value).map(([key, part]) => [key, this.createView(part)]));
    this.#originals.set(view, value);
    return view;
  }

  /**
   * Return the exact value of what a path selected from a view. With `isComputed` its numbers may have been computed
   * instead. Throws RangeError where two numbers are the same double.
   */
  restoreValue(result: View, isComputed = false): Json {
    if (typeof result === "number") return this.#restoreNumber(result, isComputed);
    if (result === null || typeof result !== "object") return result;
    const original = this.#originals.get(result);
    if (original !== undefined) return original;
    if (Array.isArray(result)) return result.map((part) => this.restoreValue(part, isComputed));
    return Object.fromEntries(Object.entries(result).map(([key, part]) => [key, this.restoreValue(part, isComputed)]));
  }

  #rememberNumeral(numeral: Numeral): number {
    const value = numeral.valueOf();
    const texts = this.#numeralTexts.get(value) ?? new Set<string>();
    this.#numeralTexts.set(value, texts.add(numeral.text));
    return value;
  }

  /**
   * Find a number by its value: a double does not show where it came from. Ambiguous when two texts are the same
   * double.
   */
  #restoreNumber(value: number, isComputed: boolean): Json {
    const texts = [...(this.#numeralTexts.get(value) ?? [])];
    if (texts.length > 0 && (isComputed || this.#plainNumbers.has(value))) texts.push(formatNumber(value));
    const [first, ...others] = texts;
    if (first === undefined) return value;
    if (others.length === 0) return new Numeral(first);
    if (others.every((text) => isSameDecimal(text, first))) return value;
    throw new RangeError(
      `${value} may be one of several numbers that are the same double; the backfill tells them apart`,
    );
  }
}

/** Compare entries by key as `jsonb` orders them: the shorter in UTF-8 first, then byte by byte. */
function compareEntries([left]: [string, View], [right]: [string, View]): number {
  const [first, second] = [Buffer.from(left), Buffer.from(right)];
  return first.length - second.length || Buffer.compare(first, second);
}

function createOrderedObject(entries: [string, View][]): Record<string, View> {
  entries.sort(compareEntries);
  const object = Object.create(null) as Record<string, View>;
  for (const [key, value] of entries) object[key] = value;
  const ordered = entries.map(([key]) => key);
  if (Object.keys(object).every((key, index) => key === ordered[index])) return object;
  // JavaScript puts keys that look like an index first, jsonb the shorter ones.
  return new Proxy(object, { ownKeys: () => ordered });
}

function isSameDecimal(left: string, right: string): boolean {
  return dropTrailingZeros(left) === dropTrailingZeros(right);
}

function dropTrailingZeros(decimal: string): string {
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}
