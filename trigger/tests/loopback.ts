/**
 * Real servers on loopback for tests, which answer from a script and keep the requests, and a logger that keeps its
 * lines.
 */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import type { InternalConfig } from "../src/api/client.js";
import type { Facts, Logger } from "../src/logger.js";

interface ReceivedRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly at: number;
}

/** One answer of a script: status and body, or a function that answers itself. */
export type ScriptedAnswer =
  { status: number; body: string; headers?: Record<string, string> } | ((response: ServerResponse) => void);

interface ScriptedServer extends AsyncDisposable {
  readonly url: string;
  readonly requests: ReceivedRequest[];
}

/** Start a server that gives the script's answers in order, and then repeats the last one. */
export async function startScriptedServer(...script: ScriptedAnswer[]): Promise<ScriptedServer> {
  const requests: ReceivedRequest[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      requests.push({
        path: request.url ?? "",
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
        at: Date.now(),
      });
      const next = script[Math.min(requests.length, script.length) - 1];
      if (typeof next === "function") next(response);
      else if (next !== undefined) {
        response.writeHead(next.status, { "content-type": "application/json", ...next.headers }).end(next.body);
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

export const ROW: ScriptedAnswer = { status: 200, body: '{"data": {"id": "row-1", "company_domain": "acme.com"}}' };

/** Build a config for the server at `url`, with pauses short enough for tests. */
export function buildConfig(url: string, changes: Partial<InternalConfig> = {}): InternalConfig {
  return {
    apiUrl: url,
    apiKey: "the-key",
    orgId: "11111111-1111-4111-8111-111111111111",
    companyId: null,
    timeoutMs: 2000,
    retry: { attempts: 4, firstPauseMs: 10, longestPauseMs: 1500 },
    ...changes,
  };
}

/** Create a logger that keeps its lines. */
export function createRecordingLogger(): Logger & { lines: { level: string; message: string; facts: Facts }[] } {
  const lines: { level: string; message: string; facts: Facts }[] = [];
  const createRecorder =
    (level: string) =>
    (message: string, facts: Facts = {}) => {
      lines.push({ level, message, facts });
    };
  return { lines, info: createRecorder("info"), warn: createRecorder("warn"), error: createRecorder("error") };
}
