/**
 * Logs messages with facts (ids, counts, statuses; never research) as JSON lines.
 *
 * Trigger.dev's `logger` has the same interface; tasks at Trigger.dev use that instead.
 */
export type Facts = Record<string, unknown>;

export interface Logger {
  info(message: string, facts?: Facts): void;
  warn(message: string, facts?: Facts): void;
  error(message: string, facts?: Facts): void;
}

/** Create a logger that writes JSON lines, by default to standard error. */
export function createLineLogger(write: (line: string) => void = (line) => process.stderr.write(line)): Logger {
  const createWriter =
    (level: string) =>
    (message: string, facts: Facts = {}) => {
      write(`${JSON.stringify({ at: new Date().toISOString(), level, message, ...facts })}\n`);
    };
  return { info: createWriter("info"), warn: createWriter("warn"), error: createWriter("error") };
}

/** Return the message of an error, or any other value as text, for a log line. */
export function toMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
