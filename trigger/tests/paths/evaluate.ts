/**
 * Evaluates the paths of `{"documents": [...], "questions": [[index, path], ...]}` on standard input.
 *
 * Writes one answer for each question, `{"value": ...}` or `{"raised": "<message>"}`; `tests/conformance` compares them
 * with Python's.
 */
import { isObject, parseJson, stringifyJson, type Json } from "../../src/json/exact.js";
import { toMessage } from "../../src/logger.js";
import { isComputed, searchView } from "../../src/paths/read.js";
import { ViewRegistry } from "../../src/paths/view.js";

function evaluatePath(document: Json, path: string): Json {
  const registry = new ViewRegistry();
  try {
    return { value: registry.restoreValue(searchView(registry.createView(document), path), isComputed(path)) };
  } catch (error) {
    return { raised: toMessage(error) };
  }
}

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const input = parseJson(Buffer.concat(chunks).toString());
if (!isObject(input) || !Array.isArray(input["documents"]) || !Array.isArray(input["questions"])) {
  throw new Error("no questions");
}
const { documents, questions } = input;
const answers = questions.map((question) => {
  const [index, path] = question as [number, string];
  return evaluatePath(documents[index] ?? null, path);
});
process.stdout.write(stringifyJson(answers));
