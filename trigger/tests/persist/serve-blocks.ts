/**
 * Runs generated persist blocks against a real API, for `tests/database`: one process for many step results.
 *
 * Reads lines of JSON `{module, function, url, key, org, step}` from standard input, where `step` is what a block is given
 * without its configuration and its logger. Answers each with the line of what the block has logged.
 */
import { createInterface } from "node:readline";

import { mergeContext } from "../../src/pipeline/run.js";
import { parseJson, stringifyJson, type Json, type JsonObject } from "../../src/json/exact.js";
import type { PersistStep } from "../../src/persist/step.js";
import { buildConfig, createRecordingLogger } from "../loopback.js";

type Block = (step: PersistStep) => Promise<void>;

async function runBlock({ module, function: name, url, key, org, step }: JsonObject): Promise<Json> {
  const block = ((await import(module as string)) as Record<string, Block>)[name as string];
  if (block === undefined) throw new Error(`no block: ${stringifyJson(module ?? null)}`);
  const logger = createRecordingLogger();
  const { context, ...given } = step as JsonObject;
  const internalConfig = buildConfig(url as string, { apiKey: key as string, orgId: org as string, timeoutMs: 20_000 });
  const whole = { ...given, context: mergeContext({}, context ?? null), internalConfig, logger };
  await block(whole as unknown as PersistStep);
  return logger.lines.map(({ level, message, facts }) => `${level} ${message} ${JSON.stringify(facts)}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${stringifyJson(await runBlock(parseJson(line) as JsonObject))}\n`);
}
