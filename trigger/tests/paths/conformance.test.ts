/**
 * Paths have the results of `tests/conformance/paths.json`, and of JMESPath's official cases where those are present.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";

import { isObject, parseJson, stringifyJson, type Json } from "../../src/json/exact.js";
import { searchPath } from "../../src/paths/read.js";

interface Case {
  expression: string;
  result?: Json;
  error?: true | string;
}
interface Group {
  comment?: string;
  given: Json;
  cases: Case[];
}

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const OFFICIAL = join(ROOT, "../shared/conformance/jmespath");
// `dex check` refuses these, so that no path with them reaches TypeScript.
const REFUSED_FUNCTIONS = /\b(to_string|to_number)\(/;

function readGroups(file: string): Group[] {
  return parseJson(readFileSync(file, "utf8")) as unknown as Group[];
}

function checkCase(given: Json, { expression, result, error }: Case, write = formatCanonical): void {
  if (error !== undefined) {
    assert.throws(() => searchPath(given, expression), `${expression} should raise`);
    return;
  }
  assert.equal(write(searchPath(given, expression)), write(result ?? null), expression);
}

/** Format JSON with sorted keys: the digits of numbers have to be equal, the order of keys need not be. */
function formatCanonical(value: Json): string {
  return stringifyJson(sortKeys(value));
}

function sortKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, part]) => [key, sortKeys(part)]));
}

/** Format JSON with numbers by value: in the official cases `0` equals `0.0`. */
function formatByValue(value: Json): string {
  return JSON.stringify(sortKeys(value));
}

describe("our own table", () => {
  for (const { comment, given, cases } of readGroups(join(ROOT, "tests/conformance/paths.json"))) {
    test(comment ?? "", () => {
      for (const each of cases) checkCase(given, each);
    });
  }
});

const isPresent = existsSync(OFFICIAL);
describe("JMESPath's official cases", { skip: isPresent ? false : `${OFFICIAL} is not present` }, () => {
  if (!isPresent) return;
  const files = readdirSync(OFFICIAL).filter((file) => file.endsWith(".json") && file !== "benchmarks.json");
  for (const file of files) {
    test(file, () => {
      let checked = 0;
      for (const { given, cases } of readGroups(join(OFFICIAL, file))) {
        for (const each of cases) {
          // `dex check` refuses syntax errors; the library accepts more grammar than the reference has.
          if (
            each.error === "syntax" ||
            REFUSED_FUNCTIONS.test(each.expression) ||
            (!("result" in each) && each.error === undefined)
          ) {
            continue;
          }
          checkCase(given, each, formatByValue);
          checked += 1;
        }
      }
      assert.ok(checked > 0 || file === "syntax.json");
    });
  }
});
