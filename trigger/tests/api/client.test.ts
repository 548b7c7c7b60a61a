/** `internalPost` against real servers: what it sends, what it tries again, what it takes for stored. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  readInternalApi,
  InternalApiError,
  internalCall,
  internalPost,
  internalPostRows,
} from "../../src/api/client.js";
import { parseJson } from "../../src/json/exact.js";
import { SettingError } from "../../src/settings.js";
import { buildConfig, startScriptedServer, ROW, createRecordingLogger, type ScriptedAnswer } from "../loopback.js";

const PATH = "/api/internal/company-intel-briefings/upsert";
const UNAVAILABLE: ScriptedAnswer = {
  status: 503,
  body: '{"error": "the database does not answer", "code": "unavailable"}',
};
const PAGE: ScriptedAnswer = {
  status: 502,
  body: "<html><h1>Bad Gateway</h1></html>",
  headers: { "content-type": "text/html" },
};

async function catchError(call: Promise<unknown>): Promise<InternalApiError> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof InternalApiError, String(error));
    return error;
  }
  return assert.fail("it should have been refused");
}

describe("what is sent", () => {
  test("key, organisation and company go with every request, retries included", async () => {
    await using server = await startScriptedServer(UNAVAILABLE, ROW);
    await internalPost(buildConfig(server.url, { companyId: "22222222-2222-4222-8222-222222222222" }), PATH, {});
    assert.equal(server.requests.length, 2);
    for (const { headers, path } of server.requests) {
      assert.equal(path, PATH);
      assert.equal(headers.authorization, "Bearer the-key");
      assert.equal(headers["x-internal-org-id"], "11111111-1111-4111-8111-111111111111");
      assert.equal(headers["x-internal-company-id"], "22222222-2222-4222-8222-222222222222");
    }
  });

  test("the company header is there without a company, too", async () => {
    await using server = await startScriptedServer(ROW);
    await internalPost(buildConfig(server.url), PATH, {});
    assert.equal(server.requests[0]?.headers["x-internal-company-id"], "");
  });

  test("numbers leave as they came", async () => {
    await using server = await startScriptedServer(ROW);
    const body = '{"raw":{"scale":1.10,"long":123456789012345678901234567890,"list":[1.0,2]}}';
    await internalPost(buildConfig(server.url), PATH, parseJson(body) as object);
    assert.equal(server.requests[0]?.body, body);
  });

  test("a redirect is not followed: the key is for this host only", async () => {
    await using elsewhere = await startScriptedServer(ROW);
    await using server = await startScriptedServer({
      status: 307,
      body: "",
      headers: { location: `${elsewhere.url}${PATH}` },
    });
    const error = await catchError(internalPost(buildConfig(server.url), PATH, {}));
    assert.equal(error.status, 307);
    assert.equal(elsewhere.requests.length, 0);
  });
});

describe("what is tried again", () => {
  for (const status of [408, 425, 429, 500, 502, 503, 504]) {
    test(`${status}`, async () => {
      await using server = await startScriptedServer({ status, body: "{}" }, ROW);
      assert.equal((await internalPost(buildConfig(server.url), PATH, {})).row?.["id"], "row-1");
      assert.equal(server.requests.length, 2);
    });
  }

  test("a cut connection, before and in the middle of the answer", async () => {
    const cutBefore: ScriptedAnswer = (response) => response.destroy();
    const cutWithin: ScriptedAnswer = (response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write('{"data": {"id":');
      setTimeout(() => response.destroy(), 20);
    };
    await using server = await startScriptedServer(cutBefore, cutWithin, ROW);
    assert.equal((await internalPost(buildConfig(server.url), PATH, {})).row?.["id"], "row-1");
    assert.equal(server.requests.length, 3);
  });

  test("no answer within the timeout", async () => {
    await using server = await startScriptedServer(() => undefined, ROW);
    const logger = createRecordingLogger();
    assert.equal(
      (await internalPost(buildConfig(server.url, { timeoutMs: 500, logger }), PATH, {})).row?.["id"],
      "row-1",
    );
    assert.match(logger.lines[0]?.message ?? "", /no answer within 500 ms; trying again/);
  });

  test("nobody listens: said with the reason after the last attempt", async () => {
    const server = await startScriptedServer(ROW);
    await server[Symbol.asyncDispose]();
    const logger = createRecordingLogger();
    const error = await catchError(internalPost(buildConfig(server.url, { logger }), PATH, {}));
    assert.equal(error.status, 0);
    assert.match(error.message, /ECONNREFUSED/);
    assert.deepEqual(
      logger.lines.map(({ facts }) => facts["attempt"]),
      [1, 2, 3],
    );
  });

  test("not for ever", async () => {
    await using server = await startScriptedServer(UNAVAILABLE);
    const error = await catchError(internalPost(buildConfig(server.url), PATH, {}));
    assert.equal(server.requests.length, 4);
    assert.match(error.message, /503 unavailable: the database does not answer/);
  });

  test("`Retry-After` in seconds and as a date, up to the longest pause", async () => {
    for (const [header, paused] of [
      ["1", 1000],
      [new Date(Date.now() + 60_000).toUTCString(), 1500],
      ["3600", 1500],
    ] as const) {
      await using server = await startScriptedServer(
        { status: 429, body: "{}", headers: { "retry-after": header } },
        ROW,
      );
      const logger = createRecordingLogger();
      await internalPost(buildConfig(server.url, { logger }), PATH, {});
      assert.equal(logger.lines[0]?.facts["pause_ms"], paused, header);
      const [first, second] = server.requests;
      assert.ok(first && second && second.at - first.at >= paused - 10, header);
    }
  });

  test("pauses differ, so that runners do not come back together", async () => {
    const pauses = new Set<number>();
    for (let round = 0; round < 12; round += 1) {
      await using server = await startScriptedServer(UNAVAILABLE, ROW);
      const logger = createRecordingLogger();
      const retry = { attempts: 2, firstPauseMs: 60, longestPauseMs: 60 };
      await internalPost(buildConfig(server.url, { logger, retry }), PATH, {});
      const pause = Number(logger.lines[0]?.facts["pause_ms"]);
      assert.ok(pause >= 30 && pause <= 60, String(pause));
      pauses.add(pause);
    }
    assert.ok(pauses.size > 2);
  });

  test("nothing, once there is no time left", async () => {
    await using server = await startScriptedServer(UNAVAILABLE);
    const retry = { attempts: 9, firstPauseMs: 60_000, longestPauseMs: 60_000 };
    const signal = AbortSignal.timeout(100);
    assert.equal((await catchError(internalPost(buildConfig(server.url, { retry, signal }), PATH, {}))).status, 503);
  });
});

describe("what is not tried again", () => {
  for (const status of [400, 401, 403, 404, 409, 413, 422]) {
    test(`${status}, with the API's own words`, async () => {
      const body = JSON.stringify({
        error: "a value is missing",
        code: "some_code",
        detail: [
          { field: "company_domain", code: "missing_required", message: "secret research", value: "secret research" },
        ],
      });
      await using server = await startScriptedServer({ status, body }, ROW);
      const error = await catchError(internalPost(buildConfig(server.url), PATH, { text: "secret research" }));
      assert.equal(server.requests.length, 1);
      assert.equal(error.status, status);
      assert.equal(error.code, "some_code");
      assert.equal(
        error.message,
        `POST ${PATH} answered ${status} some_code: a value is missing; at \`company_domain\` (missing_required)`,
      );
    });
  }

  test("FastAPI's own detail names its place", async () => {
    const body =
      '{"detail": [{"loc": ["body", "processor"], "msg": "Input should be a string", "type": "string_type"}]}';
    await using server = await startScriptedServer({ status: 422, body });
    assert.match(
      (await catchError(internalPost(buildConfig(server.url), PATH, {}))).message,
      /`body\.processor` \(string_type\)/,
    );
  });
});

describe("the internal key is in no message", () => {
  const KEYS = {
    "that an answer repeats": "a-key-of-the-engine",
    "that `fetch` refuses as a header": "a-key\nof-it",
  };
  for (const [name, key] of Object.entries(KEYS)) {
    test(name, async () => {
      await using server = await startScriptedServer({ status: 401, body: `{"error": "who is ${key}?"}` });
      const env = { DATA_ENGINE_API_URL: server.url, DATA_ENGINE_INTERNAL_API_KEY: key };
      const config = buildConfig(server.url, { apiKey: readInternalApi(env).apiKey });
      const { message } = await catchError(internalPost(config, PATH, {}));
      assert.ok(message.includes("[DATA_ENGINE_INTERNAL_API_KEY]") && !message.includes(key), message);
    });
  }
});

describe("what counts as stored", () => {
  const NOT_STORED: Record<string, string> = {
    "no data": "{}",
    "null data": '{"data": null}',
    "a row without an id": '{"data": {"company_domain": "acme.com"}}',
    "a list": '{"data": [{"id": "1"}]}',
    "a bare row": '{"id": "1"}',
    "an array": "[1]",
    "half an answer": '{"data": {"id": "1"',
    nothing: "",
    "a page": "<html>welcome</html>",
  };
  for (const [name, body] of Object.entries(NOT_STORED)) {
    test(`200 with ${name} is an error`, async () => {
      await using server = await startScriptedServer({ status: 200, body });
      const error = await catchError(internalPost(buildConfig(server.url), PATH, {}));
      assert.equal(error.status, 200);
      assert.equal(server.requests.length, 1);
    });
  }

  test("a proxy's page is told as what it is", async () => {
    await using server = await startScriptedServer(PAGE);
    assert.match(
      (await catchError(internalPost(buildConfig(server.url), PATH, {}))).message,
      /answered 502: text\/html instead of JSON/,
    );
  });

  test("of many rows: each with an id, and the refused ones told apart", async () => {
    const body =
      '{"data": [{"id": "1"}, {"id": "2"}], "meta": {"rejected": [{"element": 1, "field": "name", "code": "missing_required"}]}}';
    await using server = await startScriptedServer({ status: 200, body });
    const stored = await internalPostRows(buildConfig(server.url), PATH, { rows: [] });
    assert.equal(stored.rows.length, 2);
    assert.equal(stored.rejected[0]?.["field"], "name");
  });

  for (const body of ['{"data": []}', '{"data": [{"id": "1"}, {}]}', '{"data": {"id": "1"}}']) {
    test(`of many rows, not ${body}`, async () => {
      await using server = await startScriptedServer({ status: 200, body });
      assert.equal((await catchError(internalPostRows(buildConfig(server.url), PATH, { rows: [] }))).status, 200);
    });
  }

  test("a call that stores no row takes any data", async () => {
    await using server = await startScriptedServer({ status: 200, body: '{"data": null}' });
    assert.equal(await internalCall(buildConfig(server.url), PATH, {}), null);
  });
});

describe("settings", () => {
  const env = { DATA_ENGINE_API_URL: "http://127.0.0.1:1/", DATA_ENGINE_INTERNAL_API_KEY: "the-internal-key" };

  test("the address loses its trailing slash", () => {
    assert.equal(readInternalApi(env).apiUrl, "http://127.0.0.1:1");
  });

  for (const name of Object.keys(env)) {
    test(`a missing ${name} is named`, () => {
      assert.throws(
        () => readInternalApi({ ...env, [name]: " " }),
        (error) => error instanceof SettingError && error.message.includes(name),
      );
    });
  }

  test("an address that is none is named", () => {
    assert.throws(() => readInternalApi({ ...env, DATA_ENGINE_API_URL: "localhost:8000" }), /not an http address/);
  });
});
