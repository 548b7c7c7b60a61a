/**
 * `npm run worker -- [--until-idle] [--once] [--concurrency N] [--lease SECONDS] [--org UUID]`: the local runner.
 *
 * Needs DATA_ENGINE_API_URL, DATA_ENGINE_INTERNAL_API_KEY and PARALLEL_API_KEY. SIGTERM and SIGINT stop it at the next
 * safe point; another runner resumes its runs.
 */
import { hostname } from "node:os";
import { parseArgs } from "node:util";

import { readInternalApi } from "../api/client.js";
import { createLineLogger, toMessage } from "../logger.js";
import { createParallelProvider } from "../research/parallel.js";
import { SettingError } from "../settings.js";
import { startTracing } from "../tracing.js";
import { workThroughQueue, type RunnerOptions } from "./loop.js";

const WRONG_USAGE = 2;

function parseOptions(): RunnerOptions {
  const { values } = parseArgs({
    options: {
      "until-idle": { type: "boolean", default: false },
      once: { type: "boolean", default: false },
      concurrency: { type: "string", default: "4" },
      lease: { type: "string", default: "60" },
      org: { type: "string", default: "" },
    },
  });
  return {
    worker: `${hostname()}:${process.pid}`,
    concurrency: parseWholeNumber("--concurrency", values.concurrency),
    leaseSeconds: parseWholeNumber("--lease", values.lease),
    orgId: values.org,
    maxRuns: values.once ? 1 : Infinity,
    untilIdle: values["until-idle"] || values.once,
    idlePauseMs: 500,
  };
}

function parseWholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new SettingError(`\`${option}\` is \`${text}\`, not a number from 1`);
  }
  return value;
}

async function main(): Promise<number> {
  const logger = createLineLogger();
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      logger.info(`${signal}: stopping`);
      stop.abort(new Error(`stopped by ${signal}`));
    });
  }
  try {
    const options = parseOptions();
    const endTracing = await startTracing(process.env, logger);
    const api = readInternalApi(process.env);
    const provider = createParallelProvider(process.env);
    logger.info("Waiting for runs", { api: api.apiUrl, concurrency: options.concurrency });
    const tally = await workThroughQueue(api, provider, options, logger, stop.signal).finally(endTracing);
    logger.info("Runner stopped", { ...tally });
    return tally.left + tally.failed > 0 && !stop.signal.aborted ? 1 : 0;
  } catch (error) {
    logger.error(toMessage(error));
    const isUsage = error instanceof SettingError || (error instanceof TypeError && "code" in error);
    return isUsage ? WRONG_USAGE : 1;
  }
}

process.exitCode = await main();
