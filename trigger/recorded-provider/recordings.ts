/** Loads recorded research from `recordings/*.json` and finds the result that fits a request. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { isObject, parseJson, type Json, type JsonObject } from "../src/json/exact.js";

/** One file: the result of research whose request contains every text of `match`. */
export interface Recording {
  readonly file: string;
  readonly match: string[];
  readonly result: JsonObject;
}

const FOLDER = fileURLToPath(new URL("recordings", import.meta.url));

/** Load the recordings of a folder, those with the most texts to match first. Throws for a file of another shape. */
export function loadRecordings(folder: string = FOLDER): Recording[] {
  const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
  const recordings = files.map((file) => parseRecording(file, parseJson(readFileSync(join(folder, file), "utf8"))));
  return recordings.sort(
    (left, right) => right.match.length - left.match.length || left.file.localeCompare(right.file),
  );
}

/** Return the results recorded for a request with this text, the one with the most texts to match first. */
export function findResults(recordings: Recording[], text: string): JsonObject[] {
  return recordings.filter(({ match }) => match.every((part) => text.includes(part))).map(({ result }) => result);
}

function parseRecording(file: string, value: Json): Recording {
  const { match, result } = isObject(value) ? value : {};
  if (!Array.isArray(match) || !match.every((part) => typeof part === "string") || !isObject(result ?? null)) {
    throw new Error(`recordings/${file} is no {"match": [texts], "result": {...}}`);
  }
  return { file, match, result: result as JsonObject };
}
