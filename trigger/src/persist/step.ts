/** The argument of a persist block: one step whose result is recorded. */
import type { InternalConfig } from "../api/client.js";
import { Document } from "../paths/document.js";
import type { JsonObject } from "../json/exact.js";
import type { Logger } from "../logger.js";
import type { OperationResult } from "../research/operation.js";

/** One step of a run: its result, the context after it, and the API and logger to use. */
export interface PersistStep {
  readonly operationId: string;
  readonly result: OperationResult;
  /** The cumulative context with the result's output already merged into it. */
  readonly context: JsonObject;
  /** The input of the step: the context before. */
  readonly input: JsonObject;
  readonly run: {
    readonly org_id: string;
    readonly company_id: string | null;
    readonly submission_id: string;
    readonly pipeline_run_id: string;
    readonly step_position: number;
  };
  /** The id of the recorded step result, from which the engine makes the rows. */
  readonly stepResultId: string;
  /** When the engine recorded the result: of two rows with the same key, the later one is kept. */
  readonly recordedAt: string | null;
  readonly internalConfig: InternalConfig;
  readonly logger: Logger;
}

/** Build the document that paths are evaluated over. */
export function buildDocument({ result, context, input, run, operationId }: PersistStep): Document {
  const operation = { id: operationId, status: result.status };
  return Document.fromRoots({ output: result.output, context, step_input: input, run: { ...run }, operation });
}
