/** Orders research from Parallel's Task API through the official SDK. */
import Parallel, { APIConnectionError, APIConnectionTimeoutError, APIError } from "parallel-web";

import { isObject, parseJson } from "../json/exact.js";
import { toMessage } from "../logger.js";
import { hideSecrets, readRequiredUrl, readSecret, type Environment } from "../settings.js";
import { MaybeBoughtError, NotBoughtError, type Order, type Provider, type ResearchState } from "./provider.js";

/**
 * Statuses of research that will have no result, in words. Every other status, also one that the provider added, is that
 * of research that has not ended, for what was paid for must not be given up: `cancelling` ends as `cancelled`.
 */
const ENDINGS: Readonly<Record<string, string>> = {
  failed: "failed at the provider",
  cancelled: "was cancelled at the provider",
};
/** The status of research that has not ended, and goes on only when somebody acts: waiting would not help. */
const ACTION_REQUIRED = "action_required";
/** Codes of network errors that mean that the request certainly did not arrive. */
const NEVER_SENT_CODES = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"];
const REQUEST_TIMEOUT_MS = 30_000;
/** The engine refuses a record with a message beyond its limit: then nobody would know that an order was refused. */
const MOST_MESSAGE_CHARACTERS = 2000;

/**
 * Create the provider for PARALLEL_BASE_URL, or for Parallel's own address. A request may take `timeoutMs`, beyond the
 * time for which the provider blocks it. Throws SettingError without PARALLEL_API_KEY.
 */
export function createParallelProvider(env: Environment, timeoutMs = REQUEST_TIMEOUT_MS): Provider {
  const client = new Parallel({
    apiKey: readSecret(env, "PARALLEL_API_KEY", "the key that research is bought with"),
    baseURL: env["PARALLEL_BASE_URL"] ? readRequiredUrl(env, "PARALLEL_BASE_URL", "the provider's address") : null,
    fetchOptions: { redirect: "manual" }, // `fetch` would send the header with the key to any host
    maxRetries: 0, // a retry by the SDK could order twice
    timeout: timeoutMs,
    logLevel: "off", // the SDK logs bodies
  });
  return {
    orderResearch: (order) => orderResearch(client, order),
    fetchState: (runId, orderId, seconds, signal) => fetchState(client, runId, orderId, seconds, signal),
  };
}

async function orderResearch(client: Parallel, order: Order): Promise<string> {
  const { prompt, processor, outputSchema, metadata } = order;
  const spec = outputSchema === null ? {} : { task_spec: { output_schema: outputSchema } };
  try {
    const body = { input: prompt, processor, metadata, ...spec };
    const run: unknown = await limitTime(client.timeout, undefined, (options) => client.taskRun.create(body, options));
    const runId = isObject(run) ? run["run_id"] : undefined;
    if (typeof runId === "string" && runId.trim() !== "") return runId;
  } catch (error) {
    throw classifyOrderError(error);
  }
  throw new MaybeBoughtError("the provider accepted the request without naming a run");
}

/** Convert a failed request's error to NotBoughtError, or to MaybeBoughtError when it may have been accepted. */
function classifyOrderError(error: unknown): Error {
  const message = hideSecrets(describeError(error));
  if (error instanceof APIConnectionError) {
    return NEVER_SENT_CODES.includes(readCauseCode(error))
      ? new NotBoughtError(message, true)
      : new MaybeBoughtError(message);
  }
  if (!(error instanceof APIError) || error.status === undefined) return new MaybeBoughtError(message);
  if (error.status >= 500 || error.status === 408 || error.status < 400) return new MaybeBoughtError(message);
  return new NotBoughtError(message, error.status === 429);
}

async function fetchState(
  client: Parallel,
  runId: string,
  orderId: string,
  seconds: number,
  signal?: AbortSignal,
): Promise<ResearchState> {
  try {
    const text = await limitTime(seconds * 1000 + client.timeout, signal, async (options) => {
      const response = await client.taskRun.result(runId, { timeout: seconds }, options).asResponse();
      return await response.text();
    });
    const envelope = parseJson(text);
    if (!isObject(envelope) || !(isObject(envelope["run"]) || isObject(envelope["output"]))) {
      return { kind: "unreachable", message: "the provider's answer has neither a run nor an output" };
    }
    return findForeignOrder(envelope["run"], runId, orderId) ?? { kind: "done", envelope };
  } catch (error) {
    if (error instanceof RangeError) {
      return { kind: "unstorable", message: `the answer cannot be read: ${error.message}` };
    }
    const isNoResult = error instanceof APIError && (error.status === 408 || error.status === 404);
    return isNoResult
      ? fetchStatus(client, runId, orderId)
      : { kind: "unreachable", message: hideSecrets(describeError(error)) };
  }
}

/**
 * Call the provider, and throw when its whole answer is not there within `ms`, or `signal` is aborted.
 *
 * The SDK's own timeout ends with the headers: without this, a body that stalls, or one that Node fails to decompress,
 * is awaited forever.
 */
async function limitTime<Value>(
  ms: number,
  signal: AbortSignal | undefined,
  call: (options: { timeout: number; signal: AbortSignal }) => Promise<Value>,
): Promise<Value> {
  const limit = AbortSignal.any([AbortSignal.timeout(ms), ...(signal === undefined ? [] : [signal])]);
  const tooLate = new Promise<never>((_, reject) => {
    limit.addEventListener("abort", () => {
      reject(limit.reason as Error);
    });
  });
  return await Promise.race([tooLate, call({ timeout: ms, signal: limit })]);
}

/**
 * Fetch the status of a run that has no result: the blocking call returns 408 while the run is active, and 404 both if
 * it failed and if it never existed.
 */
async function fetchStatus(client: Parallel, runId: string, orderId: string): Promise<ResearchState> {
  try {
    const run = await limitTime(client.timeout, undefined, (options) => client.taskRun.retrieve(runId, options));
    const foreign = findForeignOrder(run, runId, orderId);
    if (foreign !== undefined) return foreign;
    if (!isObject(run) || typeof run.status !== "string") {
      return { kind: "unreachable", message: "the provider's answer names no status" };
    }
    if (run.status === ACTION_REQUIRED) {
      return { kind: "needs_action", message: "it waits at the provider for an action by a person" };
    }
    const ending = ENDINGS[run.status];
    if (ending === undefined) return { kind: "active", status: hideSecrets(run.status) };
    const { message } = readErrorBody(run.error);
    return {
      kind: "ended",
      status: run.status,
      message: hideSecrets(`research \`${runId}\` ${ending}${message ? `: ${message}` : ""}`),
    };
  } catch (error) {
    // Only the provider itself can say so: the 404 of a proxy, or of a wrong address, ends nothing that was paid for.
    const isUnknown = error instanceof APIError && error.status === 404 && isProviderError(error.error);
    if (!isUnknown) return { kind: "unreachable", message: hideSecrets(describeError(error)) };
    return { kind: "unknown", message: `the provider does not know run \`${runId}\`` };
  }
}

/**
 * Return the state `unknown` if the metadata of a run names another order than `orderId`, as after a mistyped run id.
 *
 * Its `run_id` decides nothing: a stand-in for the provider answers with the id, and without the metadata, of the
 * research it has recorded.
 */
function findForeignOrder(run: unknown, runId: string, orderId: string): ResearchState | undefined {
  const metadata = isObject(run) ? run["metadata"] : null;
  const owner = isObject(metadata) ? (metadata["order_id"] ?? null) : null;
  if (owner === null || owner === orderId) return undefined;
  return { kind: "unknown", message: `run \`${runId}\` is the research of another order` };
}

function describeError(error: unknown): string {
  const isTooLate = error instanceof DOMException && error.name === "TimeoutError";
  if (isTooLate || error instanceof APIConnectionTimeoutError) return "the provider did not answer in time";
  if (error instanceof APIConnectionError) {
    return `the provider cannot be reached: ${readCauseCode(error) || toMessage(error)}`;
  }
  if (!(error instanceof APIError) || error.status === undefined) {
    return `the provider's answer cannot be read: ${toMessage(error)}`;
  }
  if (error.status < 400) {
    return (
      `the provider answered ${error.status}, a redirect${describeTarget(error.headers)}, which is not followed: ` +
      "another host would get the key; set `PARALLEL_BASE_URL` to the provider's own address"
    );
  }
  const { message, reference } = readErrorBody(error.error);
  const detail = message ? `: ${message}` : "";
  return `the provider answered ${error.status}${detail}${reference ? ` (ref ${reference})` : ""}`;
}

/** Return ` to <origin>` for the target of a redirect; its path may contain anything. */
function describeTarget(headers: unknown): string {
  const target = headers instanceof Headers ? (headers.get("location") ?? "") : "";
  return URL.canParse(target) ? ` to ${new URL(target).origin}` : "";
}

/** Return whether a body is the provider's `{type: "error", error: {ref_id, message}}`, and not that of a proxy. */
function isProviderError(body: unknown): boolean {
  return isObject(body) && body["type"] === "error" && isObject(body["error"] ?? null);
}

/** Read an error of the provider, with or without the object around it; a proxy's body may be anything, and gives {}. */
function readErrorBody(body: unknown): { message?: string; reference?: string } {
  const inner = isObject(body) && "error" in body ? body["error"] : body;
  const { message, ref_id: reference } = isObject(inner) ? inner : {};
  return {
    ...(typeof message === "string" ? { message: shortenText(message) } : {}),
    ...(typeof reference === "string" ? { reference: shortenText(reference) } : {}),
  };
}

/** Cut a text of the provider. Its secrets are hidden before: the beginning of one that is cut would be left. */
function shortenText(text: string): string {
  return hideSecrets(text).slice(0, MOST_MESSAGE_CHARACTERS);
}

function readCauseCode(error: APIConnectionError): string {
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && typeof cause.code === "string") return cause.code;
  }
  return "";
}
