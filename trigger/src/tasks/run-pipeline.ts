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

// A wait is checkpointed, and the slot freed, only from its sixtieth second on.
const PAUSES_S = [60, 60, 90, 120, 180];
const polling: Polling = {
  blockSeconds: 5,
  holdSeconds: 300,
  pause: (round) => wait.for({ seconds: PAUSES_S[Math.min(round, PAUSES_S.length) - 1] ?? 180 }),
};

/**
 * Report that Trigger.dev ended the run for good. A run that has ended already keeps its end, and one that was handed to
 * another run of Trigger.dev meanwhile is that one's.
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
  // A run that is executed again resumes where it was: nothing is executed or bought twice.
  retry: { maxAttempts: 8, minTimeoutInMs: 30_000, maxTimeoutInMs: 900_000, factor: 2, randomize: true },
  onFailure: async ({ payload, error, ctx }) => {
    await reportEnd(payload, ctx.run.id, "failed", `set aside by Trigger.dev: ${toMessage(error)}`);
  },
  onCancel: async ({ payload, ctx }) => {
    await reportEnd(payload, ctx.run.id, "canceled", "canceled at Trigger.dev");
  },
  run: async (payload: RunPayload, { ctx, signal }): Promise<RunOutcome> => {
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
      // Another execution has the run, or the engine would answer the same next time.
      const isFinal = error instanceof ConflictError || (error instanceof InternalApiError && !error.isRetryable);
      throw isFinal ? new AbortTaskRunError(error.message) : error;
    }
  },
});
