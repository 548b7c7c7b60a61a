/**
 * Executes one pipeline run, from its first step without a result to its end.
 *
 * An execution may be killed anywhere and started again with the same ids: recorded steps are not executed again, and
 * research that was ordered is awaited, not ordered again. `executeRun` throws if the run has to be resumed later (the
 * engine cannot be reached, or another execution has the run). An error of the run itself ends it as failed.
 */
import { isBodyFault, type InternalApi, type InternalConfig } from "../api/client.js";
import { isObject, type JsonObject } from "../json/exact.js";
import { toMessage, type Logger } from "../logger.js";
import { operations } from "../operations/generated/index.js";
import { persistStepResult } from "../persist/generated/index.js";
import type { Candidates } from "../research/inputs.js";
import {
  parseStepConfig,
  buildUnknownOperationResult,
  type Failure,
  type OperationResult,
} from "../research/operation.js";
import type { Provider } from "../research/provider.js";
import { conductResearch, type Polling, type Research } from "../research/research.js";
import { traceWork } from "../tracing.js";
import { RunRecords, type Execution, type Persistence, type Repair } from "./records.js";
import { carryContext, hasEnded, mergeContext, RunError, type Run, type RunStatus, type Step } from "./run.js";

/** The payload of the Trigger.dev task, as JSON. */
export interface RunPayload {
  readonly pipeline_run_id: string;
  readonly org_id: string;
  readonly company_id?: string | null;
}

interface Dependencies {
  readonly internal: InternalApi;
  readonly provider: Provider;
  readonly polling: Polling;
  readonly logger: Logger;
  readonly execution: Execution;
  /** Aborted once another runner has the run, or this process has to end. */
  readonly signal?: AbortSignal;
}

/** How a run ended: the output of the Trigger.dev task, as JSON. */
export interface RunOutcome {
  readonly pipeline_run_id: string;
  readonly status: RunStatus;
  readonly error?: string;
  /** The report of the repair for each spec, if this execution ended the run. */
  readonly persistence: Persistence[];
}

/**
 * Execute a run to its end. Throws when it has to be resumed later: InternalApiError or ConflictError, or the reason of
 * `signal` once that is aborted.
 */
export async function executeRun(payload: RunPayload, deps: Dependencies): Promise<RunOutcome> {
  const { pipeline_run_id: runId, org_id: orgId } = payload;
  const { logger } = deps;
  const internalConfig: InternalConfig = { ...deps.internal, orgId, companyId: payload.company_id ?? null };
  const records = new RunRecords(internalConfig, runId, deps.execution);
  const ending = new RunEnd(runId, records, logger);

  const run = await records.loadRun().catch(returnRunError);
  if (run instanceof RunError) return await ending.endFailed(run.message, { code: "broken_run" });
  if (hasEnded(run)) return { pipeline_run_id: runId, status: run.status, persistence: [] };
  return await traceWork("run", { pipeline_run_id: runId }, run.traceparent, () =>
    executeSteps(run, internalConfig, records, ending, deps),
  );
}

async function executeSteps(
  run: Run,
  internalConfig: InternalConfig,
  records: RunRecords,
  ending: RunEnd,
  deps: Dependencies,
): Promise<RunOutcome> {
  const { id: runId, orgId } = run;
  const { logger, signal } = deps;
  await records.recordRunStarted();

  let context = run.input;
  for (const step of run.steps) {
    signal?.throwIfAborted();
    const { operationId, position } = step;
    if (step.status === "skipped") continue;
    if (step.status === "succeeded") {
      context = carryContext(isObject(step.context) ? step.context : context, step.output);
      continue;
    }
    if (step.status === "failed") {
      return await ending.endFailed(step.error ?? "the step failed", { step_position: position });
    }
    if (!step.isEnabled) {
      await records.recordStepSkipped(step);
      continue;
    }

    const facts = { pipeline_run_id: runId, step_position: position, operation_id: operationId };
    const startedAt = Date.now();
    if (step.status !== "running") await records.recordStepStarted(step, context);
    logger.info("Step started", facts);
    const { result, endedAt } = await traceWork(operationId, facts, null, () =>
      executeStep(step, context, records, deps),
    );
    signal?.throwIfAborted();

    const recorded = await recordResult(step, result, endedAt, context, records, Date.now() - startedAt);
    if ("failure" in recorded) {
      const { code, message } = recorded.failure;
      logger.warn("Step failed", { ...facts, code, error: message });
      return await ending.endFailed(message, { step_position: position, code });
    }
    logger.info(`Step succeeded: ${result.status}`, { ...facts, duration_ms: Date.now() - startedAt });

    context = carryContext(context, result.output);
    // The result is recorded first, so the repair at the end of the run can write what a persist block does not.
    await persistStepResult({
      operationId,
      result,
      context: mergeContext(context, result.output),
      input: context,
      run: {
        org_id: orgId,
        company_id: run.companyId,
        submission_id: run.submissionId,
        pipeline_run_id: runId,
        step_position: position,
      },
      stepResultId: step.resultId,
      recordedAt: recorded.at,
      internalConfig,
      logger,
    });
  }
  return await ending.endSucceeded();
}

function returnRunError(error: unknown): RunError {
  if (error instanceof RunError) return error;
  throw error;
}

async function executeStep(
  step: Step,
  context: JsonObject,
  records: RunRecords,
  deps: Dependencies,
): Promise<Research> {
  const operation = operations.get(step.operationId);
  if (operation === undefined) {
    return { result: buildUnknownOperationResult(step.operationId, [...operations.keys()]), endedAt: null };
  }
  const tools = {
    ...deps,
    normalizeInputs: (operationId: string, inputs: Candidates) => records.normalizeInputs(operationId, inputs),
  };
  return await conductResearch(operation, context, parseStepConfig(step.config), records.createStepOrders(step), tools);
}

type Recorded = { at: string | null } | { failure: Failure };

/** Record the result of a step: for a failed step its error, and its output if it has one. */
async function recordResult(
  step: Step,
  result: OperationResult,
  endedAt: string | null,
  context: JsonObject,
  records: RunRecords,
  durationMs: number,
): Promise<Recorded> {
  const payload = { operation_result: result, cumulative_context: carryContext(context, result.output) };
  if (result.status === "failed") {
    const failure = result.error ?? { code: "failed", message: "the operation failed" };
    await records.recordStepFailed(step, failure, payload);
    return { failure };
  }
  try {
    return { at: await records.recordStepSucceeded(step, payload, durationMs, endedAt) };
  } catch (error) {
    if (!isBodyFault(error)) throw error;
    // The step fails, and nothing is thrown: the engine would refuse the result again. The order keeps the answer.
    const failure = { code: "not_recorded", message: `the result cannot be recorded: ${toMessage(error)}` };
    await records.recordStepFailed(step, failure);
    return { failure };
  }
}

/** Records the end of a run, succeeded or failed, and logs it. */
class RunEnd {
  readonly #runId: string;
  readonly #records: RunRecords;
  readonly #logger: Logger;

  constructor(runId: string, records: RunRecords, logger: Logger) {
    this.#runId = runId;
    this.#records = records;
    this.#logger = logger;
  }

  async endSucceeded(): Promise<RunOutcome> {
    const repair = await this.#records.recordRunSucceeded();
    this.#logger.info("Run succeeded", { pipeline_run_id: this.#runId });
    return this.#buildOutcome({ status: "succeeded" }, repair);
  }

  async endFailed(message: string, details: { step_position?: number; code?: string }): Promise<RunOutcome> {
    await this.#records.recordLaterStepsSkipped(details.step_position ?? 0);
    const repair = await this.#records.recordRunFailed(message, details);
    this.#logger.error("Run failed", { pipeline_run_id: this.#runId, ...details, error: message });
    return this.#buildOutcome({ status: "failed", error: message }, repair);
  }

  /** Build the outcome; log a warning about rows that the engine's repair could not write. */
  #buildOutcome(end: Pick<RunOutcome, "status" | "error">, { persistence, error }: Repair): RunOutcome {
    const pipelineRun = { pipeline_run_id: this.#runId };
    if (error !== null) this.#logger.warn("Persistence is not complete", { ...pipelineRun, error });
    for (const account of persistence) {
      const isOpen = Number(account["rejected"] ?? 0) + Number(account["pending"] ?? 0) > 0;
      if (isOpen) this.#logger.warn("Persistence is not complete", { ...pipelineRun, ...account });
      else this.#logger.info("Persistence is complete", { ...pipelineRun, ...account });
    }
    return { ...pipelineRun, ...end, persistence };
  }
}
