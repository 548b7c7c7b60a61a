/** What a persist block is given: one step whose result is on record. */
import type { InternalConfig } from "../api/client.js";
import { Document } from "../paths/document.js";
import type { JsonObject } from "../json/exact.js";
import type { Logger } from "../logger.js";
import type { OperationResult } from "../research/operation.js";

/** One step of a run: its result, the context it led to, and what to work with. */
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
  /** The step result that holds it: the engine makes the rows of what is on record there. */
  readonly stepResultId: string;
  /** When the engine recorded the result: of two rows with one key, the one recorded later stays. */
  readonly recordedAt: string | null;
  readonly internalConfig: InternalConfig;
  readonly logger: Logger;
}

/** Build the document that paths are evaluated over. */
export function buildDocument({ result, context, input, run, operationId }: PersistStep): Document {
  const operation = { id: operationId, status: result.status };
  return Document.fromRoots({ output: result.output, context, step_input: input, run: { ...run }, operation });
}
