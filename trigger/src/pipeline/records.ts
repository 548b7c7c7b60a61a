/** Records what happens to a run and its steps, through the engine's internal API. */
import { internalCall, InternalApiError, internalPostForRow, type InternalConfig } from "../api/client.js";
import { isObject, type Json, type JsonObject } from "../json/exact.js";
import { toMessage } from "../logger.js";
import type { Candidates } from "../research/inputs.js";
import type { Failure } from "../research/operation.js";
import { parseOrder, type Action, type Placement, type StepOrders } from "../research/orders.js";
import { parseRun, type Run, type Step } from "./run.js";

/** Another execution is working on the same run, so this one has to stop without changing anything. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";

  constructor(
    message: string,
    readonly code: string | null,
  ) {
    super(message);
  }
}

/** The identity of an execution. It is recorded, so that two executions of one run can be told apart. */
export interface Execution {
  /** Different for any two executions, even of the same Trigger.dev run. */
  readonly id: string;
  readonly triggerRunId?: string;
  readonly leaseToken?: string;
}

/** The numbers of a run's step results by outcome under one spec, as the engine reports them at the end of the run. */
export type Persistence = JsonObject;

/** The report of the engine's repair, which writes missing rows when a run ends. */
export interface Repair {
  readonly persistence: Persistence[];
  /** Why the repair is incomplete; null if it is complete. */
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

  /** Load the run. Throws RunError if its record is incomplete or invalid. */
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

  /** Record the end of the run; return the report of the repair, which the engine makes before it responds. */
  async recordRunSucceeded(): Promise<Repair> {
    return this.#endRun({ status: "succeeded" });
  }

  async recordRunFailed(message: string, details: object): Promise<Repair> {
    return this.#endRun({ status: "failed", error_message: message, error_details: details });
  }

  async recordStepStarted(step: Step, context: JsonObject): Promise<void> {
    await this.#updateStep(step, { status: "running", input_payload: context });
  }

  /**
   * Record the result of a step; return the time at which the step finished, which its rows get as
   * `source_recorded_at`. `endedAt` is when the order for its answer ended.
   */
  async recordStepSucceeded(
    step: Step,
    payload: object,
    durationMs: number,
    endedAt: string | null,
  ): Promise<string | null> {
    const change = {
      status: "succeeded",
      output_payload: payload,
      duration_ms: durationMs,
      error_message: null,
      error_details: null,
      ...(endedAt === null ? {} : { finished_at: endedAt }),
    };
    const { finished_at: finishedAt } = await this.#updateStep(step, change);
    return typeof finishedAt === "string" ? finishedAt : null;
  }

  /** Record the failure, with the output of the step if it has one. */
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

  /** Request the normalized text of each input from the engine. */
  async normalizeInputs(operationId: string, inputs: Candidates): Promise<JsonObject> {
    const body = { operation_id: operationId, inputs };
    const answer = await internalCall(this.#config, "/api/internal/step-results/normalize-inputs", body);
    return isObject(answer) ? answer : {};
  }

  /** Create the object by which a step reads and changes the engine's record of its order. */
  createStepOrders(step: Step): StepOrders {
    let attempts = 0;
    const post = (path: string, body: object, config = this.#config) =>
      this.#translateConflict(() => internalCall(config, `/api/internal/research-orders/${path}`, body));
    return {
      stepResultId: step.resultId,
      metadata: { pipeline_run_id: this.#runId, step_result_id: step.resultId },
      createHolder: () => {
        attempts += 1;
        return `${step.resultId}/${this.#execution.id}/${attempts}`;
      },
      place: async ({ holdSeconds, ...request }) => {
        const body = {
          step_result_id: step.resultId,
          hold_seconds: holdSeconds,
          ...request,
          ...this.#buildLeaseFields(),
        };
        return parsePlacement(await post("place", body));
      },
      recordAccepted: async (orderId, providerRunId) => {
        // Retried more often than other writes: without the run id, paid research is lost.
        const { retry } = this.#config;
        const config = { ...this.#config, retry: { ...retry, attempts: retry.attempts * 5 }, signal: undefined };
        await post("accepted", { order_id: orderId, provider_run_id: providerRunId }, config);
      },
      recordNotAccepted: async (orderId, holder, message) => {
        await post("not-accepted", { order_id: orderId, holder, message });
      },
      recordUnknown: async (orderId, holder, message) => {
        await post("unknown", { order_id: orderId, holder, message });
      },
      recordEnded: async (orderId, end) => {
        await post("ended", { order_id: orderId, ...end });
      },
      release: async (orderId, holder) => {
        const config = { ...this.#config, retry: { ...this.#config.retry, attempts: 1 }, signal: undefined };
        await post("release", { order_id: orderId, holder }, config).catch(() => undefined);
      },
    };
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

  /** Throw ConflictError for a lost lease or another execution's order, since neither is a failure of the run. */
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

const ACTIONS: readonly Action[] = ["buy", "poll", "wait", "take", "stop"];

function parsePlacement(data: Json): Placement {
  const row = isObject(data) ? data : {};
  const action = ACTIONS.find((known) => known === row["action"]);
  if (action === undefined) {
    const path = "/api/internal/research-orders/place";
    throw new InternalApiError(`POST ${path} answered 200 without a known \`action\``, path, 200, null, false);
  }
  const { code, message, order, answer } = row;
  return {
    action,
    order: isObject(order) ? parseOrder(order) : null,
    answer: answer ?? null,
    code: typeof code === "string" ? code : null,
    message: typeof message === "string" ? message : null,
  };
}
