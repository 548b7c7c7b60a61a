/**
 * A provider of research that answers from recordings and counts what was ordered.
 *
 * The input of an order may contain a cue, `[recorded:<behaviour>]`, that makes the research end in another way; see
 * BEHAVIOURS.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import { isObject, stringifyJson, type Json, type JsonObject } from "../src/json/exact.js";
import { findResult, type Recording } from "./recordings.js";

/** The behaviours that a cue can select. */
export const BEHAVIOURS = {
  failed: "the research fails",
  cancelled: "it is cancelled at the provider",
  cancelling: "it is being cancelled",
  action_required: "it waits for a person",
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

export type Cue = keyof typeof BEHAVIOURS;
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

const ENDED_BEHAVIOURS = ["failed", "cancelled", "cancelling", "action_required"];
const SLOW_DELAY_MS = 3000;

export class RecordedProvider {
  /** Every accepted order, including those whose answer was lost: each is paid for. */
  readonly orders: { run_id: string; processor: Json; metadata: Json }[] = [];
  /** A wire object: the number of requests of each kind. */
  readonly counts = { ordered: 0, refused: 0, asked_status: 0, asked_result: 0 };
  readonly #research = new Map<string, Research>();
  readonly #seenKeys = new Set<string>();
  readonly #recordings: Recording[];
  readonly #delayMs: number;

  /** Answer from `recordings`; research takes `delayMs`. */
  constructor(recordings: Recording[], delayMs: number) {
    this.#recordings = recordings;
    this.#delayMs = delayMs;
  }

  /** Accept an order, unless its cue or its form is against it. */
  acceptOrder(order: JsonObject): Reply {
    const text = typeof order["input"] === "string" ? order["input"] : stringifyJson(order["input"] ?? null);
    const behaviour = readCue(text);
    const refusal = this.#findRefusal(order, behaviour, text);
    if (refusal !== undefined) {
      this.counts.refused += 1;
      return refusal;
    }
    const research = this.#startResearch(order, behaviour, text);
    if (research === undefined) return buildErrorReply(422, "no recording fits this input");
    if (behaviour === "cut") return { status: 0 };
    if (behaviour === "broken") return buildHtmlReply(502);
    return { status: 202, body: this.#buildRunBody(research) };
  }

  /** Return the run with its status. */
  fetchRun(runId: string): Reply {
    this.counts.asked_status += 1;
    const research = this.#findResearch(runId);
    return research === undefined
      ? buildErrorReply(404, "run not found")
      : { status: 200, body: this.#buildRunBody(research) };
  }

  /** Return the result of a run, waiting up to `seconds` for it. */
  async waitForResult(runId: string, seconds: number): Promise<Reply> {
    this.counts.asked_result += 1;
    const research = this.#findResearch(runId);
    if (research === undefined || ENDED_BEHAVIOURS.includes(research.behaviour)) {
      return buildErrorReply(404, "run not found or failed");
    }
    if (research.behaviour === "mumbled" && this.#isFirstTime(runId)) return buildHtmlReply(200);
    const remainingMs = research.readyAt - Date.now();
    await pause(Math.max(0, Math.min(remainingMs, seconds * 1000)));
    if (Date.now() < research.readyAt) return buildErrorReply(408, "run is still active");
    const output = replaceContent(research.behaviour, research.result["output"] ?? null);
    return { status: 200, body: { ...research.result, run: this.#buildRunBody(research), output } };
  }

  #findRefusal(order: JsonObject, behaviour: Behaviour, text: string): Reply | undefined {
    if (typeof order["processor"] !== "string") return buildErrorReply(422, "processor is missing");
    const { metadata } = order;
    const pairs = isObject(metadata ?? null) ? Object.entries(metadata as JsonObject) : [];
    if (pairs.some(([key, value]) => key.length > 16 || stringifyJson(value).length > 514)) {
      return buildErrorReply(422, "metadata keys have at most 16 characters, values at most 512");
    }
    if (behaviour === "unpaid") return buildErrorReply(402, "insufficient credit");
    if (behaviour === "invalid") return buildErrorReply(422, "the input is refused");
    if (behaviour === "busy" && this.#isFirstTime(text)) {
      return { ...buildErrorReply(429, "too many requests"), headers: { "retry-after": "1" } };
    }
    return undefined;
  }

  #startResearch(order: JsonObject, behaviour: Behaviour, text: string): Research | undefined {
    const result = findResult(this.#recordings, text);
    if (result === undefined) return undefined;
    const run = {
      run_id: `trun_${randomUUID().replaceAll("-", "")}`,
      interaction_id: `trun_${randomUUID().replaceAll("-", "")}`,
      processor: order["processor"] ?? null,
      metadata: order["metadata"] ?? null,
      created_at: new Date().toISOString(),
      warnings: null,
      taskgroup_id: null,
    };
    const delay = behaviour === "forever" ? Infinity : this.#delayMs + (behaviour === "slow" ? SLOW_DELAY_MS : 0);
    const research = { order, run, behaviour, result, readyAt: Date.now() + delay };
    this.#research.set(run.run_id, research);
    this.counts.ordered += 1;
    this.orders.push({ run_id: run.run_id, processor: run.processor, metadata: run.metadata });
    return research;
  }

  #findResearch(runId: string): Research | undefined {
    const research = this.#research.get(runId);
    return research?.behaviour === "forgotten" ? undefined : research;
  }

  #buildRunBody({ run, behaviour, readyAt }: Research): JsonObject {
    const progress = Date.now() < readyAt ? "running" : "completed";
    const status = ENDED_BEHAVIOURS.includes(behaviour) ? behaviour : progress;
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
