/**
 * One pipeline run, from its first open step to its end.
 *
 * In: the ids of a run, and what to work with. Out: how it ended. It must not know Trigger.dev or how it was started.
 *
 * It may be killed at any line and called again with the same ids: steps on record are not executed again, research that
 * was bought is waited for and not bought again. It throws when the run should be taken up again later (the engine is away,
 * another execution has the run); everything that is the run's own fault ends the run.
 */
import { InternalApiError, type InternalApi, type InternalConfig } from "../client.js";
import { isObject, type JsonObject } from "../exact.js";
import { messageOf, type Logger } from "../logger.js";
import { operations } from "../operations/index.js";
import { readStepConfig, unknownOperation, type Failure, type OperationResult } from "../operations/operation.js";
import type { Provider } from "../operations/provider.js";
import { conduct, type Patience } from "../operations/research.js";
import { persistStepResult } from "../persist/generated/index.js";
import { Records, type Execution, type Persistence, type Repair } from "./records.js";
import { isTerminal, mergeContext, RunError, type Step } from "./run.js";

export interface RunPayload {
  readonly pipeline_run_id: string;
  readonly org_id: string;
  readonly company_id?: string | null;
}

export interface Dependencies {
  readonly internal: InternalApi;
  readonly provider: Provider;
  readonly patience: Patience;
  readonly logger: Logger;
  readonly execution: Execution;
  /** Aborted when the run is another's by now, or when this process has to go. */
  readonly signal?: AbortSignal;
}

/** How a run ended. */
export interface RunOutcome {
  readonly pipeline_run_id: string;
  readonly status: string;
  readonly error?: string;
  /** What each spec made of the run, when it ended here. */
  readonly persistence: Persistence[];
}

/** Execute a run to its end. Throws InternalApiError or Overtaken when it has to be taken up again. */
export async function runPipeline(payload: RunPayload, deps: Dependencies): Promise<RunOutcome> {
  const { pipeline_run_id, org_id } = payload;
  const { logger, signal } = deps;
  const internalConfig: InternalConfig = { ...deps.internal, orgId: org_id, companyId: payload.company_id ?? null };
  const records = new Records(internalConfig, pipeline_run_id, deps.execution);
  const ending = new Ending(pipeline_run_id, records, logger);

  const run = await records.load().catch(brokenRun);
  if (run instanceof RunError) return await ending.fail(run.message, { code: "broken_run" });
  if (isTerminal(run)) return { pipeline_run_id, status: run.status, persistence: [] };
  await records.runStarted();

  let cumulativeContext = run.input;
  for (const step of run.steps) {
    signal?.throwIfAborted();
    const { operationId, position } = step;
    if (step.status === "skipped") continue;
    if (step.status === "succeeded") {
      cumulativeContext = isObject(step.context) ? step.context : mergeContext(cumulativeContext, step.output);
      continue;
    }
    if (step.status === "failed") return await ending.fail(step.error ?? "the step failed", { step_position: position });
    if (!step.isEnabled) {
      await records.stepSkipped(step);
      continue;
    }

    const facts = { pipeline_run_id, step_position: position, operation_id: operationId };
    const startedAt = Date.now();
    if (step.status !== "running") await records.stepStarted(step, cumulativeContext);
    logger.info("Step started", facts);
    const result = await execute(step, cumulativeContext, records, deps);
    signal?.throwIfAborted();

    const recorded = await record(step, result, cumulativeContext, records, Date.now() - startedAt);
    if ("failure" in recorded) {
      const { code, message } = recorded.failure;
      logger.warn("Step failed", { ...facts, code, error: message });
      return await ending.fail(message, { step_position: position, code });
    }
    logger.info(`Step succeeded: ${result.status}`, { ...facts, duration_ms: Date.now() - startedAt });

    // The result is on record: whatever a persist block misses, the engine's repair finds there when the run ends.
    await persistStepResult({
      operationId,
      result,
      context: mergeContext(cumulativeContext, result.output),
      run: { org_id, submission_id: run.submissionId, pipeline_run_id, step_position: position },
      recordedAt: recorded.at,
      internalConfig,
      logger,
    });
    cumulativeContext = mergeContext(cumulativeContext, result.output);
  }
  return await ending.succeed();
}

function brokenRun(error: unknown): RunError {
  if (error instanceof RunError) return error;
  throw error;
}

async function execute(step: Step, context: JsonObject, records: Records, deps: Dependencies): Promise<OperationResult> {
  const operation = operations.get(step.operationId);
  if (operation === undefined) return unknownOperation(step.operationId, [...operations.keys()]);
  return await conduct(operation, context, readStepConfig(step.config), records.purchaseOf(step), deps);
}

type Recorded = { at: string | null } | { failure: Failure };

/** Put the result on record, a failed one with all there is of it. */
async function record(
  step: Step,
  result: OperationResult,
  context: JsonObject,
  records: Records,
  durationMs: number,
): Promise<Recorded> {
  const payload = { operation_result: result, cumulative_context: mergeContext(context, result.output) };
  if (result.status === "failed") {
    const failure = result.error ?? { code: "failed", message: "the operation failed" };
    await records.stepFailed(step, failure, payload);
    return { failure };
  }
  try {
    return { at: await records.stepSucceeded(step, payload, durationMs) };
  } catch (error) {
    if (!isRefusedBody(error)) throw error;
    // Refused once, it would be refused whenever the run is taken up; at the provider the research stays.
    const failure = { code: "not_recorded", message: `the result cannot be recorded: ${messageOf(error)}` };
    await records.stepFailed(step, failure);
    return { failure };
  }
}

function isRefusedBody(error: unknown): boolean {
  return error instanceof InternalApiError && (error.status === 413 || error.status === 422);
}

/** The two ways a run ends. */
class Ending {
  constructor(
    private readonly pipeline_run_id: string,
    private readonly records: Records,
    private readonly logger: Logger,
  ) {}

  async succeed(): Promise<RunOutcome> {
    const repair = await this.records.runSucceeded();
    this.logger.info("Run succeeded", { pipeline_run_id: this.pipeline_run_id });
    return this.#outcome({ status: "succeeded" }, repair);
  }

  async fail(message: string, details: { step_position?: number; code?: string }): Promise<RunOutcome> {
    await this.records.laterStepsSkipped(details.step_position ?? 0);
    const repair = await this.records.runFailed(message, details);
    this.logger.error("Run failed", { pipeline_run_id: this.pipeline_run_id, ...details, error: message });
    return this.#outcome({ status: "failed", error: message }, repair);
  }

  /** What the engine's repair counted when the run ended: what is not written has to be seen. */
  #outcome(end: Pick<RunOutcome, "status" | "error">, { persistence, error }: Repair): RunOutcome {
    const { pipeline_run_id } = this;
    if (error !== null) this.logger.warn("Persistence is not complete", { pipeline_run_id, error });
    for (const account of persistence) {
      const isOpen = Number(account["rejected"] ?? 0) + Number(account["pending"] ?? 0) > 0;
      if (isOpen) this.logger.warn("Persistence is not complete", { pipeline_run_id, ...account });
      else this.logger.info("Persistence is complete", { pipeline_run_id, ...account });
    }
    return { pipeline_run_id, ...end, persistence };
  }
}
