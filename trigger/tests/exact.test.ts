/** JSON keeps its numbers, and a document shows paths what `jsonb` would show them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Document } from "../src/document.js";
import { mend, number, Numeral, numberText, parse, stringify } from "../src/exact.js";
import { read, ReadError, truthy } from "../src/read.js";

describe("numbers", () => {
  const AS_JSONB: Record<string, string> = {
    "0": "0", "-0": "0", "-0.0": "0.0", "0e5": "0", "7": "7", "-7.50": "-7.50", "1.10": "1.10", "1e2": "100", "1E+2": "100",
    "1.50e1": "15.0", "1e-2": "0.01", "1.5e-3": "0.0015", "-12.5e-1": "-1.25", "123.456e2": "12345.6", "1e21": "1000000000000000000000",
    "1e-7": "0.0000001", "12345678901234567890": "12345678901234567890", "0.1": "0.1", "100": "100", "1e400": `1${"0".repeat(400)}`,
  };
  for (const [text, expected] of Object.entries(AS_JSONB)) {
    test(`${text} is ${expected.slice(0, 24)}`, () => {
      assert.equal(numberText(number(text)), expected);
      assert.equal(stringify(parse(`[${text}]`)), `[${expected}]`);
    });
  }

  test("only what a double would not give back becomes a Numeral", () => {
    assert.equal(number("1.5"), 1.5);
    assert.equal(number("9007199254740991"), 9007199254740991);
    assert.ok(number("9007199254740993") instanceof Numeral);
    assert.ok(number("1.0") instanceof Numeral);
  });

  test("an exponent no numeric holds is not spelled out", () => {
    assert.equal(stringify(parse("[1e999999999]")), "[1e999999999]");
  });

  for (const value of [NaN, Infinity, [1, -Infinity], { a: NaN }]) {
    test(`${JSON.stringify(value)} with what JSON does not know is not written`, () => {
      assert.throws(() => stringify(value), RangeError);
    });
  }
});

describe("text", () => {
  test("of a repeated key the last value stays, and `__proto__` is a key", () => {
    assert.equal(stringify(parse('{"a": 1, "a": 2, "__proto__": {"b": 3}}')), '{"a":2,"__proto__":{"b":3}}');
  });

  for (const text of ["", "{", "[1,]", '{"a" 1}', "nul", "01", "1.", ".5", "+1", "NaN", "<html>", "'a'", '"\u0001"']) {
    test(`${JSON.stringify(text)} is not JSON`, () => {
      assert.throws(() => parse(text), SyntaxError);
    });
  }

  test("what Postgres cannot store is replaced, in keys too", () => {
    const mended = mend(parse('{"a\\u0000": ["\\ud800", {"b": "\\udc00x", "c": "\\ud83d\\ude00"}], "n": 1.10}'));
    assert.equal(stringify(mended), '{"a\uFFFD":["\uFFFD",{"b":"\uFFFDx","c":"😀"}],"n":1.10}');
  });
});

describe("a document", () => {
  const documentOf = (output: string) => Document.of({ output: parse(output), context: {} });

  test("gives back what the provider wrote: its digits and its order of keys", () => {
    const body = '{"zeta":1.10,"10":2,"a":{"y":1,"b":[1.0,{"long":123456789012345678901}]}}';
    assert.equal(stringify(read(documentOf(body), "output")), stringify(parse(body)));
    assert.equal(stringify(read(documentOf(body), "output.a.b")), '[1.0,{"long":123456789012345678901}]');
    assert.equal(stringify(read(documentOf(body), "{kept: output.a, n: output.zeta}")), '{"kept":{"y":1,"b":[1.0,{"long":123456789012345678901}]},"n":1.10}');
  });

  test("does not guess between two numbers that are the same double", () => {
    const document = documentOf('{"a": 9007199254740993, "b": 9007199254740992, "c": 1.10, "d": 1.1}');
    assert.throws(() => read(document, "output.a"), ReadError);
    assert.equal(read(document, "output.c"), 1.1);
  });

  test("a path that raises names itself, not the value", () => {
    assert.throws(() => read(documentOf('{"a": 7}'), "length(output.a)"), (error) => {
      assert.ok(error instanceof ReadError);
      assert.match(error.message, /^path `length\(output\.a\)` raised: /);
      assert.doesNotMatch(error.message, /7/);
      return true;
    });
  });

  test("later grammar is refused", () => {
    for (const path of ["$", "`1` + `2`", "let $a = output in $a", "output ? `1` : `2`"]) {
      assert.throws(() => read(documentOf("{}"), path), ReadError, path);
    }
  });

  test("truth is JMESPath's", () => {
    for (const falsy of [null, false, "", [], {}]) assert.equal(truthy(falsy), false);
    for (const true_ of [0, " ", true, [null], { a: null }, new Numeral("0.0")]) assert.equal(truthy(true_), true);
  });
});
