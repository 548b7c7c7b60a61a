/**
 * The client of the engine's internal API.
 *
 * Every request has headers with the key, the organisation and the company. One function sets them, and a write counts
 * as successful only if the response contains the row: otherwise calls without the organisation, which get 401, could
 * lose rows for weeks before anybody notices.
 */
import { setTimeout as pause } from "node:timers/promises";

import { isObject, parseJson, stringifyJson, type Json, type JsonObject } from "../json/exact.js";
import { toMessage, type Logger } from "../logger.js";
import { hideSecrets, readRequiredUrl, readSecret, type Environment } from "../settings.js";
import { buildTraceHeaders } from "../tracing.js";

interface RetryPolicy {
  /** The most requests, including the first one. */
  readonly attempts: number;
  readonly firstPauseMs: number;
  /** The longest pause, in ms, also when `Retry-After` asks for a longer one. */
  readonly longestPauseMs: number;
}

/** The address, the key and the retry policy of the internal API. */
export interface InternalApi {
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  readonly logger?: Logger;
  /** Once aborted, requests are not retried; a running request is not interrupted. */
  readonly signal?: AbortSignal | undefined;
}

/** An InternalApi and the organisation on whose behalf to call it. */
export interface InternalConfig extends InternalApi {
  /** Blank only for claiming a run of any organisation. */
  readonly orgId: string;
  readonly companyId: string | null;
}

/** A failed call: the path, the status and the API's message, but nothing of the request's body and no secret. */
export class InternalApiError extends Error {
  override readonly name = "InternalApiError";

  constructor(
    message: string,
    readonly path: string,
    /** 0 if there was no response. */
    readonly status: number,
    readonly code: string | null,
    readonly isRetryable: boolean,
    readonly retryAfterMs: number | null = null,
  ) {
    super(hideSecrets(message));
  }
}

const MS_PER_SECOND = 1000;
const NOT_FOUND = 404;
// The attempts take about two minutes in all, longer than a deployment of the API.
const DEFAULT_RETRY: RetryPolicy = { attempts: 10, firstPauseMs: 500, longestPauseMs: 20 * MS_PER_SECOND };

/** Read DATA_ENGINE_API_URL and DATA_ENGINE_INTERNAL_API_KEY. Throws SettingError naming the one that is missing. */
export function readInternalApi(env: Environment): InternalApi {
  return {
    apiUrl: readRequiredUrl(env, "DATA_ENGINE_API_URL", "the address of the engine's API"),
    apiKey: readSecret(env, "DATA_ENGINE_INTERNAL_API_KEY", "the API's `INTERNAL_API_KEY`"),
    timeoutMs: 60 * MS_PER_SECOND,
    retry: DEFAULT_RETRY,
  };
}

/** The row as the API stored it (undefined if the step result gives none), and its outcome. */
interface StoredRow {
  readonly row: JsonObject | undefined;
  readonly outcome: string;
}

/** The rows that the API stored, and why it rejected others. */
export interface StoredRows {
  readonly rows: JsonObject[];
  /** The strongest outcome of the rows, or the outcome of a step result that gives no row. */
  readonly outcome: string;
  /**
   * For each rejected row `{"element", "field", "code", ...}`; `element` is its index among the rows that were sent.
   */
  readonly rejected: JsonObject[];
}

/**
 * POST `body` and return the row that the API stored.
 *
 * Throws InternalApiError: at once for a 4xx; after the retries for a network error, a timeout, 408, 425, 429 and 5xx;
 * and for a 200 without a row.
 */
export async function internalPostForRow(config: InternalConfig, path: string, body: object): Promise<JsonObject> {
  const { data } = await postWithRetries(config, path, body);
  if (isRow(data)) return data;
  throw new InternalApiError(`POST ${path} answered 200 without the row it should have stored`, path, 200, null, false);
}

/**
 * POST a row and return it as the API stored it, with its outcome. Returns no row if the step result that the body
 * names gives none. Throws as `internalPostForRow` does.
 */
export async function internalPost(config: InternalConfig, path: string, body: object): Promise<StoredRow> {
  const { data, meta } = await postWithRetries(config, path, body);
  const outcome = readOutcome(meta);
  if (isRow(data)) return { row: data, outcome: outcome ?? "written" };
  if (data === null && outcome !== undefined) return { row: undefined, outcome };
  throw buildMissingRowError(path, "row");
}

/** POST a body with `rows` and return the rows that the API stored. Throws as `internalPostForRow` does. */
export async function internalPostRows(config: InternalConfig, path: string, body: object): Promise<StoredRows> {
  const { data, meta } = await postWithRetries(config, path, body);
  const rejected = isObject(meta) && Array.isArray(meta["rejected"]) ? meta["rejected"].filter(isObject) : [];
  const outcome = readOutcome(meta);
  if (Array.isArray(data) && (data.length > 0 || outcome !== undefined) && data.every(isRow)) {
    return { rows: data, rejected, outcome: outcome ?? "written" };
  }
  throw buildMissingRowError(path, "rows");
}

function readOutcome(meta: Json): string | undefined {
  const outcome = isObject(meta) ? meta["outcome"] : undefined;
  return typeof outcome === "string" ? outcome : undefined;
}

function buildMissingRowError(path: string, what: string): InternalApiError {
  const message = `POST ${path} answered 200 without the ${what} it should have stored`;
  return new InternalApiError(message, path, 200, null, false);
}

/** Return whether a call failed because of its body, so that it would fail again: too large, invalid, or too deep. */
export function isBodyFault(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof InternalApiError && [413, 422].includes(error.status));
}

/** POST `body` and return the `data` of the response, which need not be a row. Throws as `internalPostForRow` does. */
export async function internalCall(config: InternalConfig, path: string, body: object): Promise<Json> {
  return (await postWithRetries(config, path, body)).data;
}

interface Answer {
  readonly data: Json;
  readonly meta: Json;
}

async function postWithRetries(config: InternalConfig, path: string, body: object): Promise<Answer> {
  const text = stringifyJson(body);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await postOnce(config, path, text);
    } catch (error) {
      if (!(error instanceof InternalApiError) || !error.isRetryable || attempt >= config.retry.attempts) throw error;
      const pauseMs = computePause(config.retry, attempt, error.retryAfterMs);
      config.logger?.warn(`${error.message}; trying again`, { attempt, of: config.retry.attempts, pause_ms: pauseMs });
      await pause(pauseMs, undefined, { signal: config.signal }).catch(() => undefined);
      if (config.signal?.aborted) throw error;
    }
  }
}

function isRow(value: Json): value is JsonObject {
  return isObject(value) && typeof value["id"] === "string" && value["id"] !== "";
}

async function postOnce(config: InternalConfig, path: string, body: string): Promise<Answer> {
  const { response, text } = await sendRequest(config, path, body);
  const answer = parseAnswer(text);
  if (!response.ok) throw buildError(path, response, answer);
  if (answer === undefined || !("data" in answer)) {
    const received = describeBody(response, text);
    const message = `POST ${path} answered ${response.status} with ${received} instead of {"data": ...}`;
    throw new InternalApiError(message, path, response.status, null, false);
  }
  return { data: answer["data"] ?? null, meta: answer["meta"] ?? null };
}

async function sendRequest(
  config: InternalConfig,
  path: string,
  body: string,
): Promise<{ response: Response; text: string }> {
  const timeout = AbortSignal.timeout(config.timeoutMs);
  try {
    const response = await fetch(config.apiUrl + path, {
      method: "POST",
      headers: buildHeaders(config),
      body,
      redirect: "manual", // a redirected POST loses its body, and only this host may get the key
      signal: timeout,
    });
    return { response, text: await response.text() };
  } catch (error) {
    const reason = timeout.aborted ? `no answer within ${config.timeoutMs} ms` : describeNetworkError(error);
    throw new InternalApiError(`POST ${path} failed: ${reason}`, path, 0, null, true);
  }
}

function buildHeaders(config: InternalConfig): Record<string, string> {
  return {
    authorization: `Bearer ${config.apiKey}`,
    "content-type": "application/json",
    ...(config.orgId === "" ? {} : { "x-internal-org-id": config.orgId }),
    "x-internal-company-id": config.companyId ?? "",
    ...buildTraceHeaders(),
  };
}

/** Parse a response; return undefined if it is not a JSON object, such as a proxy's HTML page. */
function parseAnswer(text: string): JsonObject | undefined {
  try {
    const answer = parseJson(text);
    return isObject(answer) ? answer : undefined;
  } catch {
    return undefined;
  }
}

function buildError(path: string, response: Response, answer: JsonObject | undefined): InternalApiError {
  const { status } = response;
  const code = typeof answer?.["code"] === "string" ? answer["code"] : null;
  const sentence =
    typeof answer?.["error"] === "string" ? answer["error"] : `${describeBody(response, "")} instead of JSON`;
  const message = [
    `POST ${path} answered ${status}${code === null ? "" : ` ${code}`}: ${sentence}`,
    ...listRefusedFields(answer),
    ...(isEndpointMissing(path, status, code) ? ["deploy the API with the specs of the runner"] : []),
  ];
  const isRetryable = status >= 500 || [408, 425, 429].includes(status);
  return new InternalApiError(message.join("; "), path, status, code, isRetryable, readRetryAfter(response));
}

/** Return whether the API knows fewer specs or operations than this runner, and not that a record is missing. */
function isEndpointMissing(path: string, status: number, code: string | null): boolean {
  return status === NOT_FOUND && (code === "unknown_route" || path.endsWith("/normalize-inputs"));
}

/** List the name and code of each field in `detail`. Messages are left out, since they may quote what was sent. */
function listRefusedFields(answer: JsonObject | undefined): string[] {
  const detail = Array.isArray(answer?.["detail"]) ? answer["detail"] : [];
  const fields = detail.filter(isObject).flatMap((entry) => {
    const field = Array.isArray(entry["loc"]) ? entry["loc"].map(toMessage).join(".") : entry["field"];
    const code = entry["code"] ?? entry["type"];
    return typeof field === "string" ? [`\`${field}\`${typeof code === "string" ? ` (${code})` : ""}`] : [];
  });
  return fields.length > 0 ? [`at ${fields.slice(0, 5).join(", ")}`] : [];
}

function describeBody(response: Response, text: string): string {
  const type = response.headers.get("content-type")?.split(";")[0] ?? "no content type";
  return text === "" ? type : `${text.length} characters of ${type}`;
}

function describeNetworkError(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return code === "" ? toMessage(cause) : `${code} ${toMessage(cause)}`;
}

function readRetryAfter(response: Response): number | null {
  const value = response.headers.get("retry-after")?.trim();
  if (!value) return null;
  if (/^\d+$/.test(value)) return Number(value) * MS_PER_SECOND;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}

/**
 * Compute the pause before a retry, in ms: doubled each time, limited, and its upper half random, so that runners do
 * not retry at the same time.
 */
function computePause(retry: RetryPolicy, attempt: number, requestedMs: number | null): number {
  const doubled = Math.min(retry.longestPauseMs, retry.firstPauseMs * 2 ** (attempt - 1));
  const jittered = doubled * (0.5 + Math.random() / 2);
  return Math.round(Math.min(retry.longestPauseMs, Math.max(jittered, requestedMs ?? 0)));
}
