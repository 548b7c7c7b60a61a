/** The hook `useLoad`: the state of one request, which is sent again when its key changes. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "./api";

export type Loaded<T> =
  | { state: "loading"; data: T | null; problem: null; reload: () => void }
  | { state: "failed"; data: null; problem: Problem; reload: () => void }
  | { state: "ready"; data: T; problem: null; reload: () => void };

/**
 * Run `load` now and whenever `key` changes; abort the run before. Until the new run ends, the earlier data are
 * returned, so that a table does not flicker, unless `subject` has changed too.
 */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, subject = key): Loaded<T> {
  const [round, setRound] = useState(0);
  const [result, setResult] = useState<{ key: string; subject: string; data?: T; problem?: Problem } | null>(null);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const control = new AbortController();
    latest.current(control.signal).then(
      (data) => {
        if (!control.signal.aborted) setResult({ key, subject, data });
      },
      (error: unknown) => {
        if (!control.signal.aborted) setResult({ key, subject, problem: toProblem(error) });
      },
    );
    return () => {
      control.abort();
    };
  }, [key, subject, round]);
  const reload = (): void => {
    setResult(null);
    setRound(round + 1);
  };
  if (result?.key === key && result.problem) return { state: "failed", data: null, problem: result.problem, reload };
  if (result?.key === key) return { state: "ready", data: result.data as T, problem: null, reload };
  const kept = result?.subject === subject ? (result.data ?? null) : null;
  return { state: "loading", data: kept, problem: null, reload };
}

export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem("The page could not show this.", 0, "page_error", error instanceof Error ? error.message : "");
}
