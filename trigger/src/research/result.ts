/** Builds the OperationResult of a step, which is stored as `step_results.output_payload.operation_result`. */
import { randomUUID } from "node:crypto";

import { isObject, replaceUnstorable, type Json, type JsonObject } from "../json/exact.js";
import type { Input } from "./inputs.js";
import type { Attempt, Failure, Operation, OperationResult, ProviderName } from "./operation.js";
import type { ResearchOrder } from "./orders.js";

export class ResultBuilder {
  readonly #operation: Pick<Operation, "id"> & { readonly provider: ProviderName };
  readonly #processor: string;
  readonly #runId = randomUUID();

  constructor(operation: Pick<Operation, "id"> & { readonly provider: ProviderName }, processor: string) {
    this.#operation = operation;
    this.#processor = processor;
  }

  /** Build the result of an operation whose required inputs (`names`, of `wanted`) have no text; `problems` say why. */
  buildMissingInputs(
    names: string[],
    wanted: Readonly<Record<string, Input>>,
    problems: Record<string, string> = {},
  ): OperationResult {
    const words = names.map((name) => {
      const paths = (wanted[name]?.paths ?? []).map((path) => `\`${path}\``).join(" or ");
      const why = name in problems ? `${problems[name] ?? ""}; it comes from ${paths}` : `from ${paths}`;
      return `\`${name}\` (${why})`;
    });
    const message = `the context has no ${words.join(", ")}`;
    return { ...this.#buildFailed({ code: "missing_inputs", message }, []), missing_inputs: names };
  }

  /** Build the result of an operation for which nothing was ordered, because its output would lack keys. */
  buildBadOutput(problems: Record<string, string>): OperationResult {
    const words = Object.entries(problems).map(([key, problem]) => `\`${key}\`: ${problem}`);
    const message = `the output cannot be built, so nothing was bought: ${words.join("; ")}`;
    return this.#buildFailed({ code: "bad_output", message }, []);
  }

  /** Build the result of research without an answer: not ordered, failed, or timed out. */
  buildNoAnswer(failure: Failure, order: ResearchOrder | null, action: Attempt["action"]): OperationResult {
    return this.#buildFailed(failure, this.#buildAttempts(action, order, failure.code.replace(/^provider_/, "")));
  }

  /** Build the result of research that has an answer, with an output if the answer has content. */
  buildFound(answer: Json, order: ResearchOrder, action: Attempt["action"], keys: JsonObject): OperationResult {
    // Characters that Postgres cannot store are replaced here, so that step result and row stay equal.
    const envelope = replaceUnstorable(answer);
    const isFound = !isEmptyContent(readContent(envelope));
    const output = {
      parallel_run_id: order.providerRunId,
      processor: order.processor, // that of the step may have changed since
      ...keys,
      parallel_raw_response: envelope,
    };
    return {
      run_id: this.#runId,
      operation_id: this.#operation.id,
      status: isFound ? "found" : "not_found",
      output: isFound ? output : null,
      provider_attempts: this.#buildAttempts(action, order, "completed"),
    };
  }

  #buildFailed(error: Failure, attempts: Attempt[]): OperationResult {
    return {
      run_id: this.#runId,
      operation_id: this.#operation.id,
      status: "failed",
      output: null,
      provider_attempts: attempts,
      error,
    };
  }

  #buildAttempts(action: Attempt["action"], order: ResearchOrder | null, status: string): Attempt[] {
    const { provider } = this.#operation;
    const runId = order?.providerRunId ?? null;
    const processor = order?.processor ?? this.#processor;
    return [{ provider, action, order_id: order?.id ?? null, run_id: runId, processor, status }];
  }
}

/** Return the content of the answer in the provider's response: an object, a text or an array. */
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
