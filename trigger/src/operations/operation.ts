/**
 * What an operation is, and what came of it.
 *
 * In, out: nothing; these are the words the rest is written in.
 */
import type { Json, JsonObject } from "../exact.js";
import type { Input, Inputs } from "./inputs.js";

/** One kind of Deep Research. */
export interface Operation {
  readonly id: string;
  /** A file under `src/prompts/`. */
  readonly prompt: string;
  /** The processor, unless the step's config names another one. */
  readonly processor: string;
  readonly inputs: Record<string, Input>;
  /** The keys of the output besides those every operation has. */
  output(inputs: Inputs): Record<string, string>;
}

/** `operation_result` of `step_results.output_payload`. */
export interface OperationResult {
  readonly run_id: string;
  readonly operation_id: string;
  readonly status: "found" | "not_found" | "failed";
  readonly output: JsonObject | null;
  readonly provider_attempts: Attempt[];
  readonly missing_inputs?: string[];
  readonly error?: Failure;
}

export interface Attempt {
  readonly provider: "parallel";
  readonly action: "bought" | "resumed";
  readonly run_id: string | null;
  readonly processor: string;
  readonly status: string;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/** `step_config` of a step: what may be said about one research. */
export interface StepConfig {
  readonly processor?: string;
  readonly timeout_seconds?: number;
}

/** Read a step's config; what is not understood is left to the default. */
export function readStepConfig(value: Json): StepConfig {
  const config = (typeof value === "object" && value !== null ? value : {}) as JsonObject;
  const { processor, timeout_seconds } = config;
  return {
    ...(typeof processor === "string" && processor.trim() !== "" ? { processor: processor.trim() } : {}),
    ...(typeof timeout_seconds === "number" && timeout_seconds > 0 ? { timeout_seconds } : {}),
  };
}

/** The result of a step whose operation nobody here can execute. */
export function unknownOperation(operationId: string, known: string[]): OperationResult {
  const names = known.map((id) => `\`${id}\``).join(", ");
  const message = `operation \`${operationId}\` is not one this runner knows: ${names}`;
  const error = { code: "unknown_operation", message };
  return { run_id: "", operation_id: operationId, status: "failed", output: null, provider_attempts: [], error };
}
