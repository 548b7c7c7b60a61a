/** The recorded provider checks orders as the real one does, and makes up what it has no recording for. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isObject, type Json, type JsonObject } from "../../src/json/exact.js";
import { fitsSchema } from "../../recorded-provider/json-schema.js";
import { RecordedProvider, type Reply } from "../../recorded-provider/provider.js";
import { loadRecordings } from "../../recorded-provider/recordings.js";

const ROUNDS: JsonObject = {
  type: "object",
  properties: {
    total: { type: ["number", "null"] },
    is_public: { type: "boolean" },
    website: { type: "string" },
    stage: { type: "string", enum: ["seed", "growth"] },
    rounds: {
      type: "array",
      items: {
        type: "object",
        properties: {
          name: { type: "string" },
          closed_on: { type: ["string", "null"], description: "Written as YYYY-MM-DD." },
          investors: { type: "array", items: { type: "string" } },
        },
        required: ["name", "closed_on", "investors"],
        additionalProperties: false,
      },
    },
  },
  required: ["total", "is_public", "website", "stage", "rounds"],
  additionalProperties: false,
};

function readText(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

function createProvider(): RecordedProvider {
  return new RecordedProvider(loadRecordings(), 0);
}

function buildOrder(schema: Json, changes: JsonObject = {}): JsonObject {
  const taskSpec = { output_schema: { type: "json", json_schema: schema } };
  return { input: "What has Acme raised?", processor: "pro", task_spec: taskSpec, ...changes };
}

function readError(reply: Reply): string {
  const error = isObject(reply.body) ? reply.body["error"] : null;
  return isObject(error) ? readText(error["message"]) : "";
}

async function fetchAnswer(order: JsonObject): Promise<{ run: JsonObject; output: JsonObject }> {
  const provider = createProvider();
  const accepted = provider.acceptOrder(order);
  assert.equal(accepted.status, 202, readError(accepted));
  const reply = await provider.waitForResult(provider.orders[0]?.run_id ?? "", 5);
  const body = reply.body as JsonObject;
  return { run: body["run"] as JsonObject, output: body["output"] as JsonObject };
}

describe("what the provider refuses", () => {
  const nest = (levels: number): JsonObject =>
    levels === 1
      ? { type: "object", properties: { leaf: { type: "string" } } }
      : { type: "object", properties: { inner: nest(levels - 1) } };
  const many = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, { type: "string" }]));
  const REFUSED: [string, JsonObject, RegExp][] = [
    ["an unknown processor", buildOrder(ROUNDS, { processor: "profound" }), /processor `profound` is unknown/],
    ["a list as the root", buildOrder({ type: "array", items: ROUNDS }), /root .* is of type object/],
    ["a root without properties", buildOrder({ type: "object" }), /has properties/],
    ["a root with alternatives", buildOrder({ ...ROUNDS, anyOf: [{}] }), /cannot use anyOf/],
    ["six levels", buildOrder(nest(6)), /deeper than 5 levels/],
    ["101 properties", buildOrder({ type: "object", properties: many(101) }), /101 properties, at most 100/],
    [
      "a keyword it does not know",
      buildOrder({ type: "object", properties: { day: { type: "string", format: "date" } } }),
      /unsupported keyword format/,
    ],
    ["null alone", buildOrder({ type: "object", properties: { a: { type: "null" } } }), /null is only allowed/],
    ["too much text", buildOrder(ROUNDS, { input: "x".repeat(25_000) }), /at most 25000/],
    ["another kind of schema", { ...buildOrder(ROUNDS), task_spec: { output_schema: { type: "xml" } } }, /not "xml"/],
  ];
  for (const [what, order, message] of REFUSED) {
    test(what, () => {
      const provider = createProvider();
      const reply = provider.acceptOrder(order);
      assert.equal(reply.status, 422);
      assert.match(readError(reply), message);
      assert.deepEqual([provider.orders.length, provider.counts.refused], [0, 1]);
    });
  }

  test("five levels, a hundred properties and a fast processor are accepted", () => {
    const provider = createProvider();
    const schemas = [nest(5), { type: "object", properties: many(100) }];
    for (const schema of schemas) {
      const reply = provider.acceptOrder(buildOrder(schema, { processor: "ultra8x-fast" }));
      assert.equal(reply.status, 202, readError(reply));
    }
  });

  test("a name that the basis answers already is accepted with a warning", async () => {
    const { run } = await fetchAnswer(buildOrder({ type: "object", properties: { reasoning: { type: "string" } } }));
    const messages = (run["warnings"] as JsonObject[]).map((warning) => readText(warning["message"]));
    assert.ok(messages.includes("property `reasoning` is answered in `basis` already"), messages.join("; "));
  });
});

describe("what is made up", () => {
  test("values of the schema: lists of two, every leaf a value with its basis, marked as made up", async () => {
    const { run, output } = await fetchAnswer(buildOrder(ROUNDS));
    const content = output["content"] as JsonObject;
    assert.ok(fitsSchema(ROUNDS, ROUNDS, content));
    const rounds = content["rounds"] as JsonObject[];
    assert.equal(rounds.length, 2);
    assert.notEqual(rounds[0]?.["name"], rounds[1]?.["name"]);
    assert.deepEqual(
      rounds.map((round) => round["closed_on"]),
      ["2026-01-02", "2026-01-03"],
    );
    const fields = (output["basis"] as JsonObject[]).map((entry) => entry["field"]);
    const leaves = ["name", "closed_on", "investors.0", "investors.1"];
    assert.deepEqual(fields, [
      ...["total", "is_public", "website", "stage"],
      ...leaves.map((leaf) => `rounds.0.${leaf}`),
      ...leaves.map((leaf) => `rounds.1.${leaf}`),
    ]);
    for (const entry of output["basis"] as JsonObject[]) {
      assert.match(readText(entry["reasoning"]), /made up by the recorded provider/);
      assert.equal((entry["citations"] as Json[]).length, 1);
    }
    assert.match(readText(run["run_id"]), /^trun_made_up_/);
    assert.deepEqual(
      (run["warnings"] as JsonObject[]).map((warning) => warning["type"]),
      ["made_up"],
    );
  });

  test("a report where a text is asked for, an object where nothing is", async () => {
    const text = await fetchAnswer({ ...buildOrder(ROUNDS), task_spec: { output_schema: { type: "text" } } });
    assert.equal(text.output["type"], "text");
    assert.equal(typeof text.output["content"], "string");
    const free = await fetchAnswer({ input: "What has Acme raised?", processor: "pro" });
    assert.ok(isObject(free.output["content"]));
  });

  test("a recording that does not have the asked shape is not an answer", async () => {
    const asked = { input: "Find out who buys from this company.", processor: "pro" };
    const recorded = await fetchAnswer(asked);
    assert.equal(recorded.run["warnings"], null);
    const other = await fetchAnswer({ ...buildOrder(ROUNDS), ...asked });
    assert.ok(fitsSchema(ROUNDS, ROUNDS, other.output["content"] ?? null));
  });

  test("the same order gets the same answer", async () => {
    const [first, second] = [await fetchAnswer(buildOrder(ROUNDS)), await fetchAnswer(buildOrder(ROUNDS))];
    assert.deepEqual(first.output, second.output);
  });
});
