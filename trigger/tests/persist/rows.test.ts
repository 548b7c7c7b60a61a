/** Rows of one step result: read element by element, sent in bounded batches, what is left out said. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { InternalApiError } from "../../src/api/client.js";
import type { Json } from "../../src/json/exact.js";
import { Document } from "../../src/paths/document.js";
import { ReadError } from "../../src/paths/read.js";
import { postBatch, readBatches, type Row } from "../../src/persist/rows.js";
import type { PersistStep } from "../../src/persist/step.js";
import { storeRows } from "../../src/persist/store.js";
import { buildConfig, createRecordingLogger } from "../loopback.js";

const ID = "22222222-2222-4222-8222-222222222222";

function createSource(rows = "output.list") {
  const logger = createRecordingLogger();
  return {
    title: "Customers",
    rows,
    needsObjects: true,
    fields: { name: "item.name", initial: "starts_with(item.name, 'A')" },
    facts: { pipeline_run_id: "p" },
    logger,
  };
}

function createDocument(list: Json): Document {
  return Document.fromRoots({ output: { list }, context: {} });
}

function createElements(count: number, name = "A"): Json[] {
  return Array.from({ length: count }, (_, index) => ({ name: `${name}${index}` }));
}

describe("reading", () => {
  test("at most a hundred rows a batch", () => {
    const sizes = [...readBatches(createDocument(createElements(250)), createSource())].map((batch) => batch.length);
    assert.deepEqual(sizes, [100, 100, 50]);
  });

  test("large rows make smaller batches, and one row always goes", () => {
    const large = createElements(5, "A".repeat(3_000_000));
    assert.deepEqual(
      [...readBatches(createDocument(large), createSource())].map((batch) => batch.length),
      [1, 1, 1, 1, 1],
    );
  });

  test("an element whose path raises is left out, with its index and field", () => {
    const given = createSource();
    const [batch = []] = readBatches(createDocument([{ name: "Ann" }, { name: 7 }, null, { name: "Bob" }]), given);
    assert.deepEqual(
      batch.map(({ index, row }) => [index, row["name"]]),
      [
        [0, "Ann"],
        [3, "Bob"],
      ],
    );
    assert.deepEqual(
      given.logger.lines.map(({ message }) => message),
      [
        "Customers: element 1 left out, `initial` cannot be read",
        "Customers: element 2 left out, it is null, not an object",
      ],
    );
  });

  test("an empty array gives no batch; what is no array is an error that names the path", () => {
    assert.deepEqual([...readBatches(createDocument([]), createSource())], []);
    for (const list of [null, {}, "text"]) {
      assert.throws(
        () => [...readBatches(createDocument(list), createSource())],
        (error) => error instanceof ReadError && error.message.includes("output.list"),
      );
    }
  });
});

describe("posting", () => {
  const batch = [4, 7, 9].map((index) => ({ index, row: { name: `n${index}` } }));

  test("says which elements the engine refused, by their place in the array", async () => {
    const given = createSource();
    const rejected = [{ element: 1, field: "name", code: "wrong_type" }];
    const post = (rows: Row[]) => Promise.resolve({ rows: rows.slice(1), rejected, outcome: "written" });
    assert.equal(await postBatch(batch, given, post), 2);
    assert.equal(given.logger.lines[0]?.message, "Customers: element 7 left out, `name` is refused (wrong_type)");
  });

  test("a batch of which nothing can be stored does not keep back the next one", async () => {
    const given = createSource();
    const refusal = new InternalApiError("answered 422", "/x", 422, "invalid", false);
    assert.equal(await postBatch(batch, given, () => Promise.reject(refusal)), 0);
    assert.equal(given.logger.lines.length, 3);
  });

  test("any other failure is the block's", async () => {
    const failure = new InternalApiError("answered 503", "/x", 503, "unavailable", true);
    await assert.rejects(
      postBatch(batch, createSource(), () => Promise.reject(failure)),
      failure,
    );
  });
});

describe("storing", () => {
  async function storeList(list: Json): Promise<string[]> {
    const logger = createRecordingLogger();
    const step = {
      operationId: "company.derive.customers",
      result: { operation_id: "company.derive.customers", status: "found", output: { list } },
      context: {},
      input: {},
      run: { org_id: ID, company_id: null, submission_id: ID, pipeline_run_id: ID, step_position: 1 },
      stepResultId: ID,
      recordedAt: null,
      internalConfig: buildConfig("http://127.0.0.1:9"), // nothing is sent
      logger,
    };
    const { title, rows, needsObjects, fields } = createSource();
    const words = { persisted: "Persisted", notPersisted: "Not persisted", failed: "Failed" };
    const sources = { source_submission_id: ID, source_pipeline_run_id: ID, source_step_result_id: ID };
    await storeRows(step as unknown as PersistStep, {
      ...{ title, rows, needsObjects, fields, ...words },
      endpoint: "/api/internal/customers/upsert",
      sources: { ...sources, source_recorded_at: null },
    });
    return logger.lines.map(({ level, message, facts }) => `${level} ${message} ${String(facts["outcome"])}`);
  }

  test("an empty array is filtered, as in the ledger; one of which every element is left out is rejected", async () => {
    assert.deepEqual(await storeList([]), ["info Not persisted filtered"]);
    assert.equal((await storeList([null])).at(-1), "warn Not persisted rejected");
  });
});
