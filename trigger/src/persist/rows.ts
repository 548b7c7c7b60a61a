/**
 * One step's result -> the rows of a spec with `rows`, in batches.
 *
 * In: a document, the path of the array, a path per field. Out: batches small enough for one request. An element whose path
 * raises, or which the engine refuses, is left out with a warning; the repair at the end of the run puts it on record. It
 * must not know endpoints.
 */
import { InternalApiError, type StoredRows } from "../client.js";
import type { Document } from "../document.js";
import { stringify, type Json } from "../exact.js";
import { messageOf, type Facts, type Logger } from "../logger.js";
import { read, readItems } from "../read.js";

export interface RowSource {
  /** For warnings: whose rows these are. */
  readonly title: string;
  /** The path of the array. */
  readonly rows: string;
  /** Field -> its path. */
  readonly fields: Record<string, string>;
  readonly facts: Facts;
  readonly logger: Logger;
}

export type Row = Record<string, Json>;

/** A row and which element of the array it is. */
interface Element {
  readonly index: number;
  readonly row: Row;
}

const MOST_ROWS = 100;
const MOST_CHARACTERS = 4_000_000;
const UNPROCESSABLE = 422;

/** Read the rows, batch by batch. Throws ReadError when `rows` gives no array. */
export function* readBatches(document: Document, source: RowSource): Generator<Element[]> {
  let batch: Element[] = [];
  let characters = 0;
  for (const element of readElements(document, source)) {
    const size = stringify(element.row).length;
    if (batch.length > 0 && (batch.length >= MOST_ROWS || characters + size > MOST_CHARACTERS)) {
      yield batch;
      [batch, characters] = [[], 0];
    }
    batch.push(element);
    characters += size;
  }
  if (batch.length > 0) yield batch;
}

/** Post a batch and return how many rows the engine stored; of an element it refuses it says so. Throws otherwise. */
export async function postBatch(batch: Element[], source: RowSource, post: (rows: Row[]) => Promise<StoredRows>): Promise<number> {
  try {
    const { rows, rejected } = await post(batch.map(({ row }) => row));
    for (const { element, field, code } of rejected) {
      leftOut(source, batch[Number(element)]?.index ?? 0, `\`${messageOf(field)}\` is refused (${messageOf(code)})`);
    }
    return rows.length;
  } catch (error) {
    // None of the batch can be stored; those of the next one may be.
    if (!(error instanceof InternalApiError) || error.status !== UNPROCESSABLE) throw error;
    for (const { index } of batch) leftOut(source, index, "it is refused", error);
    return 0;
  }
}

function* readElements(document: Document, source: RowSource): Generator<Element> {
  for (const [index, item] of readItems(document, source.rows).entries()) {
    const row: Row = {};
    let field = "";
    try {
      for (const [name, path] of Object.entries(source.fields)) row[(field = name)] = read(item, path);
    } catch (error) {
      leftOut(source, index, `\`${field}\` cannot be read`, error);
      continue;
    }
    yield { index, row };
  }
}

function leftOut({ title, facts, logger }: RowSource, index: number, why: string, error?: unknown): void {
  const cause = error === undefined ? {} : { error: messageOf(error) };
  logger.warn(`${title}: element ${index} left out, ${why}`, { ...facts, ...cause });
}
