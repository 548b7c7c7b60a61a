/**
 * The Trigger.dev task itself, executed offline through the SDK's own test entry points, against the real API.
 *
 * `tests/runner/test_task.py` starts the API and the recorded provider, queues a run and passes it on in the
 * environment.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { resourceCatalog, type TaskRunContext } from "@trigger.dev/core/v3";
import { runInMockTaskContext } from "@trigger.dev/core/v3/test";
import { StandardResourceCatalog } from "@trigger.dev/core/v3/workers";

import type { RunOutcome } from "../../src/pipeline/execute-run.js";

const TRIGGER_RUN = `run_${crypto.randomUUID()}`;

const catalog = new StandardResourceCatalog();
resourceCatalog.setGlobalResourceCatalog(catalog);
catalog.setCurrentFileContext("src/tasks/run-pipeline.ts", "src/tasks/run-pipeline");
await import("../../src/tasks/run-pipeline.js");
catalog.clearCurrentFileContext();

function readVariable(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: tests/runner/test_task.py sets it`);
  return value;
}

/** Execute the task as Trigger.dev would. */
async function executeTask(payload: object): Promise<RunOutcome> {
  const run = catalog.getTask("run-pipeline")?.fns.run;
  assert.ok(run);
  const executed = async ({ ctx }: { ctx: TaskRunContext }) => {
    const { signal } = new AbortController();
    return (await run(payload, { ctx, signal })) as RunOutcome;
  };
  return await runInMockTaskContext(executed, { ctx: { run: { id: TRIGGER_RUN } } });
}

test("it is the one task there is, under the name the API starts", () => {
  assert.deepEqual(
    catalog.listTaskManifests().map(({ id }) => id),
    ["run-pipeline"],
  );
  assert.equal(catalog.getTaskManifest("run-pipeline")?.retry?.maxAttempts, 8);
});

test("a run is executed, and every row is written by the persist blocks", async () => {
  const payload = {
    pipeline_run_id: readVariable("CONTRACT_RUN_ID"),
    org_id: readVariable("CONTRACT_ORG_ID"),
    company_id: null,
  };
  const outcome = await executeTask(payload);
  assert.equal(outcome.status, "succeeded");
  assert.equal(outcome.persistence.length, 4);
  for (const { spec, found, unchanged, written } of outcome.persistence) {
    // The repair at the end of the run writes what a block has missed; here it must have found nothing to do.
    const results = spec === "research_evidence" ? 3 : 1; // the evidence of each operation goes to one table
    assert.deepEqual({ spec, found, unchanged, written }, { spec, found: results, unchanged: results, written: 0 });
  }
});

test("executed again, it does nothing again", async () => {
  const outcome = await executeTask({
    pipeline_run_id: readVariable("CONTRACT_RUN_ID"),
    org_id: readVariable("CONTRACT_ORG_ID"),
  });
  assert.deepEqual([outcome.status, outcome.persistence], ["succeeded", []]);
});

test("what a retry cannot mend ends the task: a run of nobody, a run of another organisation", async () => {
  const nobody = "00000000-0000-4000-8000-000000000000";
  const org_id = readVariable("CONTRACT_ORG_ID");
  await assert.rejects(executeTask({ pipeline_run_id: nobody, org_id }), { name: "AbortTaskRunError", message: /404/ });
  const run = readVariable("CONTRACT_RUN_ID");
  await assert.rejects(executeTask({ pipeline_run_id: run, org_id: nobody }), {
    name: "AbortTaskRunError",
    message: /403/,
  });
});
