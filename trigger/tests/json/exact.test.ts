/** JSON keeps its numbers, and what Postgres cannot store is replaced. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Numeral, parseJson, parseNumber, replaceUnstorable, stringifyJson } from "../../src/json/exact.js";

describe("numbers", () => {
  const AS_JSONB: Record<string, string> = {
    "0": "0",
    "-0": "0",
    "-0.0": "0.0",
    "0e5": "0",
    "7": "7",
    "-7.50": "-7.50",
    "1.10": "1.10",
    "1e2": "100",
    "1E+2": "100",
    "1.50e1": "15.0",
    "1e-2": "0.01",
    "1.5e-3": "0.0015",
    "-12.5e-1": "-1.25",
    "123.456e2": "12345.6",
    "1e21": "1000000000000000000000",
    "1e-7": "0.0000001",
    "12345678901234567890": "12345678901234567890",
    "0.1": "0.1",
    "100": "100",
    "1e400": `1${"0".repeat(400)}`,
  };
  for (const [text, expected] of Object.entries(AS_JSONB)) {
    test(`${text} is ${expected.slice(0, 24)}`, () => {
      assert.equal(stringifyJson(parseJson(`[${text}]`)), `[${expected}]`);
    });
  }

  test("only what a double would not give back becomes a Numeral", () => {
    assert.equal(parseNumber("1.5"), 1.5);
    assert.equal(parseNumber("9007199254740991"), 9007199254740991);
    assert.ok(parseNumber("9007199254740993") instanceof Numeral);
    assert.ok(parseNumber("1.0") instanceof Numeral);
  });

  test("an exponent no numeric holds is not spelled out", () => {
    assert.equal(stringifyJson(parseJson("[1e999999999]")), "[1e999999999]");
  });

  for (const value of [NaN, Infinity, [1, -Infinity], { a: NaN }]) {
    test(`${JSON.stringify(value)} with what JSON does not know is not written`, () => {
      assert.throws(() => stringifyJson(value), RangeError);
    });
  }
});

describe("text", () => {
  test("of a repeated key the last value stays, and `__proto__` is a key", () => {
    assert.equal(stringifyJson(parseJson('{"a": 1, "a": 2, "__proto__": {"b": 3}}')), '{"a":2,"__proto__":{"b":3}}');
  });

  for (const text of ["", "{", "[1,]", '{"a" 1}', "nul", "01", "1.", ".5", "+1", "NaN", "<html>", "'a'", '"\u0001"']) {
    test(`${JSON.stringify(text)} is not JSON`, () => {
      assert.throws(() => parseJson(text), SyntaxError);
    });
  }

  test("what Postgres cannot store is replaced, in keys too", () => {
    const mended = replaceUnstorable(
      parseJson('{"a\\u0000": ["\\ud800", {"b": "\\udc00x", "c": "\\ud83d\\ude00"}], "n": 1.10}'),
    );
    assert.equal(stringifyJson(mended), '{"a\uFFFD":["\uFFFD",{"b":"\uFFFDx","c":"😀"}],"n":1.10}');
  });
});
