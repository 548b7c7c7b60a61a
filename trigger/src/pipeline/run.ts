/**
 * The engine's words about a run -> a Run.
 *
 * In: `data` of `pipeline-runs/get`. Out: the run, its steps in order with what is on record of each. It must not know
 * HTTP or operations. Throws RunError for a run that cannot be executed as it stands.
 */
import { isObject, type Json, type JsonObject } from "../exact.js";

export interface Run {
  readonly id: string;
  readonly orgId: string;
  readonly companyId: string | null;
  readonly submissionId: string;
  readonly status: string;
  /** What the first step starts from. */
  readonly input: JsonObject;
  readonly steps: readonly Step[];
}

export interface Step {
  readonly position: number;
  readonly operationId: string;
  readonly config: Json;
  readonly isEnabled: boolean;
  /** The step result of the newest attempt. */
  readonly resultId: string;
  readonly status: string;
  readonly output: Json;
  readonly context: Json;
  readonly finishedAt: string | null;
  readonly error: string | null;
  readonly providerRunId: string | null;
  readonly providerRequestedAt: string | null;
}

export class RunError extends Error {
  override readonly name = "RunError";
}

const TERMINAL = ["succeeded", "failed", "canceled"];

export function isTerminal(run: Run): boolean {
  return TERMINAL.includes(run.status);
}

/** Read a run row with its `submissions` and `step_results`. Throws RunError naming what is missing. */
export function readRun(row: JsonObject): Run {
  const snapshot = object(row["blueprint_snapshot"]);
  const results = list(row["step_results"]).map(object);
  return {
    id: text(row["id"], "id"),
    orgId: text(row["org_id"], "org_id"),
    companyId: optionalText(row["company_id"]),
    submissionId: text(row["submission_id"], "submission_id"),
    status: text(row["status"], "status"),
    input: startingContext(snapshot, object(row["submissions"])),
    steps: list(snapshot["steps"])
      .map((step) => readStep(object(step), results))
      .sort((left, right) => left.position - right.position),
  };
}

/** Merge an operation's output into the context: shallow, the output's keys win. */
export function mergeContext(context: JsonObject, output: Json): JsonObject {
  return isObject(output) ? { ...context, ...output } : context;
}

function startingContext(snapshot: JsonObject, submission: JsonObject): JsonObject {
  const entity = object(snapshot["entity"])["input"];
  return isObject(entity) ? entity : object(submission["input_payload"]);
}

function readStep(step: JsonObject, results: JsonObject[]): Step {
  const position = step["position"];
  if (typeof position !== "number") throw new RunError("a step of `blueprint_snapshot.steps` has no `position`");
  const attempts = results.filter((result) => result["step_position"] === position);
  const newest = attempts.sort((left, right) => Number(right["attempt"]) - Number(left["attempt"]))[0];
  if (newest === undefined) throw new RunError(`step ${position} has no step result`);
  const payload = object(newest["output_payload"]);
  return {
    position,
    operationId: optionalText(step["operation_id"]) ?? "",
    config: step["step_config"] ?? null,
    isEnabled: step["is_enabled"] !== false,
    resultId: text(newest["id"], "id"),
    status: text(newest["status"], "status"),
    output: object(payload["operation_result"])["output"] ?? null,
    context: payload["cumulative_context"] ?? null,
    finishedAt: optionalText(newest["finished_at"]),
    error: optionalText(newest["error_message"]),
    providerRunId: optionalText(newest["provider_run_id"]),
    providerRequestedAt: optionalText(newest["provider_requested_at"]),
  };
}

function object(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

function list(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

function text(value: Json | undefined, key: string): string {
  if (typeof value === "string") return value;
  throw new RunError(`the engine's answer has no \`${key}\``);
}

function optionalText(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}
