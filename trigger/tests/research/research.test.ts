/** One Deep Research against the recorded provider: bought once, followed to whatever end it has. */
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { BEHAVIOURS, RecordedProvider } from "../../recorded-provider/provider.js";
import { loadRecordings } from "../../recorded-provider/recordings.js";
import { createRecordedServer } from "../../recorded-provider/server.js";
import { isObject, parseJson, stringifyJson, type Json, type JsonObject } from "../../src/json/exact.js";
import { operations } from "../../src/operations/generated/index.js";
import type { NormalizeInputs } from "../../src/research/inputs.js";
import { parseStepConfig, type Operation, type StepConfig } from "../../src/research/operation.js";
import { createParallelProvider } from "../../src/research/parallel.js";
import { MaybeBoughtError, NotBoughtError } from "../../src/research/provider.js";
import type { Action, OrderEnd, Placement, PlacementRequest, StepOrders } from "../../src/research/orders.js";
import { conductResearch, type Research } from "../../src/research/research.js";
import { SettingError } from "../../src/settings.js";
import { createRecordingLogger, startScriptedServer } from "../loopback.js";

const recordedProvider = new RecordedProvider(loadRecordings(), 20);
const server = createRecordedServer(recordedProvider);
const KEY = { PARALLEL_API_KEY: "a-key" };
let url = "";

before(async () => {
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  server.closeAllConnections();
});

const ORDERED = { status: 202, body: '{"run_id": "trun_1", "status": "queued"}' };
const FOUND = { status: 200, body: '{"run": {"run_id": "trun_1"}, "output": {"content": {"a": 1}}}' };
const CLIENT = { client_company_name: "Harbor Assurance", client_company_description: "Insures machines." };
const CONTEXTS: Record<string, JsonObject> = {
  "company.derive.icp_job_titles": { company_name: "Northwind Robotics", domain: "northwind-robotics.example.com" },
  "company.derive.intel_briefing": {
    ...CLIENT,
    company_name: "Northwind Robotics",
    domain: "northwind-robotics.example.com",
  },
  "person.derive.intel_briefing": {
    ...CLIENT,
    full_name: "Mara Lindqvist",
    current_company_name: "Northwind Robotics",
  },
};

interface Setting {
  operation?: Operation;
  context?: JsonObject;
  config?: StepConfig;
  book?: OrderBook;
  base?: string;
  logger?: ReturnType<typeof createRecordingLogger>;
  normalizeInputs?: NormalizeInputs;
}

/** Keeps the one order of a step, as the engine does, and what was put on record, in order. */
class OrderBook implements StepOrders {
  readonly stepResultId = "s";
  readonly metadata = { pipeline_run_id: "p", step_result_id: "s" };
  readonly events: string[] = [];
  readonly requests: PlacementRequest[] = [];
  readonly #earlier = recordedProvider.orders.length;
  status: "none" | "requested" | "open" | "completed" | "failed" | "unknown" = "none";
  providerRunId: string | null = null;
  answer: Json = null;
  end = { code: "", message: "" };
  #holders = 0;

  countBought(): number {
    return recordedProvider.orders.length - this.#earlier;
  }

  createHolder(): string {
    this.#holders += 1;
    return `holder-${this.#holders}`;
  }

  place(request: PlacementRequest): Promise<Placement> {
    this.requests.push(request);
    const order = {
      id: "o",
      provider: "parallel",
      processor: request.processor,
      providerRunId: this.providerRunId,
      stepResultId: "s",
      endedAt: this.status === "completed" ? "2026-11-22T10:00:00Z" : null,
    };
    const build = (action: Action, code: string | null = null, message: string | null = null): Placement => ({
      action,
      order,
      answer: this.answer,
      code,
      message,
    });
    if (this.status === "none") {
      this.events.push(`noted before ${this.countBought()} orders`);
      this.status = "requested";
      return Promise.resolve(build("buy"));
    }
    if (this.status === "open") return Promise.resolve(build("poll"));
    if (this.status === "completed") return Promise.resolve(build("take"));
    return Promise.resolve(build("stop", this.end.code, this.end.message));
  }

  recordAccepted(_orderId: string, runId: string): Promise<void> {
    const which = runId === recordedProvider.orders.at(-1)?.run_id ? "the" : "another";
    this.events.push(`kept ${which} run after ${this.countBought()} orders`);
    this.status = "open";
    this.providerRunId = runId;
    return Promise.resolve();
  }

  recordNotAccepted(): Promise<void> {
    this.events.push(`withdrawn after ${this.countBought()} orders`);
    this.status = "none";
    return Promise.resolve();
  }

  recordUnknown(_orderId: string, _holder: string, message: string): Promise<void> {
    this.status = "unknown";
    this.end = { code: "order_unknown", message };
    return Promise.resolve();
  }

  recordEnded(_orderId: string, end: OrderEnd): Promise<void> {
    this.status = end.status;
    if (end.status === "completed") this.answer = end.answer;
    else this.end = end;
    return Promise.resolve();
  }

  release(): Promise<void> {
    this.events.push("released");
    return Promise.resolve();
  }
}

/** Conduct research and tell what was put on record, in order, and how many orders the provider had by then. */
async function conduct(setting: Setting = {}): Promise<Research & { events: string[]; bought: number }> {
  const operation = setting.operation ?? getOperation("company.derive.icp_job_titles");
  const book = setting.book ?? new OrderBook();
  const earlier = recordedProvider.orders.length;
  const research = await conductResearch(
    operation,
    setting.context ?? CONTEXTS[operation.id] ?? {},
    setting.config ?? {},
    book,
    {
      provider: createParallelProvider({ ...KEY, PARALLEL_BASE_URL: setting.base ?? url }),
      polling: { blockSeconds: 1, holdSeconds: 60, pause: () => pause(10) },
      logger: setting.logger ?? createRecordingLogger(),
      normalizeInputs: setting.normalizeInputs ?? (() => Promise.reject(new Error("there is nothing to normalize"))),
    },
  );
  return { ...research, events: book.events, bought: recordedProvider.orders.length - earlier };
}

function getOperation(id: string): Operation {
  const operation = operations.get(id);
  assert.ok(operation);
  return operation;
}

function createCue(behaviour: keyof typeof BEHAVIOURS): JsonObject {
  return {
    ...CONTEXTS["company.derive.icp_job_titles"],
    company_description: `[recorded:${behaviour}] ${crypto.randomUUID()}`,
  };
}

describe("each operation", () => {
  for (const operation of operations.values()) {
    test(`${operation.id} finds, with the output's keys in place`, async () => {
      const { result, events, bought } = await conduct({ operation });
      assert.equal(result.status, "found");
      assert.equal(bought, 1);
      assert.deepEqual(events, ["noted before 0 orders", "kept the run after 1 orders"]);
      const { output } = result;
      assert.ok(output);
      assert.equal(output["processor"], operation.processor);
      assert.equal(output["parallel_run_id"], recordedProvider.orders.at(-1)?.run_id);
      const envelope = output["parallel_raw_response"];
      assert.ok(isObject(envelope ?? null) && isObject((envelope as JsonObject)["run"] ?? null));
      for (const name of Object.keys(operation.inputs)) assert.equal(typeof output[name], "string", name);
    });
  }

  test("the metadata names the order and the step, the step's config the processor", async () => {
    const { result } = await conduct({ config: { processor: "core" } });
    assert.equal(result.output?.["processor"], "core");
    assert.deepEqual(recordedProvider.orders.at(-1)?.metadata, {
      order_id: "o",
      pipeline_run_id: "p",
      step_result_id: "s",
    });
  });

  test("numbers of the research are kept to the digit", async () => {
    const { result } = await conduct({ operation: getOperation("company.derive.intel_briefing") });
    const text = stringifyJson(result.output);
    assert.match(text, /"register_number":29384756102938475610293847561,/);
    assert.match(text, /"revenue_eur_millions":61\.10[,}]/);
  });

  test("aliases and camel case are read, blanks are not", async () => {
    const context = {
      companyName: "Northwind Robotics",
      domain: "  ",
      canonical_domain: "northwind-robotics.example.com",
    };
    const { result } = await conduct({ context });
    assert.equal(result.output?.["domain"], "northwind-robotics.example.com");
    assert.equal(result.output["company_description"], "");
  });

  test("missing inputs fail the step before anything is noted or bought", async () => {
    const { result, events, bought } = await conduct({
      operation: getOperation("company.derive.intel_briefing"),
      context: { domain: "x.example" },
    });
    assert.deepEqual(result.missing_inputs, [
      "client_company_name",
      "client_company_description",
      "target_company_name",
    ]);
    assert.equal(result.status, "failed");
    assert.match(
      result.error?.message ?? "",
      /`client_company_name` \(from `context\.client_company_name` or .*\), .*`target_company_name` \(from `context\./,
    );
    assert.deepEqual([events, bought], [[], 0]);
  });
});

describe("each end at the provider", () => {
  const ENDS: [keyof typeof BEHAVIOURS, string, RegExp, number][] = [
    ["failed", "provider_failed", /failed at the provider: the research could not be completed/, 1],
    ["cancelled", "provider_cancelled", /was cancelled/, 1],
    ["cancelling", "provider_cancelled", /was cancelled/, 1],
    ["action_required", "provider_action_required", /an action by a person; the order stays open/, 1],
    ["forgotten", "provider_unknown", /does not know run `trun_/, 1],
    ["unpaid", "not_bought", /402: insufficient credit.*nothing was bought/, 0],
    ["invalid", "not_bought", /422.*nothing was bought/, 0],
    ["broken", "order_unknown", /502.*not ordered again/, 1],
    ["cut", "order_unknown", /cannot be reached.*not ordered again/, 1],
  ];
  for (const [behaviour, code, message, orders] of ENDS) {
    test(`${behaviour}: ${BEHAVIOURS[behaviour]}`, async () => {
      const { result, bought } = await conduct({ context: createCue(behaviour) });
      assert.equal(result.status, "failed");
      assert.equal(result.output, null);
      assert.equal(result.error?.code, code);
      assert.match(result.error.message, message);
      assert.equal(bought, orders);
      assert.equal(result.provider_attempts.length, 1);
    });
  }

  test("action_required: a retry takes the answer once somebody has acted, and buys nothing", async () => {
    const book = new OrderBook();
    const context = createCue("action_required");
    const waiting = await conduct({ context, book });
    assert.deepEqual([waiting.result.status, book.status, waiting.events.at(-1)], ["failed", "open", "released"]);
    const retried = await conduct({ context, book });
    assert.deepEqual([retried.result.status, retried.bought], ["found", 0]);
  });

  test("forever: the step's time is up, and the run is named for whoever looks for it", async () => {
    const { result } = await conduct({ context: createCue("forever"), config: { timeout_seconds: 0.2 } });
    assert.equal(result.error?.code, "provider_timeout");
    assert.match(
      result.error.message,
      /`trun_\w+` of order `o` gave no result within 0\.2 s; it is still running; the order stays open/,
    );
  });

  test("empty: found nothing, which is no failure", async () => {
    const { result } = await conduct({ context: createCue("empty") });
    assert.deepEqual([result.status, result.output], ["not_found", null]);
  });

  test("text and array bodies are bodies", async () => {
    for (const behaviour of ["text", "array"] as const) {
      const { result } = await conduct({ context: createCue(behaviour) });
      assert.equal(result.status, "found");
      const envelope = result.output?.["parallel_raw_response"] as { output: { content: unknown } };
      assert.ok(
        behaviour === "text" ? typeof envelope.output.content === "string" : Array.isArray(envelope.output.content),
      );
    }
  });

  test("busy: ordered again, for nothing was bought", async () => {
    const { result, events, bought } = await conduct({ context: createCue("busy") });
    assert.deepEqual([result.status, bought], ["found", 1]);
    assert.deepEqual(events, [
      "noted before 0 orders",
      "withdrawn after 0 orders",
      "noted before 0 orders",
      "kept the run after 1 orders",
    ]);
  });

  test("busy for a minute: the pauses of the local runner outlast it", async () => {
    const busy = { status: 429, body: '{"type": "error", "error": {"message": "2000 requests per minute"}}' };
    const answers = [...Array<typeof busy>(11).fill(busy), ORDERED, FOUND];
    await using provider = await startScriptedServer(...answers);
    const { result } = await conduct({ base: provider.url });
    assert.equal(result.status, "found");
  });

  test("mumbled: an answer that cannot be read is asked for again", async () => {
    const { result, bought } = await conduct({ context: createCue("mumbled") });
    assert.deepEqual([result.status, bought], ["found", 1]);
  });

  test("a proxy's page in place of a status is no end: what was paid for is asked for again", async () => {
    const page = { status: 200, body: "<html>Back soon</html>", headers: { "content-type": "text/html" } };
    const active = { status: 408, body: '{"type": "error", "error": {"message": "run is still active"}}' };
    await using provider = await startScriptedServer(ORDERED, active, page, FOUND);
    const { result } = await conduct({ base: provider.url });
    assert.equal(result.status, "found");
  });

  const ofOthers = [
    "<html>404 Not Found</html>",
    '{"detail": "Not Found"}',
    '{"error": {"code": 404, "message": "?"}}',
  ];
  for (const body of ofOthers) {
    test(`a 404 that is not the provider's own is no end: ${body}`, async () => {
      const lost = { status: 404, body };
      await using provider = await startScriptedServer(ORDERED, lost, lost, FOUND);
      const { result } = await conduct({ base: provider.url });
      assert.equal(result.status, "found");
    });
  }

  test("refused to the end of its time: the step fails then, with the provider's own words", async () => {
    const refused = {
      status: 401,
      body: '{"type": "error", "error": {"ref_id": "ref_1", "message": "the key was revoked"}}',
    };
    await using provider = await startScriptedServer(ORDERED, refused);
    const book = new OrderBook();
    const { result } = await conduct({ base: provider.url, config: { timeout_seconds: 0.1 }, book });
    assert.equal(result.error?.code, "provider_timeout");
    assert.match(
      result.error.message,
      /`trun_1` .* gave no result within 0\.1 s; at last the provider answered 401: the key was revoked/,
    );
    assert.deepEqual([book.status, book.events.at(-1)], ["open", "released"]);
  });

  for (const body of ['{"message": "maintenance"}', "null", '{"run": "trun_1", "output": "none"}']) {
    test(`JSON that is no research is asked for again: ${body}`, async () => {
      const active = { status: 408, body: "{}" };
      await using provider = await startScriptedServer(
        ORDERED,
        { status: 200, body },
        active,
        { status: 200, body },
        FOUND,
      );
      const { result } = await conduct({ base: provider.url });
      assert.deepEqual(result.output?.["parallel_raw_response"], parseJson(FOUND.body));
    });
  }

  const recordings = [
    '{"run": {"run_id": "trun_recorded", "metadata": {}}, "output": {"content": {"a": 1}}}',
    '{"output": {"content": {"a": 1}}}',
  ];
  for (const body of recordings) {
    test(`a recorded answer, which names its own run and no order, is an answer: ${body}`, async () => {
      const active = { status: 408, body: "{}" };
      const status = { status: 200, body: '{"run_id": "trun_recorded", "status": "running"}' };
      await using provider = await startScriptedServer(ORDERED, active, status, { status: 200, body });
      const { result } = await conduct({ base: provider.url });
      assert.deepEqual(result.output?.["parallel_raw_response"], parseJson(body));
    });
  }

  test("the research of another order, as of a mistyped run id, is neither an answer nor an end", async () => {
    const run = '"run_id": "trun_1", "status": "failed", "metadata": {"order_id": "another"}';
    await using provider = await startScriptedServer(
      { status: 200, body: `{"run": {${run}}, "output": {"content": {"a": 1}}}` },
      { status: 404, body: "{}" },
      { status: 200, body: `{${run}}` },
    );
    const parallel = createParallelProvider({ ...KEY, PARALLEL_BASE_URL: provider.url });
    const state = { kind: "unknown", message: "run `trun_1` is the research of another order" };
    assert.deepEqual(await parallel.fetchState("trun_1", "o", 0), state);
    assert.deepEqual(await parallel.fetchState("trun_1", "o", 0), state);
  });

  test("the key, where an answer repeats it, is in no message", async () => {
    const error = '{"ref_id": "a-key", "message": "x-api-key: a-key, a-key"}';
    const notFound = { status: 404, body: "{}" };
    await using provider = await startScriptedServer(
      { status: 401, body: `{"error": ${error}}` },
      notFound,
      { status: 200, body: `{"run_id": "trun_1", "status": "failed", "error": ${error}}` },
      notFound,
      { status: 200, body: '{"run_id": "trun_1", "status": "a-key"}' },
    );
    const parallel = createParallelProvider({ ...KEY, PARALLEL_BASE_URL: provider.url });
    const hidden = "x-api-key: [PARALLEL_API_KEY], [PARALLEL_API_KEY]";
    await assert.rejects(
      parallel.orderResearch({ prompt: "p", processor: "core", outputSchema: null, metadata: {} }),
      new NotBoughtError(`the provider answered 401: ${hidden} (ref [PARALLEL_API_KEY])`, false),
    );
    const message = `research \`trun_1\` failed at the provider: ${hidden}`;
    assert.deepEqual(await parallel.fetchState("trun_1", "o", 0), { kind: "ended", status: "failed", message });
    assert.deepEqual(await parallel.fetchState("trun_1", "o", 0), { kind: "active", status: "[PARALLEL_API_KEY]" });
  });

  test("the key, where a long message is cut inside it, is in no message", async () => {
    const body = JSON.stringify({ error: { message: `${"x".repeat(1997)}a-key` } });
    await using provider = await startScriptedServer({ status: 422, body });
    const parallel = createParallelProvider({ ...KEY, PARALLEL_BASE_URL: provider.url });
    await assert.rejects(
      parallel.orderResearch({ prompt: "p", processor: "core", outputSchema: null, metadata: {} }),
      new NotBoughtError(`the provider answered 422: ${"x".repeat(1997)}[PA`, false),
    );
  });

  test("a redirect is not followed, for the other host would get the key", async () => {
    await using other = await startScriptedServer({ status: 200, body: '{"run_id": "trun_1", "status": "completed"}' });
    const headers = { location: `${other.url}/v1/elsewhere` };
    await using provider = await startScriptedServer({ status: 307, body: "", headers });
    const message =
      `the provider answered 307, a redirect to ${other.url}, which is not followed: ` +
      "another host would get the key; set `PARALLEL_BASE_URL` to the provider's own address";
    const redirected = createParallelProvider({ ...KEY, PARALLEL_BASE_URL: provider.url });
    assert.deepEqual(await redirected.fetchState("trun_1", "o", 0), { kind: "unreachable", message });
    const order = redirected.orderResearch({ prompt: "p", processor: "core", outputSchema: null, metadata: {} });
    await assert.rejects(order, new MaybeBoughtError(message));
    assert.deepEqual([provider.requests.length, other.requests.length], [2, 0]);
  });

  test("an answer that stalls after its headers is given up, and asked for again", async () => {
    await using provider = await startScriptedServer((response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "500" }).write("{");
    });
    const stalled = createParallelProvider({ ...KEY, PARALLEL_BASE_URL: provider.url }, 200);
    const state = { kind: "unreachable", message: "the provider did not answer in time" };
    assert.deepEqual(await stalled.fetchState("trun_1", "o", 0), state);
    const order = stalled.orderResearch({ prompt: "p", processor: "core", outputSchema: null, metadata: {} });
    await assert.rejects(order, new MaybeBoughtError("the provider did not answer in time"));
  });

  test("a status that the provider added is no end of the research", async () => {
    const active = { status: 408, body: "{}" };
    await using provider = await startScriptedServer(active, {
      status: 200,
      body: '{"run_id": "trun_1", "status": "paused"}',
    });
    const state = await createParallelProvider({ ...KEY, PARALLEL_BASE_URL: provider.url }).fetchState(
      "trun_1",
      "o",
      0,
    );
    assert.deepEqual(state, { kind: "active", status: "paused" });
  });

  test("a time that is written with decimals is a time", () => {
    assert.deepEqual(parseStepConfig(parseJson('{"timeout_seconds": 60.0}')), { timeout_seconds: 60 });
  });

  test("an order is answered with nothing: it may have been accepted", async () => {
    await using provider = await startScriptedServer({ status: 200, body: "null" });
    const { result } = await conduct({ base: provider.url });
    assert.equal(result.error?.code, "order_unknown");
    assert.match(result.error.message, /^the provider accepted the request without naming a run;/);
  });

  test("nobody listens: ordered again until it is clear that nothing was bought", async () => {
    const nowhere = await startScriptedServer({ status: 200, body: "" });
    await nowhere[Symbol.asyncDispose]();
    const { result } = await conduct({ base: nowhere.url });
    assert.equal(result.error?.code, "not_bought");
    assert.match(result.error.message, /ECONNREFUSED/);
  });

  for (const depth of [5000, 20_000]) {
    test(`an answer of ${depth} levels fails the step: no later attempt could read or write it`, async () => {
      const body = `{"run": {"run_id": "trun_1"}, "output": {"content": ${"[".repeat(depth)}${"]".repeat(depth)}}}`;
      await using provider = await startScriptedServer(ORDERED, { status: 200, body });
      const { error } = (await conduct({ base: provider.url })).result;
      assert.equal(error?.code, "not_recorded");
      assert.match(error.message, /the JSON is nested too deeply$/);
    });
  }

  test("NUL and half surrogates are replaced before anything is stored", async () => {
    const body = '{"run": {"run_id": "trun_1"}, "output": {"content": {"a\\u0000": "x\\ud800y"}}}';
    await using provider = await startScriptedServer(ORDERED, { status: 200, body });
    const { result } = await conduct({ base: provider.url });
    assert.deepEqual(
      result.output?.["parallel_raw_response"],
      parseJson('{"run": {"run_id": "trun_1"}, "output": {"content": {"a\uFFFD": "x\uFFFDy"}}}'),
    );
  });
});

describe("what is on record of an earlier purchase", () => {
  test("an open order: its research is followed, nothing is noted or bought", async () => {
    await conduct();
    const runId = recordedProvider.orders.at(-1)?.run_id ?? "";
    const book = new OrderBook();
    Object.assign(book, { status: "open", providerRunId: runId });
    const { result, events, bought } = await conduct({ book });
    assert.equal(result.output?.["parallel_run_id"], runId);
    assert.deepEqual([result.provider_attempts[0]?.action, result.provider_attempts[0]?.order_id], ["resumed", "o"]);
    assert.deepEqual([events, bought], [[], 0]);
  });

  test("an order that may have been accepted: it is not bought again", async () => {
    const book = new OrderBook();
    Object.assign(book, { status: "unknown", end: { code: "order_unknown", message: "the answer was lost" } });
    const { result, events, bought } = await conduct({ book });
    assert.deepEqual([result.error?.code, result.error?.message], ["order_unknown", "the answer was lost"]);
    assert.deepEqual([events, bought], [[], 0]);
  });

  test("an order that the engine refuses: nothing is bought", async () => {
    const earlier = recordedProvider.orders.length;
    const book = new OrderBook();
    book.place = () => Promise.reject(new Error("taken"));
    await assert.rejects(conduct({ book }), /taken/);
    assert.equal(recordedProvider.orders.length, earlier);
  });

  test("a run id that cannot be kept stands in the log", async () => {
    const logger = createRecordingLogger();
    const book = new OrderBook();
    book.recordAccepted = () => Promise.reject(new Error("the engine is away"));
    await assert.rejects(conduct({ book, logger }), /away/);
    const line = logger.lines.find(({ level }) => level === "error");
    assert.equal(line?.facts["provider_run_id"], recordedProvider.orders.at(-1)?.run_id);
  });
});

test("the digest of a question is that of its operation, processor, inputs and prompt, and of nothing else", async () => {
  const digest = async (setting: Setting) => {
    const book = new OrderBook();
    await conduct({ ...setting, book });
    return book.requests[0]?.question;
  };
  const context = CONTEXTS["company.derive.icp_job_titles"] ?? {};
  const first = await digest({ context });
  assert.match(first ?? "", /^[0-9a-f]{64}$/);
  assert.equal(await digest({ context: { ...context, company_name: " Northwind Robotics ", unused: 1 } }), first);
  assert.notEqual(await digest({ context: { ...context, domain: "other.example.com" } }), first);
  assert.notEqual(await digest({ context, config: { processor: "core" } }), first);
});

test("without a key there is no provider", () => {
  assert.throws(
    () => createParallelProvider({ PARALLEL_BASE_URL: url }),
    (error) => error instanceof SettingError && error.message.includes("PARALLEL_API_KEY"),
  );
});
