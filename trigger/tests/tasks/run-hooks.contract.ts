/**
 * What the Trigger.dev task reports when Trigger.dev has ended it for good, against the real API.
 *
 * `tests/runner/test_task.py` queues the runs and passes them on in the environment, and looks at them afterwards.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { lifecycleHooks, resourceCatalog, type TaskRunContext } from "@trigger.dev/core/v3";
import { runInMockTaskContext } from "@trigger.dev/core/v3/test";
import { StandardLifecycleHooksManager, StandardResourceCatalog } from "@trigger.dev/core/v3/workers";

const TASK = "run-pipeline";

const catalog = new StandardResourceCatalog();
resourceCatalog.setGlobalResourceCatalog(catalog);
lifecycleHooks.setGlobalLifecycleHooksManager(new StandardLifecycleHooksManager());
catalog.setCurrentFileContext("src/tasks/run-pipeline.ts", "src/tasks/run-pipeline");
await import("../../src/tasks/run-pipeline.js");
catalog.clearCurrentFileContext();
const hooks = { failure: lifecycleHooks.getTaskFailureHook(TASK), cancel: lifecycleHooks.getTaskCancelHook(TASK) };

function readVariable(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: tests/runner/test_task.py sets it`);
  return value;
}

/** Call a hook of the task as Trigger.dev does when one of its runs has ended. */
async function callHook(kind: "failure" | "cancel", pipelineRun: string, triggerRun: string): Promise<void> {
  const payload = { pipeline_run_id: pipelineRun, org_id: readVariable("CONTRACT_ORG_ID") };
  const error = new Error("it threw eight times");
  const call = async ({ ctx }: { ctx: TaskRunContext }) => {
    const shared = { ctx, payload, task: TASK, signal: new AbortController().signal };
    const { failure, cancel } = hooks;
    assert.ok(failure && cancel);
    if (kind === "failure") await failure({ ...shared, error });
    else await cancel({ ...shared, runPromise: Promise.resolve() });
  };
  await runInMockTaskContext(call, { ctx: { run: { id: triggerRun } } });
}

test("the end of an execution is reported by that execution alone", async () => {
  const [failed, canceled] = [readVariable("CONTRACT_FAILED_RUN_ID"), readVariable("CONTRACT_CANCELED_RUN_ID")];
  for (const kind of ["failure", "cancel"] as const) {
    await callHook(kind, readVariable("CONTRACT_OTHER_RUN_ID"), "run_of_an_earlier_execution");
  }
  await callHook("failure", failed, `run_${failed}`);
  await callHook("cancel", canceled, `run_${canceled}`);
  await callHook("failure", canceled, `run_${canceled}`); // it has ended already
});
