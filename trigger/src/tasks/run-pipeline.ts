/**
 * The Trigger.dev task around `src/pipeline/run-pipeline.ts`.
 *
 * That file is where a run is executed step by step, and where each step's result is persisted to the dedicated tables
 * (`persistStepResult`) after it is recorded and before it is merged into the cumulative context. Here it is only given
 * what Trigger.dev has: a way to wait that frees the slot, a logger, and the name of this execution.
 */
import { randomUUID } from "node:crypto";

import { AbortTaskRunError, logger, task, wait } from "@trigger.dev/sdk";

import { internalApi, InternalApiError } from "../client.js";
import type { Patience } from "../operations/research.js";
import { parallelProvider } from "../operations/provider.js";
import { Overtaken } from "../pipeline/records.js";
import { runPipeline, type RunOutcome, type RunPayload } from "../pipeline/run-pipeline.js";

// A wait is checkpointed, and the slot freed, only from its sixtieth second on.
const PAUSES_S = [60, 60, 90, 120, 180];
const patience: Patience = {
  blockSeconds: 5,
  pause: (round) => wait.for({ seconds: PAUSES_S[Math.min(round, PAUSES_S.length) - 1] ?? 180 }),
};

export const runPipelineTask = task({
  id: "run-pipeline",
  // Called again, a run goes on where it was: nothing is executed or bought twice.
  retry: { maxAttempts: 8, minTimeoutInMs: 30_000, maxTimeoutInMs: 900_000, factor: 2, randomize: true },
  run: async (payload: RunPayload, { ctx, signal }): Promise<RunOutcome> => {
    try {
      return await runPipeline(payload, {
        internal: { ...internalApi(process.env), logger, signal },
        provider: parallelProvider(process.env),
        patience,
        logger,
        execution: { id: `${ctx.run.id}/${randomUUID()}`, triggerRunId: ctx.run.id },
        signal,
      });
    } catch (error) {
      // Another execution has the run, or the engine will say the same next time.
      const isFinal = error instanceof Overtaken || (error instanceof InternalApiError && !error.worthRetrying);
      throw isFinal ? new AbortTaskRunError(error.message) : error;
    }
  },
});
