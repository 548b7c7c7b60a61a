/**
 * `node src/local-runner/collect-main.ts [--order UUID] [--org UUID]`: collects the answers of open orders, once.
 *
 * Needs the local runner's environment variables. Prints the counts as JSON; the exit status is 1 when the engine or
 * the provider could not be reached.
 */
import { parseArgs } from "node:util";

import { readInternalApi } from "../api/client.js";
import { createLineLogger, toMessage } from "../logger.js";
import { createParallelProvider } from "../research/parallel.js";
import { SettingError } from "../settings.js";
import { collectOrders } from "./collect.js";

const WRONG_USAGE = 2;

async function main(): Promise<number> {
  const logger = createLineLogger();
  try {
    const { values } = parseArgs({
      options: { order: { type: "string" }, org: { type: "string", default: "" } },
    });
    const options = { orgId: values.org, orderId: values.order ?? null, isForced: true };
    const api = readInternalApi(process.env);
    const tally = await collectOrders(api, createParallelProvider(process.env), options, logger);
    process.stdout.write(`${JSON.stringify(tally)}\n`);
    return tally.unreachable > 0 ? 1 : 0;
  } catch (error) {
    logger.error(toMessage(error));
    return error instanceof SettingError ? WRONG_USAGE : 1;
  }
}

process.exitCode = await main();
