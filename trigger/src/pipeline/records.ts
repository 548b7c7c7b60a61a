/** Records the events of a run and its steps through the engine's internal API. */
import { internalCall, InternalApiError, internalPostForRow, type InternalConfig } from "../api/client.js";
import { isObject, type JsonObject } from "../json/exact.js";
import { toMessage } from "../logger.js";
import type { Candidates } from "../research/inputs.js";
import type { Failure } from "../research/operation.js";
import type { StepRecord } from "../research/research.js";
import { parseRun, type Run, type Step } from "./run.js";

/** Another execution works on the same run; this one has to stop without changing anything. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";

  constructor(
    message: string,
    readonly code: string | null,
  ) {
    super(message);
  }
}

/** Who executes. It is recorded, so that two executions of one run can be told apart. */
export interface Execution {
  /** Differs between any two executions, those of the same Trigger.dev run included. */
  readonly id: string;
  readonly triggerRunId?: string;
  readonly leaseToken?: string;
}

/** A wire object: how many rows of one spec were found, written and rejected when the run ended. */
export type Persistence = JsonObject;

/** The report of the engine's repair, which writes missing rows when a run ends. */
export interface Repair {
  readonly persistence: Persistence[];
  /** Why the repair is not complete. */
  readonly error: string | null;
}

const CONFLICT = 409;

export class RunRecords {
  readonly #config: InternalConfig;
  readonly #runId: string;
  readonly #execution: Execution;

  constructor(config: InternalConfig, runId: string, execution: Execution) {
    this.#config = config;
    this.#runId = runId;
    this.#execution = execution;
  }

  /** Load the run. Throws RunError when it cannot be executed as it is recorded. */
  async loadRun(): Promise<Run> {
    return parseRun(await this.#postForRow("pipeline-runs/get", { pipeline_run_id: this.#runId }));
  }

  async recordRunStarted(): Promise<void> {
    const { triggerRunId } = this.#execution;
    await this.#updateRun({
      status: "running",
      ...(triggerRunId === undefined ? {} : { trigger_run_id: triggerRunId }),
    });
  }

  /** Record the end of the run and return the report of the repair, which the engine makes before it answers. */
  async recordRunSucceeded(): Promise<Repair> {
    return this.#endRun({ status: "succeeded" });
  }

  async recordRunFailed(message: string, details: object): Promise<Repair> {
    return this.#endRun({ status: "failed", error_message: message, error_details: details });
  }

  async recordStepStarted(step: Step, context: JsonObject): Promise<void> {
    await this.#updateStep(step, { status: "running", input_payload: context });
  }

  /** Record the result and return when it was recorded: the `source_recorded_at` of its rows. */
  async recordStepSucceeded(step: Step, payload: object, durationMs: number): Promise<string | null> {
    const change = { status: "succeeded", output_payload: payload, duration_ms: durationMs };
    const { finished_at: finishedAt } = await this.#updateStep(step, change);
    return typeof finishedAt === "string" ? finishedAt : null;
  }

  /** Record the failure, with the output of the step where it has one. */
  async recordStepFailed(step: Step, failure: Failure, payload?: object): Promise<void> {
    const change = { status: "failed", error_message: failure.message, error_details: failure };
    await this.#updateStep(step, payload === undefined ? change : { ...change, output_payload: payload });
  }

  async recordStepSkipped(step: Step): Promise<void> {
    await this.#updateStep(step, { status: "skipped" });
  }

  async recordLaterStepsSkipped(position: number): Promise<void> {
    const body = { pipeline_run_id: this.#runId, from_step_position: position };
    await this.#postForData("step-results/mark-remaining-skipped", body);
  }

  /** Ask the engine for the normalized text of each input. */
  async normalizeInputs(operationId: string, inputs: Candidates): Promise<JsonObject> {
    const body = { operation_id: operationId, inputs };
    const answer = await internalCall(this.#config, "/api/internal/step-results/normalize-inputs", body);
    return isObject(answer) ? answer : {};
  }

  /**
   * Create the record of a step's order. Each note has its own name, so that a late withdrawal cannot withdraw a later
   * note.
   */
  createStepRecord(step: Step): StepRecord {
    let noteCount = 0;
    const formatNoteName = () => `${this.#execution.id}/${noteCount}`;
    return {
      providerRequestedAt: step.providerRequestedAt,
      providerRunId: step.providerRunId,
      metadata: { pipeline_run_id: this.#runId, step_result_id: step.resultId },
      noteRequest: () => {
        noteCount += 1;
        return this.#noteRequest(step, formatNoteName());
      },
      withdrawRequest: () => this.#withdrawRequest(step, formatNoteName()),
      keepRunId: (runId) => this.#keepRunId(step, runId),
    };
  }

  /**
   * Note a request. A note that was stored while the answer was lost is refused when it is repeated; `task_run_id` of
   * the step tells whose note it is, so nothing else may write that column.
   */
  async #noteRequest(step: Step, name: string): Promise<void> {
    try {
      await this.#updateStep(step, { provider_requested_at: true, task_run_id: name });
    } catch (error) {
      if (
        !(error instanceof ConflictError) ||
        error.code !== "provider_already_requested" ||
        !(await this.#isRequestOurs(step))
      ) {
        throw error;
      }
    }
  }

  async #withdrawRequest(step: Step, name: string): Promise<void> {
    await this.#updateStep(step, { provider_request_withdrawn_by: name });
  }

  /** Record the provider's run id, without the lease and with more retries than any other write: it was paid for. */
  async #keepRunId(step: Step, runId: string): Promise<void> {
    const { retry } = this.#config;
    const config = { ...this.#config, retry: { ...retry, attempts: retry.attempts * 5 }, signal: undefined };
    const body = { step_result_id: step.resultId, provider_run_id: runId };
    await this.#translateConflict(() => internalPostForRow(config, "/api/internal/step-results/update", body));
  }

  async #isRequestOurs(step: Step): Promise<boolean> {
    const run = await this.#postForRow("pipeline-runs/get", { pipeline_run_id: this.#runId });
    const results = Array.isArray(run["step_results"]) ? run["step_results"].filter(isObject) : [];
    const result = results.find((row) => row["id"] === step.resultId);
    const name = result?.["task_run_id"];
    return (
      typeof name === "string" && name.startsWith(`${this.#execution.id}/`) && result?.["provider_run_id"] === null
    );
  }

  async #endRun(change: object): Promise<Repair> {
    const { persistence, persistence_error: error } = await this.#updateRun(change);
    return {
      persistence: Array.isArray(persistence) ? persistence.filter(isObject) : [],
      error: isObject(error) ? `${toMessage(error["code"])}: ${toMessage(error["message"])}` : null,
    };
  }

  /** Update the run; the engine updates the submission's status in the same transaction. */
  #updateRun(change: object): Promise<JsonObject> {
    const body = { pipeline_run_id: this.#runId, ...change, ...this.#buildLeaseFields() };
    return this.#postForRow("pipeline-runs/update-status", body);
  }

  #updateStep(step: Step, change: object): Promise<JsonObject> {
    return this.#postForRow("step-results/update", {
      step_result_id: step.resultId,
      ...change,
      ...this.#buildLeaseFields(),
    });
  }

  #buildLeaseFields(): { lease_token?: string } {
    const { leaseToken } = this.#execution;
    return leaseToken === undefined ? {} : { lease_token: leaseToken };
  }

  async #postForRow(path: string, body: object): Promise<JsonObject> {
    return this.#translateConflict(() => internalPostForRow(this.#config, `/api/internal/${path}`, body));
  }

  async #postForData(path: string, body: object): Promise<void> {
    await this.#translateConflict(() => internalCall(this.#config, `/api/internal/${path}`, body));
  }

  /** Throw ConflictError for a lost lease or an order of another execution: neither is a failure of the run. */
  async #translateConflict<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await call();
    } catch (error) {
      if (error instanceof InternalApiError && error.status === CONFLICT) {
        throw new ConflictError(error.message, error.code);
      }
      throw error;
    }
  }
}
