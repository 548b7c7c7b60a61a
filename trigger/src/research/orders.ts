/** What the engine has on record of an order, and how a step reads and changes it. */
import type { Json, JsonObject } from "../json/exact.js";

/** What a step is to do next about its order. */
export type Action = "buy" | "poll" | "wait" | "take" | "stop";

/** An order of research, as the engine lists it. */
export interface ResearchOrder {
  readonly id: string;
  readonly provider: string;
  readonly processor: string;
  readonly providerRunId: string | null;
  /** The step that bought it. */
  readonly stepResultId: string | null;
  readonly endedAt: string | null;
}

export interface Placement {
  readonly action: Action;
  /** Absent where none was made: the budget does not allow it. */
  readonly order: ResearchOrder | null;
  /** With "take". */
  readonly answer: Json;
  /** With "stop". */
  readonly code: string | null;
  readonly message: string | null;
}

export interface PlacementRequest {
  readonly operation: string;
  readonly provider: string;
  readonly processor: string;
  /** The digest of the question. */
  readonly question: string;
  /** Names this attempt: each request to the provider has a name of its own. */
  readonly holder: string;
  /** How long other steps wait for a sign of life of this one. */
  readonly holdSeconds: number;
  readonly refresh: boolean;
  /** Keys of the operation's output beside the answer, for whoever collects it. */
  readonly output: JsonObject;
}

/** How an order ended at the provider. */
export type OrderEnd =
  | { readonly status: "completed"; readonly answer: Json }
  | { readonly status: "failed"; readonly code: string; readonly message: string };

/** The engine's record of the order of one step. Each method throws when the engine refuses or cannot be reached. */
export interface StepOrders {
  readonly stepResultId: string;
  /** Name an attempt; no two attempts have the same name. */
  createHolder(): string;
  /** Take the order of a question, or make one. Called again at every round of waiting. */
  place(request: PlacementRequest): Promise<Placement>;
  /** Record the provider's run id. This write must not be lost: it was paid for. */
  recordAccepted(orderId: string, providerRunId: string): Promise<void>;
  /** Record that certainly nothing was bought. */
  recordNotAccepted(orderId: string, holder: string, message: string): Promise<void>;
  /** Record that nobody can say whether the order was accepted. */
  recordUnknown(orderId: string, holder: string, message: string): Promise<void>;
  recordEnded(orderId: string, end: OrderEnd): Promise<void>;
  /** Let another step ask for the answer. Never throws. */
  release(orderId: string, holder: string): Promise<void>;
  /** What an order carries at the provider, beside its own id. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** A wire object: an order of the engine's answer. */
export function parseOrder(row: JsonObject): ResearchOrder {
  return {
    id: textOrNull(row["id"]) ?? "",
    provider: textOrNull(row["provider"]) ?? "",
    processor: textOrNull(row["processor"]) ?? "",
    providerRunId: textOrNull(row["provider_run_id"]),
    stepResultId: textOrNull(row["step_result_id"]),
    endedAt: textOrNull(row["ended_at"]),
  };
}

function textOrNull(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}
