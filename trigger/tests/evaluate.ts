/**
 * Standard input to standard output: what TypeScript answers to `{"documents": [...], "questions": [[index, path], ...]}`.
 *
 * One answer a question, `{"value": ...}` or `{"raised": "<sentence>"}`; `tests/conformance` compares them with Python's.
 */
import { isObject, parse, stringify, type Json } from "../src/exact.js";
import { messageOf } from "../src/logger.js";
import { isComputed, search } from "../src/read.js";
import { Twin } from "../src/twin.js";

function answer(document: Json, path: string): Json {
  const twin = new Twin();
  try {
    return { value: twin.restore(search(twin.view(document), path), isComputed(path)) };
  } catch (error) {
    return { raised: messageOf(error) };
  }
}

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const asked = parse(Buffer.concat(chunks).toString());
if (!isObject(asked) || !Array.isArray(asked["documents"]) || !Array.isArray(asked["questions"])) throw new Error("no questions");
const { documents, questions } = asked;
const answers = questions.map((question) => {
  const [index, path] = question as [number, string];
  return answer(documents[index] ?? null, path);
});
process.stdout.write(stringify(answers));
