/** Paths read exact values from a document, and see its keys in the order of `jsonb`. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Numeral, parseJson, stringifyJson } from "../../src/json/exact.js";
import { Document } from "../../src/paths/document.js";
import { isTruthy, readPath, ReadError } from "../../src/paths/read.js";

describe("a document", () => {
  const createDocument = (output: string) => Document.fromRoots({ output: parseJson(output), context: {} });

  test("gives back what the provider wrote: its digits and its order of keys", () => {
    const body = '{"zeta":1.10,"10":2,"a":{"y":1,"b":[1.0,{"long":123456789012345678901}]}}';
    assert.equal(stringifyJson(readPath(createDocument(body), "output")), stringifyJson(parseJson(body)));
    assert.equal(stringifyJson(readPath(createDocument(body), "output.a.b")), '[1.0,{"long":123456789012345678901}]');
    assert.equal(
      stringifyJson(readPath(createDocument(body), "{kept: output.a, n: output.zeta}")),
      '{"kept":{"y":1,"b":[1.0,{"long":123456789012345678901}]},"n":1.10}',
    );
  });

  test("does not guess between two numbers that are the same double", () => {
    const document = createDocument('{"a": 9007199254740993, "b": 9007199254740992, "c": 1.10, "d": 1.1}');
    assert.throws(() => readPath(document, "output.a"), ReadError);
    assert.equal(readPath(document, "output.c"), 1.1);
  });

  test("a path that raises names itself, not the value", () => {
    assert.throws(
      () => readPath(createDocument('{"a": 7}'), "length(output.a)"),
      (error) => {
        assert.ok(error instanceof ReadError);
        assert.match(error.message, /^path `length\(output\.a\)` raised: /);
        assert.doesNotMatch(error.message, /7/);
        return true;
      },
    );
  });

  test("later grammar is refused", () => {
    for (const path of ["$", "`1` + `2`", "let $a = output in $a", "output ? `1` : `2`"]) {
      assert.throws(() => readPath(createDocument("{}"), path), ReadError, path);
    }
  });

  test("truth is JMESPath's", () => {
    for (const falsy of [null, false, "", [], {}]) assert.equal(isTruthy(falsy), false);
    for (const true_ of [0, " ", true, [null], { a: null }, new Numeral("0.0")]) assert.equal(isTruthy(true_), true);
  });
});
