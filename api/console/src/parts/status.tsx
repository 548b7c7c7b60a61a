import type { VNode } from "preact";

const TONES: Record<string, string> = {
  written: "good",
  unchanged: "good",
  completed: "good",
  succeeded: "good",
  row: "good",
  superseded: "quiet",
  filtered: "quiet",
  skipped: "quiet",
  canceled: "quiet",
  not_accepted: "quiet",
  rejected: "bad",
  failed: "bad",
  refused: "bad",
  unknown: "bad",
  pending: "waiting",
  queued: "waiting",
  running: "waiting",
  open: "waiting",
  requested: "waiting",
  retrying: "waiting",
};

/** A state as a word with a colour; the word says it all. */
export function Status({ of }: { of: string }): VNode {
  return <span class={`status ${TONES[of] ?? "quiet"}`}>{of.replaceAll("_", " ")}</span>;
}
