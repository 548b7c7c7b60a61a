/** The local runner's loop: it claims queued runs and executes several at a time, without Trigger.dev. */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import type { InternalApi } from "../api/client.js";
import { toMessage, type Logger } from "../logger.js";
import { executeRun } from "../pipeline/execute-run.js";
import type { Provider } from "../research/provider.js";
import type { Polling } from "../research/research.js";
import { sweepOrders } from "./collect.js";
import { claimRun, keepLease, readQueue, releaseLease, reportLeaving, type Claim, type LeaseOptions } from "./lease.js";

/** The seconds of an order's lease: more than a blocking request to the provider and the pause after it take. */
const HOLD_SECONDS = 60;
const SWEEP_PAUSE_MS = 60_000;
const WAITING_NOTE_MS = 30_000;
const PAUSES_MS = [200, 500, 1000, 2000, 5000, 10_000];

export interface RunnerOptions extends LeaseOptions {
  readonly concurrency: number;
  /** Stop after this number of runs. */
  readonly maxRuns: number;
  /** Stop when no run is waiting. */
  readonly untilIdle: boolean;
  readonly idlePauseMs: number;
}

/** How many runs this runner claimed, by what became of them. */
interface Tally {
  /** Runs that this runner ended, as succeeded or failed. */
  ended: number;
  /** Those of `ended` that failed. */
  failed: number;
  /** Runs that this runner left unfinished, to be resumed. */
  left: number;
}

/** Execute queued runs until `options` or `stop` end the loop; then wait for the runs still being executed. */
export async function workThroughQueue(
  api: InternalApi,
  provider: Provider,
  options: RunnerOptions,
  logger: Logger,
  stop: AbortSignal,
): Promise<Tally> {
  const tally: Tally = { ended: 0, failed: 0, left: 0 };
  const underWay = new Set<Promise<void>>();
  const sweep = createSweep(api, provider, options, logger, stop);
  const waiting = createWaitingNotes(api, options, logger);
  let claimed = 0;
  let isWaiting = false;
  while (!stop.aborted && claimed < options.maxRuns) {
    if (underWay.size >= options.concurrency) {
      await Promise.race(underWay);
      continue;
    }
    sweep.startWhenDue();
    const claim = await tryClaimRun(api, options, logger, underWay.size > 0);
    if (claim !== null) {
      isWaiting = false;
      claimed += 1;
      const run = executeClaimedRun(api, provider, claim, options, logger, stop, tally).finally(() =>
        underWay.delete(run),
      );
      underWay.add(run);
    } else if (underWay.size > 0) {
      waiting.noteRunsUnderWay(underWay.size, claimed);
      await Promise.race([...underWay, pause(options.idlePauseMs)]);
    } else if (options.untilIdle) {
      await waiting.noteIdle("No run is queued; stopping");
      break;
    } else {
      if (!isWaiting) await waiting.noteIdle("No run is queued; waiting for one");
      isWaiting = true;
      await pause(options.idlePauseMs, undefined, { signal: stop }).catch(() => undefined);
    }
  }
  await Promise.all(underWay);
  await sweep.finish();
  return tally;
}

interface Sweep {
  startWhenDue(): void;
  finish(): Promise<void>;
}

/** Collect open orders of other executions in the background: at the start, and then once a minute. */
function createSweep(
  api: InternalApi,
  provider: Provider,
  options: RunnerOptions,
  logger: Logger,
  stop: AbortSignal,
): Sweep {
  let dueAt = 0;
  let running: Promise<void> | null = null;
  return {
    startWhenDue: () => {
      if (running !== null || Date.now() < dueAt) return;
      dueAt = Date.now() + SWEEP_PAUSE_MS;
      running = sweepOrders(api, provider, options.orgId, logger, stop).finally(() => (running = null));
    },
    finish: async () => {
      await running;
    },
  };
}

interface WaitingNotes {
  noteRunsUnderWay(count: number, claimed: number): void;
  noteIdle(message: string): Promise<void>;
}

/** Log what the runner waits for: at once if that changes, otherwise every 30 seconds. */
function createWaitingNotes(api: InternalApi, options: RunnerOptions, logger: Logger): WaitingNotes {
  let noted = "";
  let dueAt = 0;
  return {
    noteRunsUnderWay: (count, claimed) => {
      if (noted === `${count}/${claimed}` && Date.now() < dueAt) return;
      noted = `${count}/${claimed}`;
      dueAt = Date.now() + WAITING_NOTE_MS;
      logger.info("No more run is queued; waiting for those under way", { runs_under_way: count });
    },
    noteIdle: async (message) => {
      const queue = await readQueue(api, options);
      logger.info(message, queue === null ? {} : { ...queue });
    },
  };
}

/** Claim a run; return null if there is none, or the claim failed. With `untilIdle`, a failed claim throws. */
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
    const outcome = await executeRun(
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
    if (outcome.status === "failed") tally.failed += 1;
  } catch (error) {
    tally.left += 1;
    logger.warn("Run left to be taken up again", { pipeline_run_id: claim.runId, error: toMessage(error) });
    // Only a runner that was told to stop releases its lease: after an error, an immediate retry would fail again.
    if (leaseLost.signal.aborted) return;
    if (stop.aborted) await releaseLease(api, claim, logger);
    else await reportLeaving(api, claim, options, logger, toMessage(error));
  } finally {
    finished.abort();
    await heartbeat;
  }
}

/** Create the settings for waiting: mostly in the provider's blocking request, which costs nothing on this machine. */
function createPolling(signal: AbortSignal): Polling {
  return {
    blockSeconds: 20,
    holdSeconds: HOLD_SECONDS,
    pause: (round) => pause(PAUSES_MS[Math.min(round, PAUSES_MS.length) - 1], undefined, { signal }),
  };
}
