/** The argument of a persist block, which is the generated function that stores a step's result as rows. */
import type { InternalConfig } from "../api/client.js";
import { Document } from "../paths/document.js";
import type { JsonObject } from "../json/exact.js";
import type { Logger } from "../logger.js";
import type { OperationResult } from "../research/operation.js";

/** One step of a run whose result is recorded, the context after it, and the API and logger to use. */
export interface PersistStep {
  readonly operationId: string;
  readonly result: OperationResult;
  /** The cumulative context, into which the result's output is merged already. */
  readonly context: JsonObject;
  /** The input of the step: the context before it. */
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
  /** When the engine recorded the result. Of two rows with the same key, the one recorded later wins. */
  readonly recordedAt: string | null;
  readonly internalConfig: InternalConfig;
  readonly logger: Logger;
}

/** Build the document over which paths are evaluated. */
export function buildDocument({ result, context, input, run, operationId }: PersistStep): Document {
  const operation = { id: operationId, status: result.status };
  return Document.fromRoots({ output: result.output, context, step_input: input, run: { ...run }, operation });
}
