/**
 * Standard input to standard output: what generated persist blocks send for stored step results.
 *
 * In: `[{module, function, answer, payload}]`, a generated module, its function, what the engine answers, an
 * `output_payload`. Out: per entry `{sent: [bodies], lines: [log lines]}`. `tests/conformance` admits the bodies in Python.
 */
import { isObject, parse, stringify, type Json, type JsonObject } from "../src/exact.js";
import { mergeContext } from "../src/pipeline/run.js";
import type { OperationResult } from "../src/operations/operation.js";
import type { PersistStep } from "../src/persist/step.js";
import { configFor, listening, loopback } from "./loopback.js";

const ID = "22222222-2222-4222-8222-222222222222";

type Block = (step: PersistStep) => Promise<void>;

async function send({ module, function: name, answer, payload }: JsonObject): Promise<Json> {
  const { operation_result: result, cumulative_context: context } = payload as JsonObject;
  const block = ((await import(module as string)) as Record<string, Block>)[name as string];
  if (block === undefined || !isObject(result ?? null)) throw new Error(`no block or no result: ${stringify(module)}`);
  await using engine = await loopback({ status: 200, body: stringify(answer) });
  const logger = listening();
  await block({
    operationId: (result as JsonObject)["operation_id"] as string,
    result: result as unknown as OperationResult,
    context: mergeContext({}, context ?? null),
    run: { org_id: ID, submission_id: ID, pipeline_run_id: ID, step_position: 1 },
    recordedAt: null,
    internalConfig: configFor(engine.url),
    logger,
  });
  return { sent: engine.asked.map(({ body }) => body), lines: logger.lines.map(({ message, facts }) => `${message} ${JSON.stringify(facts)}`) };
}

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const asked = parse(Buffer.concat(chunks).toString());
const answers: Json[] = [];
for (const entry of Array.isArray(asked) ? asked : []) answers.push(await send(entry as JsonObject));
process.stdout.write(stringify(answers));
