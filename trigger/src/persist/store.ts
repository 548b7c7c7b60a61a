/**
 * What a generated persist block does with a step's result: evaluate the paths, post the body, log how it went.
 *
 * A persist block never fails its run. Whatever goes wrong is logged as a warning: the result is on record already, and
 * the repair at the end of the run writes what the block has missed.
 */
import { internalPost, internalPostRows } from "../api/client.js";
import type { Json, JsonObject } from "../json/exact.js";
import { toMessage, type Facts } from "../logger.js";
import type { Document } from "../paths/document.js";
import { isTruthy, readPath } from "../paths/read.js";
import { postBatch, readBatches } from "./rows.js";
import { buildDocument, type PersistStep } from "./step.js";

/** The columns that every table has beside those of its spec, as the API answers them. */
export interface ProvidedColumns {
  readonly id: string;
  readonly org_id: string;
  readonly source_submission_id: string | null;
  readonly source_pipeline_run_id: string | null;
  readonly source_recorded_at: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

/** The run a row comes from, and when its result was recorded: part of every body. */
export interface SourceColumns {
  readonly source_submission_id: string;
  readonly source_pipeline_run_id: string;
  readonly source_recorded_at: string | null;
}

/** What a query may give for a column: one value, a list of which one must match, or null for no filter. */
export type FilterValue<Value> = Value | readonly Value[] | null;

/** What all blocks have: where to post, and the sentences to log. */
interface Block {
  /** A path that has to be isTruthy for the result to be stored, and the sentence to log where it is not. */
  readonly guard?: { readonly path: string; readonly filtered: string };
  /** The path of the upsert endpoint. */
  readonly endpoint: string;
  /** The sentence to log once the row is stored. */
  readonly persisted: string;
  /** The sentence to log when it is not. */
  readonly failed: string;
}

/** A block that makes one row of a result. */
export interface RowBlock<Row = JsonObject, Body = object> extends Block {
  readonly body: (document: Document) => Body;
  /** The columns of the stored row to log: those of its key. */
  readonly logged: readonly (keyof Row & string)[];
}

/** A block that makes a row of each element of an array. */
export interface RowsBlock<Element = Record<string, Json>> extends Block {
  /** For warnings: whose rows these are. */
  readonly title: string;
  /** The path of the array. */
  readonly rows: string;
  /** Field -> its path. */
  readonly fields: Readonly<Record<keyof Element & string, string>>;
  readonly sources: SourceColumns;
}

/** Post one row to an endpoint that takes one. Never throws. */
export async function storeRow(step: PersistStep, block: RowBlock): Promise<void> {
  await runBlock(step, block, async (document) => {
    const row = await internalPost(step.internalConfig, block.endpoint, block.body(document));
    return pickColumns(row, block.logged);
  });
}

/** Post one row to an endpoint that takes many. Never throws. */
export async function storeSingleRow(step: PersistStep, block: RowBlock): Promise<void> {
  await runBlock(step, block, async (document) => {
    const { rows } = await internalPostRows(step.internalConfig, block.endpoint, block.body(document));
    return pickColumns(rows[0], block.logged);
  });
}

/** Post a row per element of an array, in batches. Never throws. */
export async function storeRows(step: PersistStep, block: RowsBlock): Promise<void> {
  const { internalConfig, logger, run } = step;
  const { endpoint, sources, title, rows: path, fields } = block;
  const source = { title, rows: path, fields, facts: { pipeline_run_id: run.pipeline_run_id }, logger };
  await runBlock(step, block, async (document) => {
    let rowCount = 0;
    for (const batch of readBatches(document, source)) {
      rowCount += await postBatch(batch, source, (rows) =>
        internalPostRows(internalConfig, endpoint, { rows, ...sources }),
      );
    }
    return { rows: rowCount };
  });
}

/** Call `store` with the step's document, unless the guard is falsy; log what came of it, and never throw. */
async function runBlock(step: PersistStep, block: Block, store: (document: Document) => Promise<Facts>): Promise<void> {
  const { logger, run } = step;
  const { pipeline_run_id } = run;
  try {
    const document = buildDocument(step);
    if (block.guard !== undefined && !isTruthy(readPath(document, block.guard.path))) {
      logger.info(block.guard.filtered, { pipeline_run_id });
      return;
    }
    const facts = await store(document);
    logger.info(block.persisted, { ...facts, pipeline_run_id });
  } catch (error) {
    logger.warn(block.failed, { pipeline_run_id, error: toMessage(error) });
  }
}

function pickColumns(row: JsonObject | undefined, columns: readonly string[]): Facts {
  return Object.fromEntries(columns.map((column) => [column, row?.[column]]));
}
