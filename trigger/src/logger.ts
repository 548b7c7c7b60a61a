/**
 * Where sentences about the work go.
 *
 * In: a sentence and facts (ids, counts, statuses; never research). Out: one JSON line each. It must not know what for.
 * Trigger.dev's `logger` has the same shape and takes this one's place there.
 */
export type Facts = Record<string, unknown>;

export interface Logger {
  info(message: string, facts?: Facts): void;
  warn(message: string, facts?: Facts): void;
  error(message: string, facts?: Facts): void;
}

/** A logger that writes JSON lines, to standard error unless told otherwise. */
export function lineLogger(write: (line: string) => void = (line) => process.stderr.write(line)): Logger {
  const say = (level: string) => (message: string, facts: Facts = {}) => {
    write(`${JSON.stringify({ at: new Date().toISOString(), level, message, ...facts })}\n`);
  };
  return { info: say("info"), warn: say("warn"), error: say("error") };
}

/** What an error says, for a log line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
