/** Requests to the API that serves this page, with the key of this tab. */
import { parseJson } from "./json";

const STORED_KEY = "dex.key";
/** The event of the window after the API refused a key, such as a token that was revoked; `detail` is the Problem. */
export const KEY_REFUSED = "dex.key-refused";

const LATE_HINT = "It accepted the connection: see whether it, or a proxy in front of it, hangs.";
const ONLINE_HINT = "Check that it runs and that you are online.";
/** Seconds until an answer has to begin. The API itself ends what takes it longer than 60. */
const ANSWER_SECONDS = 90;

/** An error response of the API, with its message, code and hint. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly hint = "",
  ) {
    super(message);
  }

  /** The message and the hint on one line. The API's messages end without a full stop, the page's own with one. */
  describe(): string {
    return `${this.message.replace(/\.$/, "")}. ${this.hint}`.trim();
  }
}

export interface Answer<T, M = Record<string, unknown>> {
  data: T;
  meta: M;
}

interface RequestOptions {
  method?: "GET" | "POST";
  body?: unknown;
  accept?: string;
  /** Seconds until the answer has to begin, by default ANSWER_SECONDS; its body may take any time. */
  seconds?: number;
  signal?: AbortSignal | undefined;
  key?: string;
}

/** Read the key from sessionStorage, which ends with the tab and is not shared with other tabs. */
export function readKey(): string | null {
  return sessionStorage.getItem(STORED_KEY);
}

export function storeKey(key: string | null): void {
  if (key === null) sessionStorage.removeItem(STORED_KEY);
  else sessionStorage.setItem(STORED_KEY, key);
}

/** Send a request with the key and return the response. Throws Problem for an error response, or if there is none. */
export async function sendRequest(path: string, options: RequestOptions = {}): Promise<Response> {
  const key = options.key ?? readKey() ?? "";
  const headers: Record<string, string> = { authorization: `Bearer ${key}` };
  if (options.accept) headers["accept"] = options.accept;
  const init: RequestInit = { method: options.method ?? "GET", headers, cache: "no-store", credentials: "omit" };
  if (options.body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  const seconds = options.seconds ?? ANSWER_SECONDS;
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort();
  }, seconds * 1000);
  init.signal = options.signal ? AbortSignal.any([options.signal, late.signal]) : late.signal;
  let response: Response;
  try {
    // Relative to the page's URL, so that it works below a path prefix of a proxy.
    response = await fetch(path, init);
  } catch (error) {
    if (late.signal.aborted) {
      throw new Problem(`The API did not answer within ${seconds} seconds.`, 0, "no_answer", LATE_HINT);
    }
    if (isAbort(error)) throw error;
    throw new Problem("The API does not answer.", 0, "no_answer", ONLINE_HINT);
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return response;
  const problem = await readProblem(response);
  // A slow response to the key of an earlier sign-in says nothing about the present one.
  const isPresent = key === (readKey() ?? "");
  if (problem.status === 401 && problem.code !== "" && isPresent) {
    dispatchEvent(new CustomEvent(KEY_REFUSED, { detail: problem }));
  }
  throw problem;
}

/** Wait for the body of a response. Throws Problem if the connection breaks before its end. */
export async function readBody<T>(body: Promise<T>): Promise<T> {
  try {
    return await body;
  } catch (error) {
    // Browsers say so with a TypeError of different words; an abort or a full disk is a DOMException.
    if (!(error instanceof TypeError)) throw error;
    throw new Problem("The API's answer broke off before its end.", 0, "no_answer", ONLINE_HINT);
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Responses that were requested before their page is drawn, by path; each is used once. */
const early = new Map<string, Promise<Response>>();

/** Send a GET request; the next `fetchJson` of the same path uses its response. */
export function sendEarly(path: string, options: RequestOptions): void {
  const response = sendRequest(path, options);
  response.catch(() => undefined); // the `fetchJson` that uses it gets the error
  early.set(path, response);
}

/** Forget the responses that `sendEarly` requested, which another caller must not see. */
export function forgetEarly(): void {
  early.clear();
}

/** Send a request and return the parsed JSON of the response. Throws Problem for an error response. */
export async function fetchJson<T, M = Record<string, unknown>>(
  path: string,
  options: RequestOptions = {},
): Promise<Answer<T, M>> {
  const sent = early.get(path);
  early.delete(path);
  const response = await (sent ?? sendRequest(path, options));
  const text = await readBody(response.text());
  try {
    return parseJson(text) as Answer<T, M>;
  } catch {
    const hint = "A proxy or the sign-in page of a network does that: reload the page.";
    throw new Problem("Something else answered in place of the API.", response.status, "no_json", hint);
  }
}

async function readProblem(response: Response): Promise<Problem> {
  try {
    const body = (await response.json()) as { error?: string; code?: string; hint?: string };
    const message = body.error ?? `The API answered ${response.status}.`;
    return new Problem(message, response.status, body.code ?? "", body.hint ?? "");
  } catch {
    return new Problem(`The API answered ${response.status}.`, response.status, "");
  }
}

/** Build a path with a query string; parameters that are null, undefined or blank are left out. */
export function buildPath(path: string, parameters: Record<string, string | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}
