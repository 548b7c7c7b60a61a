/** The types of orders, and the interface by which a step reads and changes the engine's record of its order. */
import type { Json, JsonObject } from "../json/exact.js";

/** What a step has to do next: order, poll the provider, wait for another step, use the answer, or fail. */
export type Action = "buy" | "poll" | "wait" | "take" | "stop";

/** An order of research, as the engine lists it. */
export interface ResearchOrder {
  readonly id: string;
  readonly provider: string;
  readonly processor: string;
  readonly providerRunId: string | null;
  /** The step that placed it. */
  readonly stepResultId: string | null;
  readonly endedAt: string | null;
}

export interface Placement {
  readonly action: Action;
  /** Absent when the budget does not allow an order. */
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
  /** The name of this attempt, unique for each request to the provider. */
  readonly holder: string;
  /** Seconds after which other steps may take over the order, unless this step calls again. */
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
  /** Return a new unique name for an attempt. */
  createHolder(): string;
  /** Get the order of a question, created if there is none. Called in every round of waiting. */
  place(request: PlacementRequest): Promise<Placement>;
  /** Record the provider's run id. If this write is lost, paid research is lost. */
  recordAccepted(orderId: string, providerRunId: string): Promise<void>;
  /** Record that the provider certainly did not accept the order. */
  recordNotAccepted(orderId: string, holder: string, message: string): Promise<void>;
  /** Record that it is unknown whether the provider accepted the order. */
  recordUnknown(orderId: string, holder: string, message: string): Promise<void>;
  recordEnded(orderId: string, end: OrderEnd): Promise<void>;
  /** Release the lease, so that another step may ask for the answer. Never throws. */
  release(orderId: string, holder: string): Promise<void>;
  /** The metadata that is sent to the provider with an order, besides the order's id. */
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
