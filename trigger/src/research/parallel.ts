/** Orders research from Parallel's Task API through the official SDK. */
import Parallel, { APIConnectionError, APIConnectionTimeoutError, APIError } from "parallel-web";

import { parseJson } from "../json/exact.js";
import { toMessage } from "../logger.js";
import { readRequired, readRequiredUrl, type Environment } from "../settings.js";
import { MaybeBoughtError, NotBoughtError, type Order, type Provider, type ResearchState } from "./provider.js";

/** Statuses of research that has not ended. */
const ACTIVE_STATUSES = ["queued", "running"];
/** Codes of network errors that mean that the request certainly did not arrive. */
const NEVER_SENT_CODES = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"];
const REQUEST_TIMEOUT_MS = 30_000;

/**
 * Create the provider for PARALLEL_BASE_URL, or for Parallel's own address. Throws SettingError without
 * PARALLEL_API_KEY.
 */
export function createParallelProvider(env: Environment): Provider {
  const client = new Parallel({
    apiKey: readRequired(env, "PARALLEL_API_KEY", "the key that research is bought with"),
    baseURL: env["PARALLEL_BASE_URL"] ? readRequiredUrl(env, "PARALLEL_BASE_URL", "the provider's address") : null,
    maxRetries: 0, // a retry by the SDK could order twice
    timeout: REQUEST_TIMEOUT_MS,
    logLevel: "off", // the SDK logs bodies
  });
  return {
    orderResearch: (order) => orderResearch(client, order),
    fetchState: (runId, seconds, signal) => fetchState(client, runId, seconds, signal),
  };
}

async function orderResearch(client: Parallel, order: Order): Promise<string> {
  const { prompt, processor, outputSchema, metadata } = order;
  const spec = outputSchema === null ? {} : { task_spec: { output_schema: outputSchema } };
  try {
    const run = await client.taskRun.create({ input: prompt, processor, metadata, ...spec });
    if (typeof run.run_id === "string" && run.run_id !== "") return run.run_id;
  } catch (error) {
    throw classifyOrderError(error);
  }
  throw new MaybeBoughtError("the provider accepted the request without naming a run");
}

/** Convert a failed request's error to NotBoughtError, or to MaybeBoughtError when it may have been accepted. */
function classifyOrderError(error: unknown): Error {
  const message = describeError(error);
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
  seconds: number,
  signal?: AbortSignal,
): Promise<ResearchState> {
  try {
    const options = { timeout: seconds * 1000 + REQUEST_TIMEOUT_MS, signal: signal ?? null };
    const response = await client.taskRun.result(runId, { timeout: seconds }, options).asResponse();
    return { kind: "done", envelope: parseJson(await response.text()) };
  } catch (error) {
    const isNoResult = error instanceof APIError && (error.status === 408 || error.status === 404);
    return isNoResult ? fetchStatus(client, runId) : { kind: "unreachable", message: describeError(error) };
  }
}

/**
 * Fetch the status of a run that has no result: the blocking call returns 408 while the run is active, and 404 both if
 * it failed and if it never existed.
 */
async function fetchStatus(client: Parallel, runId: string): Promise<ResearchState> {
  try {
    const run = await client.taskRun.retrieve(runId);
    if (typeof run.status !== "string") {
      return { kind: "unreachable", message: "the provider's answer names no status" };
    }
    if (run.status === "completed" || ACTIVE_STATUSES.includes(run.status)) {
      return { kind: "active", status: run.status };
    }
    return { kind: "ended", status: run.status, message: describeEnd(runId, run.status, run.error?.message) };
  } catch (error) {
    if (!(error instanceof APIError) || error.status !== 404) {
      return { kind: "unreachable", message: describeError(error) };
    }
    return { kind: "ended", status: "unknown", message: `the provider does not know run \`${runId}\`` };
  }
}

function describeEnd(runId: string, status: string, message: string | undefined): string {
  const endings: Record<string, string> = {
    failed: "failed at the provider",
    cancelled: "was cancelled at the provider",
    cancelling: "is being cancelled at the provider",
    action_required: "waits at the provider for an action by a person",
  };
  const ended = endings[status] ?? `has the unknown status \`${status}\``;
  return `research \`${runId}\` ${ended}${message ? `: ${message}` : ""}`;
}

function describeError(error: unknown): string {
  if (error instanceof APIConnectionTimeoutError) return "the provider did not answer in time";
  if (error instanceof APIConnectionError) {
    return `the provider cannot be reached: ${readCauseCode(error) || toMessage(error)}`;
  }
  if (!(error instanceof APIError) || error.status === undefined) {
    return `the provider's answer cannot be read: ${toMessage(error)}`;
  }
  const { message, ref_id: reference } = readErrorBody(error.error);
  const detail = message ? `: ${message}` : "";
  return `the provider answered ${error.status}${detail}${reference ? ` (ref ${reference})` : ""}`;
}

/** Read the provider's `{type: "error", error: {ref_id, message}}`; a proxy's body may be anything, and gives {}. */
function readErrorBody(body: unknown): { message?: string; ref_id?: string } {
  const inner = typeof body === "object" && body !== null && "error" in body ? body.error : body;
  return typeof inner === "object" && inner !== null ? inner : {};
}

function readCauseCode(error: APIConnectionError): string {
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && typeof cause.code === "string") return cause.code;
  }
  return "";
}
