/**
 * The Trigger.dev task that executes a pipeline run.
 *
 * `src/pipeline/execute-run.ts` executes the run step by step, and persists each step's result to the dedicated tables
 * (`persistStepResult`) after it is recorded and before it is merged into the cumulative context. This file provides
 * what is particular to Trigger.dev: a wait that frees the slot, its logger, and the name of this execution.
 */
import { randomUUID } from "node:crypto";

import { AbortTaskRunError, logger, task, wait } from "@trigger.dev/sdk";

import { internalCall, readInternalApi, InternalApiError } from "../api/client.js";
import { isObject } from "../json/exact.js";
import { toMessage } from "../logger.js";
import { executeRun, type RunOutcome, type RunPayload } from "../pipeline/execute-run.js";
import { ConflictError } from "../pipeline/records.js";
import { createParallelProvider } from "../research/parallel.js";
import type { Polling } from "../research/research.js";
import { startTracing } from "../tracing.js";

// Trigger.dev checkpoints a wait, and frees the slot, only if it is longer than 60 seconds.
const PAUSES_S = [60, 60, 90, 120, 180];
const polling: Polling = {
  blockSeconds: 5,
  holdSeconds: 300,
  pause: (round) => wait.for({ seconds: PAUSES_S[Math.min(round, PAUSES_S.length) - 1] ?? 180 }),
};

/**
 * Record that Trigger.dev gave up the run. A run that has ended already, or that was dispatched again meanwhile, is not
 * changed.
 */
async function reportEnd(
  { pipeline_run_id: runId, org_id: orgId }: RunPayload,
  triggerRunId: string,
  status: "failed" | "canceled",
  message: string,
): Promise<void> {
  const config = { ...readInternalApi(process.env), logger, orgId, companyId: null };
  const body = { pipeline_run_id: runId };
  try {
    const run = await internalCall(config, "/api/internal/pipeline-runs/get", body);
    if (!isObject(run) || run["trigger_run_id"] !== triggerRunId) return;
    if (run["status"] !== "queued" && run["status"] !== "running") return;
    const change = { ...body, status, error_message: message };
    await internalCall(config, "/api/internal/pipeline-runs/update-status", change);
  } catch (error) {
    logger.error("The end of a run could not be reported", { ...body, status, error: toMessage(error) });
  }
}

export const runPipelineTask = task<"run-pipeline", RunPayload, RunOutcome>({
  id: "run-pipeline",
  // A retry resumes the run: recorded steps are not executed again, and nothing is ordered twice.
  retry: { maxAttempts: 8, minTimeoutInMs: 30_000, maxTimeoutInMs: 900_000, factor: 2, randomize: true },
  onFailure: async ({ payload, error, ctx }) => {
    await reportEnd(payload, ctx.run.id, "failed", `set aside by Trigger.dev: ${toMessage(error)}`);
  },
  onCancel: async ({ payload, ctx }) => {
    await reportEnd(payload, ctx.run.id, "canceled", "canceled at Trigger.dev");
  },
  run: async (payload: RunPayload, { ctx, signal }): Promise<RunOutcome> => {
    const endTracing = await startTracing(process.env, logger);
    try {
      return await executeRun(payload, {
        internal: { ...readInternalApi(process.env), logger, signal },
        provider: createParallelProvider(process.env),
        polling,
        logger,
        execution: { id: `${ctx.run.id}/${randomUUID()}`, triggerRunId: ctx.run.id },
        signal,
      });
    } catch (error) {
      // Not retried: another execution has the run, or the engine would refuse it again.
      const isFinal = error instanceof ConflictError || (error instanceof InternalApiError && !error.isRetryable);
      throw isFinal ? new AbortTaskRunError(error.message) : error;
    } finally {
      await endTracing();
    }
  },
});
