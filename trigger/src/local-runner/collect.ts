/**
 * Collects the answers of open orders from the provider, and stores them in the steps that placed the orders. It starts
 * no run, and skips orders whose lease another execution holds.
 */
import { internalCall, InternalApiError, type InternalApi, type InternalConfig } from "../api/client.js";
import { isObject, type Json, type JsonObject } from "../json/exact.js";
import { toMessage, type Logger } from "../logger.js";
import { carryContext } from "../pipeline/run.js";
import { parseOrder, type ResearchOrder } from "../research/orders.js";
import type { Provider } from "../research/provider.js";
import { ResultBuilder } from "../research/result.js";

/** Seconds that the provider may block a request for a result. */
const BLOCK_SECONDS = 1;

interface CollectOptions {
  /** Collect only for this organisation; for all if it is blank. */
  readonly orgId: string;
  /** Collect only this order, even if another execution holds its lease. */
  readonly orderId: string | null;
  /** Also collect orders whose lease another execution holds. */
  readonly isForced: boolean;
}

/** The number of processed orders by result; printed as JSON. */
interface CollectTally {
  /** Their answers are recorded now. */
  completed: number;
  failed: number;
  /** The provider has not finished them, or waits for a person. */
  open: number;
  /** The provider or the engine could not be reached for them, or the provider does not know them. */
  unreachable: number;
  /** The number of step results into which an answer was written. */
  settled: number;
}

/** Collect all orders that `options` select. Throws InternalApiError when the engine cannot list them. */
export async function collectOrders(
  api: InternalApi,
  provider: Provider,
  options: CollectOptions,
  logger: Logger,
  signal?: AbortSignal,
): Promise<CollectTally> {
  const tally: CollectTally = { completed: 0, failed: 0, open: 0, unreachable: 0, settled: 0 };
  let after: JsonObject = {};
  for (;;) {
    const page = await listCollectable(api, options, after);
    for (const row of page) {
      if (signal?.aborted) return tally;
      try {
        await collectOrder(api, provider, row, tally, signal);
      } catch (error) {
        tally.unreachable += 1;
        logger.warn("An order could not be collected", { order_id: row["id"], error: toMessage(error) });
      }
    }
    const last = page.at(-1);
    if (last === undefined || options.orderId !== null) return tally;
    after = { after_time: last["requested_at"] ?? null, after_id: last["id"] ?? null };
  }
}

async function listCollectable(
  api: InternalApi,
  { orgId, orderId, isForced }: CollectOptions,
  after: JsonObject,
): Promise<JsonObject[]> {
  const body = { held_too: isForced, ...after, ...(orderId === null ? {} : { order_id: orderId }) };
  const data = await internalCall(
    { ...api, orgId, companyId: null },
    "/api/internal/research-orders/collectable",
    body,
  );
  return Array.isArray(data) ? data.filter(isObject) : [];
}

async function collectOrder(
  api: InternalApi,
  provider: Provider,
  row: JsonObject,
  tally: CollectTally,
  signal?: AbortSignal,
): Promise<void> {
  const config: InternalConfig = { ...api, orgId: readText(row, "org_id"), companyId: null };
  const order = parseOrder(row);
  if (row["status"] === "completed") {
    await settleAnswer(config, row, order, row["answer"] ?? null, tally);
    return;
  }
  const state = await provider.fetchState(order.providerRunId ?? "", order.id, BLOCK_SECONDS, signal);
  if (state.kind === "active" || state.kind === "needs_action") {
    tally.open += 1;
  } else if (state.kind === "unreachable" || state.kind === "unstorable") {
    throw new Error(state.message);
  } else if (state.kind === "unknown") {
    const doubt = { order_id: order.id, holder: "collect", message: state.message };
    await internalCall(config, "/api/internal/research-orders/unknown", doubt);
    throw new Error(state.message);
  } else if (state.kind === "ended") {
    const failure = { code: `provider_${state.status}`, message: state.message };
    await postEnd(config, order, { status: "failed", ...failure });
    tally.failed += 1;
    const result = createResultBuilder(row, order).buildNoAnswer(failure, order, "resumed");
    await settleStep(config, row, order, { status: "failed", result, failure }, tally);
  } else {
    const ended = await postEnd(config, order, { status: "completed", answer: state.envelope });
    tally.completed += 1;
    await settleAnswer(config, row, ended, state.envelope, tally);
  }
}

async function postEnd(config: InternalConfig, order: ResearchOrder, end: object): Promise<ResearchOrder> {
  const data = await internalCall(config, "/api/internal/research-orders/ended", { order_id: order.id, ...end });
  return isObject(data) ? parseOrder(data) : order;
}

async function settleAnswer(
  config: InternalConfig,
  row: JsonObject,
  order: ResearchOrder,
  answer: Json,
  tally: CollectTally,
): Promise<void> {
  const keys = row["output"];
  const result = createResultBuilder(row, order).buildFound(answer, order, "resumed", isObject(keys) ? keys : {});
  await settleStep(config, row, order, { status: "succeeded", result }, tally);
}

function createResultBuilder(row: JsonObject, order: ResearchOrder): ResultBuilder {
  return new ResultBuilder({ id: readText(row, "operation"), provider: "parallel" }, order.processor);
}

type StepEnd =
  | { status: "succeeded"; result: ReturnType<ResultBuilder["buildFound"]> }
  | { status: "failed"; result: ReturnType<ResultBuilder["buildNoAnswer"]>; failure: object & { message: string } };

/** Store the answer in the step that placed the order, unless the step has a result or its run is being executed. */
async function settleStep(
  config: InternalConfig,
  row: JsonObject,
  order: ResearchOrder,
  end: StepEnd,
  tally: CollectTally,
): Promise<void> {
  if (typeof row["step_status"] !== "string" || row["step_status"] === "succeeded") return;
  const input = row["input"];
  const context = isObject(input) ? input : {};
  const body = {
    order_id: order.id,
    status: end.status,
    output_payload: { operation_result: end.result, cumulative_context: carryContext(context, end.result.output) },
    ...("failure" in end ? { error_message: end.failure.message, error_details: end.failure } : {}),
  };
  const data = await internalCall(config, "/api/internal/research-orders/settle", body);
  if (isObject(data) && typeof data["pipeline_run_id"] === "string") tally.settled += 1;
}

function readText(row: JsonObject, key: string): string {
  const value = row[key];
  if (typeof value === "string") return value;
  throw new Error(`the engine's answer has no \`${key}\``);
}

/** Collect orders and log the counts. Never throws: after an error the next sweep tries again. */
export async function sweepOrders(
  api: InternalApi,
  provider: Provider,
  orgId: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  try {
    const options = { orgId, orderId: null, isForced: false };
    const tally = await collectOrders(
      { ...api, retry: { ...api.retry, attempts: 1 } },
      provider,
      options,
      logger,
      signal,
    );
    if (tally.completed + tally.failed + tally.settled > 0) logger.info("Orders collected", { ...tally });
  } catch (error) {
    if (!(error instanceof InternalApiError)) throw error;
    logger.warn(`No order could be collected: ${error.message}`);
  }
}
