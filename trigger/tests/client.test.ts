/** `internalPost` against real servers: what it sends, what it tries again, what it takes for stored. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { internalApi, InternalApiError, internalCall, internalPost, internalPostRows } from "../src/client.js";
import { parse } from "../src/exact.js";
import { SettingError } from "../src/settings.js";
import { configFor, loopback, ROW, listening, type Scripted } from "./loopback.js";

const PATH = "/api/internal/company-intel-briefings/upsert";
const UNAVAILABLE: Scripted = { status: 503, body: '{"error": "the database does not answer", "code": "unavailable"}' };
const PAGE: Scripted = { status: 502, body: "<html><h1>Bad Gateway</h1></html>", headers: { "content-type": "text/html" } };

async function refusal(call: Promise<unknown>): Promise<InternalApiError> {
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
    await using server = await loopback(UNAVAILABLE, ROW);
    await internalPost(configFor(server.url, { companyId: "22222222-2222-4222-8222-222222222222" }), PATH, {});
    assert.equal(server.asked.length, 2);
    for (const { headers, path } of server.asked) {
      assert.equal(path, PATH);
      assert.equal(headers.authorization, "Bearer the-key");
      assert.equal(headers["x-internal-org-id"], "11111111-1111-4111-8111-111111111111");
      assert.equal(headers["x-internal-company-id"], "22222222-2222-4222-8222-222222222222");
    }
  });

  test("the company header is there without a company, too", async () => {
    await using server = await loopback(ROW);
    await internalPost(configFor(server.url), PATH, {});
    assert.equal(server.asked[0]?.headers["x-internal-company-id"], "");
  });

  test("numbers leave as they came", async () => {
    await using server = await loopback(ROW);
    const body = '{"raw":{"scale":1.10,"long":123456789012345678901234567890,"list":[1.0,2]}}';
    await internalPost(configFor(server.url), PATH, parse(body) as object);
    assert.equal(server.asked[0]?.body, body);
  });

  test("a redirect is not followed: the key is for this host only", async () => {
    await using elsewhere = await loopback(ROW);
    await using server = await loopback({ status: 307, body: "", headers: { location: `${elsewhere.url}${PATH}` } });
    const error = await refusal(internalPost(configFor(server.url), PATH, {}));
    assert.equal(error.status, 307);
    assert.equal(elsewhere.asked.length, 0);
  });
});

describe("what is tried again", () => {
  for (const status of [408, 425, 429, 500, 502, 503, 504]) {
    test(`${status}`, async () => {
      await using server = await loopback({ status, body: "{}" }, ROW);
      assert.equal((await internalPost(configFor(server.url), PATH, {}))["id"], "row-1");
      assert.equal(server.asked.length, 2);
    });
  }

  test("a cut connection, before and in the middle of the answer", async () => {
    const cutBefore: Scripted = (response) => response.destroy();
    const cutWithin: Scripted = (response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write('{"data": {"id":');
      setTimeout(() => response.destroy(), 20);
    };
    await using server = await loopback(cutBefore, cutWithin, ROW);
    assert.equal((await internalPost(configFor(server.url), PATH, {}))["id"], "row-1");
    assert.equal(server.asked.length, 3);
  });

  test("no answer within the timeout", async () => {
    await using server = await loopback(() => undefined, ROW);
    const logger = listening();
    assert.equal((await internalPost(configFor(server.url, { timeoutMs: 500, logger }), PATH, {}))["id"], "row-1");
    assert.match(logger.lines[0]?.message ?? "", /no answer within 500 ms; trying again/);
  });

  test("nobody listens: said with the reason after the last attempt", async () => {
    const server = await loopback(ROW);
    await server[Symbol.asyncDispose]();
    const logger = listening();
    const error = await refusal(internalPost(configFor(server.url, { logger }), PATH, {}));
    assert.equal(error.status, 0);
    assert.match(error.message, /ECONNREFUSED/);
    assert.deepEqual(logger.lines.map(({ facts }) => facts["attempt"]), [1, 2, 3]);
  });

  test("not for ever", async () => {
    await using server = await loopback(UNAVAILABLE);
    const error = await refusal(internalPost(configFor(server.url), PATH, {}));
    assert.equal(server.asked.length, 4);
    assert.match(error.message, /503 unavailable: the database does not answer/);
  });

  test("`Retry-After` in seconds and as a date, up to the longest pause", async () => {
    for (const [header, paused] of [["1", 1000], [new Date(Date.now() + 60_000).toUTCString(), 1500], ["3600", 1500]] as const) {
      await using server = await loopback({ status: 429, body: "{}", headers: { "retry-after": header } }, ROW);
      const logger = listening();
      await internalPost(configFor(server.url, { logger }), PATH, {});
      assert.equal(logger.lines[0]?.facts["pause_ms"], paused, header);
      const [first, second] = server.asked;
      assert.ok(first && second && second.at - first.at >= paused - 10, header);
    }
  });

  test("pauses differ, so that runners do not come back together", async () => {
    const pauses = new Set<number>();
    for (let round = 0; round < 12; round += 1) {
      await using server = await loopback(UNAVAILABLE, ROW);
      const logger = listening();
      const retry = { attempts: 2, firstPauseMs: 60, longestPauseMs: 60 };
      await internalPost(configFor(server.url, { logger, retry }), PATH, {});
      const pause = Number(logger.lines[0]?.facts["pause_ms"]);
      assert.ok(pause >= 30 && pause <= 60, String(pause));
      pauses.add(pause);
    }
    assert.ok(pauses.size > 2);
  });

  test("nothing, once there is no time left", async () => {
    await using server = await loopback(UNAVAILABLE);
    const retry = { attempts: 9, firstPauseMs: 60_000, longestPauseMs: 60_000 };
    const signal = AbortSignal.timeout(100);
    assert.equal((await refusal(internalPost(configFor(server.url, { retry, signal }), PATH, {}))).status, 503);
  });
});

describe("what is not tried again", () => {
  for (const status of [400, 401, 403, 404, 409, 413, 422]) {
    test(`${status}, with the API's own words`, async () => {
      const body = JSON.stringify({
        error: "a value is missing",
        code: "some_code",
        detail: [{ field: "company_domain", code: "missing_required", message: "secret research", value: "secret research" }],
      });
      await using server = await loopback({ status, body }, ROW);
      const error = await refusal(internalPost(configFor(server.url), PATH, { text: "secret research" }));
      assert.equal(server.asked.length, 1);
      assert.equal(error.status, status);
      assert.equal(error.code, "some_code");
      assert.equal(
        error.message,
        `POST ${PATH} answered ${status} some_code: a value is missing; at \`company_domain\` (missing_required)`,
      );
    });
  }

  test("FastAPI's own detail names its place", async () => {
    const body = '{"detail": [{"loc": ["body", "processor"], "msg": "Input should be a string", "type": "string_type"}]}';
    await using server = await loopback({ status: 422, body });
    assert.match((await refusal(internalPost(configFor(server.url), PATH, {}))).message, /`body\.processor` \(string_type\)/);
  });
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
    "nothing": "",
    "a page": "<html>welcome</html>",
  };
  for (const [name, body] of Object.entries(NOT_STORED)) {
    test(`200 with ${name} is an error`, async () => {
      await using server = await loopback({ status: 200, body });
      const error = await refusal(internalPost(configFor(server.url), PATH, {}));
      assert.equal(error.status, 200);
      assert.equal(server.asked.length, 1);
    });
  }

  test("a proxy's page is told as what it is", async () => {
    await using server = await loopback(PAGE);
    assert.match((await refusal(internalPost(configFor(server.url), PATH, {}))).message, /answered 502: text\/html instead of JSON/);
  });

  test("of many rows: each with an id, and the refused ones told apart", async () => {
    const body = '{"data": [{"id": "1"}, {"id": "2"}], "meta": {"rejected": [{"element": 1, "field": "name", "code": "missing_required"}]}}';
    await using server = await loopback({ status: 200, body });
    const stored = await internalPostRows(configFor(server.url), PATH, { rows: [] });
    assert.equal(stored.rows.length, 2);
    assert.equal(stored.rejected[0]?.["field"], "name");
  });

  for (const body of ['{"data": []}', '{"data": [{"id": "1"}, {}]}', '{"data": {"id": "1"}}']) {
    test(`of many rows, not ${body}`, async () => {
      await using server = await loopback({ status: 200, body });
      assert.equal((await refusal(internalPostRows(configFor(server.url), PATH, { rows: [] }))).status, 200);
    });
  }

  test("a call that stores no row takes any data", async () => {
    await using server = await loopback({ status: 200, body: '{"data": null}' });
    assert.equal(await internalCall(configFor(server.url), PATH, {}), null);
  });
});

describe("settings", () => {
  const env = { DATA_ENGINE_API_URL: "http://127.0.0.1:1/", DATA_ENGINE_INTERNAL_API_KEY: "k" };

  test("the address loses its trailing slash", () => {
    assert.equal(internalApi(env).apiUrl, "http://127.0.0.1:1");
  });

  for (const name of Object.keys(env)) {
    test(`a missing ${name} is named`, () => {
      assert.throws(() => internalApi({ ...env, [name]: " " }), (error) => error instanceof SettingError && error.message.includes(name));
    });
  }

  test("an address that is none is named", () => {
    assert.throws(() => internalApi({ ...env, DATA_ENGINE_API_URL: "localhost:8000" }), /not an http address/);
  });
});
