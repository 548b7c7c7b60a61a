/**
 * `npm run recorded-provider -- [--port N] [--delay MS] [--book FILE]`: serves recorded research as the provider would.
 *
 * With a book it remembers what it accepted: started again with the same file, it still knows its runs.
 * Prints `{"url": ...}` on standard output once it listens, and runs until SIGINT or SIGTERM.
 */
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";

import { RecordedProvider } from "./provider.js";
import { loadRecordings } from "./recordings.js";
import { createRecordedServer } from "./server.js";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    delay: { type: "string", default: "300" },
    book: { type: "string" },
  },
});
const server = createRecordedServer(new RecordedProvider(loadRecordings(), Number(values.delay), values.book));
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
