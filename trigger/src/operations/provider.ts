/**
 * Parallel's Task API, through its official SDK.
 *
 * In: a prompt to buy research for, or the id of research already bought. Out: that id, or what became of it, every answer
 * sorted into a few words. It must not know operations, steps or the engine.
 *
 * The provider has no idempotency key: a request made twice is paid twice. So `buy` never repeats one that may have
 * arrived, and says of every failure whether it may have.
 */
import Parallel, { APIConnectionError, APIConnectionTimeoutError, APIError } from "parallel-web";

import { parse, type Json } from "../exact.js";
import { messageOf } from "../logger.js";
import { needed, neededUrl, type Environment } from "../settings.js";

export interface Order {
  prompt: string;
  processor: string;
  /** Kept with the research at the provider: keys of at most 16 characters, values of at most 512. */
  metadata: Record<string, string>;
}

export type News =
  | { kind: "done"; envelope: Json }
  | { kind: "active"; status: string }
  /** It will not come to a result any more. */
  | { kind: "ended"; status: string; message: string }
  /** Nothing could be learned this time. */
  | { kind: "unreachable"; message: string };

/** The request was certainly not accepted: nothing was bought. */
export class NotBought extends Error {
  override readonly name = "NotBought";

  constructor(
    message: string,
    readonly worthRetrying: boolean,
  ) {
    super(message);
  }
}

/** The request may have been accepted: repeating it may pay twice. */
export class MaybeBought extends Error {
  override readonly name = "MaybeBought";
}

export interface Provider {
  /** Order research; its id. Throws NotBought or MaybeBought. */
  buy(order: Order): Promise<string>;
  /** What became of it, waiting up to `seconds` for the result. */
  ask(runId: string, seconds: number, signal?: AbortSignal): Promise<News>;
}

const ACTIVE = ["queued", "running"];
const NEVER_SENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"];
const ANSWER_WITHIN_MS = 30_000;

/** The provider at PARALLEL_BASE_URL, or at its own address without it. Throws SettingError without PARALLEL_API_KEY. */
export function parallelProvider(env: Environment): Provider {
  const client = new Parallel({
    apiKey: needed(env, "PARALLEL_API_KEY", "the key that research is bought with"),
    baseURL: env["PARALLEL_BASE_URL"] ? neededUrl(env, "PARALLEL_BASE_URL", "the provider's address") : null,
    maxRetries: 0, // the SDK's own retries would buy again
    timeout: ANSWER_WITHIN_MS,
    logLevel: "off", // it logs bodies
  });
  return {
    buy: (order) => buy(client, order),
    ask: (runId, seconds, signal) => ask(client, runId, seconds, signal),
  };
}

async function buy(client: Parallel, { prompt, processor, metadata }: Order): Promise<string> {
  try {
    const run = await client.taskRun.create({ input: prompt, processor, metadata });
    if (typeof run.run_id === "string" && run.run_id !== "") return run.run_id;
  } catch (error) {
    throw unsold(error);
  }
  throw new MaybeBought("the provider accepted the request without naming a run");
}

function unsold(error: unknown): Error {
  const message = sentence(error);
  if (error instanceof APIConnectionError) {
    return NEVER_SENT.includes(causeCode(error)) ? new NotBought(message, true) : new MaybeBought(message);
  }
  if (!(error instanceof APIError) || error.status === undefined) return new MaybeBought(message);
  if (error.status >= 500 || error.status === 408 || error.status < 400) return new MaybeBought(message);
  return new NotBought(message, error.status === 429);
}

async function ask(client: Parallel, runId: string, seconds: number, signal?: AbortSignal): Promise<News> {
  try {
    const options = { timeout: seconds * 1000 + ANSWER_WITHIN_MS, signal: signal ?? null };
    const response = await client.taskRun.result(runId, { timeout: seconds }, options).asResponse();
    return { kind: "done", envelope: parse(await response.text()) };
  } catch (error) {
    const isNoResult = error instanceof APIError && (error.status === 408 || error.status === 404);
    return isNoResult ? status(client, runId) : { kind: "unreachable", message: sentence(error) };
  }
}

/** The blocking call answers 408 while it runs, and 404 for a run that failed as for one that never was. */
async function status(client: Parallel, runId: string): Promise<News> {
  try {
    const run = await client.taskRun.retrieve(runId);
    if (typeof run.status !== "string") return { kind: "unreachable", message: "the provider's answer names no status" };
    if (run.status === "completed" || ACTIVE.includes(run.status)) return { kind: "active", status: run.status };
    return { kind: "ended", status: run.status, message: ending(runId, run.status, run.error?.message) };
  } catch (error) {
    if (!(error instanceof APIError) || error.status !== 404) return { kind: "unreachable", message: sentence(error) };
    return { kind: "ended", status: "unknown", message: `the provider does not know run \`${runId}\`` };
  }
}

function ending(runId: string, status: string, message: string | undefined): string {
  const endings: Record<string, string> = {
    failed: "failed at the provider",
    cancelled: "was cancelled at the provider",
    cancelling: "is being cancelled at the provider",
    action_required: "waits at the provider for an action by a person",
  };
  const ended = endings[status] ?? `has the unknown status \`${status}\``;
  return `research \`${runId}\` ${ended}${message ? `: ${message}` : ""}`;
}

function sentence(error: unknown): string {
  if (error instanceof APIConnectionTimeoutError) return "the provider did not answer in time";
  if (error instanceof APIConnectionError) return `the provider cannot be reached: ${causeCode(error) || messageOf(error)}`;
  if (!(error instanceof APIError) || error.status === undefined) return `the provider's answer cannot be read: ${messageOf(error)}`;
  const { message, ref_id } = providerError(error.error);
  return `the provider answered ${error.status}${message ? `: ${message}` : ""}${ref_id ? ` (ref ${ref_id})` : ""}`;
}

/** The body is `{type: "error", error: {ref_id, message}}` where it comes from the provider, anything where from a proxy. */
function providerError(body: unknown): { message?: string; ref_id?: string } {
  const inner = typeof body === "object" && body !== null && "error" in body ? body.error : body;
  return typeof inner === "object" && inner !== null ? inner : {};
}

function causeCode(error: APIConnectionError): string {
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && typeof cause.code === "string") return cause.code;
  }
  return "";
}
