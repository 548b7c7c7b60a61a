/**
 * Holding queued runs while they are executed.
 *
 * In: the internal API. Out: runs held by a lease, which is prolonged until it is given back or lost. It must not know what
 * a run does.
 *
 * A runner that dies stops prolonging, so that another one takes its runs over; a runner that has lost a run learns it from
 * the engine and stops.
 */
import { setTimeout as pause } from "node:timers/promises";

import { internalCall, InternalApiError, type InternalApi, type InternalConfig } from "../client.js";
import { isObject } from "../exact.js";
import type { Logger } from "../logger.js";

export interface Claim {
  readonly runId: string;
  readonly orgId: string;
  readonly companyId: string | null;
  readonly leaseToken: string;
}

export interface LeaseTerms {
  readonly worker: string;
  readonly seconds: number;
  /** Take runs of this organisation only; of any when it is blank. */
  readonly orgId: string;
}

/** Take the next run that waits, or whose runner died; null when there is none. Throws InternalApiError. */
export async function claim(api: InternalApi, { worker, seconds, orgId }: LeaseTerms): Promise<Claim | null> {
  // Not repeated here: a claim whose answer was lost holds a run already, and the worker asks again anyway.
  const config = { ...api, retry: { ...api.retry, attempts: 1 }, orgId, companyId: null };
  const path = "/api/internal/pipeline-runs/claim";
  const data = await internalCall(config, path, { worker, lease_seconds: seconds });
  if (data === null) return null;
  const { id, org_id, company_id, lease_token } = isObject(data) ? data : {};
  if (typeof id !== "string" || typeof org_id !== "string" || typeof lease_token !== "string") {
    throw new InternalApiError(`POST ${path} answered 200 without a run`, path, 200, null, false);
  }
  return { runId: id, orgId: org_id, companyId: typeof company_id === "string" ? company_id : null, leaseToken: lease_token };
}

/** Prolong the lease of `held` until `signal`; calls `lost` when another runner has it. Never throws. */
export async function keep(
  api: InternalApi,
  held: Claim,
  { seconds }: LeaseTerms,
  logger: Logger,
  signal: AbortSignal,
  lost: () => void,
): Promise<void> {
  const isStill = async () => !(await pause((seconds * 1000) / 3, false, { signal }).catch(() => true));
  while (await isStill()) {
    if (await beat(api, held, seconds, logger)) continue;
    lost();
    return;
  }
}

/** Let the lease run out now, so that the run can be taken up elsewhere at once. Never throws. */
export async function giveBack(api: InternalApi, held: Claim, logger: Logger): Promise<void> {
  await beat(api, held, 1, logger);
}

/** Whether the run is still ours, as far as can be told. */
async function beat(api: InternalApi, held: Claim, seconds: number, logger: Logger): Promise<boolean> {
  const retry = { ...api.retry, attempts: 1 }; // the next beat is the retry
  const config: InternalConfig = { ...api, retry, orgId: held.orgId, companyId: held.companyId };
  const body = { pipeline_run_id: held.runId, lease_token: held.leaseToken, lease_seconds: seconds };
  try {
    await internalCall(config, "/api/internal/pipeline-runs/heartbeat", body);
    return true;
  } catch (error) {
    if (!(error instanceof InternalApiError)) throw error;
    logger.warn(error.message, { pipeline_run_id: held.runId });
    return error.status !== 409 && error.status !== 404;
  }
}
