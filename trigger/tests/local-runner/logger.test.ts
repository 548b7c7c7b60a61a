/** The log on a terminal: what a fact repeats, such as the message of a provider, is one line and moves no cursor. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { createLineLogger } from "../../src/logger.js";

test("on a terminal, facts with control characters are quoted", (context) => {
  const lines: string[] = [];
  context.mock.method(process.stderr, "write", (line: string) => lines.push(line));
  const isTerminal = process.stderr.isTTY;
  process.stderr.isTTY = true;
  context.after(() => (process.stderr.isTTY = isTerminal));
  createLineLogger().warn("Research failed", { error: "no\u001b[2J\nway", run: "a b", rows: 2 });
  assert.match(
    lines.join(""),
    /^\d\d:\d\d:\d\d warn: Research failed \(error "no\\u001b\[2J\\nway", run a b, rows 2\)\n$/,
  );
});
