/**
 * Conducts one Deep Research: orders it once, waits for it, and returns an OperationResult.
 *
 * The provider has no idempotency key, so the sequence protects the money: note that a request is about to be made,
 * make it, keep the provider's run id before anything else can fail. The note is withdrawn when the request certainly
 * was not accepted. A later execution of a run that was killed sees from the record whether to order, to resume, or to
 * stop because a request may have been accepted whose answer was lost.
 */
import type { JsonObject } from "../json/exact.js";
import { toMessage, type Logger } from "../logger.js";
import { findMissingInputs, readInputs, type NormalizeInputs } from "./inputs.js";
import type { Attempt, Operation, OperationResult, StepConfig } from "./operation.js";
import { NotBoughtError, type FinalState, type Order, type PendingState, type Provider } from "./parallel.js";
import { buildOutputKeys } from "./output.js";
import { fillPrompt } from "./prompt.js";
import { ResultBuilder } from "./result.js";

/** What the engine has on record of a step's order, and how to record more. */
export interface StepRecord {
  readonly providerRequestedAt: string | null;
  readonly providerRunId: string | null;
  /** Note that a request is about to be made. Throws when another execution has noted the same. */
  noteRequest(): Promise<void>;
  /** Withdraw that note: nothing was bought. */
  withdrawRequest(): Promise<void>;
  /** Keep the provider's run id. */
  keepRunId(runId: string): Promise<void>;
  /** Names the step; kept with the research at the provider. */
  readonly metadata: Record<string, string>;
}

/** How to wait: a blocking request of up to `blockSeconds`, then a pause in which the platform may free the slot. */
export interface Polling {
  readonly blockSeconds: number;
  pause(round: number): Promise<void>;
}

export interface ResearchTools {
  readonly provider: Provider;
  readonly polling: Polling;
  readonly logger: Logger;
  /** Called only for an operation that has normalized inputs. */
  readonly normalizeInputs: NormalizeInputs;
  /** Once aborted, research is not waited for any more. */
  readonly signal?: AbortSignal;
}

/** The longest that the largest processors take. */
const DEFAULT_TIMEOUT_SECONDS = 2 * 60 * 60;
/** The provider limits requests by the minute; the pauses between these attempts take longer than one. */
const ORDER_ATTEMPTS = 12;

/**
 * Conduct the research of one step. What the provider answers or the inputs lack makes a failed result, not an error.
 */
export async function conductResearch(
  operation: Operation,
  context: JsonObject,
  config: StepConfig,
  record: StepRecord,
  tools: ResearchTools,
): Promise<OperationResult> {
  const { inputs, problems } = await readInputs(operation, context, tools.normalizeInputs);
  const output = buildOutputKeys(operation.output, inputs, context);
  const processor = config.processor ?? operation.processor;
  const result = new ResultBuilder(operation, processor);
  if (record.providerRunId !== null) return await followResearch(record.providerRunId, "resumed");
  if (record.providerRequestedAt !== null) return result.buildNotBought("maybe_bought", describeLostAnswer(record));
  const missing = findMissingInputs(inputs, operation.inputs);
  if (missing.length > 0) return result.buildMissingInputs(missing, problems);
  if (Object.keys(output.problems).length > 0) return result.buildBadOutput(output.problems);
  for (const [name, problem] of Object.entries(problems)) {
    tools.logger.warn(`Input \`${name}\` left out: ${problem}`, record.metadata);
  }

  const { outputSchema } = operation;
  const prompt = fillPrompt(operation.prompt, inputs);
  const purchase = await buyResearch({ prompt, processor, outputSchema, metadata: record.metadata }, record, tools);
  if (!("runId" in purchase)) return result.buildNotBought(purchase.code, purchase.message);
  await keepRunId(purchase.runId, record, tools.logger);
  return await followResearch(purchase.runId, "bought");

  async function followResearch(runId: string, action: Attempt["action"]): Promise<OperationResult> {
    const state = await waitForEnd(runId, config.timeout_seconds ?? DEFAULT_TIMEOUT_SECONDS, tools);
    return result.buildFinal(state, runId, action, output.keys);
  }
}

type Purchase = { runId: string } | { code: string; message: string };

/** Order research, again only after a request that certainly was not accepted. */
async function buyResearch(
  order: Order,
  record: StepRecord,
  { provider, polling, logger }: ResearchTools,
): Promise<Purchase> {
  for (let attempt = 1; ; attempt += 1) {
    await record.noteRequest();
    try {
      return { runId: await provider.orderResearch(order) };
    } catch (error) {
      const message = toMessage(error);
      if (!(error instanceof NotBoughtError)) {
        return { code: "maybe_bought", message: `${message}; ${describeDoubtfulOrder(order)}` };
      }
      await record.withdrawRequest();
      if (!error.isRetryable || attempt >= ORDER_ATTEMPTS) {
        return { code: "not_bought", message: `${message}; nothing was bought` };
      }
      logger.warn(`${message}; nothing was bought, trying again`, { attempt, of: ORDER_ATTEMPTS });
      await polling.pause(attempt);
    }
  }
}

/** Record the provider's run id. This write must not be lost: when it fails for good, the id is at least in the log. */
async function keepRunId(runId: string, record: StepRecord, logger: Logger): Promise<void> {
  try {
    await record.keepRunId(runId);
  } catch (error) {
    const facts = { ...record.metadata, provider_run_id: runId, error: toMessage(error) };
    logger.error("Research was bought and its id could not be kept", facts);
    throw error;
  }
}

/** Wait until the research ends at the provider, or for `seconds`, which ends it as `timeout`. */
async function waitForEnd(
  runId: string,
  seconds: number,
  { provider, polling, logger, signal }: ResearchTools,
): Promise<FinalState> {
  const deadline = Date.now() + seconds * 1000;
  for (let round = 1; ; round += 1) {
    const state = await provider.fetchState(runId, polling.blockSeconds, signal);
    if (state.kind === "done" || state.kind === "ended") return state;
    signal?.throwIfAborted();
    if (state.kind === "unreachable") logger.warn(`${state.message}; asking again`, { provider_run_id: runId });
    if (Date.now() >= deadline) {
      return { kind: "ended", status: "timeout", message: describeTimeout(runId, seconds, state) };
    }
    await polling.pause(round);
  }
}

function describeLostAnswer(record: StepRecord): string {
  const requestedAt = record.providerRequestedAt ?? "";
  return `research was requested at ${requestedAt} and the answer was lost; ${describeDoubtfulOrder(record)}`;
}

/** Tell a person what to look for: the provider keeps the metadata with the research. */
function describeDoubtfulOrder({ metadata }: { metadata: Record<string, string> }): string {
  const marks = Object.entries(metadata)
    .map(([key, value]) => `\`${key}\` \`${value}\``)
    .join(" and ");
  return `the research may have been bought, so it is not ordered again; at the provider it carries ${marks}`;
}

function describeTimeout(runId: string, seconds: number, state: PendingState): string {
  const last = state.kind === "active" ? `it is still ${state.status}` : `at last ${state.message}`;
  return `research \`${runId}\` gave no result within ${seconds} s; ${last}; its result may still come`;
}
