/**
 * OpenTelemetry traces: a span per run and per step, as children of the request that created the run.
 *
 * OpenTelemetry is imported only if `OTEL_EXPORTER_OTLP_ENDPOINT` says where to send spans. Without it, every call of
 * the engine still carries the run's trace context, so that the API's spans belong to one trace.
 */
import { AsyncLocalStorage } from "node:async_hooks";

import { toMessage, type Facts, type Logger } from "./logger.js";
import type { Environment } from "./settings.js";

interface OpenSpan {
  readonly traceparent: string;
  end(error?: unknown): void;
}

type StartSpan = (name: string, facts: Facts, parent: string | undefined) => OpenSpan;

const current = new AsyncLocalStorage<string>();
let startSpan: StartSpan | null = null;

/** Build the header `traceparent`, which makes a call a child of the current span; no header outside of a trace. */
export function buildTraceHeaders(): Record<string, string> {
  const traceparent = current.getStore();
  return traceparent === undefined ? {} : { traceparent };
}

/** Run `work` in a span that is a child of `parent`, or else of the current span. */
export async function traceWork<Result>(
  name: string,
  facts: Facts,
  parent: string | null,
  work: () => Promise<Result>,
): Promise<Result> {
  const above = parent ?? current.getStore();
  if (startSpan === null) return above === undefined ? await work() : await current.run(above, work);
  const span = startSpan(name, facts, above);
  try {
    const result = await current.run(span.traceparent, work);
    span.end();
    return result;
  } catch (error) {
    span.end(error);
    throw error;
  }
}

/**
 * Start to export spans over OTLP if the environment names an endpoint; return a function that exports the rest. If the
 * packages of OpenTelemetry are not installed, a warning is logged and nothing is exported.
 */
export async function startTracing(env: Environment, logger: Logger): Promise<() => Promise<void>> {
  if (!env["OTEL_EXPORTER_OTLP_ENDPOINT"] && !env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) return () => Promise.resolve();
  try {
    return await loadSpans();
  } catch (error) {
    logger.warn("No traces: the packages of OpenTelemetry are not installed", { error: toMessage(error) });
    return () => Promise.resolve();
  }
}

async function loadSpans(): Promise<() => Promise<void>> {
  const { ROOT_CONTEXT, SpanStatusCode, trace } = await import("@opentelemetry/api");
  const { BasicTracerProvider, BatchSpanProcessor } = await import("@opentelemetry/sdk-trace-base");
  const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-http");
  const { resourceFromAttributes } = await import("@opentelemetry/resources");
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": "data-engine-x-runner" }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  const tracer = provider.getTracer("data-engine-x-runner");
  startSpan = (name, facts, parent) => {
    const [, traceId, spanId, flags] = (parent ?? "").split("-");
    const above =
      traceId && spanId && flags
        ? trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: parseInt(flags, 16), isRemote: true })
        : ROOT_CONTEXT;
    const attributes = Object.fromEntries(Object.entries(facts).map(([key, value]) => [`dex.${key}`, String(value)]));
    const span = tracer.startSpan(name, { attributes }, above);
    const ids = span.spanContext();
    return {
      traceparent: `00-${ids.traceId}-${ids.spanId}-${ids.traceFlags.toString(16).padStart(2, "0")}`,
      end: (error) => {
        if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: toMessage(error) });
        span.end();
      },
    };
  };
  return async () => {
    startSpan = null;
    await provider.shutdown();
  };
}
