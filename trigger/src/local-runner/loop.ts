/** The local runner's loop: claims queued runs and executes several at a time, without Trigger.dev. */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import type { InternalApi } from "../api/client.js";
import { toMessage, type Logger } from "../logger.js";
import { executeRun } from "../pipeline/execute-run.js";
import type { Provider } from "../research/parallel.js";
import type { Polling } from "../research/research.js";
import { claimRun, keepLease, releaseLease, type Claim, type LeaseOptions } from "./lease.js";

const PAUSES_MS = [200, 500, 1000, 2000, 5000, 10_000];

export interface RunnerOptions extends LeaseOptions {
  readonly concurrency: number;
  /** Stop after this number of runs. */
  readonly maxRuns: number;
  /** Stop when no run is waiting. */
  readonly untilIdle: boolean;
  readonly idlePauseMs: number;
}

/** Counts of the runs that this runner claimed. */
export interface Tally {
  /** Runs that ended here, succeeded or failed. */
  ended: number;
  /** Runs that have to be resumed. */
  left: number;
}

/** Execute queued runs until `options` or `stop` end the loop; then wait for the runs under way. */
export async function workThroughQueue(
  api: InternalApi,
  provider: Provider,
  options: RunnerOptions,
  logger: Logger,
  stop: AbortSignal,
): Promise<Tally> {
  const tally: Tally = { ended: 0, left: 0 };
  const underWay = new Set<Promise<void>>();
  let claimed = 0;
  while (!stop.aborted && claimed < options.maxRuns) {
    if (underWay.size >= options.concurrency) {
      await Promise.race(underWay);
      continue;
    }
    const claim = await tryClaimRun(api, options, logger, underWay.size > 0);
    if (claim !== null) {
      claimed += 1;
      const run = executeClaimedRun(api, provider, claim, options, logger, stop, tally).finally(() =>
        underWay.delete(run),
      );
      underWay.add(run);
    } else if (underWay.size > 0) {
      await Promise.race([...underWay, pause(options.idlePauseMs)]);
    } else if (options.untilIdle) {
      break;
    } else {
      await pause(options.idlePauseMs, undefined, { signal: stop }).catch(() => undefined);
    }
  }
  await Promise.all(underWay);
  return tally;
}

/** Claim a run, or null. Throws only when the runner is idle and should stop when idle; otherwise it asks again. */
async function tryClaimRun(
  api: InternalApi,
  options: RunnerOptions,
  logger: Logger,
  isBusy: boolean,
): Promise<Claim | null> {
  try {
    return await claimRun(api, options);
  } catch (error) {
    logger.warn(`No run could be claimed: ${toMessage(error)}`);
    if (options.untilIdle && !isBusy) throw error;
    return null;
  }
}

async function executeClaimedRun(
  api: InternalApi,
  provider: Provider,
  claim: Claim,
  options: RunnerOptions,
  logger: Logger,
  stop: AbortSignal,
  tally: Tally,
): Promise<void> {
  const leaseLost = new AbortController();
  const finished = new AbortController();
  const signal = AbortSignal.any([stop, leaseLost.signal]);
  const heartbeat = keepLease(api, claim, options, logger, finished.signal, () => {
    leaseLost.abort(new Error("another runner holds this run"));
  });
  try {
    await executeRun(
      { pipeline_run_id: claim.runId, org_id: claim.orgId, company_id: claim.companyId },
      {
        internal: { ...api, logger, signal },
        provider,
        polling: createPolling(signal),
        logger,
        execution: { id: `${options.worker}/${randomUUID()}`, leaseToken: claim.leaseToken },
        signal,
      },
    );
    tally.ended += 1;
  } catch (error) {
    tally.left += 1;
    logger.warn("Run left to be taken up again", { pipeline_run_id: claim.runId, error: toMessage(error) });
    // The cause is probably still there a second later, so only a runner that stops releases its lease early.
    if (stop.aborted && !leaseLost.signal.aborted) await releaseLease(api, claim, logger);
  } finally {
    finished.abort();
    await heartbeat;
  }
}

/** Wait mostly in the provider's blocking request: unlike on Trigger.dev, waiting costs nothing here. */
function createPolling(signal: AbortSignal): Polling {
  return {
    blockSeconds: 20,
    pause: (round) => pause(PAUSES_MS[Math.min(round, PAUSES_MS.length) - 1], undefined, { signal }),
  };
}
