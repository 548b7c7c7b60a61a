/**
 * Recorded research -> the recording that fits a request.
 *
 * In: the JSON files of `trigger/recorded/`. Out: for the text of a request, the result to give. It must not know HTTP.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { isObject, parse, type Json, type JsonObject } from "../exact.js";

/** One file: the result of research whose request holds every text of `match`. */
interface Recording {
  readonly file: string;
  readonly match: string[];
  readonly result: JsonObject;
}

const FOLDER = fileURLToPath(new URL("../../recorded", import.meta.url));

/** Read the recordings of a folder, the most particular first. Throws for a file of another shape. */
export function loadRecordings(folder: string = FOLDER): Recording[] {
  const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
  const recordings = files.map((file) => readRecording(file, parse(readFileSync(join(folder, file), "utf8"))));
  return recordings.sort((left, right) => right.match.length - left.match.length || left.file.localeCompare(right.file));
}

/** The result recorded for a request with this text; undefined when there is none. */
export function findResult(recordings: Recording[], text: string): JsonObject | undefined {
  return recordings.find(({ match }) => match.every((part) => text.includes(part)))?.result;
}

function readRecording(file: string, value: Json): Recording {
  const { match, result } = isObject(value) ? value : {};
  if (!Array.isArray(match) || !match.every((part) => typeof part === "string") || !isObject(result ?? null)) {
    throw new Error(`recorded/${file} is no {"match": [texts], "result": {...}}`);
  }
  return { file, match, result: result as JsonObject };
}
