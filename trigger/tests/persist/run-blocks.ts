/**
 * Runs generated persist blocks on stored step results, for `tests/conformance`.
 *
 * Reads `[{module, function, answer, payload}]` from standard input: a generated module, its function, the engine's
 * answer and an `output_payload`. Writes `{sent: [bodies], lines: [log lines]}` for each.
 */
import { isObject, parseJson, stringifyJson, type Json, type JsonObject } from "../../src/json/exact.js";
import type { PersistStep } from "../../src/persist/step.js";
import { mergeContext } from "../../src/pipeline/run.js";
import type { OperationResult } from "../../src/research/operation.js";
import { buildConfig, createRecordingLogger, startScriptedServer } from "../loopback.js";

const ID = "22222222-2222-4222-8222-222222222222";

type Block = (step: PersistStep) => Promise<void>;

async function runBlock({ module, function: name, answer, payload }: JsonObject): Promise<Json> {
  const { operation_result: result, cumulative_context: context, step_input: input } = payload as JsonObject;
  const block = ((await import(module as string)) as Record<string, Block>)[name as string];
  if (block === undefined || !isObject(result ?? null)) {
    throw new Error(`no block or no result: ${stringifyJson(module)}`);
  }
  await using engine = await startScriptedServer({ status: 200, body: stringifyJson(answer) });
  const logger = createRecordingLogger();
  await block({
    operationId: (result as JsonObject)["operation_id"] as string,
    result: result as unknown as OperationResult,
    context: mergeContext(mergeContext({}, context ?? null), (result as JsonObject)["output"] ?? null),
    input: mergeContext({}, input ?? null),
    run: { org_id: ID, company_id: ID, submission_id: ID, pipeline_run_id: ID, step_position: 1 },
    stepResultId: "44444444-4444-4444-8444-444444444444",
    recordedAt: null,
    internalConfig: buildConfig(engine.url),
    logger,
  });
  return {
    sent: engine.requests.map(({ body }) => body),
    lines: logger.lines.map(({ message, facts }) => `${message} ${JSON.stringify(facts)}`),
  };
}

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const input = parseJson(Buffer.concat(chunks).toString());
const answers: Json[] = [];
for (const entry of Array.isArray(input) ? input : []) answers.push(await runBlock(entry as JsonObject));
process.stdout.write(stringifyJson(answers));
