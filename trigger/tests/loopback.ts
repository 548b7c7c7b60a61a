/** Real servers on loopback for tests: each answers from a script, and remembers what it was asked. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import type { InternalConfig } from "../src/client.js";
import type { Facts, Logger } from "../src/logger.js";

export interface Asked {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly at: number;
}

/** One answer of a script: status and body, or what to do with the response by hand. */
export type Scripted = { status: number; body: string; headers?: Record<string, string> } | ((response: ServerResponse) => void);

export interface Loopback extends AsyncDisposable {
  readonly url: string;
  readonly asked: Asked[];
}

/** Start a server that gives the script's answers in order, and the last one again and again. */
export async function loopback(...script: Scripted[]): Promise<Loopback> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      asked.push({ path: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks).toString(), at: Date.now() });
      const next = script[Math.min(asked.length, script.length) - 1];
      if (typeof next === "function") next(response);
      else if (next !== undefined) {
        response.writeHead(next.status, { "content-type": "application/json", ...next.headers }).end(next.body);
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

export const ROW: Scripted = { status: 200, body: '{"data": {"id": "row-1", "company_domain": "acme.com"}}' };

/** A config for the server at `url`, impatient enough for tests. */
export function configFor(url: string, changes: Partial<InternalConfig> = {}): InternalConfig {
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

/** A logger that keeps what it was told. */
export function listening(): Logger & { lines: { level: string; message: string; facts: Facts }[] } {
  const lines: { level: string; message: string; facts: Facts }[] = [];
  const say = (level: string) => (message: string, facts: Facts = {}) => {
    lines.push({ level, message, facts });
  };
  return { lines, info: say("info"), warn: say("warn"), error: say("error") };
}
