/** The types of an operation, of a step's configuration for it, and of its result. */
import { Numeral, type Json, type JsonObject } from "../json/exact.js";
import type { Input } from "./inputs.js";
import type { OutputSchema } from "./provider.js";

/** One kind of research, as `src/operations/generated/` has it, generated from its spec. */
export interface Operation {
  readonly id: string;
  readonly provider: ProviderName;
  /** The provider's processor, unless the step's configuration names another. */
  readonly processor: string;
  /** The prompt, with a placeholder `{{name}}` for each input. */
  readonly prompt: string;
  readonly inputs: Readonly<Record<string, Input>>;
  /** The JSON Schema of the answer; null lets the provider choose the form. */
  readonly outputSchema: OutputSchema | null;
  /** The further keys of the output, each with a path over `inputs`, `context` and `step_input`. */
  readonly output: Readonly<Record<string, string>>;
}

/** The providers that this runner can order from. */
export type ProviderName = "parallel";

/** Whether the research found something, found nothing, or failed. */
type ResultStatus = "found" | "not_found" | "failed";

/** The object `operation_result` in `step_results.output_payload`. */
export interface OperationResult {
  readonly run_id: string;
  readonly operation_id: string;
  readonly status: ResultStatus;
  readonly output: JsonObject | null;
  readonly provider_attempts: Attempt[];
  readonly missing_inputs?: string[];
  readonly error?: Failure;
}

/** How the step got its answer; stored in the result. */
export interface Attempt {
  readonly provider: ProviderName;
  /** Whether this execution placed the order, resumed one, or used another step's. */
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

/** The object `step_config` of a step. */
export interface StepConfig {
  readonly processor?: string;
  readonly timeout_seconds?: number;
  /** Use only an answer that was ordered after the submission was created. */
  readonly refresh?: boolean;
}

/** Parse a step's configuration; a key that is absent or invalid is left out, so that its default applies. */
export function parseStepConfig(value: Json): StepConfig {
  const config = (typeof value === "object" && value !== null ? value : {}) as JsonObject;
  const { processor, timeout_seconds: seconds, refresh } = config;
  const timeoutSeconds = seconds instanceof Numeral ? Number(seconds) : seconds; // 60.0 keeps its digits
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
