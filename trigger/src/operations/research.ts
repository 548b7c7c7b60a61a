/**
 * One Deep Research: bought once, waited for, and told as an operation's result.
 *
 * In: an operation, the context, what is on record of an earlier purchase. Out: an OperationResult; provider and inputs
 * never make it throw. It must not know HTTP or the engine; it keeps records through a StepRecord.
 *
 * The order is what protects the money: note that a request is about to be made, make it, keep the provider's run id
 * before anything else can fail; the note is taken back when the request certainly was not accepted. Killed at any point, a
 * later execution sees from the record whether to buy, to resume, or to stop because a request may have been paid whose
 * answer was lost.
 */
import { randomUUID } from "node:crypto";

import { isObject, mend, type Json, type JsonObject } from "../exact.js";
import { messageOf, type Logger } from "../logger.js";
import { missingInputs, readInputs, type Inputs } from "./inputs.js";
import type { Attempt, Operation, OperationResult, StepConfig } from "./operation.js";
import { fillPrompt } from "./prompt.js";
import { NotBought, type News, type Order, type Provider } from "./provider.js";

/** What the engine keeps of a purchase, and how to keep it. */
export interface StepRecord {
  readonly providerRequestedAt: string | null;
  readonly providerRunId: string | null;
  /** Note that a request is about to be made. Throws when another execution has noted the same. */
  noteRequest(): Promise<void>;
  /** Take that note back: nothing was bought. */
  withdrawRequest(): Promise<void>;
  /** Keep the provider's run id. */
  keepRunId(runId: string): Promise<void>;
  readonly metadata: Record<string, string>;
}

/** How to wait: asked for up to `blockSeconds`, then a pause in which the platform may free the slot. */
export interface Patience {
  readonly blockSeconds: number;
  pause(round: number): Promise<void>;
}

export interface Tools {
  readonly provider: Provider;
  readonly patience: Patience;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

const TWO_HOURS = 2 * 60 * 60; // the longest that the largest processors take
const BUYING_ATTEMPTS = 12; // the provider counts requests by the minute; these take longer than one

/** Conduct the research of one step. */
export async function conduct(
  operation: Operation,
  context: JsonObject,
  config: StepConfig,
  record: StepRecord,
  tools: Tools,
): Promise<OperationResult> {
  const inputs = readInputs(context, operation.inputs);
  const processor = config.processor ?? operation.processor;
  const result = outcomeOf(operation, processor);
  if (record.providerRunId !== null) return await follow(record.providerRunId, "resumed");
  if (record.providerRequestedAt !== null) return result.failed("maybe_bought", lostAnswer(record));
  const missing = missingInputs(inputs, operation.inputs);
  if (missing.length > 0) return result.missing(missing);

  const prompt = fillPrompt(operation.prompt, inputs);
  const bought = await buy({ prompt, processor, metadata: record.metadata }, record, tools);
  if (!("runId" in bought)) return result.failed(bought.code, bought.message);
  await keep(bought.runId, record, tools.logger);
  return await follow(bought.runId, "bought");

  async function follow(runId: string, action: Attempt["action"]): Promise<OperationResult> {
    const end = await wait(runId, config.timeout_seconds ?? TWO_HOURS, tools);
    return result.of(end, runId, action, inputs);
  }
}

type Purchase = { runId: string } | { code: string; message: string };

/** Buy, repeating only what certainly never was accepted. */
async function buy(order: Order, record: StepRecord, { provider, patience, logger }: Tools): Promise<Purchase> {
  for (let attempt = 1; ; attempt += 1) {
    await record.noteRequest();
    try {
      return { runId: await provider.buy(order) };
    } catch (error) {
      const message = messageOf(error);
      if (!(error instanceof NotBought)) return { code: "maybe_bought", message: `${message}; ${notAgain(order)}` };
      await record.withdrawRequest();
      if (!error.worthRetrying || attempt >= BUYING_ATTEMPTS) return { code: "not_bought", message: `${message}; nothing was bought` };
      logger.warn(`${message}; nothing was bought, trying again`, { attempt, of: BUYING_ATTEMPTS });
      await patience.pause(attempt);
    }
  }
}

/** The one write that must not be lost: where it fails for good, the id is at least in the log. */
async function keep(runId: string, record: StepRecord, logger: Logger): Promise<void> {
  try {
    await record.keepRunId(runId);
  } catch (error) {
    const facts = { ...record.metadata, provider_run_id: runId, error: messageOf(error) };
    logger.error("Research was bought and its id could not be kept", facts);
    throw error;
  }
}

type End = Exclude<News, { kind: "active" | "unreachable" }>;

async function wait(runId: string, seconds: number, { provider, patience, logger, signal }: Tools): Promise<End> {
  const deadline = Date.now() + seconds * 1000;
  for (let round = 1; ; round += 1) {
    const news = await provider.ask(runId, patience.blockSeconds, signal);
    if (news.kind === "done" || news.kind === "ended") return news;
    signal?.throwIfAborted();
    if (news.kind === "unreachable") logger.warn(`${news.message}; asking again`, { provider_run_id: runId });
    if (Date.now() >= deadline) return { kind: "ended", status: "timeout", message: tooLong(runId, seconds, news) };
    await patience.pause(round);
  }
}

/** The ways to tell how it went, in the shape that `step_results.output_payload.operation_result` has. */
function outcomeOf(operation: Operation, processor: string) {
  const base = { run_id: randomUUID(), operation_id: operation.id };
  const attempt = (action: Attempt["action"], run_id: string | null, status: string): Attempt[] => [
    { provider: "parallel", action, run_id, processor, status },
  ];
  const failed = (code: string, message: string, attempts: Attempt[] = []): OperationResult => ({
    ...base, status: "failed", output: null, provider_attempts: attempts, error: { code, message },
  });
  return {
    failed: (code: string, message: string) => failed(code, message, attempt("bought", null, code)),
    missing: (names: string[]): OperationResult => ({
      ...failed("missing_inputs", `the context has no ${names.map((name) => `\`${name}\``).join(", ")}`),
      missing_inputs: names,
    }),
    of: (end: End, runId: string, action: Attempt["action"], inputs: Inputs): OperationResult => {
      if (end.kind === "ended") return failed(`provider_${end.status}`, end.message, attempt(action, runId, end.status));
      // What Postgres cannot store would be replaced in the step result only, and the row would differ from it.
      const envelope = mend(end.envelope);
      const provider_attempts = attempt(action, runId, "completed");
      if (isEmpty(contentOf(envelope))) return { ...base, status: "not_found", output: null, provider_attempts };
      const output = { parallel_run_id: runId, processor, ...operation.output(inputs), parallel_raw_response: envelope };
      return { ...base, status: "found", output, provider_attempts };
    },
  };
}

/** The body of the research: an object, a text or an array, wherever the envelope has one. */
function contentOf(envelope: Json): Json {
  if (!isObject(envelope)) return envelope;
  const output = envelope["output"];
  if (isObject(output) && "content" in output) return output["content"] ?? null;
  return output ?? null;
}

function isEmpty(content: Json): boolean {
  if (content === null) return true;
  if (typeof content === "string") return content.trim() === "";
  return typeof content === "object" && Object.keys(content).length === 0;
}

function lostAnswer(record: StepRecord): string {
  return `research was requested at ${record.providerRequestedAt ?? ""} and the answer was lost; ${notAgain(record)}`;
}

/** For a person who wants to look: the provider keeps the metadata with the research. */
function notAgain({ metadata }: { metadata: Record<string, string> }): string {
  const marks = Object.entries(metadata).map(([key, value]) => `\`${key}\` \`${value}\``);
  return `the research may have been bought, so it is not ordered again; at the provider it carries ${marks.join(" and ")}`;
}

function tooLong(runId: string, seconds: number, news: Exclude<News, End>): string {
  const last = news.kind === "active" ? `it is still ${news.status}` : `at last ${news.message}`;
  return `research \`${runId}\` gave no result within ${seconds} s; ${last}; its result may still come`;
}
