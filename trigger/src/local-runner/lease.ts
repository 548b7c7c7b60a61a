/**
 * Claims queued runs and keeps their leases.
 *
 * A runner that dies no longer extends its leases, so another runner can claim its runs. A runner that has lost a lease
 * gets an error from the engine and stops executing the run.
 */
import { setTimeout as pause } from "node:timers/promises";

import { internalCall, InternalApiError, type InternalApi, type InternalConfig } from "../api/client.js";
import { isObject } from "../json/exact.js";
import type { Logger } from "../logger.js";

export interface Claim {
  readonly runId: string;
  readonly orgId: string;
  readonly companyId: string | null;
  readonly leaseToken: string;
}

export interface LeaseOptions {
  readonly worker: string;
  readonly leaseSeconds: number;
  /** Claim only runs of this organisation; of any if it is blank. */
  readonly orgId: string;
}

/** Claim the next run that is queued or has an expired lease; return null if there is none. Throws InternalApiError. */
export async function claimRun(api: InternalApi, options: LeaseOptions): Promise<Claim | null> {
  // Not retried: if only the response was lost, a run is leased already; and the loop claims again anyway.
  const config = { ...api, retry: { ...api.retry, attempts: 1 }, orgId: options.orgId, companyId: null };
  const path = "/api/internal/pipeline-runs/claim";
  const data = await internalCall(config, path, { worker: options.worker, lease_seconds: options.leaseSeconds });
  if (data === null) return null;
  const { id: runId, org_id: orgId, company_id: companyId, lease_token: leaseToken } = isObject(data) ? data : {};
  if (typeof runId !== "string" || typeof orgId !== "string" || typeof leaseToken !== "string") {
    throw new InternalApiError(`POST ${path} answered 200 without a run`, path, 200, null, false);
  }
  return { runId, orgId, companyId: typeof companyId === "string" ? companyId : null, leaseToken };
}

/** The engine's counts: how many runs are queued, leased or at Trigger.dev, and how many orders are open. */
interface Queue {
  readonly queued: number;
  readonly leased: number;
  readonly first_lease_ends_at: string | null;
  readonly at_trigger: number;
  readonly open_orders: number;
}

/** Request the counts of the queue; return null if the engine cannot be reached. */
export async function readQueue(api: InternalApi, { orgId }: LeaseOptions): Promise<Queue | null> {
  const config = { ...api, retry: { ...api.retry, attempts: 1 }, orgId, companyId: null };
  try {
    const data = await internalCall(config, "/api/internal/pipeline-runs/queue", {});
    return isObject(data) ? (data as unknown as Queue) : null;
  } catch (error) {
    if (!(error instanceof InternalApiError)) throw error;
    return null;
  }
}

/** Extend the lease periodically until `signal` is aborted; call `onLost` if another runner has it. Never throws. */
export async function keepLease(
  api: InternalApi,
  claim: Claim,
  { leaseSeconds }: LeaseOptions,
  logger: Logger,
  signal: AbortSignal,
  onLost: () => void,
): Promise<void> {
  const waitForHeartbeat = async () => !(await pause((leaseSeconds * 1000) / 3, false, { signal }).catch(() => true));
  while (await waitForHeartbeat()) {
    if (await sendHeartbeat(api, claim, leaseSeconds, logger)) continue;
    onLost();
    return;
  }
}

/** Shorten the lease to a second, so that another runner can claim the run at once. Never throws. */
export async function releaseLease(api: InternalApi, claim: Claim, logger: Logger): Promise<void> {
  await sendHeartbeat(api, claim, 1, logger, { released: true });
}

/** Report why this runner leaves a run unfinished. The lease is kept, since an immediate retry would fail again. */
export async function reportLeaving(
  api: InternalApi,
  claim: Claim,
  { leaseSeconds }: LeaseOptions,
  logger: Logger,
  message: string,
): Promise<void> {
  await sendHeartbeat(api, claim, leaseSeconds, logger, { error_message: message.slice(0, 2000) });
}

/** Extend the lease; return false if the engine says that another runner has it. */
async function sendHeartbeat(
  api: InternalApi,
  claim: Claim,
  seconds: number,
  logger: Logger,
  facts: { error_message?: string; released?: boolean } = {},
): Promise<boolean> {
  const retry = { ...api.retry, attempts: 1 }; // the next heartbeat is the retry
  const config: InternalConfig = { ...api, retry, orgId: claim.orgId, companyId: claim.companyId };
  const body = {
    pipeline_run_id: claim.runId,
    lease_token: claim.leaseToken,
    lease_seconds: seconds,
    ...facts,
  };
  try {
    await internalCall(config, "/api/internal/pipeline-runs/heartbeat", body);
    return true;
  } catch (error) {
    if (!(error instanceof InternalApiError)) throw error;
    logger.warn(error.message, { pipeline_run_id: claim.runId });
    return error.status !== 409 && error.status !== 404;
  }
}
