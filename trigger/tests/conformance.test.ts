/** Paths answer here as `tests/conformance/paths.json` says, and as JMESPath's official cases do where those are present. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";

import { isObject, parse, stringify, type Json } from "../src/exact.js";
import { isComputed, search } from "../src/read.js";
import { Twin } from "../src/twin.js";

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

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const OFFICIAL = join(ROOT, "../shared/conformance/jmespath");
// Python refuses these before a path ever reaches TypeScript.
const REFUSED = /\b(to_string|to_number)\(/;

function groups(file: string): Group[] {
  return parse(readFileSync(file, "utf8")) as unknown as Group[];
}

function check(given: Json, { expression, result, error }: Case, write = canonical): void {
  const twin = new Twin();
  const view = twin.view(given);
  if (error !== undefined) {
    assert.throws(() => search(view, expression), `${expression} should raise`);
    return;
  }
  assert.equal(write(twin.restore(search(view, expression), isComputed(expression))), write(result ?? null), expression);
}

/** JSON text with sorted keys: their order in an answer means nothing, that of numbers' digits everything. */
function canonical(value: Json): string {
  return stringify(sorted(value));
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, part]) => [key, sorted(part)]));
}

/** The official cases know values of numbers and no digits: `0` is `0.0` to them. */
function byValue(value: Json): string {
  return JSON.stringify(sorted(value));
}

describe("our own table", () => {
  for (const { comment, given, cases } of groups(join(ROOT, "tests/conformance/paths.json"))) {
    test(comment ?? "", () => {
      for (const one of cases) check(given, one);
    });
  }
});

describe("JMESPath's official cases", () => {
  if (!existsSync(OFFICIAL)) {
    process.stdout.write(`# ${OFFICIAL} is not here: our own table alone speaks\n`);
    return;
  }
  const files = readdirSync(OFFICIAL).filter((file) => file.endsWith(".json") && file !== "benchmarks.json");
  for (const file of files) {
    test(file, () => {
      let checked = 0;
      for (const { given, cases } of groups(join(OFFICIAL, file))) {
        for (const one of cases) {
          // What is no JMESPath is refused by `dex check`; here the library may know more grammar than the reference.
          if (one.error === "syntax" || REFUSED.test(one.expression) || (!("result" in one) && one.error === undefined)) continue;
          check(given, one, byValue);
          checked += 1;
        }
      }
      assert.ok(checked > 0 || file === "syntax.json");
    });
  }
});
