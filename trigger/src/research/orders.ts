/** The types of orders, and the interface through which a step reads and changes the engine's record of its order. */
import type { Json, JsonObject } from "../json/exact.js";

/** What a step has to do next: order, poll the provider, wait for another step, use the answer, or fail. */
export type Action = "buy" | "poll" | "wait" | "take" | "stop";

/** An order for research, as in the engine's responses. */
export interface ResearchOrder {
  readonly id: string;
  readonly provider: string;
  readonly processor: string;
  readonly providerRunId: string | null;
  /** The step that placed the order. */
  readonly stepResultId: string | null;
  readonly endedAt: string | null;
}

export interface Placement {
  readonly action: Action;
  /** null if the budget does not allow an order. */
  readonly order: ResearchOrder | null;
  /** The answer, if the action is "take". */
  readonly answer: Json;
  /** Why there will be no answer, if the action is "stop". */
  readonly code: string | null;
  readonly message: string | null;
}

export interface PlacementRequest {
  readonly operation: string;
  readonly provider: string;
  readonly processor: string;
  /** The digest of the question. */
  readonly question: string;
  /** The name of this attempt to order, unique for each request to the provider. */
  readonly holder: string;
  /** After so many seconds other steps may take over the order, unless this step calls again. */
  readonly holdSeconds: number;
  readonly refresh: boolean;
  /** The keys of the operation's output besides the answer, for a process that collects the answer later. */
  readonly output: JsonObject;
}

/** How an order ended at the provider. */
export type OrderEnd =
  | { readonly status: "completed"; readonly answer: Json }
  | { readonly status: "failed"; readonly code: string; readonly message: string };

/** The engine's record of one step's order. Each method throws if the engine refuses or cannot be reached. */
export interface StepOrders {
  readonly stepResultId: string;
  /** Return a new unique name for an attempt. */
  createHolder(): string;
  /** Get the order for a question, which is created if there is none. Called in every round of waiting. */
  place(request: PlacementRequest): Promise<Placement>;
  /** Record the provider's run id. If this write is lost, paid research is lost. */
  recordAccepted(orderId: string, providerRunId: string): Promise<void>;
  /** Record that the provider certainly did not accept the order. */
  recordNotAccepted(orderId: string, holder: string, message: string): Promise<void>;
  /** Record that it is unknown whether the provider accepted the order, or that it does not know the run of an open one. */
  recordUnknown(orderId: string, holder: string, message: string): Promise<void>;
  recordEnded(orderId: string, end: OrderEnd): Promise<void>;
  /** Release the lease, so that another step may ask for the answer. Never throws. */
  release(orderId: string, holder: string): Promise<void>;
  /** The metadata that is sent to the provider with an order, besides the order's id. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Parse an order from the engine's response. */
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
