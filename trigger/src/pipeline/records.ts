/**
 * What happens in a run -> the engine's records of it.
 *
 * In: events of a run and its steps. Out: calls of the internal API. It must not know operations or providers.
 */
import { internalCall, InternalApiError, internalPost, type InternalConfig } from "../client.js";
import { isObject, type JsonObject } from "../exact.js";
import { messageOf } from "../logger.js";
import type { Failure } from "../operations/operation.js";
import type { StepRecord } from "../operations/research.js";
import { readRun, type Run, type Step } from "./run.js";

/** Another execution works on the same step; this one has to stop without touching anything. */
export class Overtaken extends Error {
  override readonly name = "Overtaken";

  constructor(
    message: string,
    readonly code: string | null,
  ) {
    super(message);
  }
}

/** Who executes: recorded, so that two executions of one run can tell each other apart. */
export interface Execution {
  /** Differs between any two executions, those of the same Trigger.dev run included. */
  readonly id: string;
  readonly triggerRunId?: string;
  readonly leaseToken?: string;
}

/** What one spec made of a run when it ended. */
export type Persistence = JsonObject;

/** What the engine's repair told of a run when it ended. */
export interface Repair {
  readonly persistence: Persistence[];
  /** Why it could not do all of it. */
  readonly error: string | null;
}

const CONFLICT = 409;

export class Records {
  constructor(
    private readonly config: InternalConfig,
    private readonly runId: string,
    private readonly execution: Execution,
  ) {}

  async load(): Promise<Run> {
    return readRun(await this.#post("pipeline-runs/get", { pipeline_run_id: this.runId }));
  }

  async runStarted(): Promise<void> {
    const { triggerRunId } = this.execution;
    await this.#updateRun({ status: "running", ...(triggerRunId === undefined ? {} : { trigger_run_id: triggerRunId }) });
  }

  /** Returns what each spec made of the run: the engine repairs before it answers. */
  async runSucceeded(): Promise<Repair> {
    return this.#endRun({ status: "succeeded" });
  }

  async runFailed(message: string, details: object): Promise<Repair> {
    return this.#endRun({ status: "failed", error_message: message, error_details: details });
  }

  async stepStarted(step: Step, context: JsonObject): Promise<void> {
    await this.#updateStep(step, { status: "running", input_payload: context });
  }

  /** Returns when the result was recorded: a row's `source_recorded_at`. */
  async stepSucceeded(step: Step, payload: object, durationMs: number): Promise<string | null> {
    const change = { status: "succeeded", output_payload: payload, duration_ms: durationMs };
    const { finished_at: finishedAt } = await this.#updateStep(step, change);
    return typeof finishedAt === "string" ? finishedAt : null;
  }

  /** `payload` is the output there is, if any: what a failed step found is kept too. */
  async stepFailed(step: Step, failure: Failure, payload?: object): Promise<void> {
    const change = { status: "failed", error_message: failure.message, error_details: failure };
    await this.#updateStep(step, payload === undefined ? change : { ...change, output_payload: payload });
  }

  async stepSkipped(step: Step): Promise<void> {
    await this.#updateStep(step, { status: "skipped" });
  }

  async laterStepsSkipped(position: number): Promise<void> {
    const body = { pipeline_run_id: this.runId, from_step_position: position };
    await this.#call("step-results/mark-remaining-skipped", body);
  }

  /** How one step's purchase is kept. Each note has a name of its own: a withdrawal that arrives late takes back no later one. */
  purchaseOf(step: Step): StepRecord {
    let notes = 0;
    const name = () => `${this.execution.id}/${notes}`;
    return {
      providerRequestedAt: step.providerRequestedAt,
      providerRunId: step.providerRunId,
      metadata: { pipeline_run_id: this.runId, step_result_id: step.resultId },
      noteRequest: () => {
        notes += 1;
        return this.#noteRequest(step, name());
      },
      withdrawRequest: () => this.#withdrawRequest(step, name()),
      keepRunId: (runId) => this.#keepRunId(step, runId),
    };
  }

  /**
   * A note that was stored while its answer was lost is refused on repetition; whose it is shows on the step. So nothing
   * else may write `task_run_id`.
   */
  async #noteRequest(step: Step, name: string): Promise<void> {
    try {
      await this.#updateStep(step, { provider_requested_at: true, task_run_id: name });
    } catch (error) {
      if (!(error instanceof Overtaken) || error.code !== "provider_already_requested" || !(await this.#isOurs(step))) throw error;
    }
  }

  async #withdrawRequest(step: Step, name: string): Promise<void> {
    await this.#updateStep(step, { provider_request_withdrawn_by: name });
  }

  /** What was paid for is kept whoever holds the run by now, and tried for longer than anything else. */
  async #keepRunId(step: Step, runId: string): Promise<void> {
    const { retry } = this.config;
    const config = { ...this.config, retry: { ...retry, attempts: retry.attempts * 5 }, signal: undefined };
    const body = { step_result_id: step.resultId, provider_run_id: runId };
    await this.#refusing(() => internalPost(config, "/api/internal/step-results/update", body));
  }

  async #isOurs(step: Step): Promise<boolean> {
    const run = await this.#post("pipeline-runs/get", { pipeline_run_id: this.runId });
    const results = Array.isArray(run["step_results"]) ? run["step_results"].filter(isObject) : [];
    const result = results.find((row) => row["id"] === step.resultId);
    const name = result?.["task_run_id"];
    return typeof name === "string" && name.startsWith(`${this.execution.id}/`) && result?.["provider_run_id"] === null;
  }

  async #endRun(change: object): Promise<Repair> {
    const { persistence, persistence_error: error } = await this.#updateRun(change);
    return {
      persistence: Array.isArray(persistence) ? persistence.filter(isObject) : [],
      error: isObject(error) ? `${messageOf(error["code"])}: ${messageOf(error["message"])}` : null,
    };
  }

  /** The engine brings the submission's status in line in the same transaction. */
  #updateRun(change: object): Promise<JsonObject> {
    const body = { pipeline_run_id: this.runId, ...change, ...this.#lease() };
    return this.#post("pipeline-runs/update-status", body);
  }

  #updateStep(step: Step, change: object): Promise<JsonObject> {
    return this.#post("step-results/update", { step_result_id: step.resultId, ...change, ...this.#lease() });
  }

  #lease(): { lease_token?: string } {
    const { leaseToken } = this.execution;
    return leaseToken === undefined ? {} : { lease_token: leaseToken };
  }

  async #post(path: string, body: object): Promise<JsonObject> {
    return this.#refusing(() => internalPost(this.config, `/api/internal/${path}`, body));
  }

  async #call(path: string, body: object): Promise<void> {
    await this.#refusing(() => internalCall(this.config, `/api/internal/${path}`, body));
  }

  /** A lost lease or a purchase of another execution is no failure of the run. */
  async #refusing<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await call();
    } catch (error) {
      if (error instanceof InternalApiError && error.status === CONFLICT) throw new Overtaken(error.message, error.code);
      throw error;
    }
  }
}
