/**
 * The provider's Task API over HTTP, played by a Studio.
 *
 * In: requests. Out: the studio's replies. It must not know recordings or behaviours.
 *
 * `GET /recorded/requests` tells what was asked: how many orders, and which, by the metadata they carried.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

import { isObject, parse, stringify, type JsonObject } from "../exact.js";
import type { Reply, Studio } from "./studio.js";

const RUN = /^\/v1\/tasks\/runs\/([^/]+)(\/result)?$/;
const LONGEST_WAIT = 600;

export function serve(studio: Studio): Server {
  return createServer((request, response) => {
    answer(studio, request).then(
      (reply) => {
        send(response, reply);
      },
      (error: unknown) => {
        send(response, { status: 500, body: { type: "error", error: { message: String(error) } } });
      },
    );
  });
}

async function answer(studio: Studio, request: IncomingMessage): Promise<Reply> {
  const url = new URL(request.url ?? "/", "http://recorded");
  const body = await bodyOf(request);
  if (url.pathname === "/recorded/requests") return { status: 200, body: { ...studio.counts, orders: studio.book } };
  if (!request.headers["x-api-key"]) return { status: 401, body: { type: "error", error: { message: "no API key" } } };
  if (request.method === "POST" && url.pathname === "/v1/tasks/runs") return studio.order(body);
  const [, runId, result] = RUN.exec(url.pathname) ?? [];
  if (request.method !== "GET" || runId === undefined) return { status: 404, body: { type: "error", error: { message: "no such path" } } };
  if (result === undefined) return studio.status(runId);
  const seconds = Number(url.searchParams.get("timeout") ?? LONGEST_WAIT);
  return studio.result(runId, Math.min(seconds, LONGEST_WAIT));
}

async function bodyOf(request: IncomingMessage): Promise<JsonObject> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const body = text === "" ? {} : parse(text);
  return isObject(body) ? body : {};
}

function send(response: ServerResponse, { status, body, headers }: Reply): void {
  if (body === undefined) {
    response.destroy();
    return;
  }
  const text = typeof body === "string" ? body : stringify(body);
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
}
