/**
 * Conducts the research of one step: orders it once, waits for its answer, and returns an OperationResult.
 *
 * The provider has no idempotency keys, so the sequence prevents paying twice: the order is recorded before the request
 * to the provider, the provider's run id immediately after it, and the answer before the step's result. If the request
 * was certainly not accepted, that is recorded, and the question may be ordered again. If that is unknown, the question
 * is not ordered again until a person has resolved the order. A time-out ends the waiting, not the order.
 */
import type { JsonObject } from "../json/exact.js";
import { isBodyFault } from "../api/client.js";
import { toMessage, type Logger } from "../logger.js";
import { findMissingInputs, readInputs, type NormalizeInputs } from "./inputs.js";
import type { Operation, OperationResult, StepConfig } from "./operation.js";
import type { Placement, PlacementRequest, ResearchOrder, StepOrders } from "./orders.js";
import { NotBoughtError, type Order, type PendingState, type Provider } from "./provider.js";
import { buildOutputKeys } from "./output.js";
import { fillPrompt } from "./prompt.js";
import { digestQuestion } from "./question.js";
import { ResultBuilder } from "./result.js";

/**
 * How to wait for an answer: a request that blocks up to `blockSeconds`, then a pause, in which Trigger.dev may free
 * the slot.
 */
export interface Polling {
  readonly blockSeconds: number;
  /** The seconds of the order's lease, which must exceed a blocking request plus a pause. */
  readonly holdSeconds: number;
  pause(round: number): Promise<void>;
}

interface ResearchTools {
  readonly provider: Provider;
  readonly polling: Polling;
  readonly logger: Logger;
  /** Called only for operations with normalized inputs. */
  readonly normalizeInputs: NormalizeInputs;
  /** Aborting it ends the waiting. */
  readonly signal?: AbortSignal;
}

/** The result of a step, and when its answer arrived, which becomes the step result's `recorded_at`. */
export interface Research {
  readonly result: OperationResult;
  readonly endedAt: string | null;
}

/** The seconds that the slowest processors take at most. */
const DEFAULT_TIMEOUT_SECONDS = 2 * 60 * 60;
/** The most attempts to order while the provider's limit per minute is reached; their pauses exceed a minute. */
const ORDER_ATTEMPTS = 12;
const STAYS_OPEN = "the order stays open, and `dex orders collect` or a retry of the run takes its answer";

/**
 * Conduct the research of one step. Failed research, missing inputs and an exceeded budget give a failed result, not an
 * error, and so does a provider that cannot be reached until the step's time is over.
 */
export async function conductResearch(
  operation: Operation,
  context: JsonObject,
  config: StepConfig,
  orders: StepOrders,
  tools: ResearchTools,
): Promise<Research> {
  const { inputs, problems } = await readInputs(operation, context, tools.normalizeInputs);
  const output = buildOutputKeys(operation.output, inputs, context);
  const { id, provider, outputSchema } = operation;
  const processor = config.processor ?? operation.processor;
  const result = new ResultBuilder(operation, processor);
  const missing = findMissingInputs(inputs, operation.inputs);
  if (missing.length > 0) {
    return { result: result.buildMissingInputs(missing, operation.inputs, problems), endedAt: null };
  }
  if (Object.keys(output.problems).length > 0) return { result: result.buildBadOutput(output.problems), endedAt: null };
  for (const [name, problem] of Object.entries(problems)) {
    tools.logger.warn(`Input \`${name}\` left out: ${problem}`, orders.metadata);
  }

  const prompt = fillPrompt(operation.prompt, inputs);
  const request = {
    operation: id,
    provider,
    processor,
    question: digestQuestion({ operation: id, provider, processor, inputs, prompt, outputSchema }),
    holdSeconds: tools.polling.holdSeconds,
    refresh: config.refresh ?? false,
    output: output.keys,
  };
  const research = { prompt, processor, outputSchema, metadata: {} };
  const seconds = config.timeout_seconds ?? DEFAULT_TIMEOUT_SECONDS;
  const answer = await new Ordering(research, request, seconds, orders, tools).obtainAnswer();
  const { order } = answer;
  const action = answer.isBoughtHere ? "bought" : order?.stepResultId === orders.stepResultId ? "resumed" : "reused";
  if ("failure" in answer) {
    return { result: result.buildNoAnswer(answer.failure, order, action), endedAt: null };
  }
  try {
    const found = result.buildFound(answer.envelope, answer.order, action, output.keys);
    return { result: found, endedAt: answer.order.endedAt };
  } catch (error) {
    if (!isBodyFault(error)) throw error;
    const failure = { code: "not_recorded", message: `the answer cannot be recorded: ${toMessage(error)}` };
    return { result: result.buildNoAnswer(failure, order, action), endedAt: null };
  }
}

type Answer = { readonly isBoughtHere: boolean } & (
  | { readonly order: ResearchOrder; readonly envelope: Placement["answer"] }
  | { readonly order: ResearchOrder | null; readonly failure: { code: string; message: string } }
);

/** Obtains the answer to one question for one step. */
class Ordering {
  readonly #research: Order;
  readonly #request: Omit<PlacementRequest, "holder">;
  readonly #seconds: number;
  readonly #orders: StepOrders;
  readonly #tools: ResearchTools;
  #holder: string;
  #isBoughtHere = false;

  constructor(
    research: Order,
    request: Omit<PlacementRequest, "holder">,
    seconds: number,
    orders: StepOrders,
    tools: ResearchTools,
  ) {
    this.#research = research;
    this.#request = request;
    this.#seconds = seconds;
    this.#orders = orders;
    this.#tools = tools;
    this.#holder = orders.createHolder();
  }

  /** Repeat the next action that the engine returns until there is an answer, or a reason why there is none. */
  async obtainAnswer(): Promise<Answer> {
    const { polling, signal } = this.#tools;
    const deadline = Date.now() + this.#seconds * 1000;
    let refusals = 0;
    for (let round = 1; ; round += 1) {
      const placement = await this.#orders.place({ ...this.#request, holder: this.#holder });
      const { order } = placement;
      if (placement.action === "stop" || order === null) {
        const failure = { code: placement.code ?? "no_order", message: placement.message ?? "there is no order" };
        return { order, failure, isBoughtHere: this.#isBoughtHere };
      }
      if (placement.action === "take") {
        return { order, envelope: placement.answer, isBoughtHere: this.#isBoughtHere };
      }
      if (placement.action === "buy") {
        const refusal = await this.#buyResearch(order);
        if (refusal === null) continue;
        refusals += 1;
        const message = `${refusal.message}; nothing was bought`;
        if (!refusal.isRetryable || refusals >= ORDER_ATTEMPTS) {
          return { order, failure: { code: "not_bought", message }, isBoughtHere: true };
        }
        this.#tools.logger.warn(`${message}, trying again`, { attempt: refusals, of: ORDER_ATTEMPTS });
        await polling.pause(refusals);
        continue;
      }
      const facts = { order_id: order.id, provider_run_id: order.providerRunId };
      if (round <= 2) this.#tools.logger.info(`Waiting for an answer: ${describeWaiting(placement)}`, facts);
      const left = Math.ceil((deadline - Date.now()) / 1000);
      const seconds = Math.min(polling.blockSeconds, Math.max(left, 1));
      const pending = placement.action === "poll" ? await this.#requestAnswer(order, seconds) : WAITING;
      if (pending === null) continue;
      if (signal?.aborted) await this.#orders.release(order.id, this.#holder);
      signal?.throwIfAborted();
      if (pending.kind === "refused" || Date.now() >= deadline) {
        await this.#orders.release(order.id, this.#holder);
        return { order, failure: this.#buildTimeout(order, pending), isBoughtHere: this.#isBoughtHere };
      }
      try {
        await polling.pause(round);
      } catch (error) {
        await this.#orders.release(order.id, this.#holder);
        throw error;
      }
    }
  }

  /**
   * Send the order to the provider and record the response; return the error if the order was certainly not accepted.
   */
  async #buyResearch(order: ResearchOrder): Promise<NotBoughtError | null> {
    const metadata = { order_id: order.id, ...this.#orders.metadata };
    let runId;
    try {
      runId = await this.#tools.provider.orderResearch({ ...this.#research, metadata });
    } catch (error) {
      const message = toMessage(error);
      if (!(error instanceof NotBoughtError)) {
        await this.#orders.recordUnknown(order.id, this.#holder, `${message}; ${describeDoubt(metadata)}`);
        return null;
      }
      await this.#orders.recordNotAccepted(order.id, this.#holder, `${message}; nothing was bought`);
      this.#holder = this.#orders.createHolder();
      return error;
    }
    this.#isBoughtHere = true;
    try {
      await this.#orders.recordAccepted(order.id, runId);
    } catch (error) {
      // The run id could not be recorded, so it is logged.
      const facts = { ...metadata, provider_run_id: runId, error: toMessage(error) };
      this.#tools.logger.error("Research was bought and its id could not be kept", facts);
      throw error;
    }
    return null;
  }

  /** Request the answer from the provider and record the end of the order; return its state if it has not ended. */
  async #requestAnswer(order: ResearchOrder, seconds: number): Promise<PendingState | Refusal | null> {
    const { provider, logger, signal } = this.#tools;
    const runId = order.providerRunId ?? "";
    const state = await provider.fetchState(runId, order.id, seconds, signal);
    if (state.kind === "active") return state;
    if (state.kind === "unreachable") {
      if (!signal?.aborted) logger.warn(`${state.message}; asking again`, { provider_run_id: runId });
      return state;
    }
    if (state.kind === "unstorable") return { kind: "refused", code: "not_recorded", message: state.message };
    if (state.kind === "needs_action") {
      return { kind: "refused", code: "provider_action_required", message: `${state.message}; ${STAYS_OPEN}` };
    }
    if (state.kind === "unknown") {
      await this.#orders.recordUnknown(order.id, this.#holder, state.message);
      return { kind: "refused", code: "provider_unknown", message: `${state.message}; ${describeUnknown(order.id)}` };
    }
    if (state.kind === "ended") {
      const { status, message } = state;
      await this.#orders.recordEnded(order.id, { status: "failed", code: `provider_${status}`, message });
      return null;
    }
    try {
      await this.#orders.recordEnded(order.id, { status: "completed", answer: state.envelope });
      return null;
    } catch (error) {
      if (!isBodyFault(error)) throw error;
      const message = `the answer cannot be recorded: ${toMessage(error)}`;
      return { kind: "refused", code: "not_recorded", message };
    }
  }

  /** Return the failure for a time-out, or for an answer that is refused. */
  #buildTimeout(order: ResearchOrder, pending: PendingState | Refusal | typeof WAITING): Failure {
    const research = `research \`${order.providerRunId ?? ""}\` of order \`${order.id}\``;
    if (pending.kind === "refused") return { code: pending.code, message: `${research}: ${pending.message}` };
    const last = describePending(pending);
    const message = `${research} gave no result within ${this.#seconds} s; ${last}; ${STAYS_OPEN}`;
    return { code: "provider_timeout", message };
  }
}

interface Failure {
  readonly code: string;
  readonly message: string;
}

/**
 * The answer cannot be read or stored, the provider does not know the run, or a person has to act first: to ask again
 * would not help.
 */
interface Refusal {
  readonly kind: "refused";
  readonly code: string;
  readonly message: string;
}

const WAITING = { kind: "waiting" } as const;

function describePending(pending: PendingState | typeof WAITING): string {
  if (pending.kind === "waiting") return "another step asks for it";
  return pending.kind === "active" ? `it is still ${pending.status}` : `at last ${pending.message}`;
}

function describeWaiting({ action }: Placement): string {
  return action === "poll" ? "asking the provider" : "another step asks the provider";
}

/** Tell a person what to do about an open order whose run the provider does not know. */
function describeUnknown(orderId: string): string {
  return (
    "the order stays open: with the key of the account that bought it, `dex orders collect` or a retry takes its " +
    `answer; otherwise \`dex orders resolve ${orderId} --accepted RUN_ID\` or \`--not-accepted\``
  );
}

/** Tell a person how to find the order at the provider: by the metadata that the provider stores. */
function describeDoubt(metadata: Record<string, string>): string {
  const marks = Object.entries(metadata)
    .map(([key, value]) => `\`${key}\` \`${value}\``)
    .join(" and ");
  return `the research may have been bought, so it is not ordered again; at the provider it carries ${marks}`;
}
