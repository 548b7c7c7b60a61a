/** The types of an operation, of its configuration by a step, and of its result. */
import type { Json, JsonObject } from "../json/exact.js";
import type { Input } from "./inputs.js";
import type { OutputSchema } from "./provider.js";

/** One kind of Deep Research, generated from its spec into `src/operations/generated/`. */
export interface Operation {
  readonly id: string;
  readonly provider: ProviderName;
  /** The processor, unless the step's config names another one. */
  readonly processor: string;
  /** The prompt, with a placeholder `{{name}}` for each input. */
  readonly prompt: string;
  readonly inputs: Readonly<Record<string, Input>>;
  /** The JSON Schema of the answer; null leaves its form to the provider. */
  readonly outputSchema: OutputSchema | null;
  /** Keys of the output beside the inputs -> paths over `inputs`, `context` and `step_input`. */
  readonly output: Readonly<Record<string, string>>;
}

/** The providers that this runner can order from. */
export type ProviderName = "parallel";

/** Whether the research has content, has none, or failed. */
type ResultStatus = "found" | "not_found" | "failed";

/** A wire object: `operation_result` of `step_results.output_payload`. */
export interface OperationResult {
  readonly run_id: string;
  readonly operation_id: string;
  readonly status: ResultStatus;
  readonly output: JsonObject | null;
  readonly provider_attempts: Attempt[];
  readonly missing_inputs?: string[];
  readonly error?: Failure;
}

/** A wire object: how the step got its answer. */
export interface Attempt {
  readonly provider: ProviderName;
  /** Whether this execution ordered it, resumed an order, or used the order of another step. */
  readonly action: "bought" | "resumed" | "reused";
  readonly order_id: string | null;
  readonly run_id: string | null;
  readonly processor: string;
  readonly status: string;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/** A wire object: the `step_config` of a step. */
export interface StepConfig {
  readonly processor?: string;
  readonly timeout_seconds?: number;
  /** Take only an answer that was ordered after the submission was made. */
  readonly refresh?: boolean;
}

/** Parse a step's config; a key that is absent or of another type is left to the default. */
export function parseStepConfig(value: Json): StepConfig {
  const config = (typeof value === "object" && value !== null ? value : {}) as JsonObject;
  const { processor, timeout_seconds: timeoutSeconds, refresh } = config;
  return {
    ...(typeof processor === "string" && processor.trim() !== "" ? { processor: processor.trim() } : {}),
    ...(typeof timeoutSeconds === "number" && timeoutSeconds > 0 ? { timeout_seconds: timeoutSeconds } : {}),
    ...(typeof refresh === "boolean" ? { refresh } : {}),
  };
}

/** Build the result of a step whose operation is not among `known`. */
export function buildUnknownOperationResult(operationId: string, known: string[]): OperationResult {
  const names = known.map((id) => `\`${id}\``).join(", ");
  const message = `operation \`${operationId}\` is not one this runner knows: ${names}`;
  const error = { code: "unknown_operation", message };
  return { run_id: "", operation_id: operationId, status: "failed", output: null, provider_attempts: [], error };
}
