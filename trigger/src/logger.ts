/**
 * Logs messages with facts (ids, counts, statuses; never research) as JSON lines, on a terminal as text.
 *
 * Trigger.dev's `logger` has the same interface; tasks at Trigger.dev use that instead.
 */
export type Facts = Record<string, unknown>;

export interface Logger {
  info(message: string, facts?: Facts): void;
  warn(message: string, facts?: Facts): void;
  error(message: string, facts?: Facts): void;
}

/** Create a logger that writes lines to standard error: JSON, or where that is a terminal, text. */
export function createLineLogger(): Logger {
  const format = process.stderr.isTTY ? formatAsText : formatAsJson;
  const createWriter =
    (level: string) =>
    (message: string, facts: Facts = {}) => {
      process.stderr.write(`${format(level, message, facts)}\n`);
    };
  return { info: createWriter("info"), warn: createWriter("warn"), error: createWriter("error") };
}

function formatAsJson(level: string, message: string, facts: Facts): string {
  return JSON.stringify({ at: new Date().toISOString(), level, message, ...facts });
}

function formatAsText(level: string, message: string, facts: Facts): string {
  const named = Object.entries(facts)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name} ${typeof value === "string" && isPlain(value) ? value : JSON.stringify(value)}`);
  const prefix = level === "info" ? "" : `${level}: `;
  const suffix = named.length === 0 ? "" : ` (${named.join(", ")})`;
  return `${new Date().toTimeString().slice(0, 8)} ${prefix}${message}${suffix}`;
}

/** Return whether a text has no line breaks nor other control characters, which a terminal obeys. */
function isPlain(text: string): boolean {
  return !/\p{Cc}/u.test(text);
}

/** Return the message of an error, or any other value as text, for a log line. */
export function toMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
