/**
 * The local runner: queued runs, several at a time, executed without Trigger.dev.
 *
 * In: the internal API, a provider, how to go about it. Out: executed runs. It must not know processes or signals.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import type { InternalApi } from "../client.js";
import { messageOf, type Logger } from "../logger.js";
import type { Provider } from "../operations/provider.js";
import type { Patience } from "../operations/research.js";
import { runPipeline } from "../pipeline/run-pipeline.js";
import { claim, giveBack, keep, type Claim, type LeaseTerms } from "./claim.js";

export interface Terms extends LeaseTerms {
  readonly concurrency: number;
  /** Stop after so many runs. */
  readonly most: number;
  /** Stop when no run is waiting. */
  readonly untilIdle: boolean;
  readonly idlePauseMs: number;
}

export interface Tally {
  /** Runs that ended here, well or badly. */
  ended: number;
  /** Runs that have to be taken up again. */
  left: number;
}

/** Work until there is nothing more to do by `terms`, or `stop`. Then no run is held any more. */
export async function work(api: InternalApi, provider: Provider, terms: Terms, logger: Logger, stop: AbortSignal): Promise<Tally> {
  const tally: Tally = { ended: 0, left: 0 };
  const underWay = new Set<Promise<void>>();
  let taken = 0;
  while (!stop.aborted && taken < terms.most) {
    if (underWay.size >= terms.concurrency) {
      await Promise.race(underWay);
      continue;
    }
    const held = await claimOrNull(api, terms, logger, underWay.size > 0);
    if (held !== null) {
      taken += 1;
      const run = execute(api, provider, held, terms, logger, stop, tally).finally(() => underWay.delete(run));
      underWay.add(run);
    } else if (underWay.size > 0) {
      await Promise.race([...underWay, pause(terms.idlePauseMs)]);
    } else if (terms.untilIdle) {
      break;
    } else {
      await pause(terms.idlePauseMs, undefined, { signal: stop }).catch(() => undefined);
    }
  }
  await Promise.all(underWay);
  return tally;
}

/** While a run is under way the API is asked again; a runner with nothing in hand that is to stop when idle stops. */
async function claimOrNull(api: InternalApi, terms: Terms, logger: Logger, isBusy: boolean): Promise<Claim | null> {
  try {
    return await claim(api, terms);
  } catch (error) {
    logger.warn(`No run could be claimed: ${messageOf(error)}`);
    if (terms.untilIdle && !isBusy) throw error;
    return null;
  }
}

async function execute(
  api: InternalApi,
  provider: Provider,
  held: Claim,
  terms: Terms,
  logger: Logger,
  stop: AbortSignal,
  tally: Tally,
): Promise<void> {
  const lost = new AbortController();
  const done = new AbortController();
  const signal = AbortSignal.any([stop, lost.signal]);
  const beating = keep(api, held, terms, logger, done.signal, () => {
    lost.abort(new Error("another runner holds this run"));
  });
  try {
    await runPipeline(
      { pipeline_run_id: held.runId, org_id: held.orgId, company_id: held.companyId },
      {
        internal: { ...api, logger, signal },
        provider,
        patience: patience(signal),
        logger,
        execution: { id: `${terms.worker}/${randomUUID()}`, leaseToken: held.leaseToken },
        signal,
      },
    );
    tally.ended += 1;
  } catch (error) {
    tally.left += 1;
    logger.warn("Run left to be taken up again", { pipeline_run_id: held.runId, error: messageOf(error) });
    // Whatever was in the way is there a second later, too: only a runner that goes gives its run back before the lease is over.
    if (stop.aborted && !lost.signal.aborted) await giveBack(api, held, logger);
  } finally {
    done.abort();
    await beating;
  }
}

const PAUSES_MS = [200, 500, 1000, 2000, 5000, 10_000];

/** Waiting costs nothing here, so the provider's blocking call does most of it. */
function patience(signal: AbortSignal): Patience {
  return {
    blockSeconds: 20,
    pause: (round) => pause(PAUSES_MS[Math.min(round, PAUSES_MS.length) - 1], undefined, { signal }),
  };
}
