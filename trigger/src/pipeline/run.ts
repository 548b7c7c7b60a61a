/** A run and its steps, parsed from the engine's response to `pipeline-runs/get`. */
import { isObject, type Json, type JsonObject } from "../json/exact.js";

const RUN_STATUSES = ["queued", "running", "succeeded", "failed", "canceled"] as const;
const ENDED_STATUSES: readonly RunStatus[] = ["succeeded", "failed", "canceled"];
const STEP_STATUSES = ["queued", "running", "succeeded", "failed", "skipped", "retrying"] as const;

export type RunStatus = (typeof RUN_STATUSES)[number];
type StepStatus = (typeof STEP_STATUSES)[number];

export interface Run {
  readonly id: string;
  readonly orgId: string;
  readonly companyId: string | null;
  readonly submissionId: string;
  readonly status: RunStatus;
  /** The W3C trace context of the request that created the run. */
  readonly traceparent: string | null;
  /** The context with which the first step begins. */
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
  readonly status: StepStatus;
  readonly output: Json;
  readonly context: Json;
  readonly finishedAt: string | null;
  readonly error: string | null;
}

/** The stored record of a run is incomplete or invalid, so that it cannot be executed. */
export class RunError extends Error {
  override readonly name = "RunError";
}

/** Return whether nothing is left to execute. */
export function hasEnded(run: Run): boolean {
  return ENDED_STATUSES.includes(run.status);
}

/**
 * Parse a run with its `submissions` and `step_results`; sort its steps. Throws RunError that names what is missing.
 */
export function parseRun(row: JsonObject): Run {
  const snapshot = asObject(row["blueprint_snapshot"]);
  const results = asList(row["step_results"]).map(asObject);
  return {
    id: requireText(row["id"], "id"),
    orgId: requireText(row["org_id"], "org_id"),
    companyId: textOrNull(row["company_id"]),
    submissionId: requireText(row["submission_id"], "submission_id"),
    status: requireStatus(row["status"], RUN_STATUSES),
    traceparent: textOrNull(row["traceparent"]),
    input: readStartingContext(snapshot, asObject(row["submissions"])),
    steps: asList(snapshot["steps"])
      .map((step) => parseStep(asObject(step), results))
      .sort((left, right) => left.position - right.position),
  };
}

/** Merge an operation's output into the context: shallowly, with the output's keys winning. */
export function mergeContext(context: JsonObject, output: Json): JsonObject {
  return isObject(output) ? { ...context, ...output } : context;
}

/**
 * Return the context after a step with this output: it is stored with the step, and is the input of the next step. The
 * provider's raw answer is removed from it, since that is stored only once, in its own step.
 */
export function carryContext(context: JsonObject, output: Json): JsonObject {
  const merged = Object.entries(mergeContext(context, output));
  return Object.fromEntries(merged.filter(([key]) => key !== "parallel_raw_response"));
}

function readStartingContext(snapshot: JsonObject, submission: JsonObject): JsonObject {
  const entity = asObject(snapshot["entity"])["input"];
  return isObject(entity) ? entity : asObject(submission["input_payload"]);
}

function parseStep(step: JsonObject, results: JsonObject[]): Step {
  const position = step["position"];
  if (typeof position !== "number") throw new RunError("a step of `blueprint_snapshot.steps` has no `position`");
  const attempts = results.filter((result) => result["step_position"] === position);
  const newest = attempts.sort((left, right) => Number(right["attempt"]) - Number(left["attempt"]))[0];
  if (newest === undefined) throw new RunError(`step ${position} has no step result`);
  const payload = asObject(newest["output_payload"]);
  return {
    position,
    operationId: textOrNull(step["operation_id"]) ?? "",
    config: step["step_config"] ?? null,
    isEnabled: step["is_enabled"] !== false,
    resultId: requireText(newest["id"], "id"),
    status: requireStatus(newest["status"], STEP_STATUSES),
    output: asObject(payload["operation_result"])["output"] ?? null,
    context: payload["cumulative_context"] ?? null,
    finishedAt: textOrNull(newest["finished_at"]),
    error: textOrNull(newest["error_message"]),
  };
}

function asObject(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

function asList(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

function requireText(value: Json | undefined, key: string): string {
  if (typeof value === "string") return value;
  throw new RunError(`the engine's answer has no \`${key}\``);
}

function requireStatus<Status extends string>(value: Json | undefined, statuses: readonly Status[]): Status {
  const text = requireText(value, "status");
  const status = statuses.find((known) => known === text);
  if (status === undefined) throw new RunError(`the engine's answer has the unknown \`status\` \`${text}\``);
  return status;
}

function textOrNull(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}
