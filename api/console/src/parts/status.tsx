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

/** Show a status as a coloured word; the colour adds no information. */
export function Status({ of }: { of: string }): VNode {
  return <span class={`status ${TONES[of] ?? "quiet"}`}>{of.replaceAll("_", " ")}</span>;
}
