/**
 * Evaluates paths over documents, for `tests/conformance`, which compares the answers with Python's.
 *
 * Each line of standard input is `{"documents": [...], "questions": [[index, path], ...]}`, and each line of output has
 * one answer for each of its questions: `{"value": ...}` or `{"raised": "<message>"}`.
 */
import { createInterface } from "node:readline";

import { isObject, parseJson, stringifyJson, type Json } from "../../src/json/exact.js";
import { toMessage } from "../../src/logger.js";
import { searchPath } from "../../src/paths/read.js";

function evaluatePath(document: Json, path: string): Json {
  try {
    return { value: searchPath(document, path) };
  } catch (error) {
    return { raised: toMessage(error) };
  }
}

function answerLine(line: string): string {
  const input = parseJson(line);
  if (!isObject(input) || !Array.isArray(input["documents"]) || !Array.isArray(input["questions"])) {
    throw new Error("no questions");
  }
  const { documents, questions } = input;
  const answers = questions.map((question) => {
    const [index, path] = question as [number, string];
    return evaluatePath(documents[index] ?? null, path);
  });
  return stringifyJson(answers);
}

for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${answerLine(line)}\n`);
