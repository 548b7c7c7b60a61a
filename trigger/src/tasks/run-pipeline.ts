/**
 * The Trigger.dev task that executes a pipeline run.
 *
 * `src/pipeline/execute-run.ts` executes the run step by step, and persists each step's result to the dedicated tables
 * (`persistStepResult`) after it is recorded and before it is merged into the cumulative context. This file provides
 * what is particular to Trigger.dev: a wait that frees the slot, its logger, and the name of this execution.
 */
import { randomUUID } from "node:crypto";

import { AbortTaskRunError, logger, task, wait } from "@trigger.dev/sdk";

import { readInternalApi, InternalApiError } from "../api/client.js";
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

export const runPipelineTask = task({
  id: "run-pipeline",
  // A run that is executed again resumes where it was: nothing is executed or bought twice.
  retry: { maxAttempts: 8, minTimeoutInMs: 30_000, maxTimeoutInMs: 900_000, factor: 2, randomize: true },
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
