/** Compare two versions of a row: list each path whose value differs. */
import { formatJson, isObject, type Json, type JsonObject } from "./json";

export interface Change {
  path: string;
  before: Json | undefined;
  after: Json | undefined;
}

/** Columns that are not compared, since they change with every write. */
const BOOKKEEPING = new Set([
  "id",
  "org_id",
  "created_at",
  "updated_at",
  "source_submission_id",
  "source_pipeline_run_id",
  "source_step_result_id",
  "source_recorded_at",
]);

export function compareRows(before: JsonObject, after: JsonObject): Change[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names]
    .filter((name) => !BOOKKEEPING.has(name))
    .flatMap((name) => comparePath(name, before[name], after[name]));
}

function comparePath(path: string, before: Json | undefined, after: Json | undefined): Change[] {
  if (before !== undefined && after !== undefined && formatJson(before, 0) === formatJson(after, 0)) return [];
  if (isObject(before) && isObject(after)) {
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...names].flatMap((name) => comparePath(`${path}.${name}`, before[name], after[name]));
  }
  if (Array.isArray(before) && Array.isArray(after)) return compareLists(path, before, after);
  return [{ path, before, after }];
}

/** Compare lists of texts as sets, and other lists element by element. */
function compareLists(path: string, before: Json[], after: Json[]): Change[] {
  if ([...before, ...after].every((entry) => typeof entry === "string")) {
    const removed = before
      .filter((entry) => !after.includes(entry))
      .map((entry) => ({ path, before: entry, after: undefined }));
    const added = after
      .filter((entry) => !before.includes(entry))
      .map((entry) => ({ path, before: undefined, after: entry }));
    return [...removed, ...added];
  }
  const length = Math.max(before.length, after.length);
  return Array.from({ length }, (_, index) => index).flatMap((index) =>
    comparePath(`${path}.${index}`, before[index], after[index]),
  );
}
