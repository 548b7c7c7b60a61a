/**
 * Research as the provider would conduct it, played from recordings.
 *
 * In: orders and questions. Out: answers as {status, body}, and a book of what was asked. It must not know HTTP.
 *
 * Order texts may carry a cue, `[recorded:<behaviour>]`, that makes the research end in another way; see BEHAVIOURS.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import { isObject, stringify, type Json, type JsonObject } from "../exact.js";
import { findResult, type loadRecordings } from "./recordings.js";

/** What a cue makes of an order. */
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

export type Behaviour = keyof typeof BEHAVIOURS;

/** An answer; no body means that the connection is cut. */
export interface Reply {
  readonly status: number;
  readonly body?: Json | string;
  readonly headers?: Record<string, string>;
}

interface Research {
  readonly order: JsonObject;
  readonly run: JsonObject & { run_id: string };
  readonly behaviour: Behaviour | "found";
  readonly result: JsonObject;
  readonly readyAt: number;
}

const ENDED = ["failed", "cancelled", "cancelling", "action_required"];
const SLOWER_MS = 3000;

export class Studio {
  /** Every accepted order, also one whose answer was lost: each is paid for. */
  readonly book: { run_id: string; processor: Json; metadata: Json }[] = [];
  readonly counts = { ordered: 0, refused: 0, asked_status: 0, asked_result: 0 };
  readonly #research = new Map<string, Research>();
  readonly #played = new Set<string>();

  constructor(
    private readonly recordings: ReturnType<typeof loadRecordings>,
    private readonly delayMs: number,
  ) {}

  /** Accept an order. */
  order(order: JsonObject): Reply {
    const text = typeof order["input"] === "string" ? order["input"] : stringify(order["input"] ?? null);
    const behaviour = cueIn(text);
    const refusal = this.#refuse(order, behaviour, text);
    if (refusal !== undefined) {
      this.counts.refused += 1;
      return refusal;
    }
    const research = this.#accept(order, behaviour, text);
    if (research === undefined) return fault(422, "no recording fits this input");
    if (behaviour === "cut") return { status: 0 };
    if (behaviour === "broken") return page(502);
    return { status: 202, body: this.#runOf(research) };
  }

  /** How a run stands. */
  status(runId: string): Reply {
    this.counts.asked_status += 1;
    const research = this.#known(runId);
    return research === undefined ? fault(404, "run not found") : { status: 200, body: this.#runOf(research) };
  }

  /** Its result, waited for up to `seconds`. */
  async result(runId: string, seconds: number): Promise<Reply> {
    this.counts.asked_result += 1;
    const research = this.#known(runId);
    if (research === undefined || ENDED.includes(research.behaviour)) return fault(404, "run not found or failed");
    if (research.behaviour === "mumbled" && this.#first(runId)) return page(200);
    const left = research.readyAt - Date.now();
    await pause(Math.max(0, Math.min(left, seconds * 1000)));
    if (Date.now() < research.readyAt) return fault(408, "run is still active");
    const output = contentFor(research.behaviour, research.result["output"] ?? null);
    return { status: 200, body: { ...research.result, run: this.#runOf(research), output } };
  }

  #refuse(order: JsonObject, behaviour: Research["behaviour"], text: string): Reply | undefined {
    if (typeof order["processor"] !== "string") return fault(422, "processor is missing");
    const { metadata } = order;
    const pairs = isObject(metadata ?? null) ? Object.entries(metadata as JsonObject) : [];
    if (pairs.some(([key, value]) => key.length > 16 || stringify(value).length > 514)) return fault(422, "metadata keys have at most 16 characters, values at most 512");
    if (behaviour === "unpaid") return fault(402, "insufficient credit");
    if (behaviour === "invalid") return fault(422, "the input is refused");
    if (behaviour === "busy" && this.#first(text)) return { ...fault(429, "too many requests"), headers: { "retry-after": "1" } };
    return undefined;
  }

  #accept(order: JsonObject, behaviour: Research["behaviour"], text: string): Research | undefined {
    const result = findResult(this.recordings, text);
    if (result === undefined) return undefined;
    const now = new Date().toISOString();
    const run = {
      run_id: `trun_${randomUUID().replaceAll("-", "")}`,
      interaction_id: `trun_${randomUUID().replaceAll("-", "")}`,
      processor: order["processor"] ?? null,
      metadata: order["metadata"] ?? null,
      created_at: now,
      warnings: null,
      taskgroup_id: null,
    };
    const delay = behaviour === "forever" ? Infinity : this.delayMs + (behaviour === "slow" ? SLOWER_MS : 0);
    const research = { order, run, behaviour, result, readyAt: Date.now() + delay };
    this.#research.set(run.run_id, research);
    this.counts.ordered += 1;
    this.book.push({ run_id: run.run_id, processor: run.processor, metadata: run.metadata });
    return research;
  }

  #known(runId: string): Research | undefined {
    const research = this.#research.get(runId);
    return research?.behaviour === "forgotten" ? undefined : research;
  }

  #runOf({ run, behaviour, readyAt }: Research): JsonObject {
    const isActive = Date.now() < readyAt;
    const status = ENDED.includes(behaviour) ? behaviour : isActive ? "running" : "completed";
    const error = behaviour === "failed" ? { ref_id: "ref_recorded", message: "the research could not be completed" } : null;
    const is_active = ["queued", "running", "cancelling"].includes(status);
    return { ...run, status, is_active, error, modified_at: new Date().toISOString() };
  }

  #first(what: string): boolean {
    const isFirst = !this.#played.has(what);
    this.#played.add(what);
    return isFirst;
  }
}

function cueIn(text: string): Research["behaviour"] {
  const cue = /\[recorded:(\w+)\]/.exec(text)?.[1];
  return cue !== undefined && cue in BEHAVIOURS ? (cue as Behaviour) : "found";
}

function contentFor(behaviour: Research["behaviour"], output: Json): Json {
  if (!isObject(output)) return output;
  if (behaviour === "text") return { ...output, type: "text", content: "# Report\n\nWritten as Markdown, not as JSON." };
  if (behaviour === "array") return { ...output, content: [{ title: "Head of Operations" }, "Chief of Staff", 7] };
  if (behaviour === "empty") return { ...output, content: {} };
  return output;
}

function fault(status: number, message: string): Reply {
  return { status, body: { type: "error", error: { ref_id: randomUUID(), message, detail: null } } };
}

function page(status: number): Reply {
  return { status, body: "<html><body><h1>Bad Gateway</h1></body></html>", headers: { "content-type": "text/html" } };
}
