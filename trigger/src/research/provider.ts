/**
 * The interface `Provider`, which each research provider implements in a file in this folder.
 *
 * The provider's API has no idempotency keys, so a repeated request is paid for twice. Therefore `orderResearch` never
 * retries a request, and its errors say whether the request may have been accepted.
 */
import type { Json } from "../json/exact.js";

/** The requested form of an answer: a JSON Schema, or a report in prose. */
export type OutputSchema =
  { readonly type: "json"; readonly json_schema: Readonly<Record<string, unknown>> } | { readonly type: "text" };

export interface Order {
  prompt: string;
  processor: string;
  /** null lets the provider choose the form of the answer. */
  outputSchema: OutputSchema | null;
  /** Stored with the research at the provider: keys of at most 16 characters, values of at most 512. */
  metadata: Record<string, string>;
}

/** The state of ordered research at the provider. */
export type ResearchState =
  | { kind: "done"; envelope: Json }
  | { kind: "active"; status: string }
  /** There is a result that cannot be read and never will be. */
  | { kind: "unstorable"; message: string }
  /** There will be no result until somebody acts at the provider. */
  | { kind: "needs_action"; message: string }
  /** There will be no result. */
  | { kind: "ended"; status: string; message: string }
  /** Under this id the provider knows no research, or that of another order: only a person can say what became of it. */
  | { kind: "unknown"; message: string }
  /** The provider could not be reached this time. */
  | { kind: "unreachable"; message: string };
export type PendingState = Extract<ResearchState, { kind: "active" | "unreachable" }>;

/** Thrown when the request was certainly not accepted: nothing was bought. */
export class NotBoughtError extends Error {
  override readonly name = "NotBoughtError";

  constructor(
    message: string,
    readonly isRetryable: boolean,
  ) {
    super(message);
  }
}

/** Thrown when the request may have been accepted: to repeat it could mean paying twice. */
export class MaybeBoughtError extends Error {
  override readonly name = "MaybeBoughtError";
}

export interface Provider {
  /** Order research and return its id. Throws NotBoughtError or MaybeBoughtError. */
  orderResearch(order: Order): Promise<string>;
  /** Return the state of an order's research, waiting up to `seconds` for its result. Never throws. */
  fetchState(runId: string, orderId: string, seconds: number, signal?: AbortSignal): Promise<ResearchState>;
}
