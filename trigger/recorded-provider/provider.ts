/**
 * A provider of research that answers from recordings, checks orders as the real one does, and counts them. An order
 * that nothing was recorded for is answered with made-up values of its schema.
 *
 * The input of an order may contain a cue, `[recorded:<behaviour>]`, that makes the research end in another way; see
 * BEHAVIOURS.
 */
import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import { isObject, parseJson, stringifyJson, type Json, type JsonObject } from "../src/json/exact.js";
import { fitsSchema } from "./json-schema.js";
import { MADE_UP, makeUpResult } from "./made-up.js";
import { findOrderMistake, isTextOrder, listWarnings, readJsonSchema, type Warning } from "./order-checks.js";
import { findResults, type Recording } from "./recordings.js";

/** The behaviours that a cue can select. */
export const BEHAVIOURS = {
  failed: "the research fails",
  cancelled: "it is cancelled at the provider",
  cancelling: "it is being cancelled until its status was asked",
  action_required: "it waits for a person, who acts once its status was asked",
  forever: "it never ends",
  slow: "it takes three seconds longer",
  forgotten: "the provider does not know it afterwards",
  text: "its content is a Markdown text",
  array: "its content is an array",
  empty: "its content is an empty object",
  unpaid: "the order is refused with 402",
  invalid: "the order is refused with 422",
  busy: "the order is refused with 429, once",
  broken: "the order is answered with a proxy's 502",
  cut: "the order is accepted and the connection cut before the answer",
  mumbled: "the result is answered with a proxy's page, once",
} as const;

type Cue = keyof typeof BEHAVIOURS;
type Behaviour = Cue | "found";

/** A reply; without a body the connection is cut. */
export interface Reply {
  readonly status: number;
  readonly body?: Json | string;
  readonly headers?: Record<string, string>;
}

interface Research {
  readonly order: JsonObject;
  readonly run: JsonObject & { run_id: string };
  readonly behaviour: Behaviour;
  readonly result: JsonObject;
  readonly readyAt: number;
}

/** A wire object: an accepted order. */
interface RecordedOrder extends JsonObject {
  readonly run_id: string;
  readonly input: Json;
  readonly processor: Json;
  readonly metadata: Json;
  readonly task_spec: Json;
  /** Whether nothing was recorded for it. */
  readonly made_up: boolean;
}

const SLOW_DELAY_MS = 3000;
const STILL_ACTIVE = "run is still active";

export class RecordedProvider {
  /** Every accepted order, including those whose answer was lost: each is paid for. */
  readonly orders: RecordedOrder[] = [];
  /** A wire object: the number of requests of each kind. */
  readonly counts = { ordered: 0, refused: 0, asked_status: 0, asked_result: 0 };
  readonly #research = new Map<string, Research>();
  readonly #seenKeys = new Set<string>();
  /** The runs whose status was asked. */
  readonly #askedRuns = new Set<string>();
  readonly #recordings: Recording[];
  readonly #delayMs: number;

  readonly #book: string | undefined;

  /** Answer from `recordings`; research takes `delayMs`. What is accepted is written to the file `book`, and read from it. */
  constructor(recordings: Recording[], delayMs: number, book?: string) {
    this.#recordings = recordings;
    this.#delayMs = delayMs;
    this.#book = book;
    if (book !== undefined && existsSync(book)) this.#readBook(book);
  }

  #readBook(book: string): void {
    for (const line of readFileSync(book, "utf8").split("\n")) {
      const entry = line === "" ? null : parseJson(line);
      if (!isObject(entry) || !isObject(entry["order"] ?? null)) continue;
      const order = entry["order"] as JsonObject;
      const text = readText(order);
      const { run_id: runId } = entry;
      this.#startResearch(order, readCue(text), text, typeof runId === "string" ? runId : undefined);
    }
  }

  /** Accept an order, unless its cue says otherwise or its form is invalid. */
  acceptOrder(order: JsonObject): Reply {
    const text = readText(order);
    const behaviour = readCue(text);
    const refusal = this.#findRefusal(order, behaviour, text);
    if (refusal !== undefined) {
      this.counts.refused += 1;
      return refusal;
    }
    const research = this.#startResearch(order, behaviour, text);
    if (this.#book !== undefined) {
      appendFileSync(this.#book, `${stringifyJson({ run_id: research.run.run_id, order })}\n`);
    }
    if (behaviour === "cut") return { status: 0 };
    if (behaviour === "broken") return buildHtmlReply(502);
    return { status: 202, body: this.#buildRunBody(research) };
  }

  /** Return the run with its status. */
  fetchRun(runId: string): Reply {
    this.counts.asked_status += 1;
    const research = this.#findResearch(runId);
    if (research === undefined) return buildErrorReply(404, "run not found");
    const body = this.#buildRunBody(research);
    this.#askedRuns.add(runId);
    return { status: 200, body };
  }

  /** Return the result of a run, waiting up to `seconds` for it. */
  async waitForResult(runId: string, seconds: number): Promise<Reply> {
    this.counts.asked_result += 1;
    const research = this.#findResearch(runId);
    const status = research === undefined ? "unknown" : this.#readStatus(research);
    if (research === undefined || ["failed", "cancelled", "action_required"].includes(status)) {
      return buildErrorReply(404, "run not found or failed");
    }
    if (status === "cancelling") return buildErrorReply(408, STILL_ACTIVE);
    if (research.behaviour === "mumbled" && this.#isFirstTime(runId)) return buildHtmlReply(200);
    const end = Math.min(research.readyAt, Date.now() + seconds * 1000);
    // A timer may end a millisecond early, and the run would be said to be active still.
    for (let left = end - Date.now(); left > 0; left = end - Date.now()) await pause(left);
    if (Date.now() < research.readyAt) return buildErrorReply(408, STILL_ACTIVE);
    const output = replaceContent(research.behaviour, research.result["output"] ?? null);
    return { status: 200, body: { ...research.result, run: this.#buildRunBody(research), output } };
  }

  #findRefusal(order: JsonObject, behaviour: Behaviour, text: string): Reply | undefined {
    const mistake = findOrderMistake(order);
    if (mistake !== undefined) return buildErrorReply(422, mistake);
    if (behaviour === "unpaid") return buildErrorReply(402, "insufficient credit");
    if (behaviour === "invalid") return buildErrorReply(422, "the input is refused");
    if (behaviour === "busy" && this.#isFirstTime(text)) {
      return { ...buildErrorReply(429, "too many requests"), headers: { "retry-after": "1" } };
    }
    return undefined;
  }

  #startResearch(order: JsonObject, behaviour: Behaviour, text: string, runId?: string): Research {
    const recorded = findResults(this.#recordings, text).find((result) => answersOrder(order, result));
    const warnings: Warning[] = listWarnings(order);
    if (recorded === undefined) warnings.push({ type: "made_up", message: `this answer is ${MADE_UP}`, detail: null });
    const result = recorded ?? makeUpResult(order);
    const run = {
      run_id: runId ?? `trun_${recorded === undefined ? "made_up_" : ""}${randomUUID().replaceAll("-", "")}`,
      interaction_id: `trun_${randomUUID().replaceAll("-", "")}`,
      processor: order["processor"] ?? null,
      metadata: order["metadata"] ?? null,
      created_at: new Date().toISOString(),
      warnings: warnings.length > 0 ? warnings : null,
      taskgroup_id: null,
    };
    const delay = behaviour === "forever" ? Infinity : this.#delayMs + (behaviour === "slow" ? SLOW_DELAY_MS : 0);
    const research = { order, run, behaviour, result, readyAt: Date.now() + delay };
    this.#research.set(run.run_id, research);
    this.counts.ordered += 1;
    this.orders.push({
      run_id: run.run_id,
      input: order["input"] ?? null,
      processor: run.processor,
      metadata: run.metadata,
      task_spec: order["task_spec"] ?? null,
      made_up: recorded === undefined,
    });
    return research;
  }

  #findResearch(runId: string): Research | undefined {
    const research = this.#research.get(runId);
    return research?.behaviour === "forgotten" ? undefined : research;
  }

  #readStatus({ run, behaviour, readyAt }: Research): string {
    if (behaviour === "failed" || behaviour === "cancelled") return behaviour;
    const wasAsked = this.#askedRuns.has(run.run_id);
    if (behaviour === "cancelling") return wasAsked ? "cancelled" : behaviour;
    if (behaviour === "action_required" && !wasAsked) return behaviour;
    return Date.now() < readyAt ? "running" : "completed";
  }

  #buildRunBody(research: Research): JsonObject {
    const { run, behaviour } = research;
    const status = this.#readStatus(research);
    const error =
      behaviour === "failed" ? { ref_id: "ref_recorded", message: "the research could not be completed" } : null;
    const isActive = ["queued", "running", "cancelling"].includes(status);
    return { ...run, status, is_active: isActive, error, modified_at: new Date().toISOString() };
  }

  #isFirstTime(key: string): boolean {
    const isFirst = !this.#seenKeys.has(key);
    this.#seenKeys.add(key);
    return isFirst;
  }
}

/** Tell whether a recorded result has the shape that an order asks for. */
function answersOrder(order: JsonObject, result: JsonObject): boolean {
  const output = result["output"] ?? null;
  const content = isObject(output) ? (output["content"] ?? null) : null;
  if (isTextOrder(order)) return typeof content === "string";
  const schema = readJsonSchema(order);
  return schema === null || fitsSchema(schema, schema, content);
}

function readText(order: JsonObject): string {
  return typeof order["input"] === "string" ? order["input"] : stringifyJson(order["input"] ?? null);
}

function readCue(text: string): Behaviour {
  const cue = /\[recorded:(\w+)\]/.exec(text)?.[1];
  return cue !== undefined && cue in BEHAVIOURS ? (cue as Cue) : "found";
}

function replaceContent(behaviour: Behaviour, output: Json): Json {
  if (!isObject(output)) return output;
  if (behaviour === "text") {
    return { ...output, type: "text", content: "# Report\n\nWritten as Markdown, not as JSON." };
  }
  if (behaviour === "array") return { ...output, content: [{ title: "Head of Operations" }, "Chief of Staff", 7] };
  if (behaviour === "empty") return { ...output, content: {} };
  return output;
}

function buildErrorReply(status: number, message: string): Reply {
  return { status, body: { type: "error", error: { ref_id: randomUUID(), message, detail: null } } };
}

function buildHtmlReply(status: number): Reply {
  return {
    status,
    body: "<html><body><h1>Bad Gateway</h1></body></html>",
    headers: { "content-type": "text/html" },
  };
}
