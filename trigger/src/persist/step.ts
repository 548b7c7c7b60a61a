/**
 * A step whose result is on record, as the persist blocks take it.
 *
 * In: a step's result and the context it led to. Out: the document the specs' paths are evaluated over. It must not know
 * any spec.
 */
import type { InternalConfig } from "../client.js";
import { Document } from "../document.js";
import type { JsonObject } from "../exact.js";
import type { Logger } from "../logger.js";
import type { OperationResult } from "../operations/operation.js";

export interface PersistStep {
  readonly operationId: string;
  readonly result: OperationResult;
  /** The cumulative context with the result's output already merged into it. */
  readonly context: JsonObject;
  readonly run: {
    readonly org_id: string;
    readonly submission_id: string;
    readonly pipeline_run_id: string;
    readonly step_position: number;
  };
  /** When the engine recorded the result: of two rows for one key the later one stays. */
  readonly recordedAt: string | null;
  readonly internalConfig: InternalConfig;
  readonly logger: Logger;
}

/** The document of one step, with the roots `output`, `context`, `run` and `operation`. */
export function documentOf({ result, context, run, operationId }: PersistStep): Document {
  const operation = { id: operationId, status: result.status };
  return Document.of({ output: result.output, context, run: { ...run }, operation });
}
