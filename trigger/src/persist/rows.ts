/**
 * Reads the rows of a spec with `rows` from one result, element by element, and posts them in batches of limited size.
 *
 * An element whose paths throw, or which the engine refuses, is left out with a warning; the repair at the end of the
 * run records the refusal.
 */
import { InternalApiError, type StoredRows } from "../api/client.js";
import type { Document } from "../paths/document.js";
import { stringifyJson, type Json } from "../json/exact.js";
import { toMessage, type Facts, type Logger } from "../logger.js";
import { readPath, readItems } from "../paths/read.js";

/** The paths of the rows and of their fields, and what warnings about them contain. */
interface RowSource {
  /** The title of the spec, for warnings. */
  readonly title: string;
  /** The path of the array; the second of two is the path of an array in each element of the first. */
  readonly rows: string | readonly string[];
  /** Whether an element that is not an object is refused, because some path reads a key of it. */
  readonly needsObjects: boolean;
  /** The path of each field, by the field's name. */
  readonly fields: Record<string, string>;
  readonly facts: Facts;
  readonly logger: Logger;
}

export type Row = Record<string, Json>;

/** A row and the index of its element in the array. */
interface Element {
  readonly index: number;
  readonly row: Row;
}

/** The most rows and characters of one batch; a single row may have more characters. */
const MAX_ROWS = 100;
const MAX_CHARACTERS = 4_000_000;
const UNPROCESSABLE = 422;

/** Read the rows of a document, batch by batch. Throws ReadError when the path `rows` gives no array. */
export function* readBatches(document: Document, source: RowSource): Generator<Element[]> {
  let batch: Element[] = [];
  let characters = 0;
  for (const element of readElements(document, source)) {
    const size = stringifyJson(element.row).length;
    if (batch.length > 0 && (batch.length >= MAX_ROWS || characters + size > MAX_CHARACTERS)) {
      yield batch;
      [batch, characters] = [[], 0];
    }
    batch.push(element);
    characters += size;
  }
  if (batch.length > 0) yield batch;
}

/**
 * Post a batch and return how many of its rows the engine stored. Log a warning for each element that it refuses.
 *
 * Throws what `post` throws, except for the status 422, which means that no row of the batch can be stored.
 */
export async function postBatch(
  batch: Element[],
  source: RowSource,
  post: (rows: Row[]) => Promise<StoredRows>,
): Promise<number> {
  try {
    const { rows, rejected } = await post(batch.map(({ row }) => row));
    for (const { element, field, code } of rejected) {
      logLeftOut(source, batch[Number(element)]?.index ?? 0, `\`${toMessage(field)}\` is refused (${toMessage(code)})`);
    }
    return rows.length;
  } catch (error) {
    // Not thrown, since the next batch may be storable.
    if (!(error instanceof InternalApiError) || error.status !== UNPROCESSABLE) throw error;
    for (const { index } of batch) logLeftOut(source, index, "it is refused", error);
    return 0;
  }
}

function* readElements(document: Document, source: RowSource): Generator<Element> {
  for (const [index, item] of readItems(document, source.rows, source.needsObjects).entries()) {
    if ("refused" in item) {
      logLeftOut(source, index, item.refused);
      continue;
    }
    const row: Row = {};
    let field = "";
    try {
      for (const [name, path] of Object.entries(source.fields)) row[(field = name)] = readPath(item.document, path);
    } catch (error) {
      logLeftOut(source, index, `\`${field}\` cannot be read`, error);
      continue;
    }
    yield { index, row };
  }
}

function logLeftOut({ title, facts, logger }: RowSource, index: number, why: string, error?: unknown): void {
  const cause = error === undefined ? {} : { error: toMessage(error) };
  logger.warn(`${title}: element ${index} left out, ${why}`, { ...facts, ...cause });
}
