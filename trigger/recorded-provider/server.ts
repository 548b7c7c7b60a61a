/**
 * Serves the provider's Task API over HTTP from a RecordedProvider.
 *
 * `GET /recorded/requests` returns the number of requests, and the orders with the metadata they carried.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

import { isObject, parseJson, stringifyJson, type JsonObject } from "../src/json/exact.js";
import type { RecordedProvider, Reply } from "./provider.js";

const RUN_PATH = /^\/v1\/tasks\/runs\/([^/]+)(\/result)?$/;
const LONGEST_WAIT_SECONDS = 600;

/** Create the server; the caller makes it listen. */
export function createRecordedServer(provider: RecordedProvider): Server {
  return createServer((request, response) => {
    answerRequest(provider, request).then(
      (reply) => {
        sendReply(response, reply);
      },
      (error: unknown) => {
        sendReply(response, { status: 500, body: { type: "error", error: { message: String(error) } } });
      },
    );
  });
}

async function answerRequest(provider: RecordedProvider, request: IncomingMessage): Promise<Reply> {
  const url = new URL(request.url ?? "/", "http://recorded");
  const body = await readBody(request);
  if (url.pathname === "/recorded/requests") {
    return { status: 200, body: { ...provider.counts, orders: provider.orders } };
  }
  if (!request.headers["x-api-key"]) {
    return { status: 401, body: { type: "error", error: { message: "no API key" } } };
  }
  if (request.method === "POST" && url.pathname === "/v1/tasks/runs") return provider.acceptOrder(body);
  const [, runId, result] = RUN_PATH.exec(url.pathname) ?? [];
  if (request.method !== "GET" || runId === undefined) {
    return { status: 404, body: { type: "error", error: { message: "no such path" } } };
  }
  if (result === undefined) return provider.fetchRun(runId);
  const seconds = Number(url.searchParams.get("timeout") ?? LONGEST_WAIT_SECONDS);
  return provider.waitForResult(runId, Math.min(seconds, LONGEST_WAIT_SECONDS));
}

async function readBody(request: IncomingMessage): Promise<JsonObject> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const body = text === "" ? {} : parseJson(text);
  return isObject(body) ? body : {};
}

function sendReply(response: ServerResponse, { status, body, headers }: Reply): void {
  if (body === undefined) {
    response.destroy();
    return;
  }
  const text = typeof body === "string" ? body : stringifyJson(body);
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
}
