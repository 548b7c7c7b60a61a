/**
 * `npm run recorded-provider -- [--port N] [--delay MS]`: the recorded provider as a process.
 *
 * Prints `{"url": ...}` on standard output once it listens, and runs until it is told to stop.
 */
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";

import { loadRecordings } from "./recordings.js";
import { serve } from "./server.js";
import { Studio } from "./studio.js";

const { values } = parseArgs({
  options: { port: { type: "string", default: "0" }, delay: { type: "string", default: "300" } },
});
const server = serve(new Studio(loadRecordings(), Number(values.delay)));
server.listen(Number(values.port), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}
