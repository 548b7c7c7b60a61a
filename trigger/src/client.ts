/**
 * Calls of the internal API.
 *
 * In: where it is, for whom, a path and a body. Out: what the API stored. It must not know steps, specs or research.
 *
 * Every request carries the key, the organisation and the company: a persist call once went out without the organisation
 * for 22 days, got a 401 each time, and nobody saw it. So headers are set in one place, and a write counts only when the
 * answer shows the row.
 */
import { setTimeout as pause } from "node:timers/promises";

import { isObject, parse, stringify, type Json, type JsonObject } from "./exact.js";
import { messageOf, type Logger } from "./logger.js";
import { needed, neededUrl, type Environment } from "./settings.js";

export interface RetryPolicy {
  /** How often a request is made at most. */
  readonly attempts: number;
  readonly firstPauseMs: number;
  /** Also the most that a `Retry-After` is honoured for. */
  readonly longestPauseMs: number;
}

/** Where the internal API is and how patiently it is asked. */
export interface InternalApi {
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  readonly logger?: Logger;
  /** Once aborted, nothing is tried again; a request under way is still waited for. */
  readonly signal?: AbortSignal | undefined;
}

/** An InternalApi asked on behalf of one organisation. */
export interface InternalConfig extends InternalApi {
  /** Blank only for a claim of whatever run is next: nobody knows yet whose it will be. */
  readonly orgId: string;
  readonly companyId: string | null;
}

/** A call that failed. Carries the path, the status and the API's own words; never what was sent. */
export class InternalApiError extends Error {
  override readonly name = "InternalApiError";

  constructor(
    message: string,
    readonly path: string,
    /** 0 when there was no answer. */
    readonly status: number,
    readonly code: string | null,
    readonly worthRetrying: boolean,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }
}

const SECONDS = 1000;
// About two minutes in all: longer than a deployment of the API takes.
const PATIENT: RetryPolicy = { attempts: 10, firstPauseMs: 500, longestPauseMs: 20 * SECONDS };

/** Read DATA_ENGINE_API_URL and DATA_ENGINE_INTERNAL_API_KEY. Throws SettingError naming the one that is missing. */
export function internalApi(env: Environment): InternalApi {
  return {
    apiUrl: neededUrl(env, "DATA_ENGINE_API_URL", "the address of the engine's API"),
    apiKey: needed(env, "DATA_ENGINE_INTERNAL_API_KEY", "the API's `INTERNAL_API_KEY`"),
    timeoutMs: 60 * SECONDS,
    retry: PATIENT,
  };
}

/** What the API made of many rows: those it stored, and why it refused others. */
export interface StoredRows {
  readonly rows: JsonObject[];
  /** `{"element", "field", "code", ...}` each, `element` counting from 0 in what was sent. */
  readonly rejected: JsonObject[];
}

/**
 * POST `body` and return the row the API stored.
 *
 * Throws InternalApiError for any other answer: a 4xx at once; a network error, a timeout, 408, 425, 429 and 5xx after
 * the retries; a 200 that shows no row.
 */
export async function internalPost(config: InternalConfig, path: string, body: object): Promise<JsonObject> {
  const { data } = await postPatiently(config, path, body);
  if (isRow(data)) return data;
  throw new InternalApiError(`POST ${path} answered 200 without the row it should have stored`, path, 200, null, false);
}

/** POST a body with many `rows` and return those the API stored. Throws as `internalPost` does. */
export async function internalPostRows(config: InternalConfig, path: string, body: object): Promise<StoredRows> {
  const { data, meta } = await postPatiently(config, path, body);
  const rejected = isObject(meta) && Array.isArray(meta["rejected"]) ? meta["rejected"].filter(isObject) : [];
  if (Array.isArray(data) && data.length > 0 && data.every(isRow)) return { rows: data, rejected };
  throw new InternalApiError(`POST ${path} answered 200 without the rows it should have stored`, path, 200, null, false);
}

/** POST `body` and return `data` of the answer, whatever it is. Throws as `internalPost` does, but for the row. */
export async function internalCall(config: InternalConfig, path: string, body: object): Promise<Json> {
  return (await postPatiently(config, path, body)).data;
}

interface Answer {
  readonly data: Json;
  readonly meta: Json;
}

async function postPatiently(config: InternalConfig, path: string, body: object): Promise<Answer> {
  const text = stringify(body);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await post(config, path, text);
    } catch (error) {
      if (!(error instanceof InternalApiError) || !error.worthRetrying || attempt >= config.retry.attempts) throw error;
      const wait = pauseBefore(config.retry, attempt, error.retryAfterMs);
      config.logger?.warn(`${error.message}; trying again`, { attempt, of: config.retry.attempts, pause_ms: wait });
      await pause(wait, undefined, { signal: config.signal }).catch(() => undefined);
      if (config.signal?.aborted) throw error;
    }
  }
}

function isRow(value: Json): value is JsonObject {
  return isObject(value) && typeof value["id"] === "string" && value["id"] !== "";
}

async function post(config: InternalConfig, path: string, body: string): Promise<Answer> {
  const { response, text } = await exchange(config, path, body);
  const answer = readAnswer(text);
  if (!response.ok) throw refusal(path, response, answer);
  if (answer === undefined || !("data" in answer)) {
    const message = `POST ${path} answered ${response.status} with ${describe(response, text)} instead of {"data": ...}`;
    throw new InternalApiError(message, path, response.status, null, false);
  }
  return { data: answer["data"] ?? null, meta: answer["meta"] ?? null };
}

async function exchange(config: InternalConfig, path: string, body: string): Promise<{ response: Response; text: string }> {
  const timeout = AbortSignal.timeout(config.timeoutMs);
  try {
    const response = await fetch(config.apiUrl + path, {
      method: "POST",
      headers: headers(config),
      body,
      redirect: "manual", // a redirected POST loses its body, and the key is for this host only
      signal: timeout,
    });
    return { response, text: await response.text() };
  } catch (error) {
    const reason = timeout.aborted ? `no answer within ${config.timeoutMs} ms` : networkReason(error);
    throw new InternalApiError(`POST ${path} failed: ${reason}`, path, 0, null, true);
  }
}

function headers(config: InternalConfig): Record<string, string> {
  return {
    authorization: `Bearer ${config.apiKey}`,
    "content-type": "application/json",
    ...(config.orgId === "" ? {} : { "x-internal-org-id": config.orgId }),
    "x-internal-company-id": config.companyId ?? "",
  };
}

/** The answer as an object; undefined for anything else: a proxy's HTML page is no JSON. */
function readAnswer(text: string): JsonObject | undefined {
  try {
    const answer = parse(text);
    return isObject(answer) ? answer : undefined;
  } catch {
    return undefined;
  }
}

function refusal(path: string, response: Response, answer: JsonObject | undefined): InternalApiError {
  const { status } = response;
  const code = typeof answer?.["code"] === "string" ? answer["code"] : null;
  const sentence = typeof answer?.["error"] === "string" ? answer["error"] : `${describe(response, "")} instead of JSON`;
  const message = [`POST ${path} answered ${status}${code === null ? "" : ` ${code}`}: ${sentence}`, ...places(answer)];
  const worthRetrying = status >= 500 || [408, 425, 429].includes(status);
  return new InternalApiError(message.join("; "), path, status, code, worthRetrying, retryAfter(response));
}

/** Which fields `detail` is about, by name and code: its sentences may quote what was sent. */
function places(answer: JsonObject | undefined): string[] {
  const detail = Array.isArray(answer?.["detail"]) ? answer["detail"] : [];
  const named = detail.filter(isObject).flatMap((entry) => {
    const place = Array.isArray(entry["loc"]) ? entry["loc"].map(messageOf).join(".") : entry["field"];
    const code = entry["code"] ?? entry["type"];
    return typeof place === "string" ? [`\`${place}\`${typeof code === "string" ? ` (${code})` : ""}`] : [];
  });
  return named.length > 0 ? [`at ${named.slice(0, 5).join(", ")}`] : [];
}

function describe(response: Response, text: string): string {
  const type = response.headers.get("content-type")?.split(";")[0] ?? "no content type";
  return text === "" ? type : `${text.length} characters of ${type}`;
}

function networkReason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return code === "" ? messageOf(cause) : `${code} ${messageOf(cause)}`;
}

function retryAfter(response: Response): number | null {
  const value = response.headers.get("retry-after")?.trim();
  if (!value) return null;
  if (/^\d+$/.test(value)) return Number(value) * SECONDS;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}

/** Doubling, capped, and spread over its upper half so that runners do not come back together. */
function pauseBefore(retry: RetryPolicy, attempt: number, asked: number | null): number {
  const doubled = Math.min(retry.longestPauseMs, retry.firstPauseMs * 2 ** (attempt - 1));
  const spread = doubled * (0.5 + Math.random() / 2);
  return Math.round(Math.min(retry.longestPauseMs, Math.max(spread, asked ?? 0)));
}
