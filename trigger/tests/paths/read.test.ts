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

  test("a selected number keeps its digits whatever other numbers the document holds", () => {
    const body = '{"a":9007199254740993,"b":9007199254740992,"c":1.10,"d":1.1,"e":10.0,"f":10,"g":1e400}';
    const document = createDocument(body);
    const read = (path: string) => stringifyJson(readPath(document, path));
    const selections = ["a", "b", "c", "d", "e", "f"].map((key) => read(`output.${key}`));
    assert.deepEqual(selections, ["9007199254740993", "9007199254740992", "1.10", "1.1", "10.0", "10"]);
    assert.equal(read("max([output.c, output.d])"), "1.10");
    assert.equal(read("sort([output.e, output.f, output.a])"), "[10.0,10,9007199254740993]");
    assert.equal(read("[output.e, output.f][?@ == `10`]"), "[10.0,10]");
    assert.equal(read("output.g"), `1${"0".repeat(400)}`);
    assert.throws(() => readPath(document, "output.g == output.g"), ReadError);
  });

  test("a computed number is written out, with its shortest digits", () => {
    const document = createDocument('{"parts":[9007199254740992,2],"large":[1e16,0],"huge":[1e21,1e21],"tiny":[1e-7]}');
    const read = (path: string) => stringifyJson(readPath(document, path));
    assert.equal(read("sum(output.parts)"), "9007199254740994");
    assert.equal(read("sum(output.large)"), "10000000000000000");
    assert.equal(read("sum(output.huge)"), "2000000000000000000000");
    assert.equal(read("sum(output.tiny)"), "0.0000001");
  });

  test("objects that a path builds list their keys as they were set", () => {
    const document = createDocument('{"x":{"b":1},"y":{"10":1}}');
    assert.deepEqual(readPath(document, "keys(merge(output.x, output.y))"), ["b", "10"]);
    assert.deepEqual(readPath(document, 'keys({b: `1`, "10": `2`})'), ["b", "10"]);
    assert.deepEqual(readPath(document, 'keys(`{"b": 1, "aa": 2, "10": 3}`)'), ["b", "10", "aa"]);
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
