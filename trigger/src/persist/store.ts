/**
 * What generated persist blocks call: evaluate the paths over a step result, post the body, and log the outcome.
 *
 * A persist block is the function that stores a step's result as the rows of one spec. It never fails its run: an error
 * is logged as a warning, since the result is recorded already, and the repair at the end of the run writes missing
 * rows.
 */
import { internalPost, internalPostRows } from "../api/client.js";
import type { Json, JsonObject } from "../json/exact.js";
import { toMessage, type Facts } from "../logger.js";
import type { Document } from "../paths/document.js";
import { isTruthy, readItems, readPath } from "../paths/read.js";
import { postBatch, readBatches } from "./rows.js";
import { buildDocument, type PersistStep } from "./step.js";

/** The columns that every table has besides those of its spec, as in the API's responses. */
export interface ProvidedColumns {
  readonly id: string;
  readonly org_id: string;
  readonly source_submission_id: string | null;
  readonly source_pipeline_run_id: string | null;
  readonly source_step_result_id: string | null;
  readonly source_recorded_at: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

/** Which run and step result a row comes from, and when that was recorded; every body has these. */
export interface SourceColumns {
  readonly source_submission_id: string;
  readonly source_pipeline_run_id: string;
  readonly source_step_result_id: string;
  readonly source_recorded_at: string | null;
  /** The operation, if normalizers differ between operations. */
  readonly source_operation_id?: string;
}

/** The operators of a filter; a row matches if it meets all that are given. */
export interface Comparison<Value = never> {
  readonly eq?: Value;
  readonly in?: readonly Value[];
  readonly gt?: Value;
  readonly gte?: Value;
  readonly lt?: Value;
  readonly lte?: Value;
  readonly prefix?: string;
  readonly contains?: string;
  readonly is?: "not null" | null;
}

/** The filter of a column in a query: a value, a list of which one must match, or operators. */
export type FilterValue<Value> = Value | readonly Value[] | Comparison<Value>;

/** The filters that every spec has. */
export type ProvidedFilters = Readonly<Partial<Record<Exclude<keyof ProvidedColumns, "org_id">, FilterValue<string>>>>;

/** What every persist block has: the endpoint, the guard, and the messages to log. */
interface Block {
  /** A path that must be truthy for the result to be stored, and the message to log if it is not. */
  readonly guard?: { readonly path: string; readonly filtered: string };
  /** The path of the upsert endpoint. */
  readonly endpoint: string;
  /** The message to log if the row was stored. */
  readonly persisted: string;
  /** The message to log, with the outcome, if the engine did not store the row (superseded, filtered or rejected). */
  readonly notPersisted: string;
  /** The message to log if the row could not be sent. */
  readonly failed: string;
}

/** A persist block that makes one row from a result. */
export interface RowBlock<Row = JsonObject, Body = object> extends Block {
  readonly body: (document: Document) => Body;
  /** The columns of the stored row to log, which are those of its key. */
  readonly logged: readonly (keyof Row & string)[];
}

/** A persist block that makes a row from each element of an array. */
export interface RowsBlock<Element = Record<string, Json>> extends Block {
  /** The title of the spec, for warnings. */
  readonly title: string;
  /** The path of the array; the second of two is the path of an array in each element of the first. */
  readonly rows: string | readonly string[];
  /** Whether an element that is not an object is refused, because some path reads a key of it. */
  readonly needsObjects: boolean;
  /** The path of each field, by the field's name. */
  readonly fields: Readonly<Record<keyof Element & string, string>>;
  readonly sources: SourceColumns;
}

/** What posting rows gave: the outcome in the engine's response, and facts to log. */
interface Stored {
  readonly outcome: string;
  readonly facts: Facts;
}

/** The outcomes after which the stored row has the values of this result. */
const STORED_OUTCOMES = ["written", "unchanged"];

/** Post one row to an endpoint that takes a single row. Never throws. */
export async function storeRow(step: PersistStep, block: RowBlock): Promise<void> {
  await runBlock(step, block, async (document) => {
    const { row, outcome } = await internalPost(step.internalConfig, block.endpoint, block.body(document));
    return { outcome, facts: pickColumns(row, block.logged) };
  });
}

/** Post one row to an endpoint that takes `rows`. Never throws. */
export async function storeSingleRow(step: PersistStep, block: RowBlock): Promise<void> {
  await runBlock(step, block, async (document) => {
    const { rows, outcome } = await internalPostRows(step.internalConfig, block.endpoint, block.body(document));
    return { outcome, facts: pickColumns(rows[0], block.logged) };
  });
}

/** Post a row for each element of an array, in batches. Never throws. */
export async function storeRows(step: PersistStep, block: RowsBlock): Promise<void> {
  const { internalConfig, logger, run } = step;
  const { endpoint, sources, title, rows: path, needsObjects, fields } = block;
  const source = { title, rows: path, needsObjects, fields, facts: { pipeline_run_id: run.pipeline_run_id }, logger };
  await runBlock(step, block, async (document) => {
    let rowCount = 0;
    const outcomes = new Set<string>();
    for (const batch of readBatches(document, source)) {
      rowCount += await postBatch(batch, source, async (rows) => {
        const stored = await internalPostRows(internalConfig, endpoint, { rows, ...sources });
        outcomes.add(stored.outcome);
        return stored;
      });
    }
    const isEmpty = outcomes.size === 0 && readItems(document, path, needsObjects).length === 0;
    return { outcome: isEmpty ? "filtered" : chooseStrongest(outcomes), facts: { rows: rowCount } };
  });
}

/** The outcomes, strongest first; a step result has the strongest outcome of its rows. */
const OUTCOMES = ["written", "unchanged", "superseded", "filtered", "rejected"];

function chooseStrongest(outcomes: ReadonlySet<string>): string {
  return OUTCOMES.find((outcome) => outcomes.has(outcome)) ?? "rejected";
}

/** Call `store` with the step's document unless the guard is falsy; log the outcome. Never throws. */
async function runBlock(
  step: PersistStep,
  block: Block,
  store: (document: Document) => Promise<Stored>,
): Promise<void> {
  const { logger, run } = step;
  const { pipeline_run_id } = run;
  try {
    const document = buildDocument(step);
    if (block.guard !== undefined && !isTruthy(readPath(document, block.guard.path))) {
      logger.info(block.guard.filtered, { pipeline_run_id });
      return;
    }
    const { outcome, facts } = await store(document);
    if (STORED_OUTCOMES.includes(outcome)) {
      logger.info(block.persisted, { ...facts, outcome, pipeline_run_id });
    } else if (outcome === "rejected") {
      logger.warn(block.notPersisted, { ...facts, outcome, pipeline_run_id });
    } else {
      logger.info(block.notPersisted, { ...facts, outcome, pipeline_run_id });
    }
  } catch (error) {
    logger.warn(block.failed, { pipeline_run_id, error: toMessage(error) });
  }
}

function pickColumns(row: JsonObject | undefined, columns: readonly string[]): Facts {
  return Object.fromEntries(columns.map((column) => [column, row?.[column]]));
}
