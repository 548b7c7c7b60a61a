/** Builds the OperationResult of one research: what `step_results.output_payload.operation_result` holds. */
import { randomUUID } from "node:crypto";

import { isObject, replaceUnstorable, type Json, type JsonObject } from "../json/exact.js";
import type { Attempt, Operation, OperationResult } from "./operation.js";
import type { FinalState } from "./parallel.js";

export class ResultBuilder {
  readonly #operation: Operation;
  readonly #processor: string;
  readonly #runId = randomUUID();

  constructor(operation: Operation, processor: string) {
    this.#operation = operation;
    this.#processor = processor;
  }

  /** Build the result of an operation whose required inputs `names` have no text; `problems` say why, where known. */
  buildMissingInputs(names: string[], problems: Record<string, string> = {}): OperationResult {
    const words = names.map((name) => `\`${name}\`${name in problems ? ` (${problems[name] ?? ""})` : ""}`);
    const message = `the context has no ${words.join(", ")}`;
    return { ...this.#buildFailed("missing_inputs", message, []), missing_inputs: names };
  }

  /** Build the result of an operation whose output would lack keys: nothing was bought for it. */
  buildBadOutput(problems: Record<string, string>): OperationResult {
    const words = Object.entries(problems).map(([key, problem]) => `\`${key}\`: ${problem}`);
    return this.#buildFailed(
      "bad_output",
      `the output cannot be built, so nothing was bought: ${words.join("; ")}`,
      [],
    );
  }

  /** Build the result of research that was not, or perhaps not, bought. */
  buildNotBought(code: string, message: string): OperationResult {
    return this.#buildFailed(code, message, this.#buildAttempts("bought", null, code));
  }

  /** Build the result of research that ended at the provider, with its output where it has content. */
  buildFinal(state: FinalState, runId: string, action: Attempt["action"], keys: JsonObject): OperationResult {
    if (state.kind === "ended") {
      const attempts = this.#buildAttempts(action, runId, state.status);
      return this.#buildFailed(`provider_${state.status}`, state.message, attempts);
    }
    // What Postgres cannot store would be replaced in the step result only, and the row would differ from it.
    const envelope = replaceUnstorable(state.envelope);
    const isFound = !isEmptyContent(readContent(envelope));
    const output = {
      parallel_run_id: runId,
      processor: this.#processor,
      ...keys,
      parallel_raw_response: envelope,
    };
    return {
      run_id: this.#runId,
      operation_id: this.#operation.id,
      status: isFound ? "found" : "not_found",
      output: isFound ? output : null,
      provider_attempts: this.#buildAttempts(action, runId, "completed"),
    };
  }

  #buildFailed(code: string, message: string, attempts: Attempt[]): OperationResult {
    return {
      run_id: this.#runId,
      operation_id: this.#operation.id,
      status: "failed",
      output: null,
      provider_attempts: attempts,
      error: { code, message },
    };
  }

  #buildAttempts(action: Attempt["action"], runId: string | null, status: string): Attempt[] {
    return [{ provider: this.#operation.provider, action, run_id: runId, processor: this.#processor, status }];
  }
}

/** Return the content of the research: an object, a text or an array, wherever the envelope has one. */
function readContent(envelope: Json): Json {
  if (!isObject(envelope)) return envelope;
  const output = envelope["output"];
  if (isObject(output) && "content" in output) return output["content"] ?? null;
  return output ?? null;
}

function isEmptyContent(content: Json): boolean {
  if (content === null) return true;
  if (typeof content === "string") return content.trim() === "";
  return typeof content === "object" && Object.keys(content).length === 0;
}
